"""Constant folding and operations that change nothing.

``x + 0`` becomes ``x``: a result of -0.0 stays -0.0 where the addition would give +0.0; nothing else can differ.
A bilinear resize of one pixel becomes a broadcast: ``a + (a - a) * f`` is ``a`` for every finite ``a``.
"""

from __future__ import annotations

from smalti.errors import InputError
from smalti.ir import ops
from smalti.ir.graph import Graph, Node
from smalti.ir.infer import make_node
from smalti.ir.ops import BinaryFn, PadMode, ResizeFn
from smalti.ir.schema import eval_op
from smalti.numerics import DType
from smalti.passes.match import count, frozen, is_static, require_value, static_bytes, uniform_value, value_of
from smalti.passes.rewrite import Context, Rule, rewrite

MAX_BYTES = 256 << 20
MAX_GROWTH = 16
SMALL_BYTES = 1 << 16

_FOLDED = "op(constants) = constant"
_LEAVES = (ops.Input, ops.Constant)


def fold(graph: Graph) -> tuple[Graph, tuple[str, ...]]:
    """Fold constants and remove operations that change nothing."""
    graph, stats = rewrite(graph, RULES)
    folded = stats.hits.get(_FOLDED, 0)
    removed = stats.total - folded
    notes = []
    if folded:
        notes.append(f"{count(folded, 'operation', 'operations')} on constants folded")
    if removed:
        notes.append(f"{count(removed, 'operation', 'operations')} without effect simplified")
    return graph, tuple(notes)


def _fold_constants(node: Node, context: Context) -> Node | None:
    if any(value_of(n) is None for n in node.inputs) or not is_static(node.op):
        return None
    if DType.BFLOAT16 in (node.type.dtype, *(n.type.dtype for n in node.inputs)):
        return None
    size = static_bytes(node.type)
    read = sum(static_bytes(n.type) or 0 for n in node.inputs)
    if size is None or size > MAX_BYTES or size > max(SMALL_BYTES, MAX_GROWTH * read):
        return None
    try:
        value = eval_op(node.op, [require_value(n) for n in node.inputs], {})
    except InputError:  # the graph would fail here on every image; it shall say so when it runs
        return None
    return frozen(value, node.name)


def _reshape(node: Node, context: Context) -> Node | None:
    (x,) = node.inputs
    if x.type == node.type:
        return x
    if isinstance(x.op, ops.Reshape):
        return make_node(node.op, x.inputs, node.name)
    return None


def _pad(node: Node, context: Context) -> Node | None:
    if isinstance(node.op, ops.Pad) and all(v == 0 for pair in node.op.amounts for v in pair):
        return node.inputs[0]
    return None


def _slice(node: Node, context: Context) -> Node | None:
    (x,) = node.inputs
    if not isinstance(node.op, ops.Slice):
        return None
    plain = all(s == 1 for s in node.op.stride)
    if plain and all(b == 0 for b in node.op.begin) and node.op.size == x.type.shape:
        return x
    if plain and isinstance(x.op, ops.Slice) and all(s == 1 for s in x.op.stride):
        begin = tuple(a + b for a, b in zip(x.op.begin, node.op.begin, strict=True))
        return make_node(ops.Slice(begin, node.op.size, node.op.stride), x.inputs, node.name)
    return None


def _holds_all(wide: DType, narrow: DType) -> bool:
    """Whether every value of ``narrow`` is one of ``wide``."""
    if narrow is DType.BOOL or wide is narrow:
        return True
    if DType.BFLOAT16 in (wide, narrow) or wide is DType.BOOL:
        return False
    if narrow.is_float:
        return wide.is_float and wide.itemsize > narrow.itemsize
    signed = not narrow.value.startswith("u")
    bits = narrow.itemsize * 8 - signed
    if wide.is_float:
        return bits <= {DType.FLOAT16: 11, DType.FLOAT32: 24, DType.FLOAT64: 53}[wide]
    wide_signed = not wide.value.startswith("u")
    return (wide_signed or not signed) and wide.itemsize * 8 - wide_signed >= bits


