"""The report of a bench run as tables, in the order of the sections."""

from __future__ import annotations

from collections.abc import Sequence

from smalti.bench.compare import Comparison
from smalti.bench.e2e import EndToEnd
from smalti.bench.layers import Bound, Layer, LayerTable, by_time
from smalti.bench.peak import Arithmetic
from smalti.bench.report import PARTS, BenchReport
from smalti.bench.stats import Summary
from smalti.jobs.table import Fit, Table

NOT_AVAILABLE = "n/a"
_STATISTICS = ("min", "max", "mean", "median")
_PERCENTILES = ("p90", "p95", "p99")
_PART_NAMES = {
    "pre": "pre-processing",
    "compute": "compute",
    "post": "post-processing",
    "total": "total",
}


def bench_tables(report: BenchReport) -> list[Table]:
    """Return every section of the report."""
    return [*detail_tables(report), *asked_tables(report)]


def detail_tables(report: BenchReport) -> list[Table]:
    """Return the sections that every run has, behind its summary."""
    tables = [
        _parameters(report),
        _times(report),
        _device(report),
        _model(report),
        _utilisation(report),
        _performance(report),
        _latency("latency of all requests, ms", report.latency(None)),
    ]
    if len(report.groups) > 1:
        for index, group in enumerate(report.groups):
            count = len(report.result.of_group(index))
            title = f"input shape group {index}: {group.name}, {count} requests, ms"
            tables.append(_latency(title, report.latency(index)))
    if report.cold is not None:
        tables.append(_cold(report))
    tables.append(_traces(report))
    return tables


def asked_tables(report: BenchReport) -> list[Table]:
    """Return the sections that options asked for: profile, end to end, comparison."""
    tables = []
    for layers in report.layers:
        tables += profile_tables(layers)
    if report.end_to_end is not None:
        tables.append(_end_to_end(report.end_to_end))
    if report.comparison is not None:
        tables.append(comparison_table(report.comparison))
    return tables


def last_line(report: BenchReport) -> str:
    """Return what passed or failed in one line: the comparison, and without one that every request was answered."""
    found = report.comparison
    if found is None:
        return f"PASSED: {report.iterations:,} requests without an error; there was nothing to compare with"
    worst = max(found.groups, key=lambda group: group.ratio.value)
    bound = f"by more than {found.max_regression:g} %"
    word = "PASSED: not slower" if report.passed else "FAILED: slower"
    low, high = worst.ratio.low, worst.ratio.high
    return f"{word} than {found.other} {bound}: {worst.ratio.value:.3f} x the time [{low:.3f}, {high:.3f}]"


def _parameters(report: BenchReport) -> Table:
    rows = tuple((name, "-" if value is None else str(value)) for name, value in report.parameters.items())
    return Table("Parameter Information", ("parameter", "value"), rows, left=(0, 1), fit=Fit(prose=(1,)))


def _times(report: BenchReport) -> Table:
    times = report.times
    rows = (
        ("read and check the file", f"{times.model_ms:.2f} ms", _size(times.file_bytes)),
        ("make the engine", f"{times.engine_ms:.2f} ms", "reads and checks again, maps constants and code"),
        ("make a context", f"{times.context_ms:.2f} ms", "first inference less the median"),
        ("first inference", f"{times.first_inference_ms:.2f} ms", ""),
        ("warm-up", f"{times.warmup_ms:.2f} ms", f"{times.warmup_runs} requests"),
        ("constants", _size(times.constant_bytes), "shared by all requests"),
        ("code", _size(times.code_bytes), "shared by all requests"),
        ("largest workspace", _size(times.workspace_bytes), "of each request in flight"),
    )
    return Table("Load", ("what", "value", ""), rows, left=(0, 2), fit=Fit(prose=(2,)))


def _device(report: BenchReport) -> Table:
    device = report.device
    caches = ", ".join(
        f"{name} {_cache(size)}" for name, size in (("L1d", device.l1d), ("L2", device.l2), ("L3", device.l3))
    )
    rows = (
        ("CPU", f"{device.cpu} ({device.arch})"),
        ("best target", device.target or NOT_AVAILABLE),
        ("features", _features(report)),
        ("caches", caches),
        ("CPUs", f"{', '.join(map(str, device.cpus))} of {device.cpus_total}"),
        ("usable", device.reason),
        ("threads", report.threads_reason),
        ("frequency governor", device.governor or NOT_AVAILABLE),
        ("memory", _size(device.memory_bytes)),
        ("system", f"{device.system}, Python {device.python}"),
    )
    return Table("Device Information", ("what", "value"), rows, left=(0, 1), fit=Fit(prose=(1,)))


def _features(report: BenchReport) -> str:
    """Name the features that the model's code needs; the JSON lists all that the CPU has."""
    needed = ", ".join(report.manifest.features) or "nothing special"
    return f"{len(report.device.features)} known; this model needs {needed}"


