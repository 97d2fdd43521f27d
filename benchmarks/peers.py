"""Smalti beside other engines: ``python -m benchmarks.peers --tf-model PB --image-dir D``.

Every engine does the whole job from one frozen graph: uint8 image in, int32 labels out.  See benchmarks/README.md.
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

from benchmarks.calibration import Calibration, gather
from benchmarks.cuts import find_cuts
from benchmarks.duel import Contender, Reference, Setting, enter, race, with_reference
from benchmarks.images import load_pictures
from benchmarks.machine import choose_cpus, describe
from benchmarks.output import neighbours_text, positive, wide_console
from benchmarks.precision import RIGHT_LABELS, RIVALS, Precision, labels_are_right
from benchmarks.routes import ENGINES, TITLES, Job, default_engines, digest
from benchmarks.stats import median, percentile, ratio_of_medians
from benchmarks.workers import EngineFailure, SharedImages
from smalti.errors import SmaltiError, UsageError
from smalti.quant.modes import QuantMode

NATIVE = "native"
OURS = ("smalti", "smalti-mutable")
FIGURES = ("version", "median_ms", "p90_ms", "agree", "rss_mb", "load_ms", "first_ms")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write the JSON.  0: done; 1: nothing to compare; 2: wrong arguments."""
    chosen = _parser().parse_args(arguments)
    console = wide_console(112)
    log = Console(stderr=True)
    try:
        report = measure(chosen, log)
    except (SmaltiError, EngineFailure) as error:
        log.print(f"[red]error[/red] {error}", highlight=False)
        return 2
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    show(report, console)
    return 0 if report["speedup"] is not None else 1


def measure(chosen: argparse.Namespace, log: Console) -> dict[str, Any]:
    """Run the whole measurement and return the report."""
    size = None if chosen.input_size == NATIVE else _side(chosen.input_size)
    cpus = choose_cpus(chosen.threads, chosen.cpus)
    pictures = load_pictures(chosen.image_dir, chosen.file_list, chosen.images, size)
    cuts = find_cuts(chosen.tf_model)
    mode = QuantMode(chosen.quant_mode)
    cache = chosen.cache_dir.expanduser().resolve()
    job = Job(
        graph=chosen.tf_model.resolve(),
        sha256=digest(chosen.tf_model),
        cuts=cuts,
        sizes=tuple(dict.fromkeys(p.size for p in pictures)),
        input_size=size,
        threads=chosen.threads,
        cache=cache,
        quant_mode=mode,
        target=chosen.target,
        calibration=None if mode.quantised is None else _calibration(chosen, size, cache),
        per_size_files=chosen.per_size_files,
    )
    shared = SharedImages(pictures)
    setting = Setting(pictures, shared, cpus, lambda text: log.print(f"[dim]{text}", highlight=False))
    machine = describe(cpus)
    contenders: list[Contender] = []
    failures: dict[str, str] = {}
    try:
        reference = _reference(job, setting)
        job = with_reference(job, reference)
        for name in chosen.engines or default_engines(mode):
            try:
                contenders.append(enter(name, job, setting, reference))
            except EngineFailure as error:
                failures[name] = str(error)
        neighbours = race(contenders, setting, chosen.rounds, chosen.per_round) if contenders else None
        failures.update({c.name: c.failure for c in contenders if c.failure is not None})
        results = [_result(c) for c in contenders if c.failure is None]
    finally:
        for contender in contenders:
            contender.process.close()
        shared.close()
    machine["neighbours_cpus"] = neighbours
    machine["load_average_after"] = list(os.getloadavg())
    results += [{"engine": name, **dict.fromkeys(FIGURES), "failed": why} for name, why in failures.items()]
    return {
        "machine": machine,
        "job": _job_facts(chosen, job, len(pictures)),
        "results": results,
        **verdict(contenders, job.precision),
    }


def verdict(contenders: Sequence[Contender], precision: Precision = Precision.FLOAT32) -> dict[str, Any]:
    """Return the best peer of the class (lowest median with right labels) and how many times faster Smalti is.

    ``own_float32`` tells how many times faster Smalti in this mode is than Smalti in float32.
    """
    found: dict[str, Any] = {"best_peer": None, "speedup": None, "speedup_ci95": None}
    found |= {"own_float32": None, "own_float32_ci95": None}
    able = [c for c in contenders if c.failure is None and c.right]
    ours = next((c for c in able if c.name in OURS), None)
    before = next((c for c in able if c.name == "smalti-float32"), None)
    peers = [c for c in able if not c.name.startswith("smalti") and c.precision in RIVALS[precision]]
    best = min(peers, key=lambda c: median(c.samples), default=None)
    if best is not None:
        found["best_peer"] = best.name
    if ours is not None:
        for key, other in (("speedup", best), ("own_float32", before)):
            if other is not None:
                ratio = ratio_of_medians(other.rounds, ours.rounds)
                found |= {key: ratio.value, f"{key}_ci95": [ratio.low, ratio.high]}
    return found


