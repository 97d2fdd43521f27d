"""Kernels against the machine's limits: ``python -m benchmarks.kernels --tf-model PB``.

Measures what the CPU and its memory can do, then how much of it every step of the planned model uses, and on request
every tile that a layer could have.  See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.layers import Layers, measure_layers
from benchmarks.machine import NeighbourWatch, choose_cpus, describe
from benchmarks.output import neighbours_text, positive, wide_console
from benchmarks.peaks import Peaks, measure_peaks
from benchmarks.roofline import draw_roofline
from benchmarks.tiles import Contest, contests
from smalti.compiler import CompileOptions
from smalti.errors import SmaltiError, UsageError
from smalti.target.host import resolve_target


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print.  0: done; 1: below ``--assert``; 2: wrong arguments, or a graph that cannot be compiled."""
    chosen = _parser().parse_args(arguments)
    console = wide_console(140)
    try:
        return _run(chosen, console)
    except (SmaltiError, OSError) as error:
        Console(stderr=True).print(f"[red]error[/red] {error}", highlight=False)
        return 2


def _run(chosen: argparse.Namespace, console: Console) -> int:
    target = resolve_target(chosen.target)
    cpus = choose_cpus(chosen.threads, chosen.cpus)
    if len(cpus) < chosen.threads:
        raise UsageError(f"{chosen.threads} threads on {len(cpus)} CPUs: limits are per CPU, give as many --cpus")
    machine = describe(cpus)
    os.sched_setaffinity(0, cpus)
    watch = NeighbourWatch([])
    all_peaks = [measure_peaks(target, cpus[:n]) for n in dict.fromkeys((1, chosen.threads))]
    show_peaks(all_peaks, machine, console)
    peaks = all_peaks[-1]
    models, tiles = [], []
    for graph in chosen.tf_model:
        options = CompileOptions(
            targets=(target,), shape_mutable=False, input_size=chosen.input_size, name=graph.resolve().parent.name
        )
        measured = measure_layers(graph, options, (chosen.input_size, chosen.input_size), chosen.threads, chosen.runs)
        models.append(measured)
        show_layers(measured, peaks, console)
        if chosen.tiles:
            found = []
            for contest in contests(measured.plan, chosen.threads, chosen.runs):
                show_contest(contest, console)
                found.append(contest)
            tiles.append(found)
            show_losses(measured, found, console)
    machine["neighbours_cpus"] = watch.finish()
    console.print(neighbours_text(machine), highlight=False)
    if chosen.json is not None:
        text = json.dumps(report(machine, all_peaks, models, tiles), indent=1)
        chosen.json.write_text(text + "\n", encoding="utf-8")
    if chosen.plot is not None:
        draw_roofline(chosen.plot, peaks, models)
    return gate(models, peaks, chosen.minimum, console)


def report(
    machine: dict[str, Any], peaks: Sequence[Peaks], models: Sequence[Layers], tiles: Sequence[Sequence[Contest]]
) -> dict[str, Any]:
    """Return the whole report as plain values."""
    limit = peaks[-1]
    rows = []
    for number, model in enumerate(models):
        rows.append(
            {
                "model": model.model,
                "target": model.target,
                "threads": model.threads,
                "size": list(model.size),
                "ms": model.milliseconds,
                "fma_percent": model.fma_percent(limit),
                "pointwise_fma_percent": model.fma_percent(limit, pointwise_only=True),
                "layers": [layer.to_json(limit) for layer in model.layers],
                "tiles": [c.to_json() for c in tiles[number]] if tiles else None,
            }
        )
    return {"machine": machine, "peaks": [p.to_json() for p in peaks], "models": rows}


def gate(models: Sequence[Layers], peaks: Peaks, minimum: float | None, console: Console) -> int:
    """Return 1 if the 1x1 convolutions of a model are below ``minimum`` per cent of the arithmetic limit."""
    code = 0
    for model in models if minimum is not None else ():
        share = model.fma_percent(peaks, pointwise_only=True)
        passed = minimum is None or share >= minimum
        word = "[green]PASSED[/green]" if passed else "[red]FAILED[/red]"
        console.print(f"{word} {model.model}: 1x1 convolutions at {share:.1f} %, asked for {minimum:g} %")
        code |= not passed
    return code


