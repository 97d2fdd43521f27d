"""Activations of bytes: limits where they only limit numbers, else a table."""

from __future__ import annotations

import numpy as np
import pytest

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.graph import Graph, Level, TensorType
from smalti.ir.infer import constant, make_node
from smalti.ir.ops import Activation
from smalti.ir.ops.convolution import activate
from smalti.ir.verify import verify
from smalti.numerics import DType, dequantise
from smalti.quant.modes import ActivationScheme
from smalti.quant.params import CLIPS, QParams, activation_params
from smalti.quant.tables import Ending, ending

RANGES = ((-0.28, 5.9), (-0.1, 60.0), (-0.28, 0.5), (0.0, 1000.0))
BENT = [a for a in Activation if a not in CLIPS]
"""Activations that do more than limit numbers."""


@pytest.mark.parametrize("dtype", [DType.UINT8, DType.INT16])
def test_limits_say_what_relu_and_relu6_do(dtype: DType) -> None:
    own = QParams(0.125, 12, dtype)
    low, high = dtype.limits
    assert ending(own, Activation.NONE) == Ending(own, low, high)
    assert ending(own, Activation.RELU) == Ending(own, 12, high)
    assert ending(own, Activation.RELU6) == Ending(own, 12, 60)
    assert ending(QParams(0.02, 12, DType.UINT8), Activation.RELU6) == Ending(QParams(0.02, 12, DType.UINT8), 12, 255)


def test_sixteen_bits_have_no_table() -> None:
    assert [ending(QParams(0.001, 0, DType.INT16), a) for a in BENT] == [None] * len(BENT)


@pytest.mark.parametrize("ends", RANGES, ids=str)
@pytest.mark.parametrize("activation", BENT, ids=lambda a: a.value)
def test_a_table_is_the_function_within_a_step_of_either_side(
    activation: Activation, ends: tuple[float, float]
) -> None:
    own = activation_params(*ends, DType.UINT8, ActivationScheme.ASYMMETRIC)
    end = ending(own, activation)
    assert end is not None and len(end.table) == 256 and (end.low, end.high) == (0, 255)
    numbers = np.linspace(-1500, 1500, 100_001).astype(np.float32)
    whole = np.clip(np.rint(numbers / end.steps.scale) + end.steps.zero_point, 0, 255).astype(np.int64)
    got = dequantise(np.asarray(end.table, np.uint8)[whole], own.scale, own.zero_point)
    with np.errstate(over="ignore"):
        want = np.clip(activate(numbers, activation), *own.range)
    # Half a step of what goes in, steeper than 1 nowhere by more than a tenth, and half a step of what comes out.
    assert np.abs(got - want).max() <= 0.55 * end.steps.scale + 0.51 * own.scale


@pytest.mark.parametrize(
    "wrong", [{"table": (1, 2)}, {"table": (256,) * 256}, {"table": (0,) * 256, "dtype": DType.FLOAT32}]
)
def test_the_verifier_refuses_other_tables(wrong: dict[str, object]) -> None:
    x = make_node(ops.Input(), (), "x", TensorType(DType.UINT8, (1, 4, 4, 2)))
    operands = (x, constant(np.ones((1, 1, 2, 3), np.int8)), constant(np.ones(3, np.float32)))
    good = make_node(ops.QuantisedConv2d(table=(7,) * 256), operands, "y")
    verify(Graph((x,), (good,), ("y",), Level.QUANTISED))
    bad = make_node(ops.QuantisedConv2d(**wrong), operands, "y")  # type: ignore[arg-type]
    with pytest.raises(CompilerError, match="a table is of 256 bytes"):
        verify(Graph((x,), (bad,), ("y",), Level.QUANTISED))
