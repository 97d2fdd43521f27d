"""The value of a ``Constant`` node, in all the forms that ONNX has for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smalti.errors import GraphError
from smalti.frontend.onnx.attrs import AttrReader
from smalti.frontend.onnx.wire.types import OnnxType

FORMS = (
    "value",
    "sparse_value",
    "value_float",
    "value_floats",
    "value_int",
    "value_ints",
    "value_string",
    "value_strings",
)


@dataclass(frozen=True, slots=True, eq=False)
class ConstantValue:
    """A value: its element type, a read-only array (bfloat16 as float32), and how many bytes are not in the file."""

    kind: OnnxType
    array: NDArray[np.generic]
    generated: int = 0


def constant_value(attrs: AttrReader, max_bytes: int, max_generated: int) -> ConstantValue:
    """Return the value that the attributes of a ``Constant`` state.

    Args:
        attrs: of the node.
        max_bytes: refuse a value that would take more memory, before anything is allocated.
        max_generated: the same, for bytes that do not stand in the file (zeros of sparse tensors).

    Raises:
        GraphError: not exactly one value, inconsistent, or over a limit; the text names the attribute.
        ValueError: the type is one whose elements are not read; the text names it.
    """
    forms = [name for name in FORMS if name in attrs]
    if len(forms) != 1:
        raise GraphError(f"a constant needs one value; it has {', '.join(forms) if forms else 'none'}")
    form = forms[0]
    try:
        return _value(attrs, form, max_bytes, max_generated)
    except ValueError as error:
        raise ValueError(f"attribute {form}: {error}") from error
    except GraphError as error:
        if str(error).startswith("attribute "):
            raise
        raise GraphError(f"attribute {form}: {error}") from error


def _value(attrs: AttrReader, form: str, max_bytes: int, max_generated: int) -> ConstantValue:
    if form == "value":
        tensor = attrs.tensor(form)
        return ConstantValue(tensor.kind, tensor.decode(max_bytes))
    if form == "sparse_value":
        sparse = attrs.sparse(form)
        dense = sparse.decode(max_bytes, max_generated)
        return ConstantValue(sparse.kind, dense, dense.nbytes)
    if form.startswith("value_string"):
        raise ValueError("tensors of type string are not supported")
    array: NDArray[np.generic]
    if form.startswith("value_float"):
        kind = OnnxType.FLOAT
        floats = attrs.numbers(form) if form.endswith("s") else attrs.number(form)
        array = np.array(floats, np.float32)
    else:
        kind = OnnxType.INT64
        ints = attrs.many_ints(form) if form.endswith("s") else attrs.integer(form)
        array = np.array(ints, np.int64)
    if array.nbytes > max_bytes:
        raise GraphError(f"the constant takes {array.nbytes} bytes; {max_bytes} are left (--max-constant-bytes)")
    array.flags.writeable = False
    return ConstantValue(kind, array)
