"""What the importer knows of a tensor."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from smalti.errors import GraphError
from smalti.frontend.kinds import ElementKind
from smalti.frontend.symbolic import SymArray, constants
from smalti.ir import ops
from smalti.ir.dims import Dim, denominator_of
from smalti.ir.graph import Node, TensorType
from smalti.ir.infer import constant, make_node
from smalti.numerics import DType


class Special(Enum):
    """A tensor without a value."""

    UNKNOWN = "unknown"
    """Behind an unsupported node; nothing can be said about it, and nothing behind it is reported for that reason."""
    ABSENT = "absent"
    """A result that the compiler never computes (reserved outputs of a batch normalisation)."""
    DEAD = "dead"
    """On a branch that is never taken."""
    OMITTED = "omitted"
    """An optional input that the node leaves out."""


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """A tensor of the graph that is imported.

    At least one of ``node`` (it is computed), ``array`` (it is a constant) and ``sym`` (every element is a number or a
    size) is set.  ``quantised`` is the type of a constant whose numbers mean nothing without a range.
    """

    type: TensorType
    name: str
    node: Node | None = None
    array: NDArray[np.generic] | None = None
    sym: SymArray | None = None
    quantised: ElementKind | None = None


Result = Value | Special


def make_value_node(value: Value) -> Node:
    """Return the IR node for a value that has none yet."""
    if value.node is not None:
        return value.node
    if value.array is not None:
        if value.type.dtype is DType.BFLOAT16:
            return make_node(ops.Cast(DType.BFLOAT16), (constant(value.array, f"{value.name}/float"),), value.name)
        return constant(value.array, value.name)
    if value.sym is None:
        raise GraphError(f"node {value.name!r} has no value")
    return _symbolic_node(value.sym, value.type.dtype, value.name)


def _symbolic_node(sym: SymArray, dtype: DType, name: str) -> Node:
    elements: list[int | Dim] = sym.ravel().tolist()
    numbers = constants(sym)
    if numbers is not None:
        plain = [float(n) if dtype.is_float else int(n) for n in numbers]
        if dtype is DType.BFLOAT16:
            base = constant(_frozen(np.array(plain, np.float32).reshape(sym.shape)), f"{name}/float")
            return make_node(ops.Cast(dtype), (base,), name)
        return constant(_frozen(np.array(plain, dtype.numpy).reshape(sym.shape)), name)
    shape = tuple(int(s) for s in sym.shape)
    if dtype.is_integer:
        return make_node(ops.SizeTensor(tuple(elements), shape, dtype), (), name)
    # A float size is a whole number of 1/scale; the division is exact because scale is a power of two.
    scale = max(denominator_of(v) for v in elements)
    scaled = tuple(v * scale for v in elements)
    sizes = make_node(ops.SizeTensor(scaled, shape, DType.INT64), (), f"{name}/scaled")
    if scale == 1:
        return make_node(ops.Cast(dtype), (sizes,), name)
    as_float = make_node(ops.Cast(dtype), (sizes,), f"{name}/float")
    factor = constant(_frozen(np.array(float(Fraction(1, scale)), dtype.numpy)), f"{name}/scale")
    return make_node(ops.Binary(ops.BinaryFn.MUL), (as_float, factor), name)


def _frozen(array: NDArray[np.generic]) -> NDArray[np.generic]:
    array.flags.writeable = False
    return array
