"""Bilinear resizes under an argmax become one operation that need not compute every class of every pixel."""

from __future__ import annotations

from dataclasses import replace

from smalti.ir import ops
from smalti.ir.graph import Graph, Node
from smalti.ir.infer import make_node
from smalti.ir.ops import ResizeFn
from smalti.numerics import DType
from smalti.passes.rewrite import Context, Rule, rewrite

_FUSED = "argmax(resize(x)) = resize_argmax(x)"


def fuse(graph: Graph) -> tuple[Graph, tuple[str, ...]]:
    """Fuse bilinear resizes, argmax, crop and cast."""
    graph, stats = rewrite(graph, RULES)
    if _FUSED not in stats.hits:
        return graph, ()
    notes = []
    for node in graph.nodes():
        if isinstance(node.op, ops.ResizeArgMax):
            sizes = [f"{s.size[0]} x {s.size[1]}" for s in node.op.stages]
            height, width = node.op.crop
            cut = "" if node.op.crop == node.op.stages[-1].size else f", cut to {height} x {width}"
            notes.append(f"post-processing: bilinear resize to {' and then '.join(sizes)}, argmax{cut}: one operation")
    return graph, tuple(notes)


def _bilinear(node: Node, context: Context) -> ops.Resize | None:
    op = node.op
    if not isinstance(op, ops.Resize) or op.fn is not ResizeFn.BILINEAR or not context.single_use(node):
        return None
    return op if node.inputs[0].type.dtype is DType.FLOAT32 else None


def _argmax(node: Node, context: Context) -> Node | None:
    (last,) = node.inputs
    stage = _bilinear(last, context)
    if stage is None or not isinstance(node.op, ops.ArgMax) or node.op.axis != 3:
        return None
    (source,) = last.inputs
    first = _bilinear(source, context)
    stages = (stage,) if first is None else (first, stage)
    x = source if first is None else source.inputs[0]
    return make_node(ops.ResizeArgMax(stages, stage.size, node.op.dtype), (x,), node.name)


def _crop(node: Node, context: Context) -> Node | None:
    (x,) = node.inputs
    if not isinstance(node.op, ops.Slice) or not isinstance(x.op, ops.ResizeArgMax) or not context.single_use(x):
        return None
    if any(b != 0 for b in node.op.begin) or any(s != 1 for s in node.op.stride):
        return None
    if node.op.size[0] != x.type.shape[0]:
        return None
    return make_node(replace(x.op, crop=(node.op.size[1], node.op.size[2])), x.inputs, node.name)


def _cast(node: Node, context: Context) -> Node | None:
    (x,) = node.inputs
    if not isinstance(node.op, ops.Cast) or not isinstance(x.op, ops.ResizeArgMax) or not context.single_use(x):
        return None
    classes = x.inputs[0].type.shape[3]
    if node.op.dtype not in (DType.INT32, DType.INT64) or not isinstance(classes, int) or classes > 1 << 30:
        return None
    return make_node(replace(x.op, dtype=node.op.dtype), x.inputs, node.name)


def _cast_of_moved(node: Node, context: Context) -> Node | None:
    (moved,) = node.inputs
    if not isinstance(moved.op, (ops.Reshape, ops.Slice)) or not context.single_use(moved):
        return None
    (x,) = moved.inputs
    if not isinstance(x.op, (ops.ArgMax, ops.ResizeArgMax, ops.Reshape, ops.Slice)):
        return None
    return make_node(moved.op, (make_node(node.op, (x,), f"{node.name}/early"),), node.name)


RULES: tuple[Rule, ...] = (
    Rule(_FUSED, (ops.ArgMax,), _argmax),
    Rule("slice(resize_argmax(x)) = resize_argmax(x) with a crop", (ops.Slice,), _crop),
    Rule("cast(resize_argmax(x)) = resize_argmax(x)", (ops.Cast,), _cast),
    Rule("cast(moved argmax) = moved cast(argmax)", (ops.Cast,), _cast_of_moved),
)
