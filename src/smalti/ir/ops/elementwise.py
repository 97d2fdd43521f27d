"""Elementwise operations, and the functions they compute."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

import numpy as np

from smalti.ir.arrays import Array, divide, precise
from smalti.ir.schema import Op, operation
from smalti.ir.shapes import broadcast, require
from smalti.ir.types import TensorType
from smalti.numerics import DType

__all__ = ["Binary", "BinaryFn", "Cast", "Select", "Unary", "UnaryFn"]

DTYPES = frozenset(DType)
"""Every element type that a tensor may have."""
# Elements that are Python numbers at a time.
_CHUNK = 1 << 16


class UnaryFn(Enum):
    """Elementwise function of one operand."""

    NEG = "neg"
    ABS = "abs"
    SQUARE = "square"
    SQRT = "sqrt"
    RSQRT = "rsqrt"
    EXP = "exp"
    LOG = "log"
    FLOOR = "floor"
    CEIL = "ceil"
    ROUND = "round"
    RELU = "relu"
    RELU6 = "relu6"
    LEAKY_RELU = "leaky_relu"
    ELU = "elu"
    SIGMOID = "sigmoid"
    SILU = "silu"
    SOFTPLUS = "softplus"
    TANH = "tanh"
    ERF = "erf"
    SIN = "sin"
    COS = "cos"
    SIGN = "sign"
    LOGICAL_NOT = "logical_not"


class BinaryFn(Enum):
    """Elementwise function of two operands with numpy broadcasting."""

    ADD = "add"
    SUB = "sub"
    MUL = "mul"
    DIV = "div"
    FLOOR_DIV = "floor_div"
    FLOOR_MOD = "floor_mod"
    MAXIMUM = "maximum"
    MINIMUM = "minimum"
    SQUARED_DIFFERENCE = "squared_difference"
    EQUAL = "equal"
    NOT_EQUAL = "not_equal"
    LESS = "less"
    LESS_EQUAL = "less_equal"
    GREATER = "greater"
    GREATER_EQUAL = "greater_equal"
    LOGICAL_AND = "logical_and"
    LOGICAL_OR = "logical_or"
    POW = "pow"
    BITWISE_AND = "bitwise_and"
    BITWISE_OR = "bitwise_or"
    BITWISE_XOR = "bitwise_xor"
    SHIFT_LEFT = "shift_left"
    SHIFT_RIGHT = "shift_right"

    @property
    def is_comparison(self) -> bool:
        """Whether the result is bool although the operands are numbers."""
        return BINARY[self].compares


@dataclass(frozen=True, slots=True)
class UnaryMeaning:
    """What a function of one operand computes, from the operand and ``alpha``.

    ``floats``: frameworks define it for floating point only.  ``keeps_zero``: f(0) = 0.  ``written_out``: they have no
    operation of its name, but write it with others.
    """

    of: Callable[[Array, float], Array]
    floats: bool = False
    keeps_zero: bool = False
    written_out: bool = False


@dataclass(frozen=True, slots=True)
class BinaryMeaning:
    """What a function of two operands computes.

    It ``compares`` numbers to bool, is ``logical``, ``takes_bool`` too, or is of the ``bits`` of integers.
    """

    of: Callable[[Array, Array], Array]
    compares: bool = False
    logical: bool = False
    takes_bool: bool = False
    bits: bool = False


def _exact(fn: Callable[[Array], Array], keeps_zero: bool = False) -> UnaryMeaning:
    return UnaryMeaning(lambda x, alpha: fn(x), keeps_zero=keeps_zero)


def _precise(fn: Callable[[Array], Array], keeps_zero: bool = False, written_out: bool = False) -> UnaryMeaning:
    return UnaryMeaning(lambda x, alpha: precise(fn, x), True, keeps_zero, written_out)


def _rounding(fn: Callable[[Array], Array]) -> Callable[[Array, float], Array]:
    return lambda x, alpha: fn(x) if x.dtype.kind == "f" else x


def _leaky_relu(x: Array, alpha: float) -> Array:
    return np.where(x > 0, x, x * x.dtype.type(alpha))


def _elu(x: Array) -> Array:
    return np.where(x < 0, precise(np.expm1, np.minimum(x, x.dtype.type(0))), x)


def _erf(x: Array) -> Array:
    flat, result = x.ravel(), np.empty(x.size, np.float64)
    for start in range(0, x.size, _CHUNK):
        piece = flat[start : start + _CHUNK].tolist()
        result[start : start + _CHUNK] = np.fromiter(map(math.erf, piece), np.float64, len(piece))
    return result.reshape(x.shape)


def _pow(a: Array, b: Array) -> Array:
    if a.dtype.kind == "f":
        return np.power(a.astype(np.float64), b.astype(np.float64)).astype(a.dtype)
    of_unit = np.where((b & 1) == 1, a, 1)
    whole = np.where(np.abs(a) == 1, of_unit, 0).astype(a.dtype)
    return np.where(b < 0, whole, np.power(a, np.maximum(b, 0)))


def _floor_div(a: Array, b: Array) -> Array:
    return np.floor(a / b) if a.dtype.kind == "f" else a // b


def _floor_mod(a: Array, b: Array) -> Array:
    if a.dtype.kind != "f":
        return np.mod(a, b)
    rest = np.fmod(a, b)
    return np.where((rest != 0) & ((b < 0) != (rest < 0)), rest + b, rest)


UNARY: Mapping[UnaryFn, UnaryMeaning] = MappingProxyType(
    {
        UnaryFn.NEG: _exact(np.negative, keeps_zero=True),
        UnaryFn.ABS: _exact(np.abs, keeps_zero=True),
        UnaryFn.SQUARE: _exact(lambda x: x * x, keeps_zero=True),
        UnaryFn.SQRT: _precise(np.sqrt, keeps_zero=True),
        UnaryFn.RSQRT: _precise(lambda x: 1.0 / np.sqrt(x)),
        UnaryFn.EXP: _precise(np.exp),
        UnaryFn.LOG: _precise(np.log),
        UnaryFn.FLOOR: UnaryMeaning(_rounding(np.floor), floats=True),
        UnaryFn.CEIL: UnaryMeaning(_rounding(np.ceil), floats=True),
        UnaryFn.ROUND: UnaryMeaning(_rounding(np.rint)),
        UnaryFn.RELU: _exact(lambda x: np.maximum(x, x.dtype.type(0)), keeps_zero=True),
        UnaryFn.RELU6: _exact(lambda x: np.minimum(np.maximum(x, x.dtype.type(0)), x.dtype.type(6)), keeps_zero=True),
        UnaryFn.LEAKY_RELU: UnaryMeaning(
            lambda x, alpha: np.where(x > 0, x, x * x.dtype.type(alpha)), floats=True, keeps_zero=True
        ),
        UnaryFn.ELU: UnaryMeaning(lambda x, alpha: _elu(x), floats=True, keeps_zero=True),
        UnaryFn.SIGMOID: _precise(lambda x: 1.0 / (1.0 + np.exp(-x))),
        UnaryFn.SILU: _precise(lambda x: x / (1.0 + np.exp(-x)), keeps_zero=True, written_out=True),
        UnaryFn.SOFTPLUS: _precise(lambda x: np.logaddexp(x, 0.0)),
        UnaryFn.TANH: _precise(np.tanh, keeps_zero=True),
        UnaryFn.ERF: _precise(_erf, keeps_zero=True),
        UnaryFn.SIN: _precise(np.sin, keeps_zero=True),
        UnaryFn.COS: _precise(np.cos),
        UnaryFn.SIGN: _exact(np.sign, keeps_zero=True),
        UnaryFn.LOGICAL_NOT: _exact(np.logical_not),
    }
)
"""The meaning of every function of one operand.

