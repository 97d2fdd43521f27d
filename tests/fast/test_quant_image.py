"""The first convolution in exact integers: how near it is to float weights, and where it cannot be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from passes_kit import Maker
from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.graph import Graph, Level, Node
from smalti.ir.infer import make_node
from smalti.ir.ops import Activation
from smalti.ir.reference import run
from smalti.ir.verify import verify
from smalti.numerics import DType
from smalti.quant.image import image_convolution, reads_image
from smalti.quant.params import QParams

STEM = ops.Conv2d((2, 2), pads=(1, 1, 1, 1), bias=True, activation=Activation.RELU6, input_offset=127.5)
SIX = QParams(float(np.float32(6 / 255)), 0, DType.UINT8)


def _stem(op: ops.Conv2d = STEM, kernel: int = 3, channels: int = 8, size: float = 1.0) -> Node:
    m = Maker(4)
    image = m.input(1, 33, 37, 3, dtype=DType.UINT8)
    w = size * m.rng.normal(0, 0.01, (kernel, kernel, 3, channels))
    return m.op(op, image, m.const(w), *([m.const(m.rng.normal(1, 1, channels))] if op.bias else []))


def _results(node: Node, made: Node, own: QParams) -> tuple[Any, Any]:
    """Return the integers of the float convolution, and of the integer one."""
    quantised = make_node(ops.Quantise(own.scale, own.zero_point), (node,), "quantised")
    graph = Graph((node.inputs[0],), (quantised, made), ("float", "integer"), Level.QUANTISED)
    verify(graph)
    image = np.random.default_rng(8).integers(0, 256, (1, 33, 37, 3)).astype(np.uint8)
    image[0, 5:20] = [[255, 0, 255]]
    values = run(graph, {node.inputs[0].name: image})
    return values["float"].astype(int), values["integer"].astype(int)


@pytest.mark.parametrize("bias", (True, False))
@pytest.mark.parametrize(
    ("activation", "own"),
    (
        (Activation.RELU6, SIX),
        (Activation.RELU, replace(SIX, scale=float(np.float32(0.05)), zero_point=3)),
        (Activation.NONE, replace(SIX, zero_point=128)),
    ),
)
def test_integers_are_those_of_float_weights(bias: bool, activation: Activation, own: QParams) -> None:
    node = _stem(replace(STEM, bias=bias, activation=activation))
    assert reads_image(node)
    want, got = _results(node, image_convolution(node, own), own)
    assert len(np.unique(want)) > 60
    assert np.abs(want - got).max() <= 1
    assert np.count_nonzero(want != got) < want.size // 500


@pytest.mark.parametrize(("kernel", "offset"), ((7, 127.5), (11, 0.0), (5, 255.0), (1, 100.5)))
def test_sums_fit_int32_whatever_the_picture(kernel: int, offset: float) -> None:
    op = ops.Conv2d(pads=(1, 1, 1, 1), bias=True, input_offset=offset)
    node = _stem(op, kernel)
    made = image_convolution(node, SIX)
    assert isinstance(made.op, ops.ImageConv2d)
    constants = [n.op.value.astype(np.int64) for n in made.inputs[1:] if isinstance(n.op, ops.Constant)]
    reach = max(made.op.double_offset, 510 - made.op.double_offset)
    largest = np.abs(constants[0]).sum(axis=(0, 1, 2)) * reach + np.abs(constants[2])
    assert largest.max() < 1 << 31
    assert np.abs(constants[0]).max() > 1000


@pytest.mark.parametrize("size", (0.0, 1e-30))
def test_weights_of_nothing_leave_the_bias(size: float) -> None:
    node = _stem(size=size)
    want, got = _results(node, image_convolution(node, SIX), SIX)
    assert np.array_equal(want, got)
    assert len(np.unique(got)) > 3


def test_what_cannot_be_exact() -> None:
    assert not reads_image(_stem(replace(STEM, input_offset=123.68)))
    assert not reads_image(_stem(replace(STEM, input_offset=-1.0)))
    assert not reads_image(_stem(replace(STEM, input_offset=256.0)))
    assert not reads_image(_stem(replace(STEM, dilation=(2, 2), stride=(1, 1))))
    assert not reads_image(_stem(size=np.inf))
    m = Maker(1)
    floats = m.input(1, 9, 9, 3)
    assert not reads_image(m.op(ops.Conv2d(), floats, m.random(3, 3, 3, 4)))
    image = m.input(1, 9, 9, 3, dtype=DType.UINT8)
    at_run_time = m.op(ops.Conv2d(bias=True), image, m.random(3, 3, 3, 4), m.input(4, name="bias"))
    assert not reads_image(at_run_time)
    with pytest.raises(CompilerError):
        image_convolution(floats, SIX)
