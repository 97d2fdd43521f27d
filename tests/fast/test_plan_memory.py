"""An independent check of the workspace: what a step reads is still what its producer wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import pytest

from smalti.artifact import manifest
from smalti.demo import dataset
from smalti.frontend.tensorflow.importer import ImportOptions, import_graph
from smalti.ir.sizes import evaluate
from smalti.kernels.registry import FUSED, KERNELS
from smalti.passes.pipeline import run_pipeline
from smalti.plan.planner import plan_graph
from smalti.plan.schedule import Place, Plan
from smalti.runtime.arena import ArenaPlanner
from smalti.target.target import Target

SIZES = ((1, 1), (17, 40), (64, 33), (97, 96))


class Overwritten(AssertionError):
    """A step finds something else than the tensor it wants."""


@lru_cache(maxsize=4)
def demo_plan(target: str, fused: bool) -> Plan:
    graph = run_pipeline(import_graph(dataset.graph_bytes(), ImportOptions()).graph).graph
    return plan_graph(graph, Target.parse(target), KERNELS, fused=FUSED if fused else ())


def place(plan: Plan, env: dict[str, int], threads: int) -> tuple[list[int], list[int], int]:
    """Return offsets and sizes of all buffers, as the runtime has them, and the size of the workspace."""
    sizes = [evaluate(b.size, env) * (threads if b.per_thread else 1) for b in plan.arena]
    buffers = [manifest.ArenaBuffer(b.name, 0, b.first, b.last, b.per_thread) for b in plan.arena]
    placement = ArenaPlanner(buffers).place(sizes)
    return list(placement.offsets), sizes, placement.total


def check_memory(plan: Plan, offsets: Sequence[int], sizes: Sequence[int], total: int) -> None:
    """Follow the steps and remember which buffer owns each range of the workspace.

    Lifetimes are not looked at: a buffer is intact for as long as no other one has been written over it.
    """
    intact: set[int] = set()

    def write(buffer: int) -> None:
        begin, end = offsets[buffer], offsets[buffer] + sizes[buffer]
        if begin % 64 or end > total:
            raise Overwritten(f"{plan.arena[buffer].name} lies outside the workspace or is not aligned")
        for other in [o for o in intact if offsets[o] < end and begin < offsets[o] + sizes[o]]:
            intact.discard(other)
        intact.add(buffer)

    for step in plan.steps:
        reads = [ref.index for ref in step.operands if ref.place is Place.ARENA]
        writes = [*step.scratch, *([step.result.index] if step.result.place is Place.ARENA else [])]
        missing = [plan.arena[b].name for b in reads if b not in intact]
        if missing:
            raise Overwritten(f"{step.node.name} reads {missing}, which nobody wrote or somebody wrote over")
        for buffer in writes:
            write(buffer)
        lost = [plan.arena[b].name for b in (*reads, *writes) if b not in intact]
        if lost:
            raise Overwritten(f"{step.node.name} writes over {lost} while it needs them")


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("target", ["x86-64-v2", "x86-64-v4"])
def test_no_step_finds_its_operands_overwritten(target: str, fused: bool) -> None:
    plan = demo_plan(target, fused)
    names = [symbol.name for symbol in plan.graph.symbols()]
    for size in SIZES:
        for threads in (1, 3, 8):
            check_memory(plan, *place(plan, dict(zip(names, size, strict=True)), threads))


def test_memory_is_used_again() -> None:
    plan = demo_plan("x86-64-v4", False)
    env = {symbol.name: 96 for symbol in plan.graph.symbols()}
    _, sizes, total = place(plan, env, 2)
    assert total < sum(sizes) / 3


def test_a_lifetime_that_is_too_short_is_noticed() -> None:
    plan = demo_plan("x86-64-v4", False)
    env = {symbol.name: 96 for symbol in plan.graph.symbols()}
    longest = max(range(len(plan.arena)), key=lambda i: plan.arena[i].last - plan.arena[i].first)
    arena = list(plan.arena)
    arena[longest] = replace(arena[longest], last=arena[longest].first)
    broken = replace(plan, arena=tuple(arena))
    with pytest.raises(Overwritten, match="reads"):
        check_memory(broken, *place(broken, env, 1))


def test_a_swapped_offset_is_noticed() -> None:
    plan = demo_plan("x86-64-v4", False)
    env = {symbol.name: 96 for symbol in plan.graph.symbols()}
    offsets, sizes, total = place(plan, env, 1)
    check_memory(plan, offsets, sizes, total)
    last = next(i for i, b in enumerate(plan.arena) if b.first == 1)
    first = next(i for i, b in enumerate(plan.arena) if b.first == 0)
    offsets[last] = offsets[first]
    with pytest.raises(Overwritten):
        check_memory(plan, offsets, sizes, total)