def show_peaks(all_peaks: Sequence[Peaks], machine: dict[str, Any], console: Console) -> None:
    """Print the limits."""
    console.print(f"{machine['cpu']}, CPUs {machine['cpus_used']}, {machine['target']}", highlight=False)
    table = Table(title="limits of this machine", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("threads", justify="right")
    for bits in all_peaks[-1].gflops:
        table.add_column(f"GFLOP/s {bits} bit", justify="right")
    for memory in all_peaks[-1].memory:
        table.add_column(f"{memory.level} read/write GB/s", justify="right")
    for peaks in all_peaks:
        rates = [f"{value:.1f}" for value in peaks.gflops.values()]
        table.add_row(str(peaks.threads), *rates, *(f"{m.read:.0f} / {m.write:.0f}" for m in peaks.memory))
    console.print(table)


def show_layers(model: Layers, peaks: Peaks, console: Console) -> None:
    """Print every step, the longest first, and the sum of each kernel."""
    height, width = model.size
    title = f"{model.model}, {height} x {width}, {model.threads} threads, {model.target}: {model.milliseconds:.2f} ms"
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    for heading, side in (("step", "right"), ("kernel", "left"), ("result", "left"), ("weights", "left")):
        table.add_column(heading, justify=side, no_wrap=True)  # type: ignore[arg-type]
    for heading in ("ms", "time %", "GFLOP/s", "FMA %", "GB/s", "L3 %"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("tile")
    total = sum(layer.milliseconds for layer in model.layers)
    level = peaks.bandwidth("L3").read
    for layer in sorted(model.layers, key=lambda la: -la.milliseconds):
        work = (f"{layer.gflops:.1f}", f"{100 * layer.gflops / peaks.best_gflops:.1f}") if layer.macs else ("-", "-")
        table.add_row(
            str(layer.number),
            layer.kernel,
            _shape(layer.shape),
            " ".join(_shape(w) for w in layer.weights),
            f"{layer.milliseconds:.3f}",
            f"{100 * layer.milliseconds / total:.1f}",
            *work,
            f"{layer.gigabytes:.1f}",
            f"{100 * layer.gigabytes / level:.0f}",
            layer.tile,
        )
    console.print(table)
    _show_kernels(model, peaks, total, console)


def _show_kernels(model: Layers, peaks: Peaks, total: float, console: Console) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("kernel")
    for heading in ("steps", "ms", "time %", "GFLOP/s", "FMA %"):
        table.add_column(heading, justify="right")
    kernels = dict.fromkeys(layer.kernel for layer in model.layers)
    rows = []
    for kernel in kernels:
        mine = [layer for layer in model.layers if layer.kernel == kernel]
        time = sum(layer.milliseconds for layer in mine)
        rate = 2e-6 * sum(layer.macs for layer in mine) / time if time else 0.0
        rows.append((time, kernel, len(mine), rate))
    for time, kernel, count, rate in sorted(rows, reverse=True):
        share = f"{100 * rate / peaks.best_gflops:.1f}"
        table.add_row(kernel, str(count), f"{time:.2f}", f"{100 * time / total:.1f}", f"{rate:.1f}", share)
    console.print(table)
    console.print(
        f"1x1 convolutions at {model.fma_percent(peaks, pointwise_only=True):.1f} % of the arithmetic limit, "
        f"all steps at {model.fma_percent(peaks):.1f} %\n",
        highlight=False,
    )


def show_contest(contest: Contest, console: Console) -> None:
    """Print all tiles of a layer, the planner's choice marked."""
    where = ", ".join(map(str, contest.layers))
    console.print(
        f"[bold]{contest.kernel}[/bold] {_shape(contest.shape)} weights {_shape(contest.weights)}, steps {where}"
        + ("" if contest.alone else " (part of a fused step, here alone)"),
        highlight=False,
    )
    best = contest.candidates[0].milliseconds
    for candidate in contest.candidates:
        mark = "  <--" if candidate.chosen else ""
        slower = 100 * (candidate.milliseconds / best - 1) if best else 0.0
        console.print(
            f"  {candidate.milliseconds:8.3f} ms {candidate.gflops:7.1f} GFLOP/s  +{slower:5.1f} %  "
            f"{candidate.tile}{mark}",
            highlight=False,
            style="bold" if candidate.chosen else None,
        )


def show_losses(model: Layers, found: Sequence[Contest], console: Console) -> None:
    """Print what the fastest tiles would gain over the planner's choices, in steps that are one convolution."""
    gain = 0.0
    for contest in found:
        if not contest.alone:
            continue
        chosen = next(c for c in contest.candidates if c.chosen)
        gain += len(contest.layers) * (chosen.milliseconds - contest.candidates[0].milliseconds)
    console.print(f"the fastest tiles alone would save {gain:.2f} of {model.milliseconds:.2f} ms\n", highlight=False)


def _shape(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kernels", description="Every layer of a model against the limits of this machine."
    )
    add = parser.add_argument
    add("--tf-model", type=Path, action="append", required=True, help="frozen GraphDef (.pb); may be given again")
    add("--input-size", type=positive, default=513, help="side of the square image (default 513)")
    add("--threads", type=positive, default=len(os.sched_getaffinity(0)), help="threads")
    add("--cpus", help="CPUs to run on, e.g. 0,2-3 (default: as many as threads)")
    add("--target", default="native", help="target to compile for, e.g. x86-64-v3")
    add("--runs", type=positive, default=15, help="profiled runs; medians count (default 15)")
    add("--tiles", action="store_true", help="also measure each layer alone with every tile")
    add("--assert", dest="minimum", type=float, metavar="MIN_PERCENT", help="exit with 1 below this, 1x1 convolutions")
    add("--plot", type=Path, metavar="PNG", help="draw the roofline (needs matplotlib)")
    add("--json", type=Path, help="write the report here")
    return parser


if __name__ == "__main__":
    sys.exit(main())
