"""A sum of a convolution and another tensor becomes the residual input of the convolution.

Of two convolutions the later one in execution order takes the other as its residual: the earlier result then exists
already and the later one need not be written before the sum.
"""

from __future__ import annotations

from dataclasses import replace

from smalti.ir import ops
from smalti.ir.graph import Graph, Node
from smalti.ir.infer import make_node
from smalti.ir.ops import Activation, BinaryFn, Layout
from smalti.ir.ops.convolution import depthwise
from smalti.passes.match import count
from smalti.passes.rewrite import Context, Rule, rewrite


def fuse(graph: Graph) -> tuple[Graph, tuple[str, ...]]:
    """Fuse sums into the convolution that computes one of their operands."""
    graph, stats = rewrite(graph, RULES)
    if not stats.total:
        return graph, ()
    return graph, (f"{count(stats.total, 'sum', 'sums')} fused into a convolution as its residual",)


def _accepts(conv: Node, other: Node, context: Context) -> bool:
    op = conv.op
    if not isinstance(op, ops.Conv2d) or op.residual or op.layout is not Layout.NHWC or other.type != conv.type:
        return False
    if depthwise(conv.weights.type, op.groups):  # kernels of these add nothing
        return False
    return op.activation is Activation.NONE and context.single_use(conv)


def _add(node: Node, context: Context) -> Node | None:
    if not isinstance(node.op, ops.Binary) or node.op.fn is not BinaryFn.ADD:
        return None
    a, b = sorted(node.inputs, key=context.position, reverse=True)
    for conv, other in ((a, b), (b, a)):
        if isinstance(conv.op, ops.Conv2d) and _accepts(conv, other, context):
            return make_node(replace(conv.op, residual=True), (*conv.inputs, other), node.name)
    return None


RULES: tuple[Rule, ...] = (Rule("conv(x) + y = conv(x) with residual y", (ops.Binary,), _add),)
