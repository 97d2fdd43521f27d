"""Tensors of a file: their element type and shape, and the decoding of their values in all encodings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.errors import GraphError
from smalti.frontend.budget import MAX_DIM, MAX_ELEMENTS, MAX_RANK
from smalti.frontend.onnx.wire.external import Folder, place_of
from smalti.frontend.onnx.wire.types import OnnxType, onnx_type, text_of
from smalti.frontend.onnx.wire.values import listed

_EXTERNAL = 1
_RAW = 9
_MAX_ENTRIES = 16
_LISTS = {4: "float_data", 5: "int32_data", 7: "int64_data", 10: "double_data", 11: "uint64_data"}
# Which list carries the elements of each type; all others that are read use int32_data.
_LIST_OF = {
    OnnxType.FLOAT: "float_data",
    OnnxType.DOUBLE: "double_data",
    OnnxType.INT64: "int64_data",
    OnnxType.UINT32: "uint64_data",
    OnnxType.UINT64: "uint64_data",
}


@dataclass(frozen=True, slots=True)
class Store:
    """Where values are: the bytes of the model, and its folder where it came from a file."""

    data: bytes
    folder: Folder | None = None


@dataclass(frozen=True, slots=True, eq=False)
class OnnxTensor:
    """A tensor of a file.  Nothing of it is checked or read before it is asked for."""

    message: Any
    store: Store

    @property
    def kind(self) -> OnnxType:
        """The element type.

        Raises:
            GraphError: ONNX has no such type.
        """
        return onnx_type(self.message.data_type)

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes.

        Raises:
            GraphError: one is negative, or the shape is over a limit.
        """
        return shape_of(self.message.dims)

    def decode(self, max_bytes: int) -> NDArray[np.generic]:
        """Return the values as a read-only array of numpy's own byte order.

        They come from raw bytes, from a typed list or from a second file, and there must be exactly as many as the
        shape asks for.  NaNs keep their bits (all but those of floats that were written one by one, which no exporter
        does).  Arrays of type bfloat16 are returned as float32, which holds every bfloat16.

        Args:
            max_bytes: refuse a tensor that would take more memory, before anything is allocated.

        Raises:
            GraphError: inconsistent or over a limit.
            ValueError: elements of this type are not read (strings, complex, of fewer than 8 bits, floats of 8); the
                text names it.
        """
        kind, shape = self.kind, self.shape
        storage = kind.storage
        if storage is None:
            raise ValueError(f"tensors of type {kind.label} are not supported")
        count = math.prod(shape)
        nbytes = count * (np.dtype(np.float32) if kind is OnnxType.BFLOAT16 else storage).itemsize
        if nbytes > max_bytes:
            raise GraphError(
                f"the tensor takes {nbytes} bytes; {max_bytes} are left of the limit (--max-constant-bytes)"
            )
        if self.message.HasField("segment"):
            raise GraphError("the tensor is one segment of a larger one; save the model again with whole tensors")
        if self.message.data_location == _EXTERNAL:
            flat = self._external(storage, count)
        else:
            flat = self._inside(kind, storage, count)
        if kind is OnnxType.BFLOAT16:
            flat = (flat.astype(np.uint32) << 16).view(np.float32)
        array = flat.reshape(shape)
        array.flags.writeable = False
        return array

    def _external(self, storage: np.dtype[np.generic], count: int) -> NDArray[np.generic]:
        entries: dict[str, str] = {}
        if len(self.message.external_data) > _MAX_ENTRIES:
            raise GraphError(f"its external data has {len(self.message.external_data)} entries")
        for entry in self.message.external_data:
            key = text_of(entry.key, "a key of its external data")
            if key in entries:
                raise GraphError(f"its external data has two entries {key!r}")
            entries[key] = text_of(entry.value, f"the {key!r} of its external data")
        place = place_of(entries)
        if self.store.folder is None:
            raise GraphError(
                f"its values are in a second file, {place.name!r}, and the model was given as bytes: give the path of "
                "the .onnx file, with that file beside it"
            )
        return _native(self.store.folder.read(place, count * storage.itemsize), storage)

    def _inside(self, kind: OnnxType, storage: np.dtype[np.generic], count: int) -> NDArray[np.generic]:
        cuts = [(int(c.field), int(c.start), int(c.length)) for c in self.message.cut]
        # An empty list says nothing; where a field is there twice, protobuf takes the last of raw bytes.
        raw = next(((start, length) for field, start, length in reversed(cuts) if field == _RAW), None)
        lists = {_LISTS[field] for field, _, length in cuts if field != _RAW and length}
        lists |= {name for name in _LISTS.values() if len(getattr(self.message, name))}
        if raw is not None and (raw[1] or not lists):
            if lists:
                raise GraphError(f"the tensor holds its values twice: as raw_data and as {min(lists)}")
            nbytes = count * storage.itemsize
            if raw[1] != nbytes:
                raise GraphError(f"the tensor holds {raw[1]} bytes, but {kind.label}{list(self.shape)} takes {nbytes}")
            return _native(memoryview(self.store.data)[raw[0] : raw[0] + raw[1]], storage)
        wanted = _LIST_OF.get(kind, "int32_data")
        if lists - {wanted}:
            raise GraphError(f"the tensor is of type {kind.label}, but holds {min(lists - {wanted})}")
        spans = [(start, length) for field, start, length in cuts if _LISTS.get(field) == wanted and length]
        parts = [np.frombuffer(self.store.data, np.uint8, length, start) for start, length in spans]
        return listed(wanted, parts, getattr(self.message, wanted), storage, count)


