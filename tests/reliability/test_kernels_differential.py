"""Generated graphs: every operation within the rounding of float32 of the same operation in float64.

``tests/soak/differential.py`` compares hundreds of graphs, also with TensorFlow itself.
"""

from __future__ import annotations

from collections import Counter
from typing import Any
from unittest import mock

import numpy as np
import pytest

from kernels.float64_check import check_graph
from smalti.kernels.elementwise import functions
from smalti.target.host import arch, missing_features, resolve_target
from smalti.target.target import levels_of

GRAPHS = 30
OPERATIONS = 5
TARGETS = [resolve_target("native"), *(t for t in levels_of(arch()) if not missing_features(t.features))]


def test_every_operation_is_as_exact_as_float32_can_be() -> None:
    compared: Counter[str] = Counter()
    for seed in range(GRAPHS):
        compared.update(check_graph(seed, OPERATIONS, TARGETS[seed % len(TARGETS)]))
    assert sum(compared.values()) > 5 * GRAPHS
    assert {"Conv2d", "MatMul", "Reduce", "Pool", "Resize", "Softmax", "Unary", "Binary"} <= {*compared}


def test_a_small_error_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    original = functions.unary_value

    def worse(fn: Any, kind: Any, x: Any, dtype: Any, alpha: float) -> Any:
        value = original(fn, kind, x, dtype, alpha)
        lanes = getattr(value.type, "count", 1)
        return fn.b.fmul(value, fn.f32(float(np.float32(1 + 2e-6)), lanes)) if "float" in str(value.type) else value

    with (
        mock.patch("smalti.kernels.elementwise.kernel.unary_value", worse),
        pytest.raises(AssertionError, match="Unary"),
    ):
        for seed in range(8):
            check_graph(seed, OPERATIONS, TARGETS[0])
