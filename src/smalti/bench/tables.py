"""The report of a bench run as tables, in the order of the sections."""

from __future__ import annotations

from collections.abc import Sequence

from smalti.bench.compare import Comparison
from smalti.bench.e2e import EndToEnd
from smalti.bench.layers import Bound, Layer, LayerTable, by_time
from smalti.bench.peak import Arithmetic
from smalti.bench.report import PARTS, BenchReport
from smalti.bench.stats import Summary
from smalti.jobs.table import Table

NOT_AVAILABLE = "n/a"
_NAME_WIDTH = 26
_STATISTICS = ("min", "max", "mean", "median")
_PERCENTILES = ("p90", "p95", "p99")
_PART_NAMES = {
    "pre": "pre-processing",
    "compute": "compute",
    "post": "post-processing",
    "total": "total",
}


def bench_tables(report: BenchReport, *, wide: bool = True) -> list[Table]:
    """Return every section of the report; without ``wide`` the profile has fewer columns."""
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
    for layers in report.layers:
        tables += profile_tables(layers, wide=wide)
    if report.end_to_end is not None:
        tables.append(_end_to_end(report.end_to_end))
    if report.comparison is not None:
        tables.append(comparison_table(report.comparison))
    return tables


def last_line(report: BenchReport) -> str:
    """Return the result in one line."""
    word = "PASSED" if report.passed else "FAILED"
    latency = report.latency(None)
    text = (
        f"{word}: {report.parameters['model']}: {report.images_per_second:.2f} images/s, compute median "
        f"{latency['compute'].median:.3f} ms, p99 {latency['compute'].p99:.3f} ms, {_threads(report.threads)}"
    )
    worst = None if report.comparison is None else max(report.comparison.groups, key=lambda group: group.ratio.value)
    if worst is None:
        return text
    low, high = worst.ratio.low, worst.ratio.high
    return f"{text}; {worst.verdict.value}: {worst.ratio.value:.3f} x the time [{low:.3f}, {high:.3f}]"


def _parameters(report: BenchReport) -> Table:
    rows = tuple((name, "-" if value is None else str(value)) for name, value in report.parameters.items())
    return Table("Parameter Information", ("parameter", "value"), rows, left=(0, 1))


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
    return Table("Load", ("what", "value", ""), rows, left=(0, 2))


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
    return Table("Device Information", ("what", "value"), rows, left=(0, 1))


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
    return Table(title, columns, rows, left=(0, 1, 2, 3, 4, 5))


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
    for name, value in (("other processes, %", seen.others_percent), ("hypervisor (steal), %", seen.steal_percent)):
        rows.append((name, "", "", NOT_AVAILABLE if value is None else f"{value:.1f}", ""))
    title = f"Utilisation Summary: {seen.samples} samples, one each 100 ms"
    return Table(title, ("what", *_STATISTICS), tuple(rows))


def _performance(report: BenchReport) -> Table:
    rows = (
        ("iterations", f"{report.iterations}", f"of {report.batch} image(s), {report.concurrency} at a time"),
        ("wall time", f"{report.result.wall_seconds:.3f} s", ""),
        ("compute time", f"{report.compute_seconds:.3f} s", "summed over all requests"),
        ("throughput", f"{report.requests_per_second:.2f} qps", f"{report.images_per_second:.2f} images/s"),
    )
    return Table("Performance Summary", ("what", "value", ""), rows, left=(0, 2))


def _latency(title: str, latency: dict[str, Summary]) -> Table:
    columns = (*_STATISTICS, *_PERCENTILES)
    digits = _digits(latency["total"])
    rows = tuple((_PART_NAMES[part], *_numbers(latency.get(part), columns, digits)) for part in PARTS)
    return Table(title, ("part", *columns), rows)


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
    return Table(f"cold start, {cold.total_ms.count} fresh processes, ms", ("part", *_STATISTICS), rows)


def _traces(report: BenchReport) -> Table:
    rows = tuple(
        (str(index), str(count), *(f"{averages[part]:.3f}" for part in PARTS))
        for index, (count, averages) in enumerate(report.traces())
    )
    title = f"Trace averages of {report.trace_runs} runs, ms"
    return Table(title, ("trace", "runs", *(_PART_NAMES[part] for part in PARTS)), rows)


def profile_tables(table: LayerTable, *, wide: bool = True) -> list[Table]:
    """Return the steps of one profiled group, the limits they are compared with, and what follows in words."""
    words = Table(f"In words: {table.group}", ("",), tuple((sentence,) for sentence in table.words))
    return [layer_table(table, wide=wide), limits_table(table), *([words] if table.words else [])]


def layer_table(table: LayerTable, *, wide: bool = True) -> Table:
    """Return the steps of one profiled group, the longest first; without ``wide`` in fewer columns."""
    rows = tuple(_layer_row(table, layer) for layer in by_time(table.layers))
    whole = 2 * table.macs / table.total_ms / 1e6 if table.macs and table.total_ms > 0 else None
    moved = sum(layer.bytes for layer in table.layers)
    share = _optional(table.whole_percent, 0)
    footer = ("", "sum", "", "", "", f"{table.total_ms:.4f}", "100.0", _optional(whole, 1), "", share)
    how = f"median of {table.runs} runs, {_threads(table.threads)}"
    whole_table = Table(
        f"Profile of {table.group}: {table.mode}, {how}",
        ("#", "name", "kernel", "precision", "shape", "ms", "%", "GOP/s", "limit", "% of limit", "MB", "GB/s"),
        rows,
        (*footer, f"{moved / 1e6:.2f}", ""),
        left=(1, 2, 3, 4, 8),
    )
    return whole_table if wide else _without(whole_table, ("shape", "limit", "MB", "GB/s"))


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
    return Table(title, ("limit", "measured with", "rate", "steps", "ms", "ms at limit"), tuple(rows), left=(0, 1))


def _bounded(table: LayerTable, bound: Bound, kind: Arithmetic | None = None) -> tuple[str, str, str]:
    """Return how many steps a limit bounds, their milliseconds, and what these would be at the limit."""
    layers = [layer for layer in table.layers if layer.bound is bound]
    if kind is not None:
        layers = [layer for layer in layers if layer.precision.arithmetic is kind]
    at_limit = sum(layer.limit_ms or 0.0 for layer in layers)
    return str(len(layers)), f"{sum(layer.ms for layer in layers):.2f}", f"{at_limit:.2f}"


def _without(table: Table, names: Sequence[str]) -> Table:
    """Return the table without some columns."""
    kept = [index for index, column in enumerate(table.columns) if column not in names]

    def pick(cells: Sequence[str]) -> tuple[str, ...]:
        return tuple(cells[index] for index in kept)

    left = tuple(place for place, index in enumerate(kept) if index in table.left)
    return Table(table.title, pick(table.columns), tuple(map(pick, table.rows)), pick(table.footer), left)


def _layer_row(table: LayerTable, layer: Layer) -> tuple[str, ...]:
    timed = table.is_timed(layer)
    return (
        str(layer.number),
        _short(layer.name),
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


def _short(name: str) -> str:
    """Return the telling part of a long name: without the scope that all layers share, cut at its end."""
    plain = name.removesuffix(":0")
    if len(plain) > _NAME_WIDTH and plain.count("/") >= 2:
        plain = plain.partition("/")[2]
    return plain if len(plain) <= _NAME_WIDTH else plain[: _NAME_WIDTH - 1] + "…"


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
    return Table(title, ("part", *columns, "% of time"), rows, footer)


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
    return Table(title, columns, rows, left=(0, 6))


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
