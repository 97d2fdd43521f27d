"""Tensor protos: element types of TensorFlow and the decoding of constants in all their encodings."""

from __future__ import annotations

import math
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.errors import GraphError
from smalti.frontend.budget import MAX_DIM, MAX_RANK
from smalti.numerics import DType


class TfType(Enum):
    """TensorFlow's ``DataType`` numbers (``types.proto``)."""

    FLOAT = 1
    DOUBLE = 2
    INT32 = 3
    UINT8 = 4
    INT16 = 5
    INT8 = 6
    STRING = 7
    COMPLEX64 = 8
    INT64 = 9
    BOOL = 10
    QINT8 = 11
    QUINT8 = 12
    QINT32 = 13
    BFLOAT16 = 14
    QINT16 = 15
    QUINT16 = 16
    UINT16 = 17
    COMPLEX128 = 18
    HALF = 19
    RESOURCE = 20
    VARIANT = 21
    UINT32 = 22
    UINT64 = 23

    @property
    def dtype(self) -> DType | None:
        """Our element type, or ``None`` when the IR has none for it."""
        return _DTYPES.get(self)

    @property
    def is_quantised(self) -> bool:
        """Whether this is one of the Q types, whose numbers mean nothing without a range."""
        return self in _QUANTISED

    @property
    def ranged_by(self) -> str:
        """The operation that gives numbers of a Q type their range."""
        return "Dequantize"

    @property
    def label(self) -> str:
        """The name for messages."""
        return self.name.lower()


_DTYPES = {
    TfType.FLOAT: DType.FLOAT32,
    TfType.DOUBLE: DType.FLOAT64,
    TfType.HALF: DType.FLOAT16,
    TfType.BFLOAT16: DType.BFLOAT16,
    TfType.UINT8: DType.UINT8,
    TfType.INT8: DType.INT8,
    TfType.UINT16: DType.UINT16,
    TfType.INT16: DType.INT16,
    TfType.INT32: DType.INT32,
    TfType.INT64: DType.INT64,
    TfType.BOOL: DType.BOOL,
    TfType.QUINT8: DType.UINT8,
    TfType.QINT8: DType.INT8,
    TfType.QUINT16: DType.UINT16,
    TfType.QINT16: DType.INT16,
    TfType.QINT32: DType.INT32,
}
_QUANTISED = frozenset((TfType.QUINT8, TfType.QINT8, TfType.QUINT16, TfType.QINT16, TfType.QINT32))

# Which repeated field carries the elements of each type when there is no tensor_content.
_VALUE_FIELDS = {
    DType.FLOAT32: "float_val",
    DType.FLOAT64: "double_val",
    DType.FLOAT16: "half_val",
    DType.BFLOAT16: "half_val",
    DType.UINT8: "int_val",
    DType.INT8: "int_val",
    DType.UINT16: "int_val",
    DType.INT16: "int_val",
    DType.INT32: "int_val",
    DType.INT64: "int64_val",
    DType.BOOL: "bool_val",
}


def tf_type(number: int) -> TfType:
    """Return the type for a ``DataType`` number.

    Raises:
        GraphError: TensorFlow has no such type (reference types count as the type itself).
    """
    try:
        return TfType(number - 100 if number > 100 else number)
    except ValueError as error:
        raise GraphError(f"TensorFlow has no data type {number}") from error


def constant_shape(message: Any) -> tuple[int, ...]:
    """Return the shape of a tensor proto.

    Raises:
        GraphError: a dimension is unknown or negative, or the shape is over a limit.
    """
    if message.unknown_rank:
        raise GraphError("the constant's shape has no rank")
    if len(message.dim) > MAX_RANK:
        raise GraphError(f"the constant has {len(message.dim)} dimensions; the limit is {MAX_RANK}")
    shape = tuple(int(d.size) for d in message.dim)
    for size in shape:
        if size < 0:
            raise GraphError(f"the constant's shape {list(shape)} has a negative size")
        if size > MAX_DIM:
            raise GraphError(f"the constant's shape {list(shape)} has a size above {MAX_DIM}")
    return shape


def decode_tensor(message: Any, max_bytes: int, max_splat: int) -> tuple[TfType, NDArray[np.generic], int]:
    """Decode a ``TensorProto``.

    Elements come from ``tensor_content`` (exactly as many bytes as shape and type ask for) or from the typed list; as
    in TensorFlow, a list shorter than the tensor repeats its last value and an empty list means zeros.  Arrays of type
    bfloat16 are returned as float32 (which holds every bfloat16).

    Args:
        message: the proto.
        max_bytes: refuse a tensor that would take more memory, before allocating anything.
        max_splat: the same for the elements that do not stand in the file.

    Returns:
        The type, a read-only array, and how many of its bytes do not stand in the file.

    Raises:
        GraphError: inconsistent or over a limit.
        ValueError: the type is one the IR does not have; the text names it.
    """
    kind = tf_type(message.dtype)
    dtype = kind.dtype
    if dtype is None:
        raise ValueError(f"constants of type {kind.label} are not supported")
    shape = constant_shape(message.tensor_shape)
    count = math.prod(shape)
    nbytes = count * dtype.itemsize
    content = message.tensor_content
    if content and len(content) != nbytes:
        raise GraphError(f"the constant holds {len(content)} bytes, but {dtype.value}{list(shape)} takes {nbytes}")
    if nbytes > max_bytes:
        raise GraphError(f"the constant takes {nbytes} bytes; {max_bytes} are left of the limit (--max-constant-bytes)")
    splat = 0
    if content:
        flat = _from_content(content, dtype)
    else:
        values = getattr(message, _VALUE_FIELDS[dtype])
        splat = max(0, count - len(values)) * dtype.itemsize
        if splat > max_splat:
            raise GraphError(f"the constant repeats a value to fill {nbytes} bytes; the limit is {max_splat}")
        flat = _from_values(values, dtype, count)
    if dtype is DType.BFLOAT16:
        flat = (flat.astype(np.uint32) << 16).view(np.float32)
    array = flat.reshape(shape)
    array.flags.writeable = False
    return kind, array, splat


def _from_content(content: bytes, dtype: DType) -> NDArray[np.generic]:
    if dtype is DType.BOOL:
        return np.frombuffer(content, np.uint8).astype(np.bool_)
    return np.frombuffer(content, dtype.numpy.newbyteorder("<")).astype(dtype.numpy, copy=False)


def _from_values(values: Any, dtype: DType, count: int) -> NDArray[np.generic]:
    given = len(values)
    if given > max(count, 1):
        raise GraphError(f"the constant lists {given} values for {count} elements")
    if dtype is DType.FLOAT16 or dtype is DType.BFLOAT16:
        bits = np.fromiter((v & 0xFFFF for v in values), np.uint16, given)
        flat: NDArray[np.generic] = bits.view(np.float16) if dtype is DType.FLOAT16 else bits
    elif dtype.is_integer:
        # Through int64 and a wrapping cast: uint8 128 may have been written as int8 -128 and the other way round.
        flat = np.fromiter(values, np.int64, given).astype(dtype.numpy)
    else:
        flat = np.fromiter(values, dtype.numpy, given)
    if given >= count:
        return flat[:count]
    result = np.zeros(count, flat.dtype)
    if given:
        result[:given] = flat
        result[given:] = flat[-1]
    return result
