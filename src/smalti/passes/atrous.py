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
from smalti.ir.ops import BinaryFn, Layout
from smalti.ir.ops.elementwise import UNARY
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
    if not isinstance(outer, ops.BatchToSpace) or not isinstance(conv.op, ops.Conv2d):
        return None
    inner, spread = conv.op, conv.inputs[0]
    if not isinstance(spread.op, ops.SpaceToBatch) or spread.op.block != outer.block or not context.single_use(conv):
        return None
    if inner.stride != (1, 1) or inner.layout is not Layout.NHWC or conv.residual is not None:
        return None
    x = spread.inputs[0]
    kernel = conv.weights.type.shape
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


def _image_operand(node: Node, context: Context) -> Node | None:
    """Return the operand of an operation that treats every pixel alike, if nothing else reads its result."""
    op = node.op
    if not context.single_use(node):
        return None
    if isinstance(op, (ops.Unary, ops.Cast)):
        return node.inputs[0]
    if isinstance(op, ops.Binary):
        parts = split_constant(node)
        if parts is None or parts[0].type.shape != node.type.shape:
            return None
        return parts[0] if per_channel(parts[1], node.type.shape[3]) is not None else None
    if isinstance(op, ops.BatchNorm):
        return node.inputs[0] if op.layout is Layout.NHWC else None
    if not isinstance(op, ops.Conv2d) or op.layout is not Layout.NHWC or op.residual:
        return None
    plain = op.stride == (1, 1) and no_pads(op.pads) and node.weights.type.shape[:2] == (1, 1)
    return node.inputs[0] if plain and not isinstance(node.inputs[0].op, ops.SpaceToBatch) else None


def _pixelwise(node: Node, context: Context) -> Node | None:
    chain: list[tuple[Node, Node]] = []
    x = node.inputs[0]
    while (operand := _image_operand(x, context)) is not None:
        chain.append((x, operand))
        x = operand
    if not chain:
        return None
    result = make_node(node.op, (x,), f"{x.name}/unblocked")
    for moved, operand in reversed(chain):
        name = node.name if moved is chain[0][0] else f"{moved.name}/unblocked"
        result = make_node(moved.op, tuple(result if n is operand else n for n in moved.inputs), name)
    return result


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


def _early_unary(node: Node, context: Context) -> Node | None:
    (x,) = node.inputs
    if not isinstance(x.op, ops.SpaceToBatch) or not context.single_use(x):
        return None
    if isinstance(x.inputs[0].op, ops.BatchToSpace):  # the two may cancel
        return None
    if isinstance(node.op, ops.Unary) and not UNARY[node.op.fn].keeps_zero:
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
    Rule("batch_to_space(pixelwise(x)) = pixelwise(batch_to_space(x))", (ops.BatchToSpace,), _pixelwise),
    Rule("unary(space_to_batch(x)) = space_to_batch(unary(x)) if f(0) = 0", (ops.Unary, ops.Cast), _early_unary),
    Rule("space_to_batch(x) * c = space_to_batch(x * c)", (ops.Binary,), _early_scale),
)
