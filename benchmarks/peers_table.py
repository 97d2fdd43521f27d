"""What a measurement of engines says: figures in a terminal, and a table in Markdown for a page."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.output import is_crowded, neighbours_text
from benchmarks.precision import RIGHT_LABELS, Precision, labels_are_right
from benchmarks.routes import TITLES
from smalti.jobs.watch import NOISY_MARK

Result = dict[str, Any]


def show(report: dict[str, Any], console: Console) -> None:
    """Print the report: a table of figures, the route of each engine, the verdict."""
    machine, job = report["machine"], report["job"]
    console.print(
        f"[bold]{job['model']}[/bold], {job['quant_mode']}, {job['threads']} threads, {job['rounds']} rounds of "
        f"{job['per_round']}, {job['images']} images: {_sizes(job)}\n"
        f"{machine['cpu']}, CPUs {machine['cpus_used']}, {machine['system']}",
        highlight=False,
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("engine", no_wrap=True)
    table.add_column("precision", no_wrap=True)
    for column in ("median ms", "p90 ms", "/ Smalti", "95 %", "agree %", "RSS MB", "load ms", "first ms"):
        table.add_column(column, justify="right", no_wrap=True)
    done = _done(report)
    for r in done:
        numbers = (_ms(report, r["median_ms"]), _ms(report, r["p90_ms"]), *_ratio(r), _agree(r))
        rest = (f"{r['rss_mb']:.0f}", f"{r['load_ms']:.0f}", f"{r['first_ms']:.0f}")
        style = "bold" if r["engine"].startswith("smalti") else None
        table.add_row(TITLES[r["engine"]], _precision(r), *numbers, *rest, style=style)
    console.print(table)
    for r in done:
        detail = f" ({r['detail']})" if r["detail"] else ""
        console.print(f"  {TITLES[r['engine']]} {r['version']}: {r['route']}{detail}", highlight=False)
        for route, outcome in r["tried"].items():
            if len(r["tried"]) > 1:
                console.print(f"      {route}: {outcome}", highlight=False, style="dim")
    for r in report["results"]:
        if "failed" in r:
            console.print(f"  {TITLES[r['engine']]}: [red]not possible[/red]: {r['failed']}", highlight=False)
    console.print("\n".join(verdict_lines(report)), highlight=False)


def to_markdown(report: dict[str, Any]) -> str:
    """Return the table for a page: what was measured where and when, a row for each engine, verdict, command."""
    machine, job = report["machine"], report["job"]
    pictures = "" if job["calibration_pictures"] is None else f", calibrated on {job['calibration_pictures']} pictures"
    lines = [
        f"**{job['model']}, {job['quant_mode']}, {_sizes(job)}, {job['threads']} threads**",
        "",
        f"{machine['date']}, {machine['cpu']} ({machine['target']}), CPUs {', '.join(map(str, machine['cpus_used']))}, "
        f"{machine['system']}, Python {machine['python']}; {job['rounds']} rounds of {job['per_round']}, "
        f"{job['images']} images in rotation{pictures}. Times are those of the whole job; ratios have 95 % intervals.",
        "",
        "| engine | precision | median ms | p90 ms | times Smalti's | labels as TensorFlow's |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for r in _done(report):
        value, interval = _ratio(r)
        ratio = value if interval == "-" else f"{value} ({interval})"
        agree = _agree(r) if r["agree"] is None else f"{_agree(r)} %"
        times = (_ms(report, r[key]) for key in ("median_ms", "p90_ms"))
        cells = (f"{TITLES[r['engine']]} {r['version']}", _precision(r), *times, ratio, agree)
        lines.append(f"| {' | '.join(cells)} |")
    lines += [f"| {TITLES[r['engine']]} | not possible: {_cell(r['failed'])} | | | | |" for r in _failed(report)]
    if is_crowded(machine):
        lines += ["", f"{NOISY_MARK} too slow and noisy: {neighbours_text(machine)}"]
    lines += ["", *(f"- {line}" for line in verdict_lines(report)), ""]
    return "\n".join([*lines, "```bash no-run", command_of(report["arguments"]), "```", ""])


def command_of(arguments: Sequence[str]) -> str:
    """Return the command line of a run."""
    return f"python -m benchmarks.peers {shlex.join(arguments)}"


def verdict_lines(report: dict[str, Any]) -> list[str]:
    """Return what follows from the figures, in sentences."""
    lines = []
    for r in report["results"]:
        if r["agree"] is not None and not labels_are_right(r["agree"], Precision(r["precision"])):
            bound = 100 * RIGHT_LABELS[Precision(r["precision"])]
            lines.append(
                f"{TITLES[r['engine']]} gives TensorFlow's label on fewer than {bound:.0f} % of the pixels "
                f"and does not count"
            )
    if report["speedup"] is not None:
        low, high = report["speedup_ci95"]
        lines.append(
            f"At {report['job']['precision']} Smalti is {report['speedup']:.2f} times as fast as the best peer, "
            f"{TITLES[report['best_peer']]} (95 % interval {low:.2f} to {high:.2f})"
        )
    if report["default_speedup"] is not None:
        low, high = report["default_speedup_ci95"]
        lines.append(
            f"With nothing said about precision Smalti (float32) is {report['default_speedup']:.2f} times as fast as "
            f"the fastest peer, {TITLES[report['default_peer']]} ({report['default_precision']}; 95 % interval "
            f"{low:.2f} to {high:.2f})"
        )
    if report["own_float32"] is not None:
        low, high = report["own_float32_ci95"]
        lines.append(
            f"Smalti is {report['own_float32']:.2f} times as fast as itself in float32 "
            f"(95 % interval {low:.2f} to {high:.2f})"
        )
    lines.append(neighbours_text(report["machine"]))
    return lines


def _done(report: dict[str, Any]) -> list[Result]:
    return sorted((r for r in report["results"] if "failed" not in r), key=lambda r: float(r["median_ms"]))


def _failed(report: dict[str, Any]) -> list[Result]:
    return [r for r in report["results"] if "failed" in r]


def _sizes(job: dict[str, Any]) -> str:
    return ", ".join(f"{h} x {w}" for h, w in job["sizes"])


def _precision(r: Result) -> str:
    return f"{r['precision']}, its default" if r["is_default"] else str(r["precision"])


def _ms(report: dict[str, Any], value: float) -> str:
    return f"{NOISY_MARK if is_crowded(report['machine']) else ''}{value:.1f}"


def _ratio(r: Result) -> tuple[str, str]:
    found = r["times_smalti"]
    if found is None:
        return "-", "-"
    low, high = found["ci95"]
    return f"{found['value']:.2f}", f"{low:.2f} to {high:.2f}"


def _agree(r: Result) -> str:
    return "-" if r["agree"] is None else f"{100 * r['agree']:.2f}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
