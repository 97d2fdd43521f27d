"""Numpy pieces that the meanings of several operations share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.errors import CompilerError
from smalti.ir.types import Layout

Array = NDArray[Any]
Numbers = tuple[int, int, int, int]
"""top, bottom, left, right, as numbers"""


def precise(fn: Callable[[Array], Array], x: Array) -> Array:
    """Return ``fn(x)`` computed in float64 and rounded once to the dtype of ``x``."""
    return fn(x.astype(np.float64)).astype(x.dtype)


def widened(x: Array) -> Array:
    """Return float16 as float32, in which half precision is summed; any other array as it is."""
    return x.astype(np.float32) if x.dtype == np.float16 else x


def lowest_highest(dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """Return the identities of maximum and minimum for a dtype (infinities for floats)."""
    if dtype.kind == "f":
        return dtype.type(-np.inf), dtype.type(np.inf)
    info = np.iinfo(dtype)
    return dtype.type(info.min), dtype.type(info.max)


def divide(a: Array, b: Array) -> Array:
    """Return ``a / b``; integers truncate, and an integer divided by zero gives 0."""
    if a.dtype.kind == "f":
        return np.asarray(a / b)
    quotient = a // b
    inexact = (quotient * b != a) & (b != 0)
    return np.asarray(quotient + (inexact & ((a < 0) != (b < 0)))).astype(a.dtype)


def to_nhwc(x: Array, layout: Layout) -> Array:
    """Return an image tensor as NHWC."""
    return x if layout is Layout.NHWC else x.transpose(0, 2, 3, 1)


def from_nhwc(x: Array, layout: Layout) -> Array:
    """Return an NHWC image tensor in ``layout``."""
    return x if layout is Layout.NHWC else x.transpose(0, 3, 1, 2)


def padded(x: Array, pads: Numbers, value: Any = 0) -> Array:
    """Return an NHWC tensor with ``value`` around height and width.

    Raises:
        CompilerError: a padding is negative.
    """
    top, bottom, left, right = pads
    if min(pads) < 0:
        raise CompilerError(f"negative padding {pads}")
    if not any(pads):
        return x
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)


def taps(
    x: Array, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> Iterator[tuple[int, int, Array]]:
    """Yield (ky, kx, view): the pixel that each window of NHWC ``x`` has under that position."""
    (kh, kw), (sy, sx), (dy, dx) = kernel, stride, dilation
    rows = (x.shape[1] - ((kh - 1) * dy + 1)) // sy + 1
    columns = (x.shape[2] - ((kw - 1) * dx + 1)) // sx + 1
    if rows < 0 or columns < 0:
        raise CompilerError("a window is larger than the padded image")
    for ky in range(kh):
        for kx in range(kw):
            top, left = ky * dy, kx * dx
            bottom, right = top + (rows - 1) * sy + 1, left + (columns - 1) * sx + 1
            yield ky, kx, x[:, top : max(bottom, 0) : sy, left : max(right, 0) : sx]
