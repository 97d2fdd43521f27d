"""Element types and kinds of attributes by ONNX's numbers, names as text, and what a file says of a value's type."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from smalti.errors import GraphError
from smalti.frontend.budget import MAX_DIM, MAX_RANK
from smalti.frontend.words import shorten
from smalti.numerics import DType

MAX_NAME_BYTES = 4096
# Exporters write these where they know no name for an open size.
_NAMELESS = frozenset(("", "None", "?", "-1", "0"))
_OTHER_TYPES = ("sequence_type", "map_type", "optional_type", "sparse_tensor_type", "opaque_type")


class OnnxType(Enum):
    """ONNX's ``TensorProto.DataType`` numbers."""

    FLOAT = 1
    UINT8 = 2
    INT8 = 3
    UINT16 = 4
    INT16 = 5
    INT32 = 6
    INT64 = 7
    STRING = 8
    BOOL = 9
    FLOAT16 = 10
    DOUBLE = 11
    UINT32 = 12
    UINT64 = 13
    COMPLEX64 = 14
    COMPLEX128 = 15
    BFLOAT16 = 16
    FLOAT8E4M3FN = 17
    FLOAT8E4M3FNUZ = 18
    FLOAT8E5M2 = 19
    FLOAT8E5M2FNUZ = 20
    UINT4 = 21
    INT4 = 22
    FLOAT4E2M1 = 23
    FLOAT8E8M0 = 24
    UINT2 = 25
    INT2 = 26
    FLOAT6E2M3 = 27
    FLOAT6E3M2 = 28

    @property
    def dtype(self) -> DType | None:
        """Our element type, or ``None`` where the IR has none for it."""
        return _DTYPES.get(self.label)

    @property
    def is_quantised(self) -> bool:
        """No type of ONNX needs a range that stands elsewhere to be read."""
        return False

    @property
    def ranged_by(self) -> str:
        """What gives the numbers of this type their range: nothing."""
        return ""

    @property
    def storage(self) -> np.dtype[np.generic] | None:
        """How one element stands in a file, or ``None`` for types whose elements are not read; bfloat16 as bits."""
        return _STORAGE.get(self)

    @property
    def label(self) -> str:
        """The name for messages: numpy's where numpy has the type."""
        return {OnnxType.FLOAT: "float32", OnnxType.DOUBLE: "float64"}.get(self, self.name.lower())


_DTYPES = {dtype.value: dtype for dtype in DType}
_STORAGE: dict[OnnxType, np.dtype[np.generic]] = {
    OnnxType.FLOAT: np.dtype(np.float32),
    OnnxType.UINT8: np.dtype(np.uint8),
    OnnxType.INT8: np.dtype(np.int8),
    OnnxType.UINT16: np.dtype(np.uint16),
    OnnxType.INT16: np.dtype(np.int16),
    OnnxType.INT32: np.dtype(np.int32),
    OnnxType.INT64: np.dtype(np.int64),
    OnnxType.BOOL: np.dtype(np.bool_),
    OnnxType.FLOAT16: np.dtype(np.float16),
    OnnxType.DOUBLE: np.dtype(np.float64),
    OnnxType.UINT32: np.dtype(np.uint32),
    OnnxType.UINT64: np.dtype(np.uint64),
    OnnxType.BFLOAT16: np.dtype(np.uint16),
}


class AttrKind(Enum):
    """ONNX's ``AttributeProto.AttributeType`` numbers, and the field that holds an attribute of each kind."""

    FLOAT = 1, "f"
    INT = 2, "i"
    STRING = 3, "s"
    TENSOR = 4, "t"
    GRAPH = 5, "g"
    FLOATS = 6, "floats"
    INTS = 7, "ints"
    STRINGS = 8, "strings"
    TENSORS = 9, "tensors"
    GRAPHS = 10, "graphs"
    SPARSE_TENSOR = 11, "sparse_tensor"
    SPARSE_TENSORS = 12, "sparse_tensors"
    TYPE_PROTO = 13, "tp"
    TYPE_PROTOS = 14, "type_protos"

    def __init__(self, number: int, field: str) -> None:
        self.number = number
        self.field = field

    @property
    def label(self) -> str:
        """The name for messages."""
        return self.name.lower().replace("_proto", "").replace("_", " ")

    @property
    def noun(self) -> str:
        """The name with its article."""
        return _with_article(self.label)


@dataclass(frozen=True, slots=True)
class ValueType:
    """What a file says of the type of a value.

    Attributes:
        kind: the type of the elements; ``None`` where the file does not say it, or where the value is no tensor.
        shape: for each axis its size, the name of an open one, or ``None`` for an open one without a name.  The same
            name is the same size.  ``None``: not even the rank is known.
        other: what the value is where it is no tensor ("a sequence"); else empty.
    """

    kind: OnnxType | None = None
    shape: tuple[int | str | None, ...] | None = None
    other: str = ""


def text_of(data: bytes, what: str) -> str:
    """Return a name as text; it may be empty.

    Args:
        data: as it stands in the file.
        what: says in an error whose name it is.

    Raises:
        GraphError: it is too long, no UTF-8, or not printable.
    """
    if len(data) > MAX_NAME_BYTES:
        raise GraphError(f"{what} has {len(data)} bytes; the limit is {MAX_NAME_BYTES}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise GraphError(f"{what} is not UTF-8") from error
    if not text.isprintable():
        raise GraphError(f"{what} is {shorten(text)}, which is not printable")
    return text


def onnx_type(number: int) -> OnnxType:
    """Return the type for a ``DataType`` number.

    Raises:
        GraphError: ONNX has no such type.
    """
    try:
        return OnnxType(number)
    except ValueError as error:
        raise GraphError(f"ONNX has no element type {number}") from error


def value_type(message: Any) -> ValueType:
    """Return what a ``TypeProto`` says.

    Raises:
        GraphError: an unknown element type, too many dimensions, a size over the limit, or a name that is no text.
    """
    for field in _OTHER_TYPES:
        if message.HasField(field):
            return ValueType(other=_with_article(field.removesuffix("_type").replace("_", " ")))
    tensor = message.tensor_type
    kind = onnx_type(tensor.elem_type) if tensor.elem_type else None
    if not tensor.HasField("shape"):
        return ValueType(kind)
    dims = tensor.shape.dim
    if len(dims) > MAX_RANK:
        raise GraphError(f"a shape of {len(dims)} dimensions; the limit is {MAX_RANK}")
    return ValueType(kind, tuple(_size(dim) for dim in dims))


def _with_article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def _size(dim: Any) -> int | str | None:
    name = text_of(dim.dim_param, "the name of a size")
    if name not in _NAMELESS:
        return name
    if dim.dim_value > MAX_DIM:
        raise GraphError(f"the size {dim.dim_value} is above {MAX_DIM}")
    return int(dim.dim_value) if dim.dim_value > 0 else None
