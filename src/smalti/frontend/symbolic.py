"""Small tensors whose elements are known while importing: numbers or sizes.

A symbolic tensor is a numpy object array.  Elements of integer tensors are ``int`` or ``Dim``, of bool tensors
``bool``, of float tensors ``int`` or ``Dim`` with rational coefficients.  Float elements are kept only while the
arithmetic is exact: a value that float32 would have to round is not symbolic, so a size computed in floating point
(``(h - 1) * 0.125 + 1``) is the very number an engine computes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from smalti.errors import GraphError
from smalti.frontend.budget import MAX_RANK
from smalti.ir import dims
from smalti.ir.dims import Dim, Extreme, Floor
from smalti.ir.sizes import substitute, symbols_of
from smalti.numerics import DType

SymArray = NDArray[np.object_]
Scalar = int | Dim

MAX_ELEMENTS = 1024
MAX_FLOAT_ELEMENTS = 16
MAX_SIDE = 1 << 16
"""Sizes computed in floating point are exact for images up to this many pixels a side."""
_MAX_ATOMS = 96
_MAX_DEPTH = 12
_MAX_DEGREE = 4
_MAX_PRODUCT_TERMS = 64
_MAX_COEFFICIENT = 1 << 48
_MAX_DENOMINATOR = 1 << 10
_MANTISSA = {DType.FLOAT32: 24, DType.FLOAT64: 53, DType.FLOAT16: 11, DType.BFLOAT16: 8}
_MAX_EXPONENT = {DType.FLOAT32: 126, DType.FLOAT64: 1022, DType.FLOAT16: 14, DType.BFLOAT16: 126}


class NotSymbolic(Exception):
    """A result cannot be kept as a symbolic tensor."""


def from_array(array: NDArray[np.generic], dtype: DType) -> SymArray | None:
    """Return a constant as a symbolic tensor, or ``None`` when it is large or holds NaN, infinity or -0."""
    if array.size > (MAX_FLOAT_ELEMENTS if dtype.is_float else MAX_ELEMENTS):
        return None
    if not dtype.is_float:
        return make(array.ravel().tolist(), array.shape)
    values: list[Scalar] = []
    with np.errstate(invalid="ignore"):
        numbers = array.astype(np.float64).ravel().tolist()
    for number in numbers:
        if not math.isfinite(number) or (number == 0 and math.copysign(1, number) < 0):
            return None
        values.append(dims.rational(Fraction(number)))
    return make(values, array.shape)


def make(values: Sequence[object], shape: Sequence[int]) -> SymArray:
    """Return an object array with the given elements (C order)."""
    result = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        result[i] = value
    return result.reshape(tuple(shape))


def elementwise(fn: Callable[..., object], operands: Sequence[SymArray], dtype: DType) -> SymArray:
    """Apply ``fn`` to broadcast operands.

    Raises:
        NotSymbolic: the result is too large or cannot be represented exactly.
        GraphError: the shapes do not broadcast.
    """
    shape = operands[0].shape
    if all(a.shape == shape for a in operands):
        flats = [a.ravel().tolist() for a in operands]
    else:
        try:
            shape = np.broadcast_shapes(*(a.shape for a in operands))
        except ValueError as error:
            raise GraphError(f"shapes {[list(a.shape) for a in operands]} do not broadcast") from error
        if math.prod(shape) > MAX_ELEMENTS or len(shape) > MAX_RANK:
            raise NotSymbolic
        flats = [np.broadcast_to(a, shape).ravel().tolist() for a in operands]
    return make([checked(fn(*items), dtype) for items in zip(*flats, strict=True)], shape)


def checked(value: object, dtype: DType) -> object:
    """Return an element if a tensor of ``dtype`` holds exactly that number.

    Raises:
        NotSymbolic: it does not.
        GraphError: the expression is too complicated to go on with.
    """
    if dtype is DType.BOOL:
        if not isinstance(value, bool):
            raise NotSymbolic
        return value
    if isinstance(value, Dim):
        check_complexity(value)
    elif not isinstance(value, int):
        raise NotSymbolic
    if dtype.is_float:
        _check_float(value, dtype)
    elif isinstance(value, int):
        low, high = integer_range(dtype)
        if not low <= value <= high:
            raise NotSymbolic
    elif dtype not in (DType.INT32, DType.INT64):
        low, high = integer_range(dtype)
        least, most = dims.bounds(value)
        if least < low or most is None or most > high:
            raise NotSymbolic
    return value


@lru_cache(maxsize=16)
def integer_range(dtype: DType) -> tuple[int, int]:
    """Return the smallest and largest number of an integer type."""
    bits = 8 * dtype.itemsize
    signed = not dtype.value.startswith("u")
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)


def check_complexity(value: int | Dim) -> None:
    """Refuse a size expression that has grown out of hand.

    Raises:
        GraphError: it is too large, too deep or of too high a degree.
    """
    if isinstance(value, Dim) and not _simple(value):
        raise GraphError("a tensor size depends on the image size in a way that is too complicated")


@lru_cache(maxsize=4096)
def _simple(value: Dim) -> bool:
    atoms = 0
    stack: list[tuple[Dim, int]] = [(value, 0)]
    while stack:
        dim, depth = stack.pop()
        if depth > _MAX_DEPTH:
            return False
        for mono, coef in dim.terms:
            atoms += max(1, len(mono))
            if atoms > _MAX_ATOMS or len(mono) > _MAX_DEGREE:
                return False
            if abs(coef.numerator) > _MAX_COEFFICIENT or coef.denominator > _MAX_COEFFICIENT:
                return False
            for atom in mono:
                if isinstance(atom, Floor):
                    stack.append((atom.value, depth + 1))
                elif isinstance(atom, Extreme):
                    stack.extend((part, depth + 1) for part in (atom.a, atom.b) if isinstance(part, Dim))
    return True


def multiply(a: int | Dim, b: int | Dim) -> int | Dim:
    """Return the product.

    Raises:
        GraphError: it has too many terms.
    """
    if isinstance(a, Dim) and isinstance(b, Dim) and len(a.terms) * len(b.terms) > _MAX_PRODUCT_TERMS:
        raise GraphError("a tensor size depends on the image size in a way that is too complicated")
    return a * b


def work_of(operands: Sequence[SymArray], elements: int) -> int:
    """Return how much work an elementwise function is, in units of one addition of integers."""
    symbols = any(isinstance(v, Dim) for a in operands for v in a.ravel()[:16].tolist())
    return elements * (32 if symbols else 1)


def constant_of(value: int | Dim) -> Fraction | None:
    """Return the number when the element does not depend on any symbol."""
    if isinstance(value, int):
        return Fraction(value)
    if len(value.terms) == 1 and not value.terms[0][0]:
        return value.terms[0][1]
    return None


def _check_float(value: int | Dim, dtype: DType) -> None:
    number = constant_of(value)
    if number is not None:
        if not _representable(number, dtype):
            raise NotSymbolic
        return
    denominator = dims.denominator_of(value)
    if denominator > _MAX_DENOMINATOR or denominator & (denominator - 1):
        raise NotSymbolic
    sizes = {s.name: replace(s, high=min(s.high or MAX_SIDE, MAX_SIDE)) for s in symbols_of(value)}
    capped = substitute(value, {name: dims.symbol_of(size) for name, size in sizes.items()})
    low, high = dims.bounds(capped)
    limit = 1 << _MANTISSA[dtype]
    if high is None or high * denominator > limit or low * denominator < -limit:
        raise NotSymbolic


def _representable(number: Fraction, dtype: DType) -> bool:
    if number == 0:
        return True
    numerator, denominator = abs(number.numerator), number.denominator
    if denominator & (denominator - 1):
        return False
    significant = (numerator // (numerator & -numerator)).bit_length()
    exponent = numerator.bit_length() - denominator.bit_length()
    return significant <= _MANTISSA[dtype] and abs(exponent) <= _MAX_EXPONENT[dtype]


def constants(array: SymArray) -> list[Fraction] | None:
    """Return the elements when all are numbers, else ``None``."""
    found: list[Fraction] = []
    for value in array.ravel().tolist():
        number = constant_of(value)
        if number is None:
            return None
        found.append(number)
    return found


def trunc(value: int | Dim) -> int | Dim:
    """Return the integer part (towards zero).

    Raises:
        NotSymbolic: the sign depends on the image size.
    """
    number = constant_of(value)
    if number is not None:
        return math.trunc(number)
    if dims.nonnegative(value):
        return dims.floor(value)
    if dims.nonnegative(-value):
        return -dims.floor(-value)
    raise NotSymbolic


def sign_is_known(value: int | Dim) -> bool | None:
    """Return whether ``value >= 0`` holds: for all image sizes (``True``), for none (``False``), or it depends."""
    if isinstance(value, int):
        return value >= 0
    if dims.nonnegative(value):
        return True
    if dims.nonnegative(-value - dims.rational(Fraction(1, 2 * dims.denominator_of(value)))):
        return False
    return None


def take(array: SymArray, index: int, axis: int) -> SymArray:
    """Return the elements at one position of an axis (always an array, even of no dimensions)."""
    moved = np.moveaxis(array, axis, 0)[index : index + 1]
    return moved.reshape(moved.shape[1:])
