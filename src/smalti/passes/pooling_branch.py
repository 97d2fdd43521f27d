"""The image-pooling branch leaves the concat: one vector for the whole image needs no map.

``conv1x1(concat(broadcast(v), y), w)`` is ``conv1x1(y, w_y)`` plus ``v @ w_v``, the same for every pixel: a bias
computed when the model runs.  A bias belongs to all images of a batch, so the vector must too.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from smalti.ir import ops
from smalti.ir.graph import Graph, Node
from smalti.ir.infer import make_node
from smalti.passes.match import Array, conv_weights, frozen, no_pads
from smalti.passes.rewrite import Context, Rule, rewrite


def split(graph: Graph) -> tuple[Graph, tuple[str, ...]]:
    """Split vectors that are the same for every pixel out of a concat before a 1x1 convolution."""
    graph, stats = rewrite(graph, RULES)
    if not stats.total:
        return graph, ()
    return graph, ("image pooling: its part of the convolution behind the concat is computed once for an image",)


def _vector(node: Node) -> Node | None:
    """Return the ``[1, 1, 1, C]`` source of a map that is the same at every pixel, else ``None``."""
    if not isinstance(node.op, ops.BroadcastTo):
        return None
    (source,) = node.inputs
    shape = (*(1,) * (4 - source.type.rank), *source.type.shape)
    if shape[:3] != (1, 1, 1) or shape[3] != node.type.shape[3]:
        return None
    return source if source.type.rank == 4 else make_node(ops.Reshape(shape), (source,), f"{source.name}/vector")


def _join(nodes: list[Node], name: str) -> Node:
    return nodes[0] if len(nodes) == 1 else make_node(ops.Concat(3), nodes, name)


def _split(node: Node, context: Context) -> Node | None:
    op, concat = node.op, node.inputs[0]
    weights = conv_weights(node)
    if weights is None or not isinstance(op, ops.Conv2d) or op.input_offset != 0:
        return None
    if weights.shape[:2] != (1, 1) or not no_pads(op.pads):
        return None
    if not isinstance(concat.op, ops.Concat) or concat.op.axis != 3 or not context.single_use(concat):
        return None
    vectors: list[Node] = []
    maps: list[Node] = []
    vector_rows: list[Array] = []
    map_rows: list[Array] = []
    start = 0
    for operand in concat.inputs:
        channels = operand.type.shape[3]
        if not isinstance(channels, int):
            return None
        rows = weights[:, :, start : start + channels]
        start += channels
        vector = _vector(operand)
        (maps if vector is None else vectors).append(operand if vector is None else vector)
        (map_rows if vector is None else vector_rows).append(rows)
    if not vectors or not maps:
        return None
    name, w = node.name, node.weights.name
    bias_op = ops.Conv2d(bias=op.bias)
    vector_weights = frozen(np.concatenate(vector_rows, axis=2), f"{w}/pooled")
    pooled_inputs = (_join(vectors, f"{name}/vectors"), vector_weights, *(() if node.bias is None else (node.bias,)))
    pooled = make_node(bias_op, pooled_inputs, f"{name}/pooled")
    bias = make_node(ops.Reshape((weights.shape[3],)), (pooled,), f"{name}/bias")
    map_weights = frozen(np.concatenate(map_rows, axis=2), f"{w}/maps")
    residual = () if node.residual is None else (node.residual,)
    inputs = (_join(maps, concat.name), map_weights, bias, *residual)
    return make_node(replace(op, bias=True), inputs, name)


RULES: tuple[Rule, ...] = (
    Rule("conv1x1(concat(broadcast(v), y), w) = conv1x1(y, w_y) + v @ w_v", (ops.Conv2d,), _split),
)
