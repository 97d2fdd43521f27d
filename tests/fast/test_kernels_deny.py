"""Deny by default: no kernel takes a record, an attribute or a member of an enumeration that it does not know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, make_dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
import pytest

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.graph import Graph, Level, Node, TensorType
from smalti.ir.infer import make_node
from smalti.kernels.elementwise.functions import UNARY, unary_value
from smalti.kernels.epilogue.steps import ACTIVATIONS, activation
from smalti.kernels.kernel import asks
from smalti.kernels.registry import FUSED, KERNELS
from smalti.kernels.takes import may_take, takes, why_refused
from smalti.numerics import DType
from smalti.plan.planner import plan_graph
from smalti.target.target import Target

TARGETS = [Target.parse(name) for name in ("x86-64-v3", "x86-64-v4+vnni+bf16", "aarch64+i8mm+bf16")]
IMAGE = TensorType(DType.FLOAT32, (1, 4, 4, 8))
RESIZE = ops.Resize(ops.ResizeFn.BILINEAR, (8, 8))
RECORDS: tuple[ops.Op, ...] = (
    ops.Input(),
    ops.Constant(np.zeros(3, np.float32)),
    ops.SizeTensor((1,), (1,), DType.INT32),
    ops.Unary(ops.UnaryFn.RELU),
    ops.Binary(ops.BinaryFn.ADD),
    ops.Select(),
    ops.Cast(DType.FLOAT32),
    ops.Conv2d(),
    ops.BatchNorm(0.001),
    ops.Pool(ops.PoolFn.AVG, (2, 2), (1, 1)),
    ops.Reduce(ops.ReduceFn.SUM, (1,), True),
    ops.CumSum(1),
    ops.MatMul(),
    ops.Softmax(),
    ops.ArgMax(3, DType.INT32),
    RESIZE,
    ops.ResizeArgMax((RESIZE,), (8, 8), DType.INT32),
    ops.Concat(3),
    ops.Pad(((0, 0),) * 4),
    ops.Slice((0,) * 4, (1,) * 4, (1,) * 4),
    ops.Reshape((1, 128)),
    ops.Transpose((0, 1, 2, 3)),
    ops.BroadcastTo((1, 4, 4, 8)),
    ops.Gather(0),
    ops.GatherNd(),
    ops.GatherElements(0),
    ops.ScatterNd(ops.ScatterFn.ADD),
    ops.ScatterElements(0, ops.ScatterFn.ADD),
    ops.TopK(1, 0),
    ops.GridSample(ops.SampleFn.LINEAR, ops.SampleEdge.ZEROS, False),
    ops.Iota(0, 1, 3, DType.INT32),
    ops.SpaceToBatch((2, 2), (0, 0, 0, 0)),
    ops.BatchToSpace((2, 2), (0, 0, 0, 0)),
    ops.SpaceToDepth(2),
    ops.DepthToSpace(2),
    ops.Quantise(0.5),
    ops.Dequantise(0.5),
    ops.QuantisedConv2d(),
    ops.ImageConv2d(),
    ops.QuantisedMean((1, 2), True),
)
UNKNOWN = {ops.BatchNorm, ops.SpaceToBatch, ops.BatchToSpace}
"""Records of level imported: no kernel knows them."""


def attributes(op: ops.Op) -> list[Field[Any]]:
    return list(fields(op))  # type: ignore[arg-type]


def forged(kind: type[Enum]) -> Any:
    """Return a member that an enumeration does not have."""
    member = object.__new__(kind)
    member._name_, member._value_ = "MADE_UP", "made_up"
    return member


def _made_up_members() -> Iterator[tuple[ops.Op, str]]:
    for op in RECORDS:
        for field in attributes(op):
            value = getattr(op, field.name)
            if isinstance(value, Enum):
                yield replace(op, **{field.name: forged(type(value))}), field.name  # type: ignore[type-var]
    made_up = replace(RESIZE, fn=forged(ops.ResizeFn))
    yield ops.ResizeArgMax((made_up,), (8, 8), DType.INT32), "stages"


MADE_UP = list(_made_up_members())


def with_a_made_up_field(op: ops.Op, value: int) -> ops.Op:
    """Return the record with one more field than its type has; its default is 1."""
    kind = make_dataclass(type(op).__name__, [("made_up", int, 1)], bases=(type(op),), frozen=True, eq=False)
    return kind(**{f.name: getattr(op, f.name) for f in attributes(op)}, made_up=value)  # type: ignore[no-any-return]


def node_of(op: ops.Op) -> Node:
    """Return a node with that record, whatever it would compute."""
    x = make_node(ops.Input(), (), "x", IMAGE)
    return Node(op, (x, x, x), IMAGE, "here")


def refusal(node: Node, target: Target) -> str:
    """Return what the planner says of a graph with the node, once as its output and once inside it."""
    said = set()
    copied = Node(ops.Unary(ops.UnaryFn.NEG), (node,), IMAGE, "behind")
    for output in (node, copied):
        graph = Graph((node.inputs[0],), (output,), ("y",), Level.QUANTISED)
        with pytest.raises(CompilerError, match="here") as error:
            plan_graph(graph, target, KERNELS, fused=FUSED)
        said.add(str(error.value))
    assert len(said) == 1
    return said.pop()


def test_the_table_holds_every_record() -> None:
    assert {type(op) for op in RECORDS} == set(ops.ALL_OPS)


@pytest.mark.parametrize(("op", "name"), MADE_UP, ids=lambda v: v if isinstance(v, str) else type(v).__name__)
def test_a_made_up_member_is_refused_by_name(op: ops.Op, name: str) -> None:
    assert not any(may_take(k.takes, op) for k in (*KERNELS, *FUSED))
    for target in TARGETS:
        assert not any(asks(k, node_of(op), target) for k in KERNELS)
        said = refusal(node_of(op), target)
        assert name in said or type(op) in UNKNOWN


def test_made_up_members_cover_every_enumeration_of_the_records() -> None:
    kinds = {type(getattr(op, name)) for op, name in MADE_UP if name != "stages"}
    assert kinds == {
        ops.UnaryFn,
        ops.BinaryFn,
        ops.ReduceFn,
        ops.PoolFn,
        ops.PadMode,
        ops.ResizeFn,
        ops.Activation,
        ops.Layout,
        ops.SampleEdge,
        ops.SampleFn,
        ops.ScatterFn,
        DType,
    }


@pytest.mark.parametrize("op", RECORDS, ids=lambda op: type(op).__name__)
def test_a_made_up_field_is_refused_by_name(op: ops.Op) -> None:
    other = with_a_made_up_field(op, 2)
    assert not any(may_take(k.takes, other) for k in (*KERNELS, *FUSED))
    said = refusal(node_of(other), TARGETS[0])
    assert "made_up=2" in said or type(op) in UNKNOWN
    # With the default value it is still another record than the one that kernels know.
    assert not any(may_take(k.takes, with_a_made_up_field(op, 1)) for k in (*KERNELS, *FUSED))
    assert type(op).__name__ in refusal(node_of(with_a_made_up_field(op, 1)), TARGETS[0])


@pytest.mark.parametrize("op", RECORDS, ids=lambda op: type(op).__name__)
def test_records_as_they_are_have_takers(op: ops.Op) -> None:
    takers = [k.name for k in KERNELS if may_take(k.takes, op)]
    assert bool(takers) == (type(op) not in {*UNKNOWN, ops.Input, ops.Constant})


def test_every_declared_attribute_exists() -> None:
    for kernel in (*KERNELS, *FUSED):
        for one in kernel.takes:
            known = {f.name: f for f in attributes(next(op for op in RECORDS if type(op) is one.op))}
            assert {name for name, _ in one.attributes} <= set(known), kernel.name
            needed = {name for name, field in known.items() if field.default is MISSING}
            assert needed <= {name for name, _ in one.attributes}, kernel.name


def test_what_all_who_know_a_record_refuse_is_named() -> None:
    some = takes(ops.Conv2d, "stride"), takes(ops.Conv2d, "dilation", "stride")
    said = why_refused(some, ops.Conv2d(dilation=(2, 2), bias=True))
    assert said == "no kernel takes Conv2d with bias=True"
    assert "dilation=(2, 2)" in why_refused((some[0],), ops.Conv2d(dilation=(2, 2), bias=True))
    assert why_refused(some, ops.Softmax()) == "no kernel takes Softmax"


def test_functions_and_activations_end_in_a_refusal() -> None:
    with pytest.raises(CompilerError, match="no code for the activation made_up"):
        activation(forged(ops.Activation))
    assert frozenset(ops.Activation) == ACTIVATIONS
    assert set(ops.UnaryFn) == set(UNARY)

    class Float:
        type = "float"

    with pytest.raises(CompilerError, match="no code for made_up"):
        unary_value(None, forged(ops.UnaryFn), Float(), DType.FLOAT32, 0.0)  # type: ignore[arg-type]
