"""Batch norm and other scales and shifts per channel go into the weights and the bias of the convolution before them.

All products are formed in float64 and rounded once.  A convolution that something else reads too is left alone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from smalti.ir import ops
from smalti.ir.graph import Graph, Node
from smalti.ir.infer import make_node
from smalti.ir.ops import Activation, BinaryFn, Layout, UnaryFn
from smalti.passes.match import Double, conv_weights, count, per_channel, rounded, split_constant, value_of, widened
from smalti.passes.rewrite import Context, Rule, rewrite

_NORM = "batch_norm(conv(x, w) + b) = conv(x, w * s) + (b * s + t)"
_SCALE = "(conv(x, w) + b) op c = conv(x, w * s) + (b * s + t)"
_LONE = "batch_norm(x) = x * s + t"
_RUN_TIME = "batch_norm(x, g, b, m, v) = (x - m) * (rsqrt(v + e) * g) + b"


def fold(graph: Graph) -> tuple[Graph, tuple[str, ...]]:
    """Fold batch norms, scales and shifts into convolutions; write the other batch norms out."""
    graph, folded = rewrite(graph, RULES)
    graph, written = rewrite(graph, WRITE_OUT_RULES)
    notes = []
    if _NORM in folded.hits:
        notes.append(f"{count(folded.hits[_NORM], 'batch norm', 'batch norms')} folded into weights")
    if _SCALE in folded.hits:
        text = count(folded.hits[_SCALE], "scale or shift", "scales or shifts")
        notes.append(f"{text} per channel folded into weights or bias")
    if written.total:
        text = count(written.total, "batch norm", "batch norms")
        notes.append(f"{text} without a convolution before it kept as arithmetic")
    return graph, tuple(notes)


def scaled_conv(conv: Node, scale: Double | None, shift: Double, name: str) -> Node | None:
    """Return a convolution that computes ``conv * scale + shift`` (per result channel), or ``None`` if none does.

    Args:
        conv: a convolution with constant weights.
        scale: ``[out]``, or ``None`` for 1, which is also possible where a residual is added.
        shift: ``[out]``
        name: name of the new node.
    """
    op, weights = conv.op, conv_weights(conv, grouped=True)
    if weights is None or not isinstance(op, ops.Conv2d) or op.activation is not Activation.NONE:
        return None
    if conv.residual is not None and scale is not None:
        return None
    old = np.zeros(shift.shape, np.float64) if conv.bias is None else value_of(conv.bias)
    if old is None:
        return None
    bias, w = widened(old), conv.weights
    with np.errstate(all="ignore"):
        if scale is not None:
            w = rounded(widened(weights) * scale, w, w.name)
            bias = bias * scale
        bias = bias + shift
    residual = () if conv.residual is None else (conv.residual,)
    return make_node(replace(op, bias=True), (conv.x, w, rounded(bias, w, f"{name}/bias"), *residual), name)


def _behind(node: Node, context: Context) -> Node | None:
    """Return the convolution that ``node`` is, or that the BatchToSpace ``node`` reads; it has no other reader."""
    if not context.single_use(node):
        return None
    if isinstance(node.op, ops.BatchToSpace):
        node = node.inputs[0]
        if not context.single_use(node):
            return None
    return node if isinstance(node.op, ops.Conv2d) else None


def _fold_into(x: Node, scale: Double | None, shift: Double, node: Node, context: Context) -> Node | None:
    conv = _behind(x, context)
    if conv is None:
        return None
    blocked = isinstance(x.op, ops.BatchToSpace)
    folded = scaled_conv(conv, scale, shift, f"{node.name}/blocked" if blocked else node.name)
    if folded is None or not blocked:
        return folded
    return make_node(x.op, (folded,), node.name)


def _norm_constants(node: Node) -> tuple[Double, Double] | None:
    if not isinstance(node.op, ops.BatchNorm):
        return None
    axis = 3 if node.op.layout is Layout.NHWC else 1
    values = [per_channel(n, node.type.shape[axis]) for n in node.inputs[1:]]
    gamma, beta, mean, variance = values
    if gamma is None or beta is None or mean is None or variance is None:
        return None
    with np.errstate(all="ignore"):
        # TensorFlow adds epsilon in the precision of the graph.
        epsilon = float(node.inputs[4].type.dtype.numpy.type(node.op.epsilon))
        scale = gamma / np.sqrt(variance + epsilon)
        return scale, beta - mean * scale


def _norm_of_conv(node: Node, context: Context) -> Node | None:
    constants = _norm_constants(node)
    if constants is None or not isinstance(node.op, ops.BatchNorm) or node.op.layout is not Layout.NHWC:
        return None
    return _fold_into(node.inputs[0], constants[0], constants[1], node, context)


def as_affine(node: Node, channels: int) -> tuple[Node, Double | None, Double] | None:
    """Return (x, scale, shift) of a binary node that computes ``x * scale + shift`` per channel, else ``None``.

    ``scale`` is ``None`` for 1.
    """
    parts = split_constant(node) if isinstance(node.op, ops.Binary) else None
    if parts is None or not isinstance(node.op, ops.Binary):
        return None
    x, factor, left = parts
    value = per_channel(factor, channels)
    if value is None or x.type != node.type:
        return None
    zero, fn = np.zeros(channels), node.op.fn
    if fn is BinaryFn.ADD:
        return x, None, value
    if fn is BinaryFn.SUB:
        return (x, -np.ones(channels), value) if left else (x, None, -value)
    if fn is BinaryFn.MUL:
        return x, value, zero
    if fn is BinaryFn.DIV and not left and bool(np.all(value != 0)):
        return x, 1.0 / value, zero
    return None


def _affine_of_conv(node: Node, context: Context) -> Node | None:
    channels = node.type.shape[-1] if node.type.rank == 4 else None
    parts = as_affine(node, channels) if isinstance(channels, int) else None
    return None if parts is None else _fold_into(*parts, node, context)


def _wide(node: Node) -> Node:
    """Return the operand of a batch norm in the precision of its parameters, in which TensorFlow computes."""
    x, dtype = node.inputs[0], node.inputs[4].type.dtype
    return x if x.type.dtype is dtype else make_node(ops.Cast(dtype), (x,), f"{node.name}/wide")


def _scaled(node: Node, x: Node, scale: Node, shift: Node) -> Node:
    """Return ``x * scale + shift`` in the element type of the batch norm ``node``, under its name."""
    product = make_node(ops.Binary(BinaryFn.MUL), (x, scale), f"{node.name}/product")
    if x.type.dtype is node.type.dtype:
        return make_node(ops.Binary(BinaryFn.ADD), (product, shift), node.name)
    total = make_node(ops.Binary(BinaryFn.ADD), (product, shift), f"{node.name}/sum")
    return make_node(ops.Cast(node.type.dtype), (total,), node.name)


def _lone_norm(node: Node, context: Context) -> Node | None:
    constants = _norm_constants(node)
    if constants is None or not isinstance(node.op, ops.BatchNorm):
        return None
    scale, shift = (c if node.op.layout is Layout.NHWC else c[:, None, None] for c in constants)
    x = _wide(node)
    return _scaled(node, x, rounded(scale, x, f"{node.name}/scale"), rounded(shift, x, f"{node.name}/shift"))


def _run_time_norm(node: Node, context: Context) -> Node | None:
    if not isinstance(node.op, ops.BatchNorm):
        return None
    nchw = node.op.layout is Layout.NCHW

    def column(n: Node, name: str) -> Node:
        shape = (*n.type.shape, 1, 1)
        return make_node(ops.Reshape(shape), (n,), f"{node.name}/{name}") if nchw else n

    _, gamma, beta, mean, variance = node.inputs
    epsilon = rounded(np.array(node.op.epsilon, np.float64), variance, f"{node.name}/epsilon")
    stabilised = make_node(ops.Binary(BinaryFn.ADD), (variance, epsilon), f"{node.name}/stabilised")
    root = make_node(ops.Unary(UnaryFn.RSQRT), (stabilised,), f"{node.name}/rsqrt")
    factor = make_node(ops.Binary(BinaryFn.MUL), (root, gamma), f"{node.name}/factor")
    centred = make_node(ops.Binary(BinaryFn.SUB), (_wide(node), column(mean, "mean")), f"{node.name}/centred")
    return _scaled(node, centred, column(factor, "scale"), column(beta, "beta"))


RULES: tuple[Rule, ...] = (
    Rule(_NORM, (ops.BatchNorm,), _norm_of_conv),
    Rule(_SCALE, (ops.Binary,), _affine_of_conv),
)

WRITE_OUT_RULES: tuple[Rule, ...] = (
    Rule(_LONE, (ops.BatchNorm,), _lone_norm),
    Rule(_RUN_TIME, (ops.BatchNorm,), _run_time_norm),
)
