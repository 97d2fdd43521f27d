"""Zero padding of height and width joins the padding of the convolution that reads it.

Average pooling does not count its own padding but counts an explicit one, so it keeps its Pad; maximum pooling takes a
padding with the lowest value only.
"""

from __future__ import annotations

from dataclasses import replace

from smalti.ir import ops
from smalti.ir.arrays import lowest_highest
from smalti.ir.graph import Graph, Node
from smalti.ir.infer import make_node
from smalti.ir.ops import Layout, PadMode, PoolFn
from smalti.passes.match import count
from smalti.passes.rewrite import Context, Rule, rewrite


def fold(graph: Graph) -> tuple[Graph, tuple[str, ...]]:
    """Fold paddings into convolutions and maximum pooling."""
    graph, stats = rewrite(graph, RULES)
    return graph, ((f"{count(stats.total, 'Pad', 'Pads')} folded into the operation behind",) if stats.total else ())


def image_pads(node: Node) -> ops.Pads | None:
    """Return the padding of height and width of a constant-mode NHWC Pad that pads nothing else, else ``None``."""
    op = node.op
    if not isinstance(op, ops.Pad) or op.mode is not PadMode.CONSTANT or len(op.amounts) != 4:
        return None
    batch, height, width, channels = op.amounts
    return (*height, *width) if batch == channels == (0, 0) else None


def add_pads(a: ops.Pads, b: ops.Pads) -> ops.Pads:
    """Return the sum of two paddings."""
    return a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]


def _conv(node: Node, context: Context) -> Node | None:
    op, x = node.op, node.inputs[0]
    pads = image_pads(x)
    if not isinstance(op, ops.Conv2d) or pads is None or op.layout is not Layout.NHWC:
        return None
    if not isinstance(x.op, ops.Pad) or x.op.value != 0 or op.input_offset != 0:
        return None
    padded = replace(op, pads=add_pads(op.pads, pads))
    return make_node(padded, (x.inputs[0], *node.inputs[1:]), node.name)


def _max_pool(node: Node, context: Context) -> Node | None:
    op, x = node.op, node.inputs[0]
    pads = image_pads(x)
    if not isinstance(op, ops.Pool) or op.fn is not PoolFn.MAX or pads is None or op.layout is not Layout.NHWC:
        return None
    if not isinstance(x.op, ops.Pad) or x.op.value != lowest_highest(x.type.dtype.numpy)[0]:
        return None
    return make_node(replace(op, pads=add_pads(op.pads, pads)), x.inputs, node.name)


RULES: tuple[Rule, ...] = (
    Rule("conv(pad(x, 0)) = conv(x) with the padding", (ops.Conv2d,), _conv),
    Rule("max_pool(pad(x, lowest)) = max_pool(x) with the padding", (ops.Pool,), _max_pool),
)