def _model(report: BenchReport) -> Table:
    rows = tuple(
        (
            f"{tensor.role} {tensor.number}",
            tensor.spec.name,
            tensor.spec.dtype.value,
            tensor.layout,
            tensor.to_json(report.manifest)["dims"],
            "x".join(map(str, tensor.shape)),
            f"{tensor.bytes:,}",
        )
        for tensor in report.tensors
    )
    manifest = report.manifest
    batch = "any" if manifest.batch_size is None else str(manifest.batch_size)
    size = "any image size" if manifest.symbols else "one fixed size"
    title = f"Model Information: {manifest.precision}, {manifest.target}, {size}, batch {batch}"
    columns = ("tensor", "name", "dtype", "layout", "dims", "measured", "bytes")
    return Table(title, columns, rows, left=(0, 1, 2, 3, 4, 5), fit=Fit(names=(1,), leave=(3, 6, 4)))


def _utilisation(report: BenchReport) -> Table:
    seen = report.utilisation
    rows = [
        (name, *_numbers(summary, _STATISTICS, 1))
        for name, summary in (
            (f"process CPU, % of {len(report.device.cpus)} CPUs", seen.cpu_percent),
            ("memory (RSS), MB", seen.rss_mb),
            ("power, W", seen.power_w),
            ("temperature, C", seen.temperature_c),
        )
    ]
    for name, value in (
        ("other processes, %", seen.load.others_percent),
        ("hypervisor (steal), %", seen.load.steal_percent),
    ):
        rows.append((name, "", "", NOT_AVAILABLE if value is None else f"{value:.1f}", ""))
    title = f"Utilisation Summary: {seen.samples} samples, one each 100 ms"
    return Table(title, ("what", *_STATISTICS), tuple(rows), fit=Fit(prose=(0,)))


def _performance(report: BenchReport) -> Table:
    rows = (
        ("iterations", f"{report.iterations}", f"of {report.batch} image(s), {report.concurrency} at a time"),
        ("wall time", f"{report.result.wall_seconds:.3f} s", ""),
        ("compute time", f"{report.compute_seconds:.3f} s", "summed over all requests"),
        ("throughput", f"{report.requests_per_second:.2f} qps", f"{report.images_per_second:.2f} images/s"),
    )
    return Table("Performance Summary", ("what", "value", ""), rows, left=(0, 2), fit=Fit(prose=(2,)))


def _latency(title: str, latency: dict[str, Summary]) -> Table:
    columns = (*_STATISTICS, *_PERCENTILES)
    digits = _digits(latency["total"])
    rows = tuple((_PART_NAMES[part], *_numbers(latency.get(part), columns, digits)) for part in PARTS)
    return Table(title, ("part", *columns), rows, fit=Fit(leave=(5, 6, 3, 1)))


def _cold(report: BenchReport) -> Table:
    cold = report.cold
    if cold is None:
        raise ValueError("no cold start was measured")
    rows = tuple(
        (name, *_numbers(summary, _STATISTICS, 1))
        for name, summary in (
            ("start the interpreter", cold.interpreter_ms),
            ("import numpy and smalti", cold.imports_ms),
            ("load the model", cold.load_ms),
            ("first inference", cold.first_ms),
            ("process start to first result", cold.total_ms),
        )
    )
    title = f"cold start, {cold.total_ms.count} fresh processes, ms"
    return Table(title, ("part", *_STATISTICS), rows, fit=Fit(prose=(0,)))


def _traces(report: BenchReport) -> Table:
    rows = tuple(
        (str(index), str(count), *(f"{averages[part]:.3f}" for part in PARTS))
        for index, (count, averages) in enumerate(report.traces())
    )
    title = f"Trace averages of {report.trace_runs} runs, ms"
    return Table(title, ("trace", "runs", *(_PART_NAMES[part] for part in PARTS)), rows, fit=Fit(leave=(2, 4)))


def profile_tables(table: LayerTable) -> list[Table]:
    """Return the steps of one profiled group, the limits they are compared with, and what follows in words."""
    sentences = tuple((sentence,) for sentence in table.words)
    words = Table(f"In words: {table.group}", ("",), sentences, fit=Fit(prose=(0,)))
    return [layer_table(table), limits_table(table), *([words] if table.words else [])]


def layer_table(table: LayerTable) -> Table:
    """Return the steps of one profiled group, the longest first."""
    rows = tuple(_layer_row(table, layer) for layer in by_time(table.layers))
    whole = 2 * table.macs / table.total_ms / 1e6 if table.macs and table.total_ms > 0 else None
    moved = sum(layer.bytes for layer in table.layers)
    share = _optional(table.whole_percent, 0)
    footer = ("", "sum", "", "", "", f"{table.total_ms:.4f}", "100.0", _optional(whole, 1), "", share)
    how = f"median of {table.runs} runs, {_threads(table.threads)}"
    return Table(
        f"Profile of {table.group}: {table.mode}, {how}",
        ("#", "name", "kernel", "precision", "shape", "ms", "%", "GOP/s", "limit", "% of limit", "MB", "GB/s"),
        rows,
        (*footer, f"{moved / 1e6:.2f}", ""),
        left=(1, 2, 3, 4, 8),
        fit=Fit(names=(1,), leave=(11, 10, 4, 8, 3, 7, 0, 9, 2)),
    )


