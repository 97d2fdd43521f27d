"""Scales and shifts per channel before a convolution go into its weights and bias.

Padding is zero after a scale as before it, so a scale always commutes; a shift does only where nothing is padded.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from smalti.ir import ops
from smalti.ir.arrays import Array
from smalti.ir.graph import Graph, Node
from smalti.ir.infer import make_node
from smalti.passes.batchnorm import as_affine
from smalti.passes.match import Double, conv_weights, count, no_pads, rounded, value_of, widened
from smalti.passes.rewrite import Context, Rule, rewrite


def fold(graph: Graph) -> tuple[Graph, tuple[str, ...]]:
    """Fold scales and shifts into the convolutions that read them."""
    graph, stats = rewrite(graph, RULES)
    if not stats.total:
        return graph, ()
    return graph, (f"{count(stats.total, 'scale or shift', 'scales or shifts')} folded into the weights behind",)


def _of_taps(values: Double, weights: Array, groups: int) -> Double:
    """Return numbers of the channels ``[in]`` as those that weights take, ``[in / groups, out]``."""
    return np.repeat(values.reshape(groups, -1), weights.shape[3] // groups, axis=0).T


def _affine_then_conv(node: Node, context: Context) -> Node | None:
    op, source = node.op, node.inputs[0]
    weights = conv_weights(node, grouped=True)
    if weights is None or not isinstance(op, ops.Conv2d) or context.is_output(source):
        return None
    if op.input_offset != 0:
        return None
    if not all(isinstance(u.op, ops.Conv2d) for u in context.users(source)):
        return None
    parts = as_affine(source, weights.shape[2] * op.groups)
    if parts is None:
        return None
    x, scale, shift = parts
    shifted = bool(np.any(shift != 0))
    if shifted and not no_pads(op.pads):
        return None
    w, wide = node.weights, widened(weights)
    with np.errstate(all="ignore"):
        if scale is not None:
            w = rounded(wide * _of_taps(scale, weights, op.groups), w, w.name)
        if not shifted:
            return make_node(op, (x, w, *node.inputs[2:]), node.name)
        added = (wide * _of_taps(shift, weights, op.groups)).sum(axis=(0, 1)).sum(axis=0)
        old = np.zeros(added.shape) if node.bias is None else value_of(node.bias)
        if old is None:
            return None
        bias = rounded(old.astype(np.float64) + added, w, f"{node.name}/bias")
    rest = node.inputs[2 + op.bias :]
    return make_node(replace(op, bias=True), (x, w, bias, *rest), node.name)


RULES: tuple[Rule, ...] = (Rule("conv(x * s + t, w) = conv(x, s * w) + sum(t * w)", (ops.Conv2d,), _affine_then_conv),)
