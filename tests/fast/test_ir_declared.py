"""Nothing of an operation is allowed that nobody declared: members of enums, attributes, whole records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, make_dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
import pytest

from quantised_graphs import graph_of_quantised_operations
from random_graphs import graph_of_everything
from smalti.bench.limits import WEIGHTED
from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.graph import Graph, Level, Node
from smalti.ir.infer import infer_type, make_node
from smalti.ir.reference import run
from smalti.ir.schema import (
    Array,
    Op,
    by_name,
    eval_op,
    is_weighted,
    operand_names,
    operation,
    schema_of,
    size_attributes,
)
from smalti.ir.types import TensorType
from smalti.ir.verify import verify
from smalti.numerics import DType
from smalti.plan.cost import multiply_adds
from tolerance import Tol, assert_close

X = TensorType(DType.FLOAT32, (1, 4, 4, 2))
_ENUMS = [(op, name) for op in ops.ALL_OPS for name in op.schema.values]


def _member(kind: type[Enum]) -> Enum:
    """Return a member that the enum never had."""
    made = object.__new__(kind)
    made._name_, made._value_ = "MADE_UP", "made_up"
    return made


def _nodes() -> Iterator[Node]:
    for level in (Level.IMPORTED, Level.CANONICAL):
        yield from graph_of_everything(level).nodes()
    yield from graph_of_quantised_operations().nodes()


def _example(op: type[Op]) -> Node:
    return next(node for node in _nodes() if type(node.op) is op)


def _replaced(op: Op, **changes: Any) -> Op:
    changed: Any = op
    return replace(changed, **changes)


def test_every_operation_has_an_example() -> None:
    assert {type(node.op) for node in _nodes()} == set(ops.ALL_OPS)


@pytest.mark.parametrize(("op", "name"), _ENUMS, ids=[f"{op.__name__}.{name}" for op, name in _ENUMS])
def test_a_member_that_nobody_declared_is_refused_everywhere(op: type[Op], name: str) -> None:
    node = _example(op)
    planted = _replaced(node.op, **{name: _member(type(getattr(node.op, name)))})
    said = f"{name} is 'made_up'"
    with pytest.raises(CompilerError, match=said):
        infer_type(planted, tuple(n.type for n in node.inputs))
    with pytest.raises(CompilerError, match=said):
        make_node(planted, node.inputs)
    with pytest.raises(CompilerError, match=said):
        eval_op(planted, [np.zeros(1, np.float32)] * len(node.inputs), {})
    with pytest.raises(CompilerError, match=said):
        verify(_around(replace(node, op=planted)))


def _around(node: Node) -> Graph:
    inputs = tuple(n for n in Graph((), (node,), ("y",), Level.IMPORTED).nodes() if isinstance(n.op, ops.Input))
    return Graph(inputs, (node,), ("y",), Level.QUANTISED)


@pytest.mark.parametrize("op", ops.ALL_OPS, ids=lambda op: op.__name__)
def test_a_record_with_one_more_attribute_is_refused_everywhere(op: type[Op]) -> None:
    node = _example(op)
    wider = make_dataclass(op.__name__, [("made_up", int, 2)], bases=(op,), frozen=True, slots=True)
    declared = fields(node.op) if is_dataclass(node.op) else ()
    planted: Op = wider(**{f.name: getattr(node.op, f.name) for f in declared}, made_up=2)
    said = f"{op.__name__} is not declared as an operation"
    with pytest.raises(CompilerError, match=said):
        infer_type(planted, tuple(n.type for n in node.inputs))
    with pytest.raises(CompilerError, match=said):
        eval_op(planted, [], {})
    with pytest.raises(CompilerError, match=said):
        verify(_around(replace(node, op=planted)))
    with pytest.raises(CompilerError, match=f"{op.__name__}.meaning takes"):
        operation(*_spelled(op), values=op.schema.values, silent=_silent(op))(wider)


def _spelled(op: type[Op]) -> tuple[str, ...]:
    return tuple(o.name + "?" * o.optional + "*" * o.many for o in op.schema.operands)


def _silent(op: type[Op]) -> tuple[str, ...]:
    flags = {o.name for o in op.schema.operands}
    return tuple(f.name for f in fields(op) if f.name not in (*op.schema.keywords, *flags))  # type: ignore[arg-type]


def test_an_enum_attribute_must_say_which_members_it_takes() -> None:
    with pytest.raises(CompilerError, match=r"Careless must say which members \['fn'\] takes"):

        @operation("x")
        @dataclass(frozen=True, slots=True)
        class Careless(Op):
            fn: ops.UnaryFn

            def result(self, x: TensorType) -> TensorType:
                return x

            @staticmethod
            def meaning(x: Array, *, fn: ops.UnaryFn) -> Array:
                return x


def test_a_meaning_must_take_the_operands() -> None:
    with pytest.raises(CompilerError, match="Careless.meaning takes"):

        @operation("x", "weights")
        @dataclass(frozen=True, slots=True)
        class Careless(Op):
            def result(self, x: TensorType, weights: TensorType) -> TensorType:
                return x

            @staticmethod
            def meaning(x: Array) -> Array:
                return x


def test_every_member_of_an_enum_is_declared_by_some_operation() -> None:
    """A member that no operation takes would be dead; one that all take by accident cannot be: sets are written out."""
    for op, name in _ENUMS:
        kind = type(next(iter(op.schema.values[name])))
        if kind is not DType:
            assert op.schema.values[name] == frozenset(kind), f"{op.__name__}.{name}"


def test_operands_are_read_by_name() -> None:
    x = make_node(ops.Input(), (), "x:0", X)
    weights = make_node(ops.Constant(np.ones((1, 1, 2, 2), np.float32)))
    bias = make_node(ops.Constant(np.ones(2, np.float32)))
    conv = make_node(ops.Conv2d(residual=True), (x, weights, x))
    assert (conv.x, conv.weights, conv.bias, conv.residual) == (x, weights, None, x)
    conv = make_node(ops.Conv2d(bias=True), (x, weights, bias))
    assert (conv.bias, conv.residual) == (bias, None)
    assert operand_names(conv.op) == ("x", "weights", "bias")
    assert by_name(ops.Concat(0), (1, 2, 3)) == ((1, 2, 3), {})
    with pytest.raises(CompilerError, match="has no operand 'weights'"):
        _ = make_node(ops.Unary(ops.UnaryFn.RELU), (x,)).weights


def test_work_is_counted_where_there_are_weights() -> None:
    for node in _nodes():
        assert bool(node.op.multiply_adds) == is_weighted(node.op)
        if is_weighted(node.op):
            assert multiply_adds(node) != 0
    assert {op.__name__ for op in ops.ALL_OPS if op.multiply_adds} == WEIGHTED


def test_sizes_are_found_wherever_they_stand() -> None:
    stages = (ops.Resize(ops.ResizeFn.BILINEAR, (9, 8)), ops.Resize(ops.ResizeFn.BILINEAR, (7, 6)))
    assert sorted(map(str, size_attributes(ops.ResizeArgMax(stages, (5, 4), DType.INT32)))) == list("456789")
    assert size_attributes(ops.Pad(((1, 2), (3, 4)))) == (1, 2, 3, 4)
    assert size_attributes(ops.Pool(ops.PoolFn.MAX, (2, 2), (2, 2), (1, 2, 3, 4))) == (1, 2, 3, 4)
    assert schema_of(ops.Slice((0,), (1,), (-1,))).sizes == ("begin", "size")


@pytest.mark.parametrize("groups", (1, 2, 4))
def test_grouped_convolution_is_convolutions_side_by_side(groups: int) -> None:
    rng = np.random.default_rng(groups)
    x = rng.normal(size=(2, 6, 5, 8)).astype(np.float32)
    w = rng.normal(size=(3, 3, 8 // groups, 12)).astype(np.float32)
    graph_x = make_node(ops.Input(), (), "x:0", TensorType(DType.FLOAT32, x.shape))
    conv = ops.Conv2d(stride=(2, 1), pads=(1, 1, 1, 1), groups=groups)
    node = make_node(conv, (graph_x, make_node(ops.Constant(_frozen(w)))))
    got = run(Graph((graph_x,), (node,), ("y:0",), Level.CANONICAL), {"x:0": x})["y:0"]
    cin, cout = 8 // groups, 12 // groups
    for g in range(groups):
        plain = eval_op(
            replace(conv, groups=1), (x[..., g * cin : (g + 1) * cin], w[..., g * cout : (g + 1) * cout]), {}
        )
        assert_close(got[..., g * cout : (g + 1) * cout], plain, Tol.FLOAT(reduction=9 * cin))


def _frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array
