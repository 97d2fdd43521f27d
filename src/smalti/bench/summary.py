"""The summary that a run begins with: what was measured, how fast, what limits it and how far to trust it."""

from __future__ import annotations

from pathlib import Path

from smalti.bench.layers import Bound, LayerTable
from smalti.bench.report import BenchReport
from smalti.bench.stats import Summary, drift, summarise
from smalti.jobs.watch import NOISY_MARK, Load, marked

MAX_GROUPS = 3


def summary_rows(report: BenchReport) -> tuple[tuple[str, str], ...]:
    """Return at most ten short lines, each with a word for what it tells."""
    manifest = report.manifest
    latency = report.latency(None)
    return (
        ("model", Path(str(report.parameters["model"])).name),
        ("precision", f"{manifest.precision} for {manifest.target}"),
        ("threads", _threads(report)),
        *_times(report),
        ("rate", f"{_rate(report)} images/s, batch {report.batch}"),
        ("limit", _limit(report)),
        ("steadiness", _steadiness(report, latency["compute"])),
        ("other load", _other_load(report)),
    )


def _threads(report: BenchReport) -> str:
    at_once = "" if report.concurrency == 1 else f", {report.concurrency} requests at a time"
    return f"{report.threads} on {len(report.device.cpus)} CPUs{at_once}"


def _times(report: BenchReport) -> list[tuple[str, str]]:
    """Return the compute time of each shape group, of the first two where there are many."""
    found: list[tuple[str, str]] = []
    for index, group in enumerate(report.groups):
        summary = report.latency(index).get("compute")
        if summary is not None:
            found.append(("time" if not found else "", f"{_range(summary, report.utilisation.load)}, {group.name}"))
    if len(found) <= MAX_GROUPS:
        return found
    return [*found[: MAX_GROUPS - 1], ("", f"and {len(found) - MAX_GROUPS + 1} more shapes (--details)")]


def _rate(report: BenchReport) -> str:
    return marked(f"{report.images_per_second:.1f}", report.utilisation.load)


def _range(summary: Summary, load: Load) -> str:
    digits = 3 if summary.maximum < 10 else 2 if summary.maximum < 1000 else 1
    low, middle, high = (marked(f"{ms:.{digits}f}", load) for ms in (summary.minimum, summary.median, summary.p99))
    return f"median {middle} ms, {low} to {high} (p99)"


def _limit(report: BenchReport) -> str:
    """Return what the profile of the first group found; without one nothing is known."""
    if not report.layers:
        return "not measured; --profile says what limits each step"
    table = report.layers[0]
    percent = table.whole_percent
    if percent is None:
        return "not known: the file does not say how much its steps compute"
    return f"{percent:.0f} % of the machine's limits: {_binding(table)}"


def _binding(table: LayerTable) -> str:
    ms = {bound: sum(layer.ms for layer in table.layers if layer.bound is bound) for bound in Bound}
    word = "arithmetic" if ms[Bound.COMPUTE] >= ms[Bound.MEMORY] else "memory"
    return f"{word} for {100 * max(ms.values()) / table.total_ms:.0f} % of the time"


def _steadiness(report: BenchReport, compute: Summary) -> str:
    """Return how much the times spread, and how the second half differs from the first, where shapes are the same."""
    if len(report.groups) == 1:
        spread = f"p99 {_spread(compute):.2f} x median"
        values = report.of(None, "compute")
    else:
        worst = max((s for i in range(len(report.groups)) if (s := summarise(report.of(i, "compute")))), key=_spread)
        spread = f"p99 up to {_spread(worst):.2f} x median"
        values = report.of(0, "compute")
    change = drift(values)
    how = "" if change is None else f", 2nd half {100 * abs(change - 1):.1f} % {'slower' if change > 1 else 'faster'}"
    return f"{spread}{how}, {compute.count:,} requests"


def _spread(summary: Summary) -> float:
    return summary.p99 / summary.median


def _other_load(report: BenchReport) -> str:
    load = report.utilisation.load
    parts = (("other processes", load.others_percent), ("hypervisor", load.steal_percent))
    said = ", ".join(f"{name} {'n/a' if value is None else f'{value:.0f} %'}" for name, value in parts)
    return f"{said}; {NOISY_MARK} too slow and noisy" if load.is_noisy else said