@dataclass(frozen=True, slots=True, eq=False)
class SparseTensor:
    """A tensor of zeros but for some values, whose places are listed."""

    message: Any
    store: Store

    @property
    def values(self) -> OnnxTensor:
        """The values that are not zero; their name is the tensor's."""
        return OnnxTensor(self.message.values, self.store)

    @property
    def kind(self) -> OnnxType:
        """The element type.

        Raises:
            GraphError: ONNX has no such type.
        """
        return self.values.kind

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the dense tensor.

        Raises:
            GraphError: one is negative, or the shape is over a limit.
        """
        return shape_of(self.message.dims)

    def decode(self, max_bytes: int, max_generated: int) -> NDArray[np.generic]:
        """Return the dense array, read-only.

        Args:
            max_bytes: refuse an array that would take more memory, before anything is allocated.
            max_generated: the same, for bytes that do not stand in the file.

        Raises:
            GraphError: inconsistent or over a limit.
            ValueError: elements of this type are not read; the text names it.
        """
        shape = self.shape
        values = self.values.decode(max_bytes)
        count = math.prod(shape)
        nbytes = count * values.itemsize
        if nbytes > min(max_bytes, max_generated):
            left = min(max_bytes, max_generated)
            raise GraphError(f"the sparse tensor takes {nbytes} bytes when it is dense; {left} are left of the limit")
        if values.ndim != 1:
            raise GraphError(f"the values of the sparse tensor have {values.ndim} dimensions; they must have one")
        places = self._places(len(values), shape, max_bytes)
        dense = np.zeros(count, values.dtype)
        dense[places] = values
        array = dense.reshape(shape)
        array.flags.writeable = False
        return array

    def _places(self, number: int, shape: tuple[int, ...], max_bytes: int) -> NDArray[np.int64]:
        """Return where each value stands in the dense tensor, counted in C order."""
        tensor = OnnxTensor(self.message.indices, self.store)
        if tensor.kind is not OnnxType.INT64:
            raise GraphError(f"the indices of the sparse tensor are {tensor.kind.label}; they must be int64")
        indices = tensor.decode(max_bytes).astype(np.int64, copy=False)
        count = math.prod(shape)
        if indices.shape == (number, len(shape)):
            if indices.size and not np.all((indices >= 0) & (indices < np.array(shape, np.int64))):
                raise GraphError(f"an index of the sparse tensor is outside {list(shape)}")
            steps = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
            places: NDArray[np.int64] = (indices * np.array(steps, np.int64)).sum(axis=1, dtype=np.int64)
        elif indices.shape == (number,):
            if indices.size and not np.all((indices >= 0) & (indices < count)):
                raise GraphError(f"an index of the sparse tensor is outside its {count} elements")
            places = indices
        else:
            raise GraphError(f"the sparse tensor has {number} values and indices of shape {list(indices.shape)}")
        if np.any(places[1:] <= places[:-1]):
            raise GraphError("the indices of the sparse tensor do not rise")
        return places


def shape_of(dims: Any) -> tuple[int, ...]:
    """Return sizes as a shape.

    Raises:
        GraphError: one is negative, or the shape is over a limit.
    """
    if len(dims) > MAX_RANK:
        raise GraphError(f"the tensor has {len(dims)} dimensions; the limit is {MAX_RANK}")
    shape = tuple(int(size) for size in dims)
    for size in shape:
        if size < 0:
            raise GraphError(f"the tensor's shape {list(shape)} has a negative size")
        if size > MAX_DIM:
            raise GraphError(f"the tensor's shape {list(shape)} has a size above {MAX_DIM}")
    if math.prod(max(size, 1) for size in shape) > MAX_ELEMENTS:
        raise GraphError(f"the tensor's shape {list(shape)} has more than {MAX_ELEMENTS} elements")
    return shape


def _native(content: bytes | memoryview, storage: np.dtype[np.generic]) -> NDArray[np.generic]:
    """Return a copy of little-endian values: the bytes of the file need not stay, and it is aligned."""
    if storage == np.bool_:
        return np.frombuffer(content, np.uint8).astype(np.bool_)
    return np.frombuffer(content, storage.newbyteorder("<")).astype(storage)
