"""The text of a module: its steps, barriers, work counters and context, and the manifest made with it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar
from unittest import mock

import numpy as np
import pytest
from llvmlite import binding

from smalti.artifact.abi import counters, taken
from smalti.artifact.manifest import TeamEntries
from smalti.codegen.assemble import build_manifest
from smalti.codegen.constants import ConstantPool
from smalti.codegen.module import BARRIER, build_module
from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.dims import symbol
from smalti.ir.graph import Graph, Level, Node, TensorType
from smalti.ir.infer import constant, make_node
from smalti.ir.ops import BinaryFn, UnaryFn
from smalti.kernels.kernel import FunctionEmitter, KernelPlan, StepEmitter
from smalti.kernels.registry import KERNELS
from smalti.kernels.takes import Takes, takes
from smalti.llvm.builder import F32, I64, PTR
from smalti.numerics import DType
from smalti.plan.planner import plan_graph
from smalti.plan.schedule import Plan
from smalti.target.target import Target

TARGET = Target.parse("x86-64-v3")
ABOUT = {
    "precision": "force_float32",
    "batch_size": None,
    "shape_mutable": True,
    "labels": None,
    "producer": {},
    "graph": {},
    "preprocess": {},
    "report": {},
    "team": TeamEntries(1, 2),
}


@dataclass(frozen=True)
class Writes:
    """A kernel whose step is written by a function."""

    body: Callable[[StepEmitter, Node], None]
    name: str = "writes"
    takes: ClassVar[tuple[Takes, ...]] = (takes(ops.Binary, fn=frozenset(BinaryFn)),)

    def accepts(self, node: Node, target: Target) -> bool:
        return True

    def plan(self, node: Node, target: Target) -> KernelPlan:
        values = [n.op.value for n in node.inputs if isinstance(n.op, ops.Constant)]
        return KernelPlan(operands=(0,), constants=tuple(values), scratch=(10,))

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        self.body(e, node)


def chain(length: int = 2) -> Graph:
    x = make_node(ops.Input(), (), "x", TensorType(DType.FLOAT32, (1, symbol("H"), 3)))
    node = x
    for i in range(length):
        factor = constant(np.full((3,), i + 2, np.float32), f"factor{i}")
        node = make_node(ops.Binary(BinaryFn.MUL), (node, factor), f"node{i}")
    return Graph((x,), (node,), ("y",), Level.CANONICAL)


def written(body: Callable[[StepEmitter, Node], None], length: int = 1) -> tuple[Plan, str]:
    plan = plan_graph(chain(length), TARGET, (Writes(body),))
    return plan, build_module(plan).text


def body_of(text: str, name: str) -> str:
    """Return the text of one function."""
    found = re.search(rf'^define [^\n]*@"?{name}"?\(.*?^}}', text, re.MULTILINE | re.DOTALL)
    assert found is not None, name
    return found.group()


def test_llvm_accepts_the_module() -> None:
    for target in ("x86-64-v2", "x86-64-v4", "aarch64"):
        text = build_module(plan_graph(chain(), Target.parse(target), KERNELS)).text
        binding.parse_assembly(text).verify()


def test_every_step_waits_for_its_items() -> None:
    module = build_module(plan_graph(chain(3), TARGET, KERNELS))
    steps = re.findall(r'call void @"?(step_\d+_\w+)', body_of(module.text, module.entry))
    assert [name[:6] for name in steps] == ["step_0", "step_1", "step_2"]
    for name in steps:
        tail = body_of(module.text, name).rpartition("finished:")[2]
        assert re.findall(r'call void @"?(\w+)', tail) == [BARRIER]


@pytest.mark.parametrize("place", ["before", "behind"])
def test_a_kernel_must_not_write_outside_its_items(place: str) -> None:
    """A thread that comes late would write into memory that later steps already use."""

    def emit(self: Any, e: Any, node: Node, plan: KernelPlan) -> None:
        zero = e.fn.f32(0.0)
        if place == "before":
            e.fn.store(zero, e.result())
        with e.parallel(1):
            e.fn.store(zero, e.result())
        if place == "behind":
            e.fn.store(zero, e.result())

    plan = plan_graph(chain(1), TARGET, KERNELS)
    with mock.patch.object(type(plan.steps[0].kernel), "emit", emit):
        with pytest.raises(CompilerError, match="has effects outside its work items"):
            build_module(plan)


def test_only_the_entry_is_visible() -> None:
    text = build_module(plan_graph(chain(), TARGET, KERNELS)).text
    defined = re.findall(r"^define (.*?)@", text, re.MULTILINE)
    assert sum("internal" not in words for words in defined) == 1
    declared = re.findall(r'^declare .*?@"?([\w.]+)', text, re.MULTILINE)
    assert declared and all(name.startswith("llvm.") for name in declared), "code calls no library"


def test_the_same_plan_gives_the_same_text() -> None:
    plan = plan_graph(chain(), TARGET, KERNELS)
    assert build_module(plan).text == build_module(plan).text


def test_every_step_has_a_counter_on_a_line_of_its_own() -> None:
    plan = plan_graph(chain(3), TARGET, KERNELS)
    module = build_module(plan)
    assert module.counters == counters(3)
    offsets = []
    for i in range(3):
        text = _step_text(module.text, i)
        counter = re.findall(r"atomicrmw add ptr (\S+),", text)
        offsets += re.findall(rf"{counter[0]} = getelementptr i8, ptr \S+, i64 (\d+)\n", text)
    assert [int(offset) for offset in offsets] == [4 * taken(i) for i in range(3)]


def _step_text(text: str, number: int) -> str:
    return body_of(text, rf"step_{number}_\w+").replace('"', "")


def test_constants_lie_on_lines_of_their_own() -> None:
    plan = plan_graph(chain(2), TARGET, KERNELS)
    pool = ConstantPool()
    module = build_module(plan, pool)
    section = pool.section()
    assert len(section) == module.constant_bytes == 128
    assert module.constant_offsets == (0, 64)
    for offset, value in zip(module.constant_offsets, plan.constants, strict=True):
        assert section[offset : offset + value.nbytes] == value.tobytes()
    assert set(section[12:64]) == {0}


def test_work_can_be_handed_out_once_in_a_step() -> None:
    def twice(e: StepEmitter, node: Node) -> None:
        for _ in range(2):
            with e.parallel(4):
                pass

    with pytest.raises(CompilerError, match="distributes work twice"):
        written(twice)


def test_addresses_and_sizes_are_loaded_before_the_work() -> None:
    def late(e: StepEmitter, node: Node) -> None:
        with e.parallel(e.size(symbol("H"))), e.fn.loop(0, 3) as i:
            address = e.fn.at(e.result(), e.fn.mul(i, e.size(symbol("H") * 4)))
            value = e.fn.load(F32, e.constant(0))
            e.fn.store(value, address)
            e.fn.store(value, e.scratch(0))

    plan, text = written(late)
    binding.parse_assembly(text).verify()
    assert [buffer.per_thread for buffer in plan.arena] == [True]
    entry = body_of(text, "step_0_writes").split("main:")[0]
    assert entry.count("load ptr") >= 4 and "load i64" in entry


def test_an_address_is_loaded_once() -> None:
    def again(e: StepEmitter, node: Node) -> None:
        with e.parallel(1):
            for _ in range(5):
                e.fn.store(e.fn.load(F32, e.operand(0)), e.result())

    _, text = written(again)
    # One load each of the table of inputs and outputs and of the address, for the operand and for the result; one of
    # the work counters.
    assert body_of(text, "step_0_writes").count("load ptr") == 5


def store_numbers(e: FunctionEmitter, number: float) -> None:
    """A builder: stores a number."""
    e.fn.store(e.fn.f32(number), e.fn.args[0])
    e.fn.finish()


def store_others(e: FunctionEmitter, number: float) -> None:
    """Another one with specifications of the same type."""
    store_numbers(e, -number)


def test_a_function_is_shared_between_steps() -> None:
    def body(e: StepEmitter, node: Node) -> None:
        with e.parallel(1):
            e.fn.call(e.function(store_numbers, 1.0, (PTR, I64)), e.result(), 7)

    _, text = written(body, length=3)
    assert len(re.findall(r"define internal void .*store_numbers", text)) == 1
    assert len(re.findall(r'call void @"?store_numbers', text)) == 3


def test_a_function_is_known_by_its_builder_and_its_specification() -> None:
    def body(e: StepEmitter, node: Node) -> None:
        with e.parallel(1):
            made = [e.function(b, n, (PTR,)) for b in (store_numbers, store_others) for n in (1.0, 2.0, 1.0)]
            assert made[0] is made[2] and made[3] is made[5]
            assert len(set(made)) == 4
            for function in made:
                e.fn.call(function, e.result())

    _, text = written(body)
    names = re.findall(r'define internal void @"?(store_\w+\.\d)', text)
    assert names == ["store_numbers.0", "store_numbers.1", "store_others.0", "store_others.1"]


class Builders:
    """Builders that know more than their specification says."""

    def __init__(self, number: float) -> None:
        self.number = number

    def method(self, e: FunctionEmitter, spec: int) -> None:
        """A bound method knows its object."""
        store_numbers(e, self.number)


@pytest.mark.parametrize("kind", ("closure", "method", "partial"))
def test_a_builder_knows_nothing_but_its_specification(kind: str) -> None:
    def body(e: StepEmitter, node: Node) -> None:
        def closure(inner: FunctionEmitter, spec: int) -> None:
            store_numbers(inner, float(len(node.name)))

        build: Any = {"closure": closure, "method": Builders(2.0).method, "partial": partial(store_numbers)}[kind]
        with e.parallel(1):
            e.function(build, 1, (PTR,))

    with pytest.raises(CompilerError, match="no plain function"):
        written(body)


def test_the_manifest_describes_steps_and_memory() -> None:
    plan = plan_graph(chain(3), TARGET, KERNELS)
    module = build_module(plan)
    made = build_manifest(plan, module, 0, ABOUT)
    assert [(s.name, s.op) for s in made.steps] == [(f"node{i}", "Binary") for i in range(3)]
    assert [(b.first, b.last) for b in made.arena] == [(0, 1), (1, 2)]
    assert [s.name for s in made.symbols] == ["H"]
    assert (made.inputs[0].name, made.outputs[0].name) == ("x", "y")
    assert counters(len(made.steps)) == module.counters
    assert made.target == "x86-64-v3" and "avx2" in made.features


def test_work_and_traffic_count_what_a_fused_step_absorbs() -> None:
    x = make_node(ops.Input(), (), "x", TensorType(DType.FLOAT32, (1, 4, 4, 8)))
    weights = constant(np.ones((1, 1, 8, 16), np.float32), "w")
    conv = make_node(ops.Conv2d(), (x, weights), "conv")
    relu = make_node(ops.Unary(UnaryFn.RELU), (conv,), "relu")
    plan = plan_graph(Graph((x,), (relu,), ("y",), Level.CANONICAL), TARGET, KERNELS)
    made = build_manifest(plan, build_module(plan), 0, ABOUT)
    macs = [made.dims[step.macs].a for step in made.steps]
    moved = [made.dims[step.bytes].a for step in made.steps]
    assert macs == [16 * 8 * 16, 0]
    assert moved == [4 * (16 * 8 + 8 * 16 + 16 * 16), 4 * (16 * 16 + 16 * 16)]
