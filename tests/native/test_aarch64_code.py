"""How good code for Arm is, without an Arm CPU: instructions for each product in the innermost loops, and no spills."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from kernels.harness import single, weights
from smalti.codegen.module import build_module
from smalti.ir import ops
from smalti.ir.graph import Graph
from smalti.kernels.registry import KERNELS
from smalti.llvm.backend import emit_assembly
from smalti.plan.planner import plan_graph
from smalti.target.target import Target

DEPTH, CHANNELS = 960, 160
LABEL, BACK = re.compile(r"(\.LBB\w+):"), re.compile(r"b(?:\.\w+)?\s+(\.LBB\w+)")


@dataclass(frozen=True, slots=True)
class Loop:
    """What a loop should be: products of one instruction, and at most so many instructions for 100 products."""

    target: str
    instruction: str
    products: int
    most: float
    depthwise: bool = False


LOOPS = (
    Loop("aarch64", "fmla", 4, 30.0),
    Loop("aarch64", "fmla", 4, 56.0, depthwise=True),
    Loop("aarch64", "smlal", 4, 29.2),
    Loop("aarch64+dotprod", "sdot", 16, 8.0),
    Loop("aarch64+i8mm", "usmmla", 32, 5.1),
)


def float_graph(depthwise: bool) -> Graph:
    rng = np.random.default_rng(0)
    shape = (3, 3, 1, DEPTH) if depthwise else (1, 1, DEPTH, CHANNELS)
    op = ops.Conv2d(pads=(1, 1, 1, 1), groups=DEPTH) if depthwise else ops.Conv2d()
    return single(op, [np.zeros((1, 24, 24, DEPTH), np.float32), weights(rng.random(shape, np.float32))])


def integer_graph() -> Graph:
    w = np.random.default_rng(0).integers(-127, 127, (1, 1, DEPTH, CHANNELS)).astype(np.int8)
    x = np.zeros((1, 24, 24, DEPTH), np.uint8)
    return single(ops.QuantisedConv2d(), [x, weights(w), weights(np.full(CHANNELS, 1e-3, np.float32))])


def innermost_loops(assembly: str) -> Iterator[list[str]]:
    """Yield the instructions of every loop that holds no other."""
    labels: dict[str, int] = {}
    instructions: list[str] = []
    last = -1
    for line in map(str.strip, assembly.splitlines()):
        found = LABEL.match(line)
        if found:
            labels[found[1]] = len(instructions)
        elif line.endswith(":"):
            labels, last = {}, -1
        elif line and line[0] not in './"':
            instructions.append(line)
            back = BACK.match(line)
            if back and labels.get(back[1], -1) > last:
                last = len(instructions)
                yield instructions[labels[back[1]] : last]


@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: f"{loop.target}-{loop.instruction}-{loop.depthwise}")
def test_instructions_for_each_product(loop: Loop) -> None:
    target = Target.parse(loop.target)
    graph = float_graph(loop.depthwise) if loop.instruction == "fmla" else integer_graph()
    text = emit_assembly(build_module(plan_graph(graph, target, KERNELS)).text, target)
    # The loop of the largest register tile.
    body = max(innermost_loops(text), key=lambda lines: sum(line.startswith(loop.instruction) for line in lines))
    products = loop.products * sum(line.startswith(loop.instruction) for line in body)
    assert products >= 100
    assert not [line for line in body if "[sp" in line], "registers are spilled in the innermost loop"
    assert 100 * len(body) / products <= loop.most
