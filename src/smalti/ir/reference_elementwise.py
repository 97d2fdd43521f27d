"""Numpy meaning of elementwise operations, reductions and matrix products."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.ir import ops
from smalti.ir.ops import BinaryFn, ReduceFn, UnaryFn

Array = NDArray[Any]
Env = Mapping[str, int]


def precise(fn: Callable[[Array], Array], x: Array) -> Array:
    """Return ``fn(x)`` computed in float64 and rounded once to the dtype of ``x``."""
    return fn(x.astype(np.float64)).astype(x.dtype)


def _sigmoid(x: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-x))


def _floor_like(fn: Callable[[Array], Array]) -> Callable[[Array], Array]:
    return lambda x: fn(x) if x.dtype.kind == "f" else x


_PRECISE: dict[UnaryFn, Callable[[Array], Array]] = {
    UnaryFn.SQRT: np.sqrt,
    UnaryFn.RSQRT: lambda x: 1.0 / np.sqrt(x),
    UnaryFn.EXP: np.exp,
    UnaryFn.LOG: np.log,
    UnaryFn.SIGMOID: _sigmoid,
    UnaryFn.TANH: np.tanh,
}

_PLAIN: dict[UnaryFn, Callable[[Array], Array]] = {
    UnaryFn.NEG: np.negative,
    UnaryFn.ABS: np.abs,
    UnaryFn.SQUARE: lambda x: x * x,
    UnaryFn.FLOOR: _floor_like(np.floor),
    UnaryFn.CEIL: _floor_like(np.ceil),
    UnaryFn.ROUND: _floor_like(np.rint),
    UnaryFn.RELU: lambda x: np.maximum(x, x.dtype.type(0)),
    UnaryFn.RELU6: lambda x: np.minimum(np.maximum(x, x.dtype.type(0)), x.dtype.type(6)),
    UnaryFn.LOGICAL_NOT: np.logical_not,
}


def unary(op: ops.Unary, operands: Sequence[Array], env: Env) -> Array:
    """``fn(x)``; transcendental functions are correctly rounded (float64 inside), ROUND goes to even.

    RELU and RELU6 keep NaN.  ELU is ``exp(x) - 1`` below zero, computed without cancellation.
    """
    (x,) = operands
    if op.fn in _PRECISE:
        return precise(_PRECISE[op.fn], x)
    if op.fn is UnaryFn.LEAKY_RELU:
        return np.where(x > 0, x, x * x.dtype.type(op.alpha))
    if op.fn is UnaryFn.ELU:
        return np.where(x < 0, precise(np.expm1, np.minimum(x, x.dtype.type(0))), x)
    return _PLAIN[op.fn](x)


def _divide(a: Array, b: Array) -> Array:
    if a.dtype.kind == "f":
        return np.asarray(a / b)
    quotient = a // b
    inexact = (quotient * b != a) & (b != 0)
    return np.asarray(quotient + (inexact & ((a < 0) != (b < 0)))).astype(a.dtype)


def _floor_div(a: Array, b: Array) -> Array:
    return np.floor(a / b) if a.dtype.kind == "f" else a // b


def _floor_mod(a: Array, b: Array) -> Array:
    if a.dtype.kind != "f":
        return np.mod(a, b)
    rest = np.fmod(a, b)
    return np.where((rest != 0) & ((b < 0) != (rest < 0)), rest + b, rest)


_BINARY: dict[BinaryFn, Callable[[Array, Array], Array]] = {
    BinaryFn.ADD: np.add,
    BinaryFn.SUB: np.subtract,
    BinaryFn.MUL: np.multiply,
    BinaryFn.DIV: _divide,
    BinaryFn.FLOOR_DIV: _floor_div,
    BinaryFn.FLOOR_MOD: _floor_mod,
    BinaryFn.MAXIMUM: np.maximum,
    BinaryFn.MINIMUM: np.minimum,
    BinaryFn.SQUARED_DIFFERENCE: lambda a, b: (a - b) * (a - b),
    BinaryFn.EQUAL: np.equal,
    BinaryFn.NOT_EQUAL: np.not_equal,
    BinaryFn.LESS: np.less,
    BinaryFn.LESS_EQUAL: np.less_equal,
    BinaryFn.GREATER: np.greater,
    BinaryFn.GREATER_EQUAL: np.greater_equal,
    BinaryFn.LOGICAL_AND: np.logical_and,
    BinaryFn.LOGICAL_OR: np.logical_or,
}


def binary(op: ops.Binary, operands: Sequence[Array], env: Env) -> Array:
    """``fn(a, b)`` with broadcasting.

    Integer arithmetic wraps.  DIV of integers truncates, FLOOR_DIV and FLOOR_MOD round down (the rest has the sign of
    the divisor); an integer divided by zero gives 0, where TensorFlow reports an error.  FLOOR_DIV of floats is
    ``floor(a / b)``.  MAXIMUM and MINIMUM keep NaN.
    """
    a, b = operands
    return _BINARY[op.fn](a, b)


def select(op: ops.Select, operands: Sequence[Array], env: Env) -> Array:
    """``a`` where the condition holds, else ``b``."""
    condition, a, b = operands
    return np.where(condition, a, b)


def cast(op: ops.Cast, operands: Sequence[Array], env: Env) -> Array:
    """C conversion: float to integer truncates; to bool is ``x != 0``; out of range is undefined, as in C."""
    return operands[0].astype(op.dtype.numpy)


def reduce(op: ops.Reduce, operands: Sequence[Array], env: Env) -> Array:
    """Reduction over axes; sums, means and products of floats are accumulated in float64 and rounded once.

    Integer sums wrap; the mean of integers truncates.  MAX of nothing is the lowest value, MIN the highest.
    """
    (x,) = operands
    axes, keep = op.axes, op.keep_dims
    if op.fn in (ReduceFn.MAX, ReduceFn.MIN):
        low, high = lowest_highest(x.dtype)
        if op.fn is ReduceFn.MAX:
            return np.asarray(np.max(x, axis=axes, keepdims=keep, initial=low))
        return np.asarray(np.min(x, axis=axes, keepdims=keep, initial=high))
    wide = np.float64 if x.dtype.kind == "f" else x.dtype
    if op.fn is ReduceFn.PROD:
        return np.asarray(np.prod(x, axis=axes, keepdims=keep, dtype=wide)).astype(x.dtype)
    total = np.asarray(np.sum(x, axis=axes, keepdims=keep, dtype=wide))
    if op.fn is ReduceFn.SUM:
        return total.astype(x.dtype)
    count = int(np.prod([x.shape[a] for a in axes], dtype=np.int64))
    if x.dtype.kind == "f":
        return (total / np.float64(count)).astype(x.dtype)
    return _divide(total, np.asarray(count).astype(x.dtype))


def lowest_highest(dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """Return the identities of maximum and minimum for a dtype (infinities for floats)."""
    if dtype.kind == "f":
        return dtype.type(-np.inf), dtype.type(np.inf)
    info = np.iinfo(dtype)
    return dtype.type(info.min), dtype.type(info.max)


def matmul(op: ops.MatMul, operands: Sequence[Array], env: Env) -> Array:
    """``a @ b``; half precision is summed in float32."""
    a, b = (x.astype(np.float32) if x.dtype == np.float16 else x for x in operands)
    result = (a.T if op.transpose_a else a) @ (b.T if op.transpose_b else b)
    return np.asarray(result).astype(operands[0].dtype)


def softmax(op: ops.Softmax, operands: Sequence[Array], env: Env) -> Array:
    """``exp(x - max) / sum(exp(x - max))`` over the last axis, in float64, rounded once."""
    x = operands[0].astype(np.float64)
    if not x.size:
        return operands[0]
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True)).astype(operands[0].dtype)


def argmax(op: ops.ArgMax, operands: Sequence[Array], env: Env) -> Array:
    """Index of the first largest element; NaN counts as minus infinity, so all NaN gives 0 (as in TensorFlow)."""
    (x,) = operands
    if x.dtype.kind == "f" and np.isnan(x).any():
        x = np.where(np.isnan(x), x.dtype.type(-np.inf), x)
    return np.asarray(np.argmax(x, axis=op.axis)).astype(op.dtype.numpy)
