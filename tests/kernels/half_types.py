"""Tensors of 16-bit elements for tests: numbers, nodes, and comparison with float32 arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.guard import Side
from kernels.harness import Compiled, run_compiled
from smalti.errors import UsageError
from smalti.ir.graph import Node
from smalti.ir.infer import constant
from smalti.ir.reference import bfloat16_to_float32, float32_to_bfloat16
from smalti.numerics import DType
from smalti.target.host import arch, missing_features
from smalti.target.target import Target, known_extensions, levels_of
from tolerance import Tol, assert_close

Array = NDArray[Any]
STEPS = {DType.FLOAT16: 2.0**-10, DType.BFLOAT16: 2.0**-7, DType.INT16: 0.0, DType.FLOAT32: 2.0**-23}
"""The largest step of a type, as a part of the number."""
LEAST = {DType.FLOAT16: 2.0**-24, DType.BFLOAT16: 2.0**-126, DType.INT16: 1.0, DType.FLOAT32: 0.0}
"""The smallest step of a type (bfloat16: instructions take subnormal numbers for zero)."""


def usable_targets() -> list[Target]:
    """Return the levels that this CPU runs, the last one with every extension that it has as well."""
    plain = [t for t in levels_of(arch()) if not missing_features(t.features)]
    best = plain[-1]
    for extension in known_extensions(best.name):
        try:
            extended = Target.parse(f"{best.name}+{extension}")
        except UsageError:
            continue
        if not missing_features(extended.features):
            best = extended
    return plain if best == plain[-1] else [*plain, best]


def different_code(dtypes: Sequence[DType]) -> list[tuple[DType, Target]]:
    """Return pairs of type and target whose kernels differ."""
    targets = usable_targets()
    return [(d, t) for d in dtypes for t in targets if d is DType.BFLOAT16 or not t.has("avx512bf16")]


def random_numbers(shape: tuple[int, ...], seed: int, scale: float = 1.0) -> NDArray[np.float32]:
    """Return normally distributed numbers."""
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def narrow(values: Array, dtype: DType) -> Array:
    """Return numbers rounded to an element type, as arrays of that type are carried (bits of bfloat16)."""
    if dtype is DType.BFLOAT16:
        return float32_to_bfloat16(values)
    return np.rint(values).astype(np.int16) if dtype is DType.INT16 else values.astype(dtype.numpy)


def wide(values: Array, dtype: DType) -> NDArray[np.float32]:
    """Return elements as float32."""
    return bfloat16_to_float32(values) if dtype is DType.BFLOAT16 else values.astype(np.float32)


def fixed(values: Array, dtype: DType = DType.FLOAT32) -> Node:
    """Return a constant of numbers rounded to an element type."""
    return constant(narrow(values, dtype), bfloat16=dtype is DType.BFLOAT16)


def check_results(
    compiled: Compiled,
    values: dict[str, Array],
    want: NDArray[np.float32],
    dtype: DType,
    reduction: int,
    scale: float,
) -> Array:
    """Compare results of one thread and of three with float32 numbers, not rounded to the result's type yet.

    ``scale`` is the size of a sum's terms before cancellation.
    """
    alone = run_compiled(compiled, values, 1, Side.LEFT)[0]
    together = run_compiled(compiled, values, 3, Side.RIGHT)[0]
    tolerance = Tol.ROUNDED(STEPS[dtype], LEAST[dtype], reduction, scale)
    assert_close(wide(alone, dtype), want, tolerance)
    assert alone.tobytes() == together.tobytes(), "the result depends on the number of threads"
    return alone
