"""Channels that a convolution makes in one order and a gather puts into another are made in that order.

PyTorch's pixel shuffle keeps the pixels of a block together in the channels, and the blocks of this compiler do not:
the importer puts a gather between.
"""

from __future__ import annotations

import numpy as np

from smalti.ir import ops
from smalti.ir.graph import Graph, Node
from smalti.ir.infer import make_node
from smalti.passes.match import conv_weights, count, frozen, value_of
from smalti.passes.rewrite import Context, Rule, rewrite

_FOLDED = "gather(conv(x, w, b), c) = conv(x, w[c], b[c])"


def fold(graph: Graph) -> tuple[Graph, tuple[str, ...]]:
    """Pick the channels of convolutions from their weights."""
    graph, stats = rewrite(graph, RULES)
    folded = stats.hits.get(_FOLDED, 0)
    return graph, (
        (f"{count(folded, 'choice of channels', 'choices of channels')} folded into weights",) if folded else ()
    )


def _channels(node: Node) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]] | None:
    """Return the constant numbers of the channels that a gather of an NHWC image picks, else ``None``."""
    if not isinstance(node.op, ops.Gather) or node.op.axis != 3 or node.inputs[0].type.rank != 4:
        return None
    picked = value_of(node.inputs[1])
    return None if picked is None or picked.ndim != 1 else picked.astype(np.int64)


def _above(node: Node, context: Context) -> Node | None:
    (x, picked), chosen = node.inputs, _channels(node)
    if chosen is None or not isinstance(x.op, (ops.Unary, ops.Cast)) or not context.single_use(x):
        return None
    inner = make_node(node.op, (x.inputs[0], picked), f"{node.name}/before")
    return make_node(x.op, (inner,), node.name)


def _conv(node: Node, context: Context) -> Node | None:
    conv, chosen = node.inputs[0], _channels(node)
    if chosen is None or not isinstance(conv.op, ops.Conv2d) or conv.op.residual or not context.single_use(conv):
        return None
    weights = conv_weights(conv)
    # More channels than there were would be more work than the gather is.
    if weights is None or not 0 < chosen.size <= weights.shape[3]:
        return None
    if chosen.min() < 0 or chosen.max() >= weights.shape[3]:
        return None
    operands = [conv.inputs[0], frozen(weights[..., chosen], conv.weights.name)]
    if conv.op.bias:
        bias = value_of(conv.inputs[2])
        if bias is None:
            return None
        operands.append(frozen(bias[chosen], conv.inputs[2].name))
    return make_node(conv.op, operands, node.name)


RULES: tuple[Rule, ...] = (
    Rule("gather(unary(x), c) = unary(gather(x, c))", (ops.Gather,), _above),
    Rule(_FOLDED, (ops.Gather,), _conv),
)