def limits_table(table: LayerTable) -> Table:
    """Return what this machine can do, and how much of the run each limit bounds."""
    rows = [
        (kind.value, kind.instruction, f"{rate:.1f} {kind.unit}", *_bounded(table, Bound.COMPUTE, kind))
        for kind, rate in table.peaks.rates.items()
    ]
    if table.peaks.copies:
        rates = [rate / 1e9 for _, rate in table.peaks.copies]
        rate = f"{min(rates):.1f} to {max(rates):.1f} GB/s"
        rows.append(("memory", "copy of as many bytes", rate, *_bounded(table, Bound.MEMORY)))
    title = f"Limits of this machine, {_threads(table.threads)}"
    columns = ("limit", "measured with", "rate", "steps", "ms", "ms at limit")
    return Table(title, columns, tuple(rows), left=(0, 1), fit=Fit(leave=(1, 3)))


def _bounded(table: LayerTable, bound: Bound, kind: Arithmetic | None = None) -> tuple[str, str, str]:
    """Return how many steps a limit bounds, their milliseconds, and what these would be at the limit."""
    layers = [layer for layer in table.layers if layer.bound is bound]
    if kind is not None:
        layers = [layer for layer in layers if layer.precision.arithmetic is kind]
    at_limit = sum(layer.limit_ms or 0.0 for layer in layers)
    return str(len(layers)), f"{sum(layer.ms for layer in layers):.2f}", f"{at_limit:.2f}"


def _layer_row(table: LayerTable, layer: Layer) -> tuple[str, ...]:
    timed = table.is_timed(layer)
    return (
        str(layer.number),
        layer.name.removesuffix(":0"),
        layer.kernel,
        layer.precision.short,
        "x".join(map(str, layer.shape)),
        f"{layer.ms:.4f}",
        f"{100 * layer.share:.1f}",
        _optional(layer.gflops if timed else None, 1),
        _limit_name(layer),
        _optional(table.percent_of_limit(layer), 0),
        f"{layer.bytes / 1e6:.2f}",
        _optional(layer.gigabytes if timed else None, 1),
    )


def _limit_name(layer: Layer) -> str:
    if layer.bound is None:
        return NOT_AVAILABLE
    arithmetic = layer.precision.arithmetic
    return arithmetic.value if layer.bound is Bound.COMPUTE and arithmetic is not None else layer.bound.value


def _threads(count: int) -> str:
    return f"{count} thread" if count == 1 else f"{count} threads"


def _end_to_end(found: EndToEnd) -> Table:
    columns = (*_STATISTICS, "p95")
    digits = _digits(found.total)
    rows = tuple(
        (part, *_numbers(summary, columns, digits), f"{100 * found.share(part):.1f}")
        for part, summary in found.parts.items()
    )
    footer = ("total", *_numbers(found.total, columns, digits), "100.0")
    kind = "generated JPEGs" if found.generated else "pictures"
    title = (
        f"End to end, {found.images} {kind}: {found.images_per_second:.1f} images/s one part after another, "
        f"{found.pipelined:.1f} as smalti infer works, ms"
    )
    return Table(title, ("part", *columns, "% of time"), rows, footer, fit=Fit(leave=(1, 2, 3)))


def comparison_table(found: Comparison) -> Table:
    """Return one row per compared shape group."""
    rows = tuple(
        (
            group.group,
            f"{group.median_ms:.3f}",
            f"{group.other_ms:.3f}",
            f"{group.count} / {group.other_count}",
            f"{group.ratio.value:.4f}",
            f"{group.ratio.low:.4f} to {group.ratio.high:.4f}",
            group.verdict.value,
        )
        for group in found.groups
    )
    how = "in turns with" if found.interleaved else "against the report"
    title = f"Comparison {how} {found.other}: compute time, at most {found.max_regression:g} % slower allowed"
    columns = ("group", "this ms", "other ms", "requests", "ratio", "95 % interval", "verdict")
    return Table(title, columns, rows, left=(0, 6), fit=Fit(names=(0,), prose=(6,), leave=(3, 2, 1)))


def _numbers(summary: Summary | None, names: Sequence[str], digits: int) -> tuple[str, ...]:
    if summary is None:
        return (NOT_AVAILABLE,) * len(names)
    values = summary.to_json()
    return tuple(f"{values[name]:.{digits}f}" for name in names)


def _digits(summary: Summary) -> int:
    """Return how many digits behind the point fit times of this size into the columns."""
    return 3 if summary.maximum < 10 else 2 if summary.maximum < 1000 else 1


def _optional(value: float | None, digits: int) -> str:
    return NOT_AVAILABLE if value is None else f"{value:.{digits}f}"


def _size(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 100_000 else f"{count:,} bytes"


def _cache(size: int) -> str:
    if size <= 0:
        return NOT_AVAILABLE
    return f"{size >> 20} MiB" if size >= 1 << 20 and size % (1 << 20) == 0 else f"{size >> 10} KiB"
