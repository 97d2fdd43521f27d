"""Planning: which kernel takes a node, which memory a tensor gets, and for how long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.dims import symbol
from smalti.ir.graph import Graph, Level, Node, TensorType
from smalti.ir.infer import constant, make_node
from smalti.ir.ops import BinaryFn, Op, UnaryFn
from smalti.kernels import takes as declared
from smalti.kernels.kernel import KernelPlan, Readers, StepEmitter
from smalti.kernels.registry import FUSED, KERNELS
from smalti.numerics import DType
from smalti.plan.planner import plan_graph, scratch_stride
from smalti.plan.schedule import BufferRef, Place
from smalti.target.target import Target

TARGET = Target.parse("x86-64-v3")
H = symbol("H", 1, 100)


@dataclass(frozen=True)
class Takes:
    """A kernel that takes nodes of some kinds."""

    name: str
    kinds: tuple[type[Op], ...]
    scratch: tuple[int, ...] = ()
    takes: ClassVar[tuple[declared.Takes, ...]] = (
        declared.takes(ops.Unary, fn=frozenset(UnaryFn)),
        declared.takes(ops.Binary, fn=frozenset(BinaryFn)),
        declared.takes(ops.Reshape, "shape"),
    )

    def accepts(self, node: Node, target: Target) -> bool:
        return isinstance(node.op, self.kinds)

    def plan(self, node: Node, target: Target) -> KernelPlan:
        return KernelPlan(operands=tuple(range(len(node.inputs))), scratch=self.scratch)

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class Fuses:
    """A kernel that computes a binary operation together with the negation it reads."""

    name: str = "fused"
    takes: ClassVar[tuple[declared.Takes, ...]] = (declared.takes(ops.Binary, fn=frozenset(BinaryFn)),)
    seen: dict[str, int] = field(default_factory=dict)

    def matches(self, node: Node, target: Target, readers: Readers) -> bool:
        self.seen.update({n.name: count for n, count in readers.items()})
        return isinstance(node.op, ops.Binary) and isinstance(node.inputs[0].op, ops.Unary)

    def plan(self, node: Node, target: Target) -> KernelPlan:
        return KernelPlan(operands=((0, 0), 1), absorbs=((0,),))

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        raise NotImplementedError


ANY = Takes("any", (ops.Unary, ops.Binary, ops.Reshape))


def image(name: str = "x") -> Node:
    return make_node(ops.Input(), (), name, TensorType(DType.FLOAT32, (2, H)))


def negated(node: Node, name: str) -> Node:
    return make_node(ops.Unary(UnaryFn.NEG), (node,), name)


def added(a: Node, b: Node, name: str) -> Node:
    return make_node(ops.Binary(BinaryFn.ADD), (a, b), name)


def graph(inputs: tuple[Node, ...], *outputs: Node) -> Graph:
    return Graph(inputs, outputs, tuple(f"y{i}" for i in range(len(outputs))), Level.CANONICAL)


def test_the_first_kernel_that_accepts_a_node_takes_it() -> None:
    x = image()
    first = Takes("binary only", (ops.Binary,))
    plan = plan_graph(graph((x,), added(negated(x, "a"), x, "b")), TARGET, (first, ANY))
    assert [step.kernel.name for step in plan.steps] == ["any", "binary only"]


def test_a_node_without_a_kernel_is_an_error() -> None:
    x = image()
    with pytest.raises(CompilerError, match=r"no kernel for .*Unary.* on x86-64-v3"):
        plan_graph(graph((x,), negated(x, "a")), TARGET, (Takes("none", ()),))


@pytest.mark.parametrize("quantised", (False, True))
def test_a_convolution_in_groups_is_given_to_the_generic_kernel_alone(quantised: bool) -> None:
    x = make_node(ops.Input(), (), "x", TensorType(DType.FLOAT32, (1, H, 8, 4)))
    weights = constant(np.ones((3, 3, 2, 6), np.float32), "w")
    y = make_node(ops.Conv2d(groups=2), (x, weights), "conv")
    if quantised:
        y = make_node(ops.Quantise(0.5), (y,), "steps")
    plan = plan_graph(graph((x,), y), TARGET, KERNELS, fused=FUSED)
    assert [step.kernel.name for step in plan.steps] == ["conv_generic", *(["quantise"] if quantised else [])]


def test_a_forced_plan_replaces_the_kernels_own() -> None:
    x = image()
    forced: Mapping[str, KernelPlan] = {"a": KernelPlan(operands=(0,), tile="mine")}
    plan = plan_graph(graph((x,), added(negated(x, "a"), x, "b")), TARGET, (ANY,), forced, (Fuses(),))
    assert [step.plan.tile for step in plan.steps if step.node.name == "a"] in ([], ["mine"])
    only_negated = plan_graph(graph((x,), negated(x, "a")), TARGET, (ANY,), forced)
    assert only_negated.steps[0].plan.tile == "mine"


def test_a_temporary_lives_from_its_step_to_its_last_reader() -> None:
    x = image()
    a = negated(x, "a")
    b = negated(a, "b")
    c = added(b, a, "c")
    plan = plan_graph(graph((x,), negated(c, "d")), TARGET, (ANY,))
    assert [(buffer.name, buffer.first, buffer.last) for buffer in plan.arena] == [
        ("a", 0, 2),
        ("b", 1, 2),
        ("c", 2, 3),
    ]
    assert all(buffer.size == a.type.nbytes for buffer in plan.arena)
    assert plan.steps[0].operands == (BufferRef(Place.INPUT, 0),)
    assert plan.steps[-1].result == BufferRef(Place.OUTPUT, 0)


def test_a_reshape_shares_its_operands_memory_and_keeps_it_alive() -> None:
    x = image()
    a = negated(x, "a")
    flat = make_node(ops.Reshape((H * 2,)), (a,), "flat")
    b = negated(a, "b")
    flat_b = make_node(ops.Reshape((H * 2,)), (b,), "flat_b")
    plan = plan_graph(graph((x,), added(flat, flat_b, "c")), TARGET, (ANY,))
    assert [step.node.name for step in plan.steps] == ["a", "b", "c"]
    assert plan.steps[2].operands == (plan.steps[0].result, plan.steps[1].result)
    assert [buffer.last for buffer in plan.arena] == [2, 2]


def test_every_output_is_written_to_memory_of_its_own() -> None:
    x = image()
    a = negated(x, "a")
    one = constant(np.ones((2,), np.float32), "one")
    flat = make_node(ops.Reshape((H * 2,)), (a,), "flat")
    plan = plan_graph(graph((x,), a, a, x, one, flat), TARGET, (ANY,))
    written = [step.result for step in plan.steps if step.result.place is Place.OUTPUT]
    assert sorted(ref.index for ref in written) == [0, 1, 2, 3, 4]
    copies = {step.result.index: step.operands[0] for step in plan.steps if isinstance(step.node.op, ops.Reshape)}
    first = BufferRef(Place.OUTPUT, 0)
    assert copies[1] == first and copies[4] == first
    assert copies[2] == BufferRef(Place.INPUT, 0) and copies[3].place is Place.CONSTANT


def test_a_constant_is_stored_once_however_often_it_is_read() -> None:
    x = image()
    two = constant(np.full((2, 1), 2, np.float32), "two")
    plan = plan_graph(graph((x,), added(added(x, two, "a"), two, "b")), TARGET, (ANY,))
    assert len(plan.constants) == 1
    assert [step.operands[1] for step in plan.steps] == [BufferRef(Place.CONSTANT, 0)] * 2


def test_a_fused_kernel_takes_several_nodes() -> None:
    x = image()
    fuses = Fuses()
    plan = plan_graph(graph((x,), added(negated(x, "a"), x, "b")), TARGET, (ANY,), fused=(fuses,))
    (step,) = plan.steps
    assert step.kernel is fuses and not plan.arena
    assert [node.name for node in step.nodes] == ["a", "b"]
    assert step.operands == (BufferRef(Place.INPUT, 0),) * 2
    assert fuses.seen == {"x": 2, "a": 1, "b": 1}


def test_outputs_count_as_readers() -> None:
    x = image()
    a = negated(x, "a")
    fuses = Fuses()
    plan_graph(graph((x,), added(negated(x, "n"), a, "b"), a), TARGET, (ANY,), fused=(fuses,))
    assert fuses.seen["a"] == 2


def test_scratch_belongs_to_each_thread_and_to_one_step() -> None:
    x = image()
    scratchy = Takes("scratchy", (ops.Unary,), scratch=(100, 64))
    plan = plan_graph(graph((x,), negated(negated(x, "a"), "b")), TARGET, (scratchy,))
    scratch = [buffer for buffer in plan.arena if buffer.per_thread]
    assert [(buffer.size, buffer.first, buffer.last) for buffer in scratch] == [
        (128, 0, 0),
        (64, 0, 0),
        (128, 1, 1),
        (64, 1, 1),
    ]
    assert [len(step.scratch) for step in plan.steps] == [2, 2]


def test_scratch_of_neighbouring_threads_shares_no_cache_line() -> None:
    assert [scratch_stride(size) for size in (0, 1, 64, 65)] == [0, 64, 64, 128]


def test_a_plan_can_be_printed() -> None:
    x = image()
    text = str(plan_graph(graph((x,), added(negated(x, "a"), x, "b")), TARGET, (ANY,)))
    assert "plan for x86-64-v3" in text
    assert "output0 = any(arena0, input0)" in text and "# b" in text
    assert "steps 0..1  # a" in text
