"""Layers alone: every tile that a convolution could have, each measured, the planner's choice marked."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import smalti
from benchmarks.assembly import write_plan
from benchmarks.layers import profile_runs, step_milliseconds, tile_text
from smalti.ir import ops
from smalti.ir.graph import Graph, Level, Node
from smalti.ir.infer import constant, make_node
from smalti.kernels.conv.convolution import convolution
from smalti.kernels.conv.depthwise import DepthwiseTile
from smalti.kernels.conv.matrix import constant_parameters, runtime_parameters, stored_layout
from smalti.kernels.kernel import KernelPlan
from smalti.kernels.matrix.shapes import Depth, GemmTile, pack_rows
from smalti.kernels.matrix.tile import make_panel
from smalti.kernels.nodes import static_shape
from smalti.kernels.registry import KERNELS
from smalti.numerics import DType
from smalti.plan.planner import plan_graph
from smalti.plan.schedule import Plan, Step
from smalti.target.target import Target

CHUNKS = (48, 96, 192, 384)
MAX_VECTORS = (1, 2, 3, 4)
BAND_ROWS = (2, 4, 8, 16)
_INPUT = "x:0"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A tile of one layer and how long the layer takes with it."""

    tile: str
    milliseconds: float
    gflops: float
    chosen: bool


@dataclass(frozen=True, slots=True)
class Contest:
    """All tiles of a layer, the fastest first.

    ``layers`` are the steps of the model that have this shape; ``alone`` tells that these steps compute nothing else.
    """

    kernel: str
    shape: tuple[int, ...]
    weights: tuple[int, ...]
    layers: tuple[int, ...]
    alone: bool
    candidates: tuple[Candidate, ...]

    @property
    def loss(self) -> float:
        """How much slower the planner's choice is than the fastest, e.g. 0.05."""
        chosen = next(c for c in self.candidates if c.chosen)
        return chosen.milliseconds / self.candidates[0].milliseconds - 1

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "kernel": self.kernel,
            "shape": list(self.shape),
            "weights": list(self.weights),
            "steps": list(self.layers),
            "alone": self.alone,
            "loss_percent": 100 * self.loss,
            "candidates": [
                {"tile": c.tile, "ms": c.milliseconds, "gflops": c.gflops, "chosen": c.chosen} for c in self.candidates
            ],
        }


def contests(plan: Plan, threads: int, runs: int) -> Iterator[Contest]:
    """Measure every distinct convolution of a plan with fixed shapes."""
    groups: dict[tuple[Any, ...], list[tuple[int, Node]]] = {}
    fused = {number for number, step in enumerate(plan.steps) if len(step.nodes) > 1}
    for number, step in enumerate(plan.steps):
        for node in _convolutions(step):
            shapes = tuple(operand.type.shape for operand in node.inputs[:2])
            key = (type(node.op).__name__, node.op, shapes, number in fused)
            groups.setdefault(key, []).append((number, node))
    for members in groups.values():
        layers = tuple(number for number, _ in members)
        found = _contest(members[0][1], layers, plan.target, threads, runs)
        yield replace(found, alone=layers[0] not in fused)


def candidates(step: Step, target: Target) -> list[KernelPlan]:
    """Return the plans of a step with every tile, the planner's own first."""
    plan, node = step.plan, step.node
    tiles: list[object] = [plan.tile]
    if isinstance(plan.tile, GemmTile):
        tiles += _gemm_tiles(plan.tile, target)
    elif isinstance(plan.tile, DepthwiseTile):
        tiles += _depthwise_tiles(node, target)
    return [_with_tile(plan, node, tile, target) for tile in dict.fromkeys(tiles)]