def _cast(node: Node, context: Context) -> Node | None:
    (x,) = node.inputs
    if x.type == node.type:
        return x
    if isinstance(x.op, ops.Cast) and _holds_all(x.type.dtype, x.inputs[0].type.dtype):
        return make_node(node.op, x.inputs, node.name)
    return None


def _cast_of_argmax(node: Node, context: Context) -> Node | None:
    (x,) = node.inputs
    if not isinstance(x.op, ops.ArgMax) or node.type.dtype not in (DType.INT32, DType.INT64):
        return None
    classes = x.inputs[0].type.shape[x.op.axis]
    if not context.single_use(x) or not isinstance(classes, int) or classes > 1 << 30:
        return None
    return make_node(ops.ArgMax(x.op.axis, node.type.dtype), x.inputs, node.name)


def _transpose(node: Node, context: Context) -> Node | None:
    (x,) = node.inputs
    if not isinstance(node.op, ops.Transpose):
        return None
    perm = node.op.perm
    if perm == tuple(range(len(perm))):
        return x
    if isinstance(x.op, ops.Transpose):
        return make_node(ops.Transpose(tuple(x.op.perm[p] for p in perm)), x.inputs, node.name)
    return None


def _transpose_of_units(node: Node, context: Context) -> Node | None:
    (x,) = node.inputs
    if not isinstance(node.op, ops.Transpose):
        return None
    moved = [p for p in node.op.perm if x.type.shape[p] != 1]
    if moved == sorted(moved):
        return make_node(ops.Reshape(node.type.shape), (x,), node.name)
    return None


def _resize(node: Node, context: Context) -> Node | None:
    (x,) = node.inputs
    if not isinstance(node.op, ops.Resize):
        return None
    one_pixel = x.type.shape[1:3] == (1, 1)
    if x.type.shape != node.type.shape and not one_pixel:
        return None
    if x.type.dtype is not node.type.dtype:
        x = make_node(ops.Cast(node.type.dtype), (x,), f"{node.name}/cast")
    return make_node(ops.BroadcastTo(node.type.shape), (x,), node.name) if x.type != node.type else x


def _broadcast_to(node: Node, context: Context) -> Node | None:
    (x,) = node.inputs
    if x.type == node.type:
        return x
    if isinstance(x.op, ops.BroadcastTo):
        return make_node(node.op, x.inputs, node.name)
    return None


def _binary_of_broadcast(node: Node, context: Context) -> Node | None:
    for i, operand in enumerate(node.inputs):
        other = node.inputs[1 - i]
        if isinstance(operand.op, ops.BroadcastTo) and other.type.shape == node.type.shape:
            pair = (operand.inputs[0], other) if i == 0 else (other, operand.inputs[0])
            return make_node(node.op, pair, node.name)
    return None


_NEUTRAL_RIGHT = {
    BinaryFn.MUL: 1.0,
    BinaryFn.DIV: 1.0,
    BinaryFn.FLOOR_DIV: 1.0,
    BinaryFn.ADD: 0.0,
    BinaryFn.SUB: 0.0,
}
_NEUTRAL_LEFT = {BinaryFn.MUL: 1.0, BinaryFn.ADD: 0.0}


def _neutral(node: Node, context: Context) -> Node | None:
    if not isinstance(node.op, ops.Binary):
        return None
    a, b = node.inputs
    fn = node.op.fn
    if fn is BinaryFn.FLOOR_DIV and node.type.dtype.is_float:
        return None
    if a.type == node.type and fn in _NEUTRAL_RIGHT and uniform_value(b) == _NEUTRAL_RIGHT[fn]:
        return a
    if b.type == node.type and fn in _NEUTRAL_LEFT and uniform_value(a) == _NEUTRAL_LEFT[fn]:
        return b
    return None


def _concat(node: Node, context: Context) -> Node | None:
    if len(node.inputs) == 1:
        return node.inputs[0]
    if not isinstance(node.op, ops.Concat):
        return None
    kept = tuple(n for n in node.inputs if n.type.shape[node.op.axis] != 0)
    if kept and len(kept) < len(node.inputs):
        return kept[0] if len(kept) == 1 else make_node(node.op, kept, node.name)
    return None


