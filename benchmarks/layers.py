"""Every step of a planned model: time, arithmetic and traffic, beside the machine's limits."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import smalti
from benchmarks.peaks import Peaks
from benchmarks.stats import median
from smalti.artifact.writer import write_model
from smalti.compiler import CompileOptions, compile_graph
from smalti.compiling.source import read_graph
from smalti.ir import ops
from smalti.kernels.conv.depthwise import DepthwiseTile
from smalti.kernels.matrix.shapes import GemmTile
from smalti.plan.schedule import Plan, Step
from smalti.runtime.profile import Profile

_WARM_UPS = 3


@dataclass(frozen=True, slots=True)
class Layer:
    """One step: medians over the runs.

    Attributes:
        pointwise: whether all of the step's work is 1x1 convolution.
        macs: multiply-adds.
        bytes: what the step must read and write at least.
        milliseconds: time, with the wait for the slowest thread.
    """

    number: int
    name: str
    kernel: str
    shape: tuple[int, ...]
    weights: tuple[tuple[int, ...], ...]
    tile: str
    pointwise: bool
    macs: int
    bytes: int
    milliseconds: float

    @property
    def gflops(self) -> float:
        """GFLOP/s, two operations per multiply-add."""
        return 2e-6 * self.macs / self.milliseconds if self.milliseconds > 0 else 0.0

    @property
    def gigabytes(self) -> float:
        """GB/s of the bytes that must move."""
        return 1e-6 * self.bytes / self.milliseconds if self.milliseconds > 0 else 0.0

    def to_json(self, peaks: Peaks) -> dict[str, Any]:
        """Return plain values with the shares of the limits."""
        return {
            "step": self.number,
            "name": self.name,
            "kernel": self.kernel,
            "shape": list(self.shape),
            "weights": [list(w) for w in self.weights],
            "tile": self.tile,
            "pointwise": self.pointwise,
            "macs": self.macs,
            "bytes": self.bytes,
            "ms": self.milliseconds,
            "gflops": self.gflops,
            "gb_s": self.gigabytes,
            "fma_percent": 100 * self.gflops / peaks.best_gflops,
            "l3_percent": 100 * self.gigabytes / peaks.bandwidth("L3").read,
        }


@dataclass(frozen=True, slots=True)
class Layers:
    """All steps of one model for one image size."""

    model: str
    target: str
    threads: int
    size: tuple[int, int]
    milliseconds: float
    layers: tuple[Layer, ...]
    plan: Plan

    def fma_percent(self, peaks: Peaks, pointwise_only: bool = False) -> float:
        """Return the time-weighted percentage of the arithmetic limit, of all steps or of the 1x1 convolutions."""
        chosen = [la for la in self.layers if la.pointwise or not pointwise_only]
        time = sum(la.milliseconds for la in chosen)
        return 100 * 2e-6 * sum(la.macs for la in chosen) / time / peaks.best_gflops if time else 0.0


def measure_layers(graph: Path, options: CompileOptions, size: tuple[int, int], threads: int, runs: int) -> Layers:
    """Compile a graph and profile it on a random image of a size; times are medians over the runs.

    Raises:
        GraphError, UsageError: the graph cannot be compiled so.
    """
    compiled = compile_graph(read_graph(graph), options)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.smalti"
        write_model(file, compiled.manifest, compiled.constants, compiled.code)
        with smalti.load(file, threads=threads, concurrency=1) as engine:
            source = compiled.manifest.inputs[0]
            image = np.random.default_rng(1).integers(0, 256, (1, *size, 3), np.uint8)
            profiles = profile_runs(engine, {source.name: image}, runs)
    times = step_milliseconds(profiles)
    layers = tuple(_layer(number, step, profiles[0], times[number]) for number, step in enumerate(compiled.plan.steps))
    whole = median([p.nanoseconds / 1e6 for p in profiles])
    return Layers(options.name, str(options.target), threads, size, whole, layers, compiled.plan)


def profile_runs(engine: smalti.Engine, arrays: dict[str, Any], runs: int) -> list[Profile]:
    """Return profiles of ``runs`` runs after some that do not count."""
    return [engine.profile(arrays) for _ in range(_WARM_UPS + runs)][_WARM_UPS:]


def step_milliseconds(profiles: Sequence[Profile]) -> list[float]:
    """Return the median time of every step."""
    return [median([p.steps[i].nanoseconds / 1e6 for p in profiles]) for i in range(len(profiles[0].steps))]


def tile_text(tile: object) -> str:
    """Return a tile in few characters: panels as ``pixels x vectors``, then the pixels of a work item."""
    if isinstance(tile, GemmTile):
        panels = [f"{p.rows}x{len(p.vectors)}" for p in tile.panels]
        counted = [f"{panels.count(p)}*{p}" if panels.count(p) > 1 else p for p in dict.fromkeys(panels)]
        return f"{'+'.join(counted)} /{tile.chunk}" + (f"/{tile.block}" if tile.block != tile.chunk else "")
    if isinstance(tile, DepthwiseTile):
        return f"{tile.channels}c {tile.rows}r"
    gemm = getattr(tile, "gemm", None)
    if isinstance(gemm, GemmTile):
        return f"{getattr(tile, 'channels', '?')}c {getattr(tile, 'rows', '?')}r, {tile_text(gemm)}"
    return "" if tile is None else str(tile)


def _layer(number: int, step: Step, profile: Profile, milliseconds: float) -> Layer:
    seen = profile.steps[number]
    convolutions = [n for n in step.nodes if isinstance(n.op, ops.Conv2d)]
    weights = tuple(tuple(int(s) for s in n.inputs[1].type.shape if isinstance(s, int)) for n in convolutions)
    pointwise = bool(convolutions) and all(w[:2] == (1, 1) for w in weights)
    return Layer(
        number,
        seen.name,
        seen.kernel,
        seen.shape,
        weights,
        tile_text(step.plan.tile),
        pointwise,
        seen.macs,
        seen.bytes,
        milliseconds,
    )