def _gemm_tiles(own: GemmTile, target: Target) -> Iterator[GemmTile]:
    channels = sum(p.channels for p in own.panels)
    lanes = target.vector_bits // 32
    total = -(-channels // lanes)
    for most in MAX_VECTORS:
        groups = -(-total // most)
        panels = []
        left = channels
        for i in range(groups):
            take = min(left, (total * (i + 1) // groups - total * i // groups) * lanes)
            panels.append(make_panel(target, take))
            left -= take
        for chunk in CHUNKS:
            for block in {chunk, min(chunk, 48), min(chunk, own.block)}:
                yield replace(own, panels=tuple(panels), chunk=chunk, block=block)


def _depthwise_tiles(node: Node, target: Target) -> Iterator[DepthwiseTile]:
    lanes = target.vector_bits // 32
    channels = static_shape(node.inputs[1])[2]
    vectors = -(-channels // lanes)
    for blocks in sorted({1, 2, 3, 4, 6, 8, vectors}):
        if blocks <= vectors:
            for rows in BAND_ROWS:
                yield DepthwiseTile(min(channels, -(-vectors // blocks) * lanes), rows)


def _with_tile(plan: KernelPlan, node: Node, tile: object, target: Target) -> KernelPlan:
    if not isinstance(tile, GemmTile):
        return replace(plan, tile=tile)
    weights = np.asarray(node.inputs[1].op.value, np.float32)  # type: ignore[attr-defined]
    described = convolution(node, target)
    if runtime_parameters(node, described):
        raise ValueError("the bias is computed at run time")
    bias = pack_rows(tuple(constant_parameters(node, described)), tile.panels)
    packed = stored_layout(described).pack(weights, Depth.flat(weights[..., 0].size), tile.panels)
    return replace(plan, tile=tile, constants=(packed, bias))


def _contest(node: Node, layers: tuple[int, ...], target: Target, threads: int, runs: int) -> Contest:
    """Put one copy of the layer per tile into one graph, so that every profile times all of them in turn."""
    lone = _copies(node, 1)
    step = next(s for s in plan_graph(lone, target, KERNELS).steps if s.node.name.startswith("layer"))
    plans = candidates(step, target)
    graph = _copies(node, len(plans))
    forced = {f"layer{i}": plan for i, plan in enumerate(plans)}
    plan = plan_graph(graph, target, KERNELS, forced)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "layer.smalti"
        write_plan(file, plan, "layer")
        with smalti.load(file, threads=threads, concurrency=1) as engine:
            profiles = profile_runs(engine, _arrays(graph), runs)
    times = step_milliseconds(profiles)
    macs = next(s.macs for s in profiles[0].steps if s.name == "layer0")
    found = []
    for number, seen in enumerate(profiles[0].steps):
        if seen.name in forced:
            ms = times[number]
            tile = tile_text(forced[seen.name].tile)
            found.append(Candidate(tile, ms, 2e-6 * macs / ms if ms else 0.0, seen.name == "layer0"))
    shape, weights = static_shape(node), static_shape(node.inputs[1])
    ordered = tuple(sorted(found, key=lambda c: c.milliseconds))
    return Contest(step.kernel.name, shape, weights, layers, True, ordered)


def _copies(node: Node, count: int) -> Graph:
    """Return a graph with ``count`` copies of a layer on one input, each followed by a cut to one element.

    The cuts let the results share memory, as they do in a model, and keep the caller's fresh output pages out of it.
    """
    inputs = [make_node(ops.Input(), (), f"{_INPUT}{i}", t.type) for i, t in enumerate(_variable(node))]
    fixed = iter(inputs)
    operands = []
    for operand in node.inputs:
        if isinstance(operand.op, ops.Constant):
            operands.append(constant(operand.op.value))
        else:
            operands.append(next(fixed))
    outputs = []
    for i in range(count):
        layer = make_node(node.op, operands, f"layer{i}")
        rank = layer.type.rank
        outputs.append(make_node(ops.Slice((0,) * rank, (1,) * rank, (1,) * rank), (layer,), f"cut{i}"))
    names = tuple(f"out{i}:0" for i in range(count))
    return Graph(tuple(inputs), tuple(outputs), names, Level.CANONICAL)


def _variable(node: Node) -> list[Node]:
    return [operand for operand in node.inputs if not isinstance(operand.op, ops.Constant)]


def _arrays(graph: Graph) -> dict[str, Any]:
    generator = np.random.default_rng(1)
    return {n.name: _values(generator, n) for n in graph.inputs}


def _values(generator: np.random.Generator, node: Node) -> Any:
    shape = static_shape(node)
    if node.type.dtype is DType.UINT8:
        return generator.integers(0, 256, shape, np.uint8)
    return generator.standard_normal(shape, np.float32)


def _convolutions(step: Step) -> Iterator[Node]:
    for node in step.nodes:
        if not isinstance(node.op, ops.Conv2d):
            continue
        if all(isinstance(s, int) for s in node.type.shape) and isinstance(node.inputs[1].op, ops.Constant):
            run_time_bias = node.op.bias and not isinstance(node.inputs[2].op, ops.Constant)
            if not run_time_bias:
                yield node