Transcendental functions are correctly rounded (float64 inside), ROUND goes to even, RELU and RELU6 keep NaN; ELU is
``exp(x) - 1`` below zero, computed without cancellation.
"""

BINARY: Mapping[BinaryFn, BinaryMeaning] = MappingProxyType(
    {
        BinaryFn.ADD: BinaryMeaning(np.add),
        BinaryFn.SUB: BinaryMeaning(np.subtract),
        BinaryFn.MUL: BinaryMeaning(np.multiply),
        BinaryFn.DIV: BinaryMeaning(divide),
        BinaryFn.FLOOR_DIV: BinaryMeaning(_floor_div),
        BinaryFn.FLOOR_MOD: BinaryMeaning(_floor_mod),
        BinaryFn.MAXIMUM: BinaryMeaning(np.maximum),
        BinaryFn.MINIMUM: BinaryMeaning(np.minimum),
        BinaryFn.SQUARED_DIFFERENCE: BinaryMeaning(lambda a, b: (a - b) * (a - b)),
        BinaryFn.EQUAL: BinaryMeaning(np.equal, compares=True, takes_bool=True),
        BinaryFn.NOT_EQUAL: BinaryMeaning(np.not_equal, compares=True, takes_bool=True),
        BinaryFn.LESS: BinaryMeaning(np.less, compares=True),
        BinaryFn.LESS_EQUAL: BinaryMeaning(np.less_equal, compares=True),
        BinaryFn.GREATER: BinaryMeaning(np.greater, compares=True),
        BinaryFn.GREATER_EQUAL: BinaryMeaning(np.greater_equal, compares=True),
        BinaryFn.LOGICAL_AND: BinaryMeaning(np.logical_and, logical=True),
        BinaryFn.LOGICAL_OR: BinaryMeaning(np.logical_or, logical=True),
        BinaryFn.POW: BinaryMeaning(_pow),
        BinaryFn.BITWISE_AND: BinaryMeaning(np.bitwise_and, bits=True),
        BinaryFn.BITWISE_OR: BinaryMeaning(np.bitwise_or, bits=True),
        BinaryFn.BITWISE_XOR: BinaryMeaning(np.bitwise_xor, bits=True),
        BinaryFn.SHIFT_LEFT: BinaryMeaning(np.left_shift, bits=True),
        BinaryFn.SHIFT_RIGHT: BinaryMeaning(np.right_shift, bits=True),
    }
)
"""The meaning of every function of two operands.

