"""Einstein sums: transposes, sums, and matrix products of two operands at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from smalti.errors import GraphError
from smalti.frontend.context import Lowering
from smalti.frontend.lower.checks import Size
from smalti.frontend.lower.steps import Steps
from smalti.frontend.values import Value
from smalti.ir import ops
from smalti.ir.dims import product
from smalti.ir.graph import Node
from smalti.ir.ops import BinaryFn, ReduceFn
from smalti.numerics import DType

MAX_EQUATION = 512
_ELLIPSIS = "..."


@dataclass(frozen=True, slots=True)
class Equation:
    """The labels of the dimensions of every operand and of the result; those of an ellipsis are ``.0``, ``.1``, ..."""

    operands: tuple[tuple[str, ...], ...]
    result: tuple[str, ...]


def parse(text: str, ranks: Sequence[int]) -> Equation:
    """Return the labels that an equation gives to operands of these ranks.

    Raises:
        GraphError: it is none, or does not fit the operands.
    """
    shown = text if len(text) <= 80 else f"{text[:80]}..."
    if len(text) > MAX_EQUATION:
        raise GraphError(f"an equation of {len(text)} characters; the limit is {MAX_EQUATION}")
    left, arrow, right = text.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise GraphError(f"the equation {shown!r} has {len(terms)} terms for {len(ranks)} operands")
    hidden = {r - len(t.replace(_ELLIPSIS, "", 1)) for t, r in zip(terms, ranks, strict=True) if _ELLIPSIS in t}
    if any(n < 0 for n in hidden):
        raise GraphError(f"the equation {shown!r} names more dimensions than an operand has")
    dots = tuple(f".{i}" for i in range(max(hidden, default=0)))
    operands = tuple(
        _labels(t, dots[len(dots) - (r - len(t) + 3) :] if _ELLIPSIS in t else (), shown)
        for t, r in zip(terms, ranks, strict=True)
    )
    for labels, rank in zip(operands, ranks, strict=True):
        if len(labels) != rank:
            raise GraphError(f"the equation {shown!r} names {len(labels)} dimensions of an operand that has {rank}")
    named = [label for labels in operands for label in labels]
    if arrow:
        result = _labels(right, dots, shown)
    else:
        result = (*dots, *sorted(n for n in set(named) if not n.startswith(".") and named.count(n) == 1))
    if len(set(result)) != len(result) or not set(result) <= set(named):
        raise GraphError(f"the result of the equation {shown!r} repeats or invents a dimension")
    return Equation(operands, result)


def einsum(ctx: Lowering, text: str, values: Sequence[Value]) -> Value:
    """The sum of products that an equation says, of numbers of one type."""
    if any(v.type.dtype is not values[0].type.dtype for v in values):
        ctx.invalid("the operands have different types")
    if values[0].type.dtype is DType.BOOL:
        ctx.unsupported("element type bool")
    equation = parse(text, [v.type.rank for v in values])
    s = Steps(ctx, values[0].type.dtype, exact=True)
    operands = [_without_twins(ctx, s, ctx.node_of(v), n) for v, n in zip(values, equation.operands, strict=True)]
    total, labels = operands[0]
    for i, operand in enumerate(operands[1:], 1):
        later = {label for others in equation.operands[i + 1 :] for label in others}
        total, labels = _multiplied(ctx, s, (total, labels), operand, later | set(equation.result))
    total, labels = _summed(s, total, labels, set(equation.result))
    return s.result(_ordered(s, total, labels, equation.result))


def _labels(term: str, dots: tuple[str, ...], shown: str) -> tuple[str, ...]:
    before, found, after = term.partition(_ELLIPSIS)
    if not all(c.isascii() and c.isalpha() for c in before + after):
        raise GraphError(f"the equation {shown!r} has a term {term[:20]!r}")
    return (*before, *(dots if found else ()), *after)


_Labelled = tuple[Node, tuple[str, ...]]


def _without_twins(ctx: Lowering, s: Steps, node: Node, labels: tuple[str, ...]) -> _Labelled:
    """Return an operand that names no dimension twice: of two of one name the diagonal is taken."""
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            others = tuple(i for i in range(len(labels)) if i not in (first, second))
            count, rest = node.type.shape[first], tuple(node.type.shape[i] for i in others)
            if not isinstance(count, int) or count != node.type.shape[second]:
                ctx.unsupported(f"the diagonal of a tensor of sizes {count} and {node.type.shape[second]}")
            moved = s.op(ops.Transpose((*others, first, second)), node)
            flat = s.op(ops.Reshape((*rest, count * count)), moved)
            stride = (*(1 for _ in others), count + 1)
            node = s.op(ops.Slice((0,) * len(stride), (*rest, count), stride), flat)
            labels = (*(labels[i] for i in others), label)
    return node, labels


def _multiplied(ctx: Lowering, s: Steps, a: _Labelled, b: _Labelled, kept: set[str]) -> _Labelled:
    """Return the product of two operands, summed over the labels that nobody needs any more."""
    a = _summed(s, *a, kept | set(b[1]))
    b = _summed(s, *b, kept | set(a[1]))
    shared = [n for n in a[1] if n in b[1]]
    sizes = {n: _size(ctx, n, a, b) for n in dict.fromkeys((*a[1], *b[1]))}
    inner = [n for n in shared if n not in kept and n in a[1]]
    if any(_extent(a, n) != _extent(b, n) for n in inner):
        ctx.unsupported("a sum over a dimension that is broadcast")
    if not inner:
        return _broadcast_product(s, a, b, shared)
    batch = [n for n in shared if n in kept]
    rows, columns = ([n for n in labels if n not in shared] for labels in (a[1], b[1]))
    left = _ordered(s, *a, (*batch, *rows, *inner))
    right = _ordered(s, *b, (*batch, *inner, *columns))
    depth = product(sizes[n] for n in inner)
    heads = [tuple(_extent(o, n) for n in batch) for o in (a, b)]
    left = s.op(ops.Reshape((*heads[0], product(sizes[n] for n in rows), depth)), left)
    right = s.op(ops.Reshape((*heads[1], depth, product(sizes[n] for n in columns))), right)
    result = s.op(ops.MatMul(), left, right)
    labels = (*batch, *rows, *columns)
    return s.op(ops.Reshape(tuple(sizes[n] for n in labels)), result), labels


def _broadcast_product(s: Steps, a: _Labelled, b: _Labelled, shared: list[str]) -> _Labelled:
    rows, columns = ([n for n in labels if n not in shared] for labels in (a[1], b[1]))
    left = _ordered(s, *a, (*shared, *rows))
    right = _ordered(s, *b, (*shared, *columns))
    if columns and rows:
        left = s.op(ops.Reshape((*left.type.shape, *(1,) * len(columns))), left)
        common = right.type.shape[: len(shared)]
        right = s.op(ops.Reshape((*common, *(1,) * len(rows), *right.type.shape[len(shared) :])), right)
    elif columns:
        left = s.op(ops.Reshape((*left.type.shape, *(1,) * len(columns))), left)
    elif rows:
        right = s.op(ops.Reshape((*right.type.shape, *(1,) * len(rows))), right)
    return s.binary(BinaryFn.MUL, left, right), (*shared, *rows, *columns)


def _summed(s: Steps, node: Node, labels: tuple[str, ...], kept: set[str]) -> _Labelled:
    axes = tuple(i for i, n in enumerate(labels) if n not in kept)
    if not axes:
        return node, labels
    return s.op(ops.Reduce(ReduceFn.SUM, axes, False), node), tuple(n for n in labels if n in kept)


def _ordered(s: Steps, node: Node, labels: tuple[str, ...], wanted: tuple[str, ...]) -> Node:
    perm = tuple(labels.index(n) for n in wanted)
    return node if perm == tuple(range(len(perm))) else s.op(ops.Transpose(perm), node)


def _extent(operand: _Labelled, label: str) -> Size:
    return operand[0].type.shape[operand[1].index(label)]


def _size(ctx: Lowering, label: str, *operands: _Labelled) -> Size:
    """Return the size of a label; one of two operands may have 1 there, as in broadcasting."""
    found = [_extent(o, label) for o in operands if label in o[1]]
    size = next((n for n in found if n != 1), 1)
    if any(n not in (1, size) for n in found):
        ctx.invalid(f"the sizes {[str(n) for n in found]} of the dimension {label} differ")
    return size