def show(report: dict[str, Any], console: Console) -> None:
    """Print the report: a table of figures, the route of each engine, the verdict."""
    machine, job = report["machine"], report["job"]
    sizes = ", ".join(f"{h} x {w}" for h, w in job["sizes"])
    console.print(
        f"[bold]{job['model']}[/bold], {job['quant_mode']}, {job['threads']} threads, {job['rounds']} rounds of "
        f"{job['per_round']}, {job['images']} images: {sizes}\n"
        f"{machine['cpu']}, CPUs {machine['cpus_used']}, {machine['system']}",
        highlight=False,
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("engine", no_wrap=True)
    table.add_column("precision", no_wrap=True)
    for column in ("median ms", "p90 ms", "/ Smalti", "agree %", "RSS MB", "load ms", "first ms"):
        table.add_column(column, justify="right", no_wrap=True)
    done = sorted((r for r in report["results"] if "failed" not in r), key=lambda r: float(r["median_ms"]))
    ours = next((r["median_ms"] for r in done if r["engine"] in OURS), None)
    for r in done:
        ratio = f"{r['median_ms'] / ours:.2f}" if ours else "-"
        agree = "-" if r["agree"] is None else f"{100 * r['agree']:.3f}"
        numbers = (f"{r['median_ms']:.1f}", f"{r['p90_ms']:.1f}", ratio, agree)
        rest = (f"{r['rss_mb']:.0f}", f"{r['load_ms']:.0f}", f"{r['first_ms']:.0f}")
        style = "bold" if r["engine"].startswith("smalti") else None
        table.add_row(TITLES[r["engine"]], r["precision"], *numbers, *rest, style=style)
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
    console.print(_verdict_text(report), highlight=False)


def _verdict_text(report: dict[str, Any]) -> str:
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
            f"Smalti is {report['speedup']:.2f} times as fast as the best peer, {TITLES[report['best_peer']]} "
            f"(95 % interval {low:.2f} to {high:.2f})"
        )
    if report["own_float32"] is not None:
        low, high = report["own_float32_ci95"]
        lines.append(
            f"Smalti is {report['own_float32']:.2f} times as fast as itself in float32 "
            f"(95 % interval {low:.2f} to {high:.2f})"
        )
    lines.append(neighbours_text(report["machine"]))
    return "\n".join(lines)


def _reference(job: Job, setting: Setting) -> Reference | None:
    setting.say("labels of TensorFlow")
    try:
        return Reference(job, setting)
    except EngineFailure as error:
        setting.say(f"no labels to compare with: {error}")
        return None


def _result(contender: Contender) -> dict[str, Any]:
    samples, facts = contender.samples, contender.process.facts
    memory = contender.process.ask("memory", 60)
    return {
        "engine": contender.name,
        "precision": contender.precision.value,
        "version": facts["version"],
        "median_ms": median(samples),
        "p90_ms": percentile(samples, 90),
        "agree": None if contender.agree != contender.agree else contender.agree,
        "rss_mb": memory["rss_mb"],
        "load_ms": facts["load_ms"],
        "first_ms": facts["first_ms"],
        "peak_mb": memory["peak_mb"],
        "import_ms": facts["import_ms"],
        "min_ms": min(samples),
        "route": contender.route,
        "detail": facts["detail"],
        "tried": contender.tried,
        "rounds_ms": contender.rounds,
    }


def _job_facts(chosen: argparse.Namespace, job: Job, images: int) -> dict[str, Any]:
    return {
        "model": job.graph.parent.name,
        "sha256": job.sha256,
        "quant_mode": job.quant_mode.value,
        "precision": job.precision.value,
        "right_labels": {p.value: share for p, share in RIGHT_LABELS.items()},
        "calibration_pictures": None if job.calibration is None else job.calibration.count,
        "calibration_sha256": None if job.calibration is None else job.calibration.key,
        "threads": job.threads,
        "input_size": chosen.input_size,
        "sizes": [list(s) for s in job.sizes],
        "images": images,
        "rounds": chosen.rounds,
        "per_round": chosen.per_round,
        "target": job.target,
    }


def _side(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 8192:
        raise UsageError(f"--input-size takes a number of pixels or {NATIVE}, not {text!r}")
    return int(text)


def _calibration(chosen: argparse.Namespace, size: int | None, cache: Path) -> Calibration:
    """Return the calibration pictures, which are to be others than those that are labelled."""
    if chosen.calib_list is None:
        raise UsageError(f"{chosen.quant_mode} needs calibration pictures: give --calib-list")
    return gather(chosen.image_dir, chosen.calib_list, chosen.calib_num, size, cache)


def _engines(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in ENGINES]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"unknown engine {', '.join(unknown)}; known: {', '.join(ENGINES)}")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description="Smalti beside other engines, whole job, interleaved."
    )
    modes = [mode.value for mode in QuantMode]
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "smalti" / "benchmarks"
    add = parser.add_argument
    add("--tf-model", type=Path, required=True, help="frozen GraphDef (.pb)")
    add("--image-dir", type=Path, required=True, help="folder of pictures, or a VOC root")
    add("--file-list", type=Path, help="one picture a line")
    add("--images", type=positive, default=8, help="how many pictures take turns (default 8)")
    add("--quant-mode", choices=modes, default=modes[0], help="precision, see benchmarks/README.md")
    add("--calib-list", type=Path, help="pictures in --image-dir to calibrate on, one a line (modes that quantise)")
    add("--calib-num", type=positive, default=100, help="only the first so many of them (default 100)")
    add("--threads", type=positive, default=len(os.sched_getaffinity(0)), help="threads of every engine")
    add("--cpus", help="CPUs that every engine is bound to, e.g. 0,2-3 (default: as many as threads)")
    add("--rounds", type=positive, default=20, help="rounds (default 20)")
    add("--per-round", type=positive, default=4, help="timed pictures per engine and round (default 4)")
    add("--input-size", default="513", help="side of the square that pictures are stretched to, or 'native'")
    add("--engines", type=_engines, help=f"of {', '.join(ENGINES)}, with commas")
    add("--target", default="native", help="Smalti's target, e.g. x86-64-v3")
    add("--per-size-files", action="store_true", help="with native: peers may also use one file per image size")
    add("--cache-dir", type=Path, default=home, help=f"converted models (default {home})")
    add("--json", type=Path, help="write the report here")
    return parser


if __name__ == "__main__":
    sys.exit(main())
