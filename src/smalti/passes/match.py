"""What rules recognise: constants, constants per channel, convolutions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.dims import Dim, nonnegative
from smalti.ir.graph import Node, TensorType
from smalti.ir.infer import constant
from smalti.ir.ops import Layout, Op
from smalti.ir.schema import size_attributes
from smalti.numerics import DType

Array = NDArray[Any]
Double = NDArray[np.float64]

FOLDABLE = frozenset((DType.FLOAT32, DType.FLOAT16, DType.FLOAT64))
"""Element types whose constants numpy can compute with (bfloat16 constants are bits)."""


def value_of(node: Node) -> Array | None:
    """Return the array of a constant node, else ``None``."""
    return node.op.value if isinstance(node.op, ops.Constant) else None


def require_value(node: Node) -> Array:
    """Return the array of a node that is known to be constant."""
    value = value_of(node)
    if value is None:
        raise CompilerError(f"{node} is not a constant")
    return value


def frozen(value: Array, name: str) -> Node:
    """Return a constant node of a read-only copy in C order."""
    array = np.array(value, order="C", copy=True)
    array.flags.writeable = False
    return constant(array, name)


def rounded(value: Double, like: Node, name: str) -> Node:
    """Return a float64 result as a constant of the element type of ``like``, rounded once.

    Overflow to infinity is kept, as the graph would have computed it.
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return frozen(value.astype(like.type.dtype.numpy), name)


def widened(value: NDArray[np.generic]) -> Double:
    """Return the same numbers in float64, without the warning that numpy gives where it meets a signalling NaN."""
    with np.errstate(invalid="ignore"):
        return value.astype(np.float64)


def uniform_value(node: Node) -> float | None:
    """Return the number that all elements of a constant have, else ``None`` (also for empty ones and NaN)."""
    value = value_of(node)
    if value is None or value.size == 0 or value.dtype.kind not in "fiu":
        return None
    first = value.flat[0]
    return float(first) if bool(np.all(value == first)) else None


def per_channel(node: Node, channels: int | Dim) -> Double | None:
    """Return a constant that depends on nothing but the last axis as ``[channels]`` in float64, else ``None``."""
    value = value_of(node)
    if value is None or node.type.dtype not in FOLDABLE or not isinstance(channels, int):
        return None
    shape = value.shape
    if value.size not in (1, channels) or any(s != 1 for s in shape[:-1]):
        return None
    return np.broadcast_to(widened(value).reshape(-1), (channels,)).copy()


def split_constant(node: Node) -> tuple[Node, Node, bool] | None:
    """Return (other operand, constant operand, constant is on the left) of a binary node, else ``None``."""
    a, b = node.inputs
    if value_of(b) is not None:
        return a, b, False
    if value_of(a) is not None:
        return b, a, True
    return None


def is_static(op: Op) -> bool:
    """Whether no attribute of an operation depends on the image size."""
    return all(isinstance(size, int) for size in size_attributes(op))


def static_bytes(type: TensorType) -> int | None:
    """Return the bytes of a tensor, or ``None`` if they depend on the image size."""
    total = type.nbytes
    return total if isinstance(total, int) else None


def never_negative(size: int | Dim) -> bool:
    """Whether a size is provably at least zero."""
    return nonnegative(size)


def no_pads(pads: ops.Pads) -> bool:
    """Whether a padding pads nothing."""
    return all(p == 0 for p in pads)


def conv_weights(node: Node, grouped: bool = False) -> Array | None:
    """Return the constant weights of an NHWC convolution with numbers we can fold into, else ``None``.

    Weights of several groups count only where the caller says that it knows them.
    """
    op = node.op
    if not isinstance(op, ops.Conv2d) or op.layout is not Layout.NHWC:
        return None
    if op.groups != 1 and not grouped:
        return None
    return value_of(node.weights) if node.weights.type.dtype in FOLDABLE else None


def count(number: int, one: str, many: str) -> str:
    """Return ``"1 pair"`` or ``"3 pairs"``."""
    return f"{number} {one if number == 1 else many}"
