"""Two measurements compared: against a saved report, or against another model in turns; with a confidence interval."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from smalti.bench.inputs import Source
from smalti.bench.loop import Record, caller_of, timed_request
from smalti.bench.stats import Ratio, StopRule, ratio_of_medians
from smalti.errors import DataError, UsageError
from smalti.runtime.engine import Engine
from smalti.strict_json import Fields, JsonFault, anything, document, list_of, number, obj, positive, text
from smalti.vision.images import read_file

REPORT_FORMAT = "smalti-bench-1"
MAX_REPORT_BYTES = 256 << 20
MAX_SAMPLES = 10_000


class Verdict(str, Enum):
    """What an interval says: faster or slower than the other where it excludes 1, slower by too much, or neither."""

    FASTER = "faster"
    SAME = "same"
    SLOWER = "slower, within the allowance"
    REGRESSION = "slower"


@dataclass(frozen=True, slots=True)
class GroupComparison:
    """Compute time of one shape group: medians in milliseconds and this one's over the other's."""

    group: str
    median_ms: float
    other_ms: float
    count: int
    other_count: int
    ratio: Ratio
    verdict: Verdict

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "group": self.group,
            "median_ms": self.median_ms,
            "other_median_ms": self.other_ms,
            "count": self.count,
            "other_count": self.other_count,
            "ratio": self.ratio.to_json(),
            "verdict": self.verdict.value,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """All groups compared with ``other``; ``notes`` tell what else differs between the two."""

    other: str
    interleaved: bool
    max_regression: float
    groups: tuple[GroupComparison, ...]
    notes: tuple[str, ...] = ()

    @property
    def is_regression(self) -> bool:
        """Whether any group is slower by more than allowed, with its whole interval."""
        return any(group.verdict is Verdict.REGRESSION for group in self.groups)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "other": self.other,
            "interleaved": self.interleaved,
            "max_regression_percent": self.max_regression,
            "groups": [group.to_json() for group in self.groups],
            "notes": list(self.notes),
            "regression": self.is_regression,
        }


@dataclass(frozen=True, slots=True)
class SavedGroup:
    """What a saved report says of one group: its input shapes and its compute times in milliseconds."""

    inputs: Any
    compute_ms: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SavedReport:
    """The parts of a saved report that a comparison needs."""

    path: Path
    cpu: str
    threads: int
    batch: int
    concurrency: int
    groups: dict[str, SavedGroup]


def judge(ratio: Ratio, max_regression: float) -> Verdict:
    """Return the verdict on a ratio of this one's time over the other's; ``max_regression`` is in percent.

    It is a regression only when the whole interval lies above the allowance.
    """
    if ratio.exceeds(max_regression):
        return Verdict.REGRESSION
    if ratio.low > 1:
        return Verdict.SLOWER
    return Verdict.FASTER if ratio.high < 1 else Verdict.SAME


def read_report(path: Path) -> SavedReport:
    """Read a report that ``--json`` or ``--save`` wrote.

    Raises:
        UsageError: there is no such file.
        DataError: it is not such a report.
    """
    if not path.is_file():
        raise UsageError(f"there is no report {path}: write one with `smalti bench --save {path}`")
    try:
        take = Fields(document(read_file(path, max_bytes=MAX_REPORT_BYTES), max_bytes=MAX_REPORT_BYTES))
        if take("format", text) != REPORT_FORMAT:
            raise DataError(f"{path} is not a report of this version of smalti bench: write it again with --save")
        # A report holds more than a comparison needs; the rest is for people.
        parameters = Fields(take("parameters", obj), "parameters")
        return SavedReport(
            path,
            Fields(take("device", obj), "device")("cpu", text),
            parameters("threads", positive),
            parameters("batch", positive),
            parameters("concurrency", positive),
            dict(Fields(take("performance", obj), "performance")("groups", list_of(_saved_group))),
        )
    except JsonFault as fault:
        raise DataError(f"{path} is not a report of smalti bench: {fault}; give a file that --save wrote") from fault


def compare_reports(this: SavedReport, base: SavedReport, max_regression: float) -> Comparison:
    """Compare two runs made at different times, group by group.

    Raises:
        UsageError: the two did not measure the same shapes.
    """
    if this.groups.keys() != base.groups.keys() or any(
        this.groups[n].inputs != base.groups[n].inputs for n in base.groups
    ):
        raise UsageError(
            f"{base.path} measured other input shapes ({', '.join(sorted(base.groups))}): "
            "give the same shapes and batch"
        )
    notes = [
        f"{what} differs: {mine} now, {other} in the report"
        for what, mine, other in (
            ("the CPU", this.cpu, base.cpu),
            ("the number of threads", this.threads, base.threads),
            ("the batch size", this.batch, base.batch),
            ("the concurrency", this.concurrency, base.concurrency),
        )
        if mine != other
    ]
    groups = tuple(
        _compared(name, this.groups[name].compute_ms, base.groups[name].compute_ms, max_regression, paired=False)
        for name in this.groups
    )
    return Comparison(str(base.path), False, max_regression, groups, tuple(notes))


def measure_against(
    engine: Engine, other: Engine, sources: Sequence[Source], rule: StopRule, max_regression: float
) -> Comparison:
    """Run two models in turns on the same inputs, and compare them group by group.

    Every round runs both models on every group; which of them is first changes from round to round.

    Raises:
        InputError: the other model does not take these inputs.
        ResourceError: as the engine.
    """
    run_this, run_other = caller_of(engine), caller_of(other)
    for group, source in enumerate(sources):
        for run in (run_this, run_other):
            timed_request(run, source, group, 0, 0)
    times: list[tuple[list[float], list[float]]] = [([], []) for _ in sources]
    begin, rounds = time.perf_counter(), 0
    while not rounds or not rule.is_met(rounds, time.perf_counter() - begin):
        for group, source in enumerate(sources):
            order = ((run_this, 0), (run_other, 1)) if rounds % 2 == 0 else ((run_other, 1), (run_this, 0))
            for run, side in order:
                record: Record = timed_request(run, source, group, 0, rounds)
                times[group][side].append(record.compute_ms)
        rounds += 1
    groups = tuple(
        _compared(source.group.name, mine, its, max_regression, paired=True)
        for source, (mine, its) in zip(sources, times, strict=True)
    )
    return Comparison(other.path, True, max_regression, groups)


def _compared(
    name: str, mine: Sequence[float], its: Sequence[float], max_regression: float, *, paired: bool
) -> GroupComparison:
    ratio = ratio_of_medians(mine, its, paired=paired)
    return GroupComparison(
        name,
        float(np.median(mine)),
        float(np.median(its)),
        len(mine),
        len(its),
        ratio,
        judge(ratio, max_regression),
    )


def _saved_group(value: Any, where: str) -> tuple[str, SavedGroup]:
    take = Fields(value, where)
    name, inputs = take("name", text), take("inputs", anything)
    times = Fields(take("samples_ms", obj), f"{where}.samples_ms")("compute", list_of(_time))
    if not 0 < len(times) <= MAX_SAMPLES:
        raise JsonFault(f"{where}.samples_ms.compute must hold 1 to {MAX_SAMPLES} times")
    return name, SavedGroup(inputs, times)


def _time(value: Any, where: str) -> float:
    ms = number(value, where)
    if ms <= 0:
        raise JsonFault(f"{where} must be above 0, not {ms}")
    return ms
