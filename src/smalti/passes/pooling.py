"""Pooling with one window that covers the whole image becomes a reduction.

This also gives the windows of a static graph (AvgPool 65 x 65 of a 65 x 65 map) the form in which graphs of any size
say it (Mean over height and width).
"""

from __future__ import annotations

from smalti.ir import ops
from smalti.ir.graph import Graph, Node
from smalti.ir.infer import make_node
from smalti.ir.ops import PoolFn, ReduceFn
from smalti.ir.shapes import spatial_axes
from smalti.passes.match import count
from smalti.passes.rewrite import Context, Rule, rewrite


def to_reduction(graph: Graph) -> tuple[Graph, tuple[str, ...]]:
    """Turn global pooling into reductions."""
    graph, stats = rewrite(graph, RULES)
    return graph, ((f"{count(stats.total, 'global pooling', 'global poolings')} recognised",) if stats.total else ())


def _global_pool(node: Node, context: Context) -> Node | None:
    (x,) = node.inputs
    op = node.op
    if not isinstance(op, ops.Pool):
        return None
    axes = spatial_axes(op.layout)[:2]
    for i, axis in enumerate(axes):
        extent, covered = x.type.shape[axis], x.type.shape[axis] + op.pads[2 * i] + op.pads[2 * i + 1]
        if covered != op.size[i] or not isinstance(extent, int) or extent == 0:
            return None
    fn = ReduceFn.MEAN if op.fn is PoolFn.AVG else ReduceFn.MAX
    return make_node(ops.Reduce(fn, axes, keep_dims=True), (x,), node.name)


RULES: tuple[Rule, ...] = (Rule("pool(x, window of the size of x) = reduce(x)", (ops.Pool,), _global_pool),)
