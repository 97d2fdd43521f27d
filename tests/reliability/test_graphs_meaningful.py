"""Graphs that parse and are made of supported operations, and yet have nothing to compute or no meaning."""

from __future__ import annotations

import numpy as np
import pytest

from graph_builder import GraphBuilder
from smalti.compiler import CompiledModel, CompileOptions, compile_graph
from smalti.errors import GraphError
from smalti.target.host import resolve_targets


def compiled(graph: GraphBuilder) -> CompiledModel:
    return compile_graph(graph.bytes(), CompileOptions(resolve_targets("native")))


def network(weights: np.ndarray, variance: float = 1.0) -> GraphBuilder:
    """A convolution of an image with two channels, and a batch normalisation with epsilon 0."""
    ones = np.ones(4, np.float32)
    return (
        GraphBuilder()
        .placeholder("x", np.float32, [1, None, None, 2])
        .const("w", weights)
        .node("Conv2D", "conv", ["x", "w"], strides=[1, 1, 1, 1], padding="SAME")
        .const("gamma", ones)
        .const("beta", ones)
        .const("mean", ones)
        .const("variance", ones * np.float32(variance))
        .node("FusedBatchNormV3", "norm", ["conv", "gamma", "beta", "mean", "variance"], epsilon=0.0, is_training=False)
        .node("ArgMax", "labels", ["norm", "axis"])
        .const("axis", np.int32(3))
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(bad: float) -> None:
    weights = np.ones((3, 3, 2, 4), np.float32)
    assert compiled(network(weights)).manifest.outputs
    weights[0, 2, 1, 3] = bad
    with pytest.raises(GraphError, match=r"weights are NaN or infinite, .*norm:0: 1 of \(3, 3, 2, 4\)$"):
        compiled(network(weights))


def test_weights_that_a_batch_normalisation_makes_infinite() -> None:
    with pytest.raises(GraphError, match=r"the batch normalisation behind them: norm:0: 72 of \(3, 3, 2, 4\)$"):
        compiled(network(np.ones((3, 3, 2, 4), np.float32), variance=0.0))


def test_an_output_that_depends_on_no_input() -> None:
    graph = GraphBuilder().placeholder("x", np.float32, [1, 2]).const("c", np.ones(3, np.float32))
    with pytest.raises(GraphError, match=r"the outputs \(y:0\) depend on no input: there is nothing to compute"):
        compiled(graph.node("Neg", "y", ["c"]))