def _reduce(node: Node, context: Context) -> Node | None:
    (x,) = node.inputs
    if isinstance(node.op, ops.Reduce) and all(x.type.shape[a] == 1 for a in node.op.axes):
        return x if x.type == node.type else make_node(ops.Reshape(node.type.shape), (x,), node.name)
    return None


def _pool(node: Node, context: Context) -> Node | None:
    (x,) = node.inputs
    if isinstance(node.op, ops.Pool) and node.op.size == (1, 1) and x.type == node.type:
        return x if node.op.stride == (1, 1) and all(p == 0 for p in node.op.pads) else None
    return None


def _merge_pads(node: Node, context: Context) -> Node | None:
    (x,) = node.inputs
    inner, outer = x.op, node.op
    if not isinstance(outer, ops.Pad) or not isinstance(inner, ops.Pad) or not context.single_use(x):
        return None
    if not outer.mode is inner.mode is PadMode.CONSTANT or outer.value != inner.value:
        return None
    amounts = tuple((a[0] + b[0], a[1] + b[1]) for a, b in zip(outer.amounts, inner.amounts, strict=True))
    return make_node(ops.Pad(amounts, PadMode.CONSTANT, outer.value), x.inputs, node.name)


def _argmax_of_slice(node: Node, context: Context) -> Node | None:
    (x,) = node.inputs
    if not isinstance(node.op, ops.ArgMax) or not isinstance(x.op, ops.Slice) or not context.single_use(x):
        return None
    axis, source = node.op.axis, x.inputs[0]
    bilinear = isinstance(source.op, ops.Resize) and source.op.fn is ResizeFn.BILINEAR
    if not bilinear or x.op.begin[axis] != 0 or x.op.size[axis] != source.type.shape[axis] or x.op.stride[axis] != 1:
        return None
    labels = make_node(node.op, (source,), f"{node.name}/uncropped")
    kept = [i for i in range(source.type.rank) if i != axis]
    begin, size = tuple(x.op.begin[i] for i in kept), tuple(x.op.size[i] for i in kept)
    return make_node(ops.Slice(begin, size, tuple(x.op.stride[i] for i in kept)), (labels,), node.name)


MERGE_TRANSPOSES = Rule("transpose(x) = x, transpose(transpose(x)) = transpose(x)", (ops.Transpose,), _transpose)

RULES: tuple[Rule, ...] = (
    Rule(_FOLDED, tuple(op for op in ops.ALL_OPS if op not in _LEAVES), _fold_constants),
    Rule("reshape(x) = x, reshape(reshape(x)) = reshape(x)", (ops.Reshape,), _reshape),
    Rule("pad(x, 0) = x", (ops.Pad,), _pad),
    Rule("pad(pad(x)) = pad(x)", (ops.Pad,), _merge_pads),
    Rule("slice(x, all) = x, slice(slice(x)) = slice(x)", (ops.Slice,), _slice),
    Rule("cast(x) = x, cast(exact cast(x)) = cast(x)", (ops.Cast,), _cast),
    Rule("cast(argmax(x)) = argmax(x)", (ops.Cast,), _cast_of_argmax),
    MERGE_TRANSPOSES,
    Rule("transpose of axes of size 1 = reshape", (ops.Transpose,), _transpose_of_units),
    Rule("resize(x, same size) = x, resize(one pixel) = broadcast", (ops.Resize,), _resize),
    Rule("broadcast(x, same) = x, broadcast(broadcast(x)) = broadcast(x)", (ops.BroadcastTo,), _broadcast_to),
    Rule("binary(broadcast(a), b) = binary(a, b)", (ops.Binary,), _binary_of_broadcast),
    Rule("x * 1 = x / 1 = x + 0 = x - 0 = x", (ops.Binary,), _neutral),
    Rule("concat(x) = x, concat(x, empty) = x", (ops.Concat,), _concat),
    Rule("reduce over axes of size 1 = reshape", (ops.Reduce,), _reduce),
    Rule("pool 1x1 = x", (ops.Pool,), _pool),
    Rule("argmax(slice(resize(x))) = slice(argmax(resize(x)))", (ops.ArgMax,), _argmax_of_slice),
)
