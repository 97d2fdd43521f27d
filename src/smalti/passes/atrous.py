"""Space/batch pairs around a convolution become a dilation.

TensorFlow writes a convolution with dilation ``b`` as SpaceToBatchND (block ``b``), a plain convolution and
BatchToSpaceND.  Each phase of the batch holds every ``b``-th pixel, so tap ``t`` of an inner convolution with dilation
``d`` reaches ``b*d*t`` pixels of the image.  With paddings ``p`` of SpaceToBatch, ``q`` of the inner convolution and
crops ``c`` of BatchToSpace, result pixel ``i`` reads pixel ``i + b*d*t - (p + b*q - c)``: a padding of ``p + b*q - c``
before, and after it whatever gives the same result size.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from smalti.ir import ops
from smalti.ir.dims import Dim
from smalti.ir.graph import Graph, Node
from smalti.ir.infer import make_node
from smalti.ir.ops import BinaryFn, Layout, UnaryFn
from smalti.passes.match import count, never_negative, no_pads, per_channel, split_constant
from smalti.passes.rewrite import Context, Rule, rewrite

_PAIR = "batch_to_space(conv(space_to_batch(x))) = dilated conv(x)"


def to_dilation(graph: Graph) -> tuple[Graph, tuple[str, ...]]:
    """Turn every space/batch pair around a convolution into a dilated convolution."""
    graph, stats = rewrite(graph, RULES)
    pairs = stats.hits.get(_PAIR, 0)
    if not pairs:
        return graph, ()
    text = count(pairs, "pair became a dilated convolution", "pairs became dilated convolutions")
    return graph, (f"SpaceToBatch/BatchToSpace: {text}",)


def _pair(node: Node, context: Context) -> Node | None:
    (conv,) = node.inputs
    outer = node.op
    if not isinstance(outer, ops.BatchToSpace) or not isinstance(conv.op, (ops.Conv2d, ops.DepthwiseConv2d)):
        return None
    inner, spread = conv.op, conv.inputs[0]
    if not isinstance(spread.op, ops.SpaceToBatch) or spread.op.block != outer.block or not context.single_use(conv):
        return None
    if inner.stride != (1, 1) or inner.layout is not Layout.NHWC or (isinstance(inner, ops.Conv2d) and inner.residual):
        return None
    x = spread.inputs[0]
    kernel = conv.inputs[1].type.shape
    pads: list[int | Dim] = []
    for axis in (0, 1):
        taps, block, dilation = kernel[axis], outer.block[axis], inner.dilation[axis]
        if not isinstance(taps, int):
            return None
        before = spread.op.pads[2 * axis] + inner.pads[2 * axis] * block - outer.crops[2 * axis]
        span = (taps - 1) * block * dilation
        after = node.type.shape[1 + axis] + span - x.type.shape[1 + axis] - before
        if not (never_negative(before) and never_negative(after)):
            return None
        pads += [before, after]
    dilation_pair = (outer.block[0] * inner.dilation[0], outer.block[1] * inner.dilation[1])
    dilated = replace(inner, dilation=dilation_pair, pads=(pads[0], pads[1], pads[2], pads[3]))
    result = make_node(dilated, (x, *conv.inputs[1:]), node.name)
    return result if result.type == node.type else None


def _unary(node: Node, context: Context) -> Node | None:
    (x,) = node.inputs
    if not isinstance(x.op, (ops.Unary, ops.Cast)) or not context.single_use(x):
        return None
    inside = make_node(node.op, x.inputs, f"{x.name}/unblocked")
    return make_node(x.op, (inside,), node.name)


def _binary(node: Node, context: Context) -> Node | None:
    (x,) = node.inputs
    parts = split_constant(x) if isinstance(x.op, ops.Binary) and context.single_use(x) else None
    if parts is None:
        return None
    operand, factor, left = parts
    if operand.type.shape != x.type.shape or per_channel(factor, x.type.shape[3]) is None:
        return None
    inside = make_node(node.op, (operand,), f"{x.name}/unblocked")
    return make_node(x.op, (factor, inside) if left else (inside, factor), node.name)


def _batch_norm(node: Node, context: Context) -> Node | None:
    (x,) = node.inputs
    if not isinstance(x.op, ops.BatchNorm) or x.op.layout is not Layout.NHWC or not context.single_use(x):
        return None
    inside = make_node(node.op, x.inputs[:1], f"{x.name}/unblocked")
    return make_node(x.op, (inside, *x.inputs[1:]), node.name)


def _pointwise(node: Node, context: Context) -> Node | None:
    (conv,) = node.inputs
    if not isinstance(conv.op, ops.Conv2d) or conv.op.layout is not Layout.NHWC or conv.op.residual:
        return None
    plain = conv.op.stride == (1, 1) and no_pads(conv.op.pads) and conv.inputs[1].type.shape[:2] == (1, 1)
    if not plain or not context.single_use(conv) or isinstance(conv.inputs[0].op, ops.SpaceToBatch):
        return None
    inside = make_node(node.op, conv.inputs[:1], f"{conv.inputs[0].name}/unblocked")
    return make_node(conv.op, (inside, *conv.inputs[1:]), node.name)


def _undone(node: Node, context: Context) -> Node | None:
    (x,) = node.inputs
    inner, outer = x.op, node.op
    if not isinstance(inner, ops.SpaceToBatch) or not isinstance(outer, ops.BatchToSpace) or inner.block != outer.block:
        return None
    return x.inputs[0] if inner.pads == outer.crops else None


def _redone(node: Node, context: Context) -> Node | None:
    (x,) = node.inputs
    inner, outer = x.op, node.op
    if not isinstance(inner, ops.BatchToSpace) or not isinstance(outer, ops.SpaceToBatch) or inner.block != outer.block:
        return None
    return x.inputs[0] if no_pads(inner.crops) and no_pads(outer.pads) else None


_KEEPS_ZERO = frozenset(
    (
        UnaryFn.NEG,
        UnaryFn.ABS,
        UnaryFn.SQUARE,
        UnaryFn.SQRT,
        UnaryFn.RELU,
        UnaryFn.RELU6,
        UnaryFn.LEAKY_RELU,
        UnaryFn.ELU,
        UnaryFn.TANH,
    )
)


def _early_unary(node: Node, context: Context) -> Node | None:
    (x,) = node.inputs
    if not isinstance(x.op, ops.SpaceToBatch) or not context.single_use(x):
        return None
    if isinstance(x.inputs[0].op, ops.BatchToSpace):  # the two may cancel
        return None
    if isinstance(node.op, ops.Unary) and node.op.fn not in _KEEPS_ZERO:
        return None
    outside = make_node(node.op, x.inputs, f"{node.name}/unblocked")
    return make_node(x.op, (outside,), node.name)


def _early_scale(node: Node, context: Context) -> Node | None:
    parts = split_constant(node) if isinstance(node.op, ops.Binary) and node.op.fn is BinaryFn.MUL else None
    if parts is None:
        return None
    x, factor, _ = parts
    if not isinstance(x.op, ops.SpaceToBatch) or not context.single_use(x) or x.type != node.type:
        return None
    value = per_channel(factor, x.type.shape[3])
    if value is None or not bool(np.all(np.isfinite(value))):
        return None
    outside = make_node(node.op, (x.inputs[0], factor), f"{node.name}/unblocked")
    return make_node(x.op, (outside,), node.name)


RULES: tuple[Rule, ...] = (
    Rule(_PAIR, (ops.BatchToSpace,), _pair),
    Rule("batch_to_space(space_to_batch(x)) = x", (ops.BatchToSpace,), _undone),
    Rule("space_to_batch(batch_to_space(x)) = x", (ops.SpaceToBatch,), _redone),
    Rule("batch_to_space(conv1x1(x)) = conv1x1(batch_to_space(x))", (ops.BatchToSpace,), _pointwise),
    Rule("unary(space_to_batch(x)) = space_to_batch(unary(x)) if f(0) = 0", (ops.Unary, ops.Cast), _early_unary),
    Rule("space_to_batch(x) * c = space_to_batch(x * c)", (ops.Binary,), _early_scale),
    Rule("batch_to_space(unary(x)) = unary(batch_to_space(x))", (ops.BatchToSpace,), _unary),
    Rule("batch_to_space(x op per channel) = batch_to_space(x) op per channel", (ops.BatchToSpace,), _binary),
    Rule("batch_to_space(batch_norm(x)) = batch_norm(batch_to_space(x))", (ops.BatchToSpace,), _batch_norm),
)