Integer arithmetic wraps.  DIV of integers truncates, FLOOR_DIV and FLOOR_MOD round down (the rest has the sign of the
divisor); an integer divided by zero gives 0, where TensorFlow reports an error.  FLOOR_DIV of floats is
``floor(a / b)``.  MAXIMUM and MINIMUM keep NaN.  POW of floats is correctly rounded; of integers it wraps, and a
negative exponent gives the integer part.  A shift by a negative number, or by as many bits as there are, leaves nothing
but the sign.
"""


@operation("x", half=True, values={"fn": frozenset(UNARY)})
@dataclass(frozen=True, slots=True)
class Unary(Op):
    """``fn(x)``; ``alpha`` is the slope of LEAKY_RELU."""

    fn: UnaryFn
    alpha: float = 0.0

    def result(self, x: TensorType) -> TensorType:
        """The type of the operand."""
        if self.fn is UnaryFn.LOGICAL_NOT:
            require(x.dtype is DType.BOOL, "logical_not takes bool")
        else:
            require(x.dtype is not DType.BOOL, f"{self.fn.value} does not take bool")
        return x

    @staticmethod
    def meaning(x: Array, *, fn: UnaryFn, alpha: float) -> Array:
        """See :data:`UNARY`."""
        return UNARY[fn].of(x, alpha)


@operation("a", "b", half=True, values={"fn": frozenset(BINARY)})
@dataclass(frozen=True, slots=True)
class Binary(Op):
    """``fn(a, b)`` with broadcasting; both operands have one dtype."""

    fn: BinaryFn

    def result(self, a: TensorType, b: TensorType) -> TensorType:
        """The broadcast shape; bool for comparisons."""
        known = BINARY[self.fn]
        require(a.dtype is b.dtype, f"operands have types {a.dtype.value} and {b.dtype.value}")
        if known.logical:
            require(a.dtype is DType.BOOL, f"{self.fn.value} takes bool")
        elif known.bits:
            require(a.dtype.is_integer, f"{self.fn.value} takes integers")
        elif not known.takes_bool:
            require(a.dtype is not DType.BOOL, f"{self.fn.value} does not take bool")
        return TensorType(DType.BOOL if known.compares else a.dtype, broadcast(a.shape, b.shape))

    @staticmethod
    def meaning(a: Array, b: Array, *, fn: BinaryFn) -> Array:
        """See :data:`BINARY`."""
        return BINARY[fn].of(a, b)


@operation("condition", "a", "b", half=True)
@dataclass(frozen=True, slots=True)
class Select(Op):
    """``a`` where the condition holds, else ``b`` (broadcasting)."""

    def result(self, condition: TensorType, a: TensorType, b: TensorType) -> TensorType:
        """The broadcast shape, the type of the choices."""
        require(condition.dtype is DType.BOOL, "the condition must be bool")
        require(a.dtype is b.dtype, "both choices must have one type")
        return TensorType(a.dtype, broadcast(condition.shape, broadcast(a.shape, b.shape)))

    @staticmethod
    def meaning(condition: Array, a: Array, b: Array) -> Array:
        """``a`` where the condition holds, else ``b``."""
        return np.where(condition, a, b)


@operation("x", values={"dtype": DTYPES})
@dataclass(frozen=True, slots=True)
class Cast(Op):
    """Conversion as C does it (float to integer truncates)."""

    dtype: DType

    def result(self, x: TensorType) -> TensorType:
        """The same shape."""
        return TensorType(self.dtype, x.shape)

    @staticmethod
    def meaning(x: Array, *, dtype: DType) -> Array:
        """Float to integer truncates; to bool is ``x != 0``; out of range is undefined, as in C."""
        return x.astype(dtype.numpy)
