"""SpaceToBatch and BatchToSpace that stand alone become padding, reshapes and a transpose."""

from __future__ import annotations

from smalti.ir import ops
from smalti.ir.dims import floor_div
from smalti.ir.graph import Graph, Node
from smalti.ir.infer import make_node
from smalti.passes.match import count
from smalti.passes.rewrite import Context, Rule, rewrite


def lower(graph: Graph) -> tuple[Graph, tuple[str, ...]]:
    """Replace every remaining SpaceToBatch and BatchToSpace by data movement."""
    graph, stats = rewrite(graph, RULES)
    if not stats.total:
        return graph, ()
    return graph, (
        f"{count(stats.total, 'SpaceToBatch or BatchToSpace', 'SpaceToBatch or BatchToSpace')} kept as moves",
    )


def _space_to_batch(node: Node, context: Context) -> Node | None:
    if not isinstance(node.op, ops.SpaceToBatch):
        return None
    top, bottom, left, right = node.op.pads
    bh, bw = node.op.block
    padded = make_node(ops.Pad(((0, 0), (top, bottom), (left, right), (0, 0))), node.inputs, f"{node.name}/pad")
    n, h, w, c = padded.type.shape
    blocks = make_node(
        ops.Reshape((n, floor_div(h, bh), bh, floor_div(w, bw), bw, c)), (padded,), f"{node.name}/blocks"
    )
    phases = make_node(ops.Transpose((2, 4, 0, 1, 3, 5)), (blocks,), f"{node.name}/phases")
    return make_node(ops.Reshape(node.type.shape), (phases,), node.name)


def _batch_to_space(node: Node, context: Context) -> Node | None:
    if not isinstance(node.op, ops.BatchToSpace):
        return None
    (x,) = node.inputs
    bh, bw = node.op.block
    top, _, left, _ = node.op.crops
    _, h, w, c = x.type.shape
    n = node.type.shape[0]
    phases = make_node(ops.Reshape((bh, bw, n, h, w, c)), (x,), f"{node.name}/phases")
    blocks = make_node(ops.Transpose((2, 3, 0, 4, 1, 5)), (phases,), f"{node.name}/blocks")
    whole = make_node(ops.Reshape((n, h * bh, w * bw, c)), (blocks,), f"{node.name}/whole")
    return make_node(ops.Slice((0, top, left, 0), node.type.shape, (1, 1, 1, 1)), (whole,), node.name)


RULES: tuple[Rule, ...] = (
    Rule("space_to_batch(x) = moved pad(x)", (ops.SpaceToBatch,), _space_to_batch),
    Rule("batch_to_space(x) = slice(moved x)", (ops.BatchToSpace,), _batch_to_space),
)
