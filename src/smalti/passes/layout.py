"""NCHW operations become NHWC ones between transposes; transposes sink until they meet and cancel."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from smalti.ir import ops
from smalti.ir.graph import Graph, Node
from smalti.ir.infer import make_node
from smalti.ir.ops import Layout, Op
from smalti.ir.schema import layout_of, operand_index
from smalti.passes.constants import MERGE_TRANSPOSES
from smalti.passes.match import count, frozen, value_of
from smalti.passes.rewrite import Context, Rule, rewrite

TO_NHWC = (0, 2, 3, 1)
TO_NCHW = (0, 3, 1, 2)
_CONVERTED = "nchw op(x) = transpose(nhwc op(transpose(x)))"


def to_nhwc(graph: Graph) -> tuple[Graph, tuple[str, ...]]:
    """Turn every NCHW operation into an NHWC one."""
    graph, stats = rewrite(graph, RULES)
    converted = stats.hits.get(_CONVERTED, 0)
    if not converted:
        return graph, ()
    left = sum(isinstance(node.op, ops.Transpose) for node in graph.nodes())
    text = count(converted, "NCHW operation", "NCHW operations")
    return graph, (f"{text} turned into NHWC; {count(left, 'transpose is', 'transposes are')} left",)


def _convert(node: Node, context: Context) -> Node | None:
    op = node.op
    if layout_of(op) is not Layout.NCHW:
        return None
    inputs = list(node.inputs)
    for i in (operand_index(op, name) for name in ("x", "residual")):
        if i is None:
            continue
        inputs[i] = make_node(ops.Transpose(TO_NHWC), (inputs[i],), f"{inputs[i].name}/nhwc")
    result = make_node(_as_nhwc(op), inputs, f"{node.name}/nhwc")
    return make_node(ops.Transpose(TO_NCHW), (result,), node.name)


def _as_nhwc(op: Op) -> Op:
    changed: Any = op
    return cast(Op, replace(changed, layout=Layout.NHWC))


def _perm(node: Node) -> tuple[int, ...] | None:
    return node.op.perm if isinstance(node.op, ops.Transpose) else None


def _sunk(op: Op, inputs: tuple[Node, ...], perm: tuple[int, ...], node: Node) -> Node:
    inner = make_node(op, inputs, f"{node.name}/before")
    return make_node(ops.Transpose(perm), (inner,), node.name)


def _undo(values: tuple[int, ...]) -> tuple[int, ...]:
    """Return the inverse permutation."""
    return tuple(values.index(i) for i in range(len(values)))


def _unary(node: Node, context: Context) -> Node | None:
    (x,) = node.inputs
    perm = _perm(x)
    return None if perm is None else _sunk(node.op, x.inputs, perm, node)


def _binary(node: Node, context: Context) -> Node | None:
    a, b = node.inputs
    perm = _perm(a) or _perm(b)
    if perm is None:
        return None
    new: list[Node] = []
    for operand in (a, b):
        value = value_of(operand)
        if _perm(operand) == perm:
            new.append(operand.inputs[0])
        elif value is not None and value.ndim <= len(perm):
            whole = value.reshape((1,) * (len(perm) - value.ndim) + value.shape)
            new.append(frozen(whole.transpose(_undo(perm)), operand.name))
        else:
            return None
    return _sunk(node.op, (new[0], new[1]), perm, node)


def _concat(node: Node, context: Context) -> Node | None:
    perm = _perm(node.inputs[0])
    if perm is None or not isinstance(node.op, ops.Concat) or any(_perm(n) != perm for n in node.inputs):
        return None
    return _sunk(ops.Concat(perm[node.op.axis]), tuple(n.inputs[0] for n in node.inputs), perm, node)


def _moved(node: Node, context: Context) -> Node | None:
    (x,) = node.inputs
    perm, op = _perm(x), node.op
    if perm is None:
        return None
    back = _undo(perm)
    moved: Op
    if isinstance(op, ops.Pad):
        moved = replace(op, amounts=tuple(op.amounts[i] for i in back))
    elif isinstance(op, ops.Slice):
        begin, size = tuple(op.begin[i] for i in back), tuple(op.size[i] for i in back)
        moved = ops.Slice(begin, size, tuple(op.stride[i] for i in back))
    elif isinstance(op, ops.BroadcastTo) and len(op.shape) == len(perm):
        moved = ops.BroadcastTo(tuple(op.shape[i] for i in back))
    else:
        return None
    return _sunk(moved, x.inputs, perm, node)


def _gathered(node: Node, context: Context) -> Node | None:
    x, picked = node.inputs
    perm, op = _perm(x), node.op
    if perm is None or not isinstance(op, ops.Gather) or picked.type.rank != 1:
        return None
    return _sunk(ops.Gather(perm[op.axis]), (x.inputs[0], picked), perm, node)


def _reduced(node: Node, context: Context) -> Node | None:
    (x,) = node.inputs
    perm, op = _perm(x), node.op
    if perm is None:
        return None
    moved: Op
    if isinstance(op, ops.Reduce):
        gone = tuple(sorted(perm[a] for a in op.axes))
        moved = replace(op, axes=gone)
        if op.keep_dims:
            return _sunk(moved, x.inputs, perm, node)
    elif isinstance(op, ops.ArgMax):
        gone = (perm[op.axis],)
        moved = replace(op, axis=gone[0])
    else:
        return None
    kept = [p for p in perm if p not in gone]
    rest = tuple(sorted(kept).index(p) for p in kept)
    if rest == tuple(range(len(rest))):
        return make_node(moved, x.inputs, node.name)
    return _sunk(moved, x.inputs, rest, node)


RULES: tuple[Rule, ...] = (
    Rule(
        _CONVERTED,
        tuple(op for op in ops.ALL_OPS if op.schema.layouts),
        _convert,
    ),
    MERGE_TRANSPOSES,
    Rule("unary(transpose(x)) = transpose(unary(x))", (ops.Unary, ops.Cast), _unary),
    Rule("binary(transpose(x), c or transpose(y)) = transpose(binary(x, y))", (ops.Binary,), _binary),
    Rule("concat(transpose(x)...) = transpose(concat(x...))", (ops.Concat,), _concat),
    Rule("move(transpose(x)) = transpose(move(x))", (ops.Pad, ops.Slice, ops.BroadcastTo), _moved),
    Rule("gather(transpose(x), i) = transpose(gather(x, i))", (ops.Gather,), _gathered),
    Rule("reduce(transpose(x)) = transpose(reduce(x))", (ops.Reduce, ops.ArgMax), _reduced),
)
