"""The report of a bench run: what was measured, as values, JSON and CSV."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.artifact.manifest import Manifest, TensorSpec
from smalti.bench.cold import ColdStart
from smalti.bench.compare import MAX_SAMPLES, REPORT_FORMAT, Comparison, SavedGroup, SavedReport
from smalti.bench.e2e import EndToEnd
from smalti.bench.inputs import ShapeGroup
from smalti.bench.layers import LayerTable
from smalti.bench.loop import LoopResult, Record, milliseconds
from smalti.bench.stats import Summary, drift, summarise, trace_averages
from smalti.bench.system import Device, Utilisation
from smalti.jobs.csv_lines import csv_line
from smalti.jobs.pictures import passed_over_json
from smalti.jobs.stream import Failure
from smalti.jobs.watch import load_words
from smalti.runtime.dims import Shape, describe_shape

PARTS = ("pre", "compute", "post", "total")
_LAYOUTS = {4: "NHWC", 3: "NHW"}
_LAYER_COLUMNS = (
    "number",
    "name",
    "op",
    "kernel",
    "activations",
    "weights",
    "arithmetic",
    "shape",
    "ms",
    "percent",
    "macs",
    "gflops",
    "limit_ms",
    "bound",
    "percent_of_limit",
    "bytes",
    "gigabytes_per_s",
)
_MIN_TRACE_RUNS = 100
_MANY = 30


@dataclass(frozen=True, slots=True)
class LoadTimes:
    """Milliseconds and sizes of bringing a model up.

    ``model_ms`` is reading and checking the file, ``engine_ms`` doing so again and mapping constants and code.  The
    engine makes a context (workspace, threads) inside the first request, so ``context_ms`` is the first inference less
    the median one.
    """

    model_ms: float
    engine_ms: float
    first_inference_ms: float
    context_ms: float
    warmup_ms: float
    warmup_runs: int
    file_bytes: int
    constant_bytes: int
    code_bytes: int
    workspace_bytes: int

    def to_json(self) -> dict[str, float]:
        """Return plain values."""
        return {
            "model_ms": self.model_ms,
            "engine_ms": self.engine_ms,
            "context_ms": self.context_ms,
            "first_inference_ms": self.first_inference_ms,
            "warmup_ms": self.warmup_ms,
            "warmup_runs": self.warmup_runs,
            "file_bytes": self.file_bytes,
            "constant_bytes": self.constant_bytes,
            "code_bytes": self.code_bytes,
            "workspace_bytes": self.workspace_bytes,
        }


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """An input or output of the model, and its shape in the first shape group."""

    role: str
    number: int
    spec: TensorSpec
    shape: Shape

    @property
    def layout(self) -> str:
        """The meaning of the dimensions where they are those of pictures, else "array"."""
        return _LAYOUTS.get(len(self.shape), "array")

    @property
    def bytes(self) -> int:
        """Bytes of the tensor."""
        size = self.spec.dtype.itemsize
        for side in self.shape:
            size *= side
        return size

    def to_json(self, manifest: Manifest) -> dict[str, Any]:
        """Return plain values."""
        return {
            "role": self.role,
            "number": self.number,
            "name": self.spec.name,
            "dtype": self.spec.dtype.value,
            "layout": self.layout,
            "dims": describe_shape(manifest, self.spec),
            "shape": list(self.shape),
            "bytes": self.bytes,
        }


@dataclass(frozen=True, slots=True)
class BenchReport:
    """Everything that one run of ``smalti bench`` measured.

    Attributes:
        parameters: the options of the run.
        batch, threads, threads_reason, concurrency: how requests were made.
        times: seconds of loading and of the first request.
        device, manifest, tensors: the machine, the model file, its inputs and outputs.
        utilisation: how much of the machine the run used.
        groups, result: the shapes and their latencies.
        cold: starts in new processes; None: not asked for.
        layers, end_to_end, comparison: what ``--profile``, ``--e2e``, ``--compare`` and ``--against`` add.
        failures: pictures that were passed over, since they could not be decoded.
        left_out: files of the folders by the kind of picture that is not read.
    """

    parameters: Mapping[str, str | int | float | bool | None]
    batch: int
    threads: int
    threads_reason: str
    concurrency: int
    times: LoadTimes
    device: Device
    manifest: Manifest
    tensors: tuple[TensorInfo, ...]
    utilisation: Utilisation
    groups: tuple[ShapeGroup, ...]
    result: LoopResult
    cold: ColdStart | None
    layers: tuple[LayerTable, ...]
    end_to_end: EndToEnd | None
    comparison: Comparison | None
    failures: tuple[Failure, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def iterations(self) -> int:
        """Measured requests."""
        return len(self.result.records)

    @property
    def requests_per_second(self) -> float:
        """Requests a second of wall time."""
        return self.iterations / self.result.wall_seconds

    @property
    def images_per_second(self) -> float:
        """Images a second of wall time: requests times the batch size."""
        return self.requests_per_second * self.batch

    @property
    def compute_seconds(self) -> float:
        """Time in the engine, summed over all requests; with several callers it exceeds the wall time."""
        return float(self.of(None, "compute").sum()) / 1e3

    @property
    def trace_runs(self) -> int:
        """How many runs each trace average is over."""
        return max(_MIN_TRACE_RUNS, self.iterations // 10)

    @property
    def passed(self) -> bool:
        """Whether the run is no regression."""
        return self.comparison is None or not self.comparison.is_regression

    def of(self, group: int | None, part: str) -> NDArray[np.float64]:
        """Return the milliseconds of a part (of ``PARTS``) of all requests of a group, or of all, in time order."""
        records = self.result.records if group is None else self.result.of_group(group)
        return milliseconds(records, _part_of(part))

    def latency(self, group: int | None) -> dict[str, Summary]:
        """Return the summary of each part of the latency."""
        found = {part: summarise(self.of(group, part)) for part in PARTS}
        return {part: summary for part, summary in found.items() if summary is not None}

    def traces(self) -> list[tuple[int, dict[str, float]]]:
        """Return the average of each ``trace_runs`` requests: how many, and each part's milliseconds."""
        columns = {part: trace_averages(self.of(None, part), self.trace_runs) for part in PARTS}
        rows = []
        for index in range(len(columns["total"])):
            count = min(self.trace_runs, self.iterations - index * self.trace_runs)
            rows.append((count, {part: values[index] for part, values in columns.items()}))
        return rows

    def advice(self) -> tuple[str, ...]:
        """Return what makes these numbers less useful than they could be, in sentences."""
        found = [*_load_advice(self), *_noise_advice(self)]
        if self.device.governor not in (None, "performance"):
            found.append(f"the CPU frequency governor is {self.device.governor}; performance gives steadier numbers")
        found += [
            f"{table.group}: {table.untimed} steps seem faster than the machine can be, so threads waited for a CPU; "
            "step times are only right together with their neighbours': profile with free CPUs, or with --threads 1"
            for table in self.layers
            if table.untimed
        ]
        if self.comparison is not None:
            found += [f"{note}; the comparison means little" for note in self.comparison.notes]
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, in the order in which the sections are shown."""
        return {
            "format": REPORT_FORMAT,
            "parameters": dict(self.parameters),
            "times": self.times.to_json(),
            "device": {**self.device.to_json(), "threads_reason": self.threads_reason},
            "model": {
                "precision": self.manifest.precision,
                "target": self.manifest.target,
                "shape_mutable": self.manifest.shape_mutable,
                "batch_size": self.manifest.batch_size,
                "tensors": [tensor.to_json(self.manifest) for tensor in self.tensors],
            },
            "utilisation": self.utilisation.to_json(),
            "performance": self._performance_json(),
            "profile": [table.to_json() for table in self.layers],
            "e2e": None if self.end_to_end is None else self.end_to_end.to_json(),
            "comparison": None if self.comparison is None else self.comparison.to_json(),
            "advice": list(self.advice()),
            **passed_over_json(self.failures, self.left_out),
            "passed": self.passed,
        }

    def _performance_json(self) -> dict[str, Any]:
        return {
            "iterations": self.iterations,
            "wall_s": self.result.wall_seconds,
            "compute_s": self.compute_seconds,
            "throughput_qps": self.requests_per_second,
            "images_per_s": self.images_per_second,
            "batch": self.batch,
            "latency_ms": _latency_json(self.latency(None)),
            "first_inference_ms": self.times.first_inference_ms,
            "cold_start": None if self.cold is None else self.cold.to_json(),
            "trace_averages": [{"runs": count, **averages} for count, averages in self.traces()],
            "groups": [
                {
                    **group.to_json(),
                    "iterations": len(self.result.of_group(index)),
                    "latency_ms": _latency_json(self.latency(index)),
                    "samples_ms": {part: _thinned(self.of(index, part)) for part in ("compute", "total")},
                }
                for index, group in enumerate(self.groups)
            ],
        }

    def to_csv(self) -> str:
        """Return one line per group and part of the latency, in milliseconds."""
        lines = [csv_line(("group", "part", "count", "min", "max", "mean", "median", "p90", "p95", "p99"))]
        for index, group in enumerate(self.groups):
            for part, summary in self.latency(index).items():
                lines.append(csv_line((group.name, part, *summary.to_json().values())))
        return "".join(lines)


def layers_csv(tables: Sequence[LayerTable]) -> str:
    """Return one line per step of every profiled group."""
    lines = [csv_line(("group", *_LAYER_COLUMNS))]
    for table in tables:
        for row in table.to_json()["layers"]:
            row["shape"] = "x".join(map(str, row["shape"]))
            lines.append(csv_line((table.group, *(row[name] for name in _LAYER_COLUMNS))))
    return "".join(lines)


def saved_of(report: BenchReport) -> SavedReport:
    """Return the parts of this run that a comparison needs."""
    groups = {
        group.name: SavedGroup(group.to_json()["inputs"], tuple(_thinned(report.of(index, "compute"))))
        for index, group in enumerate(report.groups)
    }
    model = Path(str(report.parameters["model"]))
    return SavedReport(model, report.device.cpu, report.threads, report.batch, report.concurrency, groups)


def _part_of(part: str) -> Callable[[Record], float]:
    return attrgetter(f"{part}_ms")


def _latency_json(latency: Mapping[str, Summary]) -> dict[str, Any]:
    return {part: summary.to_json() for part, summary in latency.items()}


def _thinned(values: NDArray[np.float64]) -> list[float]:
    """Return at most 10,000 values, evenly taken in time order."""
    step = -(-values.size // MAX_SAMPLES)
    return [float(value) for value in values[:: max(1, step)]]


def _load_advice(report: BenchReport) -> list[str]:
    usable, used = report.device.usable, report.threads * report.concurrency
    found = []
    if report.threads > usable:
        found.append(f"{report.threads} threads share {usable} usable CPUs: --threads {usable} is likely to be faster")
    elif used > usable:
        found.append(
            f"{report.concurrency} requests of {report.threads} threads share {usable} usable CPUs: throughput may "
            "still gain, latency does not"
        )
    load = report.utilisation.load
    if load.is_noisy:
        found.append(f"{load_words([load])}: numbers are too slow and noisy")
    return found


def _noise_advice(report: BenchReport) -> list[str]:
    found = []
    for index, group in enumerate(report.groups):
        values = report.of(index, "compute")
        summary, change = summarise(values), drift(values)
        if summary is None:
            continue
        if summary.count < _MANY:
            found.append(f"{group.name}: {summary.count} requests say little about percentiles: raise --iterations")
        # Pictures at their own sizes differ by nature, so neither spread nor drift says anything there.
        if group.shapes is None:
            continue
        if change is not None and abs(change - 1) > 0.1:
            how = f"{100 * abs(change - 1):.0f} % {'slower' if change > 1 else 'faster'}"
            found.append(
                f"{group.name}: the second half was {how} than the first (frequency, heat, other load): measure longer"
            )
        if summary.count >= _MANY and summary.p99 > 2 * summary.median:
            found.append(
                f"{group.name}: p99 is {summary.p99 / summary.median:.1f} times the median: something interrupts"
            )
    return found
