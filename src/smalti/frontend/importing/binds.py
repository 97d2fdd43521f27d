"""Values that a user binds to tensors: checked against type and shape, they stand in the graph as constants."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.errors import UnsupportedGraphError, UsageError
from smalti.frontend import symbolic
from smalti.frontend.format import RawGraph
from smalti.frontend.given import Plain, elements, shape_text, value_text
from smalti.frontend.importing.evaluate import InputRule
from smalti.frontend.importing.selection import declared_dtype, evaluate_before
from smalti.frontend.raw import Edge, Role, known_sizes
from smalti.frontend.values import Value
from smalti.ir.graph import TensorType
from smalti.ir.reference import bfloat16_to_float32, float32_to_bfloat16
from smalti.numerics import DType

_Sizes = tuple[int | None, ...] | None


def bound_values(
    raw: RawGraph[Any], binds: Mapping[Edge, Plain], rule: InputRule, max_constant_bytes: int
) -> dict[Edge, Value]:
    """Return the constants that stand for bound tensors.

    The type of an input is what it states; that of a computed tensor comes from what stands before it, or where
    that cannot be imported, from its attributes.  A shape in ``rule.overrides`` counts too.

    Raises:
        UsageError: a value does not fit the type or the shape of its tensor.
    """
    found: dict[Edge, Value] = {}
    later = {edge: value for edge, value in binds.items() if raw.nodes[edge[0]].role not in _STATED}
    for edge in (edge for edge in binds if edge not in later):
        node = raw.nodes[edge[0]]
        if edge[1] != 0:
            raise UsageError(f"--bind: {node.name} has no output {edge[1]}")
        shape = raw.stated_shape(edge)
        sizes = None if shape is None else known_sizes(shape)
        found[edge] = _value(raw, edge, binds[edge], declared_dtype(raw, edge), _narrowed(raw, edge, sizes, rule))
    given = dict(found)
    for edge, value in later.items():
        dtype, sizes = _computed_type(raw, edge, replace(rule, frozen=given), max_constant_bytes)
        found[edge] = _value(raw, edge, value, dtype, _narrowed(raw, edge, sizes, rule))
    return found


_STATED = (Role.INPUT, Role.DEFAULT)


def _computed_type(raw: RawGraph[Any], edge: Edge, rule: InputRule, max_constant_bytes: int) -> tuple[DType, _Sizes]:
    try:
        type_ = evaluate_before(raw, edge, rule, max_constant_bytes).type
    except UnsupportedGraphError:
        return declared_dtype(raw, edge), None
    return type_.dtype, tuple(s if isinstance(s, int) else None for s in type_.shape)


def _narrowed(raw: RawGraph[Any], edge: Edge, sizes: _Sizes, rule: InputRule) -> _Sizes:
    """Return the sizes with those of ``--input-shape`` filled in."""
    override = rule.overrides.get(edge)
    if override is None:
        return sizes
    if sizes is None:
        return override
    if len(sizes) != len(override) or any(
        s is not None and o is not None and s != o for s, o in zip(sizes, override, strict=True)
    ):
        raise UsageError(
            f"--input-shape {raw.name_of(edge)}={shape_text(override)} does not fit the graph, where it is "
            f"{shape_text(sizes)}"
        )
    return tuple(s if o is None else o for s, o in zip(sizes, override, strict=True))


def _value(raw: RawGraph[Any], edge: Edge, plain: Plain, dtype: DType, sizes: _Sizes) -> Value:
    name = raw.name_of(edge)
    shape, numbers = elements(plain)
    wrong = f"--bind {name}={value_text(plain)} does not fit: "
    chosen = _shape(shape, len(numbers), sizes)
    if chosen is None:
        raise UsageError(f"{wrong}the tensor has the shape {shape_text(sizes or ())}, not {shape_text(shape)}")
    array = _array(numbers, dtype, wrong).reshape(chosen)
    array.flags.writeable = False
    return Value(TensorType(dtype, chosen), name, array=array, sym=symbolic.from_array(array, dtype))


def _shape(shape: tuple[int, ...], count: int, sizes: _Sizes) -> tuple[int, ...] | None:
    """Return the shape that a value takes in a tensor, or ``None`` where it does not fit.

    A list fills a tensor whose sizes but one are known, in C order.
    """
    if sizes is None:
        return shape
    if len(shape) == len(sizes) and all(o is None or s == o for s, o in zip(shape, sizes, strict=True)):
        return shape
    known = math.prod(s for s in sizes if s is not None)
    unknown = sizes.count(None)
    if len(shape) > 1 or unknown > 1 or (count != known if not unknown else count % known):
        return None
    return tuple(count // known if s is None else s for s in sizes)


def _array(numbers: list[bool | int | float], dtype: DType, wrong: str) -> NDArray[np.generic]:
    if dtype is DType.BOOL:
        if not all(isinstance(n, bool) for n in numbers):
            raise UsageError(f"{wrong}it is of type bool, which takes true or false")
        return np.array(numbers, np.bool_)
    if any(isinstance(n, bool) for n in numbers):
        raise UsageError(f"{wrong}it is of type {dtype.value}, which takes numbers")
    if dtype.is_integer:
        low, high = dtype.limits
        if not all(isinstance(n, int) and low <= n <= high for n in numbers):
            raise UsageError(f"{wrong}it is of type {dtype.value}, which takes whole numbers from {low} to {high}")
        return np.array(numbers, dtype.numpy)
    plain = np.float32 if dtype is DType.BFLOAT16 else dtype.numpy
    try:
        with np.errstate(over="ignore"):
            array = np.array([float(n) for n in numbers], np.float64).astype(plain)
    except OverflowError as error:
        raise UsageError(f"{wrong}a number is too large for {dtype.value}") from error
    if dtype is DType.BFLOAT16:
        array = bfloat16_to_float32(float32_to_bfloat16(array))
    if not np.isfinite(array).all():
        raise UsageError(f"{wrong}a number is too large for {dtype.value}")
    return array
