"""What a recorded case is, and helpers to write graphs for one."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1
raw = tf.raw_ops

EXACT = "exact"

Build = Callable[[], Sequence[tf.Tensor]]


@dataclass(frozen=True)
class Case:
    """A small graph, what is fed to it, and how exactly its answer must be met.

    Attributes:
        name: family and variant, ``conv2d/same_3x3_s2``.
        build: adds the graph (placeholders included) to the default graph and returns the results.
        feeds: one dict for each run, placeholder name -> array.
        tolerance: ``exact``, ``ulp:N`` or ``float:TERMS``.
        answer: builds the graph that TensorFlow runs instead, where its CPU kernels cannot run the recorded one
            (NCHW, dilated depthwise); same placeholders and number of results.
        edit: changes the recorded GraphDef (encodings of constants).
    """

    name: str
    build: Build
    feeds: Sequence[dict[str, np.ndarray]]
    tolerance: str = EXACT
    answer: Build | None = None
    edit: Callable[[Any], None] | None = None


def rng_of(name: str) -> np.random.Generator:
    """Return the random generator of a case: it depends on the name alone."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def floats(rng: np.random.Generator, shape: Sequence[int], scale: float = 1.0) -> np.ndarray:
    """Return normal float32 numbers; large arrays are rounded to 1/64 so that the recording stays small."""
    values = rng.normal(0, scale, tuple(shape))
    if values.size > 400:
        values = np.round(values * 64) / 64
    return values.astype(np.float32)


def placeholder(name: str, shape: Sequence[int | None], dtype: Any = tf.float32) -> tf.Tensor:
    """Add a placeholder."""
    return v1.placeholder(dtype, list(shape), name)


def constant(value: Any, dtype: Any = None) -> tf.Tensor:
    """Add a constant."""
    return v1.constant(value, dtype=dtype)


def unary_case(
    name: str,
    x: np.ndarray,
    fn: Callable[[tf.Tensor], Any],
    tolerance: str = EXACT,
    shape: Sequence[int | None] | None = None,
    more: Sequence[np.ndarray] = (),
) -> Case:
    """Return the case of a function of one placeholder ``x``; ``more`` are arrays for further runs."""

    def build() -> Sequence[tf.Tensor]:
        result = fn(placeholder("x", x.shape if shape is None else shape, tf.as_dtype(x.dtype)))
        return list(result) if isinstance(result, (list, tuple)) else [result]

    return Case(name, build, [{"x": value} for value in (x, *more)], tolerance)


def binary_case(
    name: str, x: np.ndarray, y: np.ndarray, fn: Callable[[tf.Tensor, tf.Tensor], Any], tolerance: str = EXACT
) -> Case:
    """Return the case of a function of two placeholders ``x`` and ``y``."""

    def build() -> Sequence[tf.Tensor]:
        first = placeholder("x", x.shape, tf.as_dtype(x.dtype))
        return [fn(first, placeholder("y", y.shape, tf.as_dtype(y.dtype)))]

    return Case(name, build, [{"x": x, "y": y}], tolerance)
