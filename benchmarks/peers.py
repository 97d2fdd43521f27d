"""Smalti beside other engines: ``python -m benchmarks.peers --tf-model PB --image-dir D``.

Every engine does the whole job from one frozen graph: uint8 image in, int32 labels out.  See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.calibration import Calibration, gather
from benchmarks.cuts import find_cuts
from benchmarks.duel import Contender, Reference, Setting, enter, race, with_reference
from benchmarks.images import load_pictures
from benchmarks.machine import choose_cpus, describe
from benchmarks.output import positive, wide_console
from benchmarks.peers_table import show, to_markdown
from benchmarks.precision import RIGHT_LABELS, RIVALS, Precision
from benchmarks.routes import ENGINES, FLOAT32_BY_DEFAULT, OPENVINO_DEFAULT, Job, default_engines, digest
from benchmarks.stats import median, percentile, ratio_of_medians
from benchmarks.workers import EngineFailure, SharedImages
from smalti.errors import SmaltiError, UsageError
from smalti.quant.modes import QuantMode

NATIVE = "native"
OURS = ("smalti", "smalti-mutable")
FIGURES = ("version", "median_ms", "p90_ms", "agree", "rss_mb", "load_ms", "first_ms")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write JSON and Markdown.  0: done; 1: nothing to compare; 2: wrong arguments."""
    said = sys.argv[1:] if arguments is None else list(arguments)
    chosen = _parser().parse_args(said)
    console = wide_console(126)
    log = Console(stderr=True)
    try:
        report = measure(chosen, log)
    except (SmaltiError, EngineFailure) as error:
        log.print(f"[red]error[/red] {error}", highlight=False)
        return 2
    report["arguments"] = said
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if chosen.markdown is not None:
        with chosen.markdown.open("a", encoding="utf-8") as page:
            page.write(to_markdown(report) + "\n")
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
    machine = {"date": datetime.now(timezone.utc).strftime("%Y-%m-%d"), **describe(cpus)}
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
        _without_doubles(contenders)
        neighbours = race(contenders, setting, chosen.rounds, chosen.per_round) if contenders else None
        failures.update({c.name: c.failure for c in contenders if c.failure is not None})
        ours = _find(contenders, OURS)
        results = [_result(c, ours) for c in contenders if c.failure is None]
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

    ``own_float32`` tells how many times faster Smalti in this mode is than Smalti in float32, ``default_speedup`` how
    many times faster Smalti's default is than the fastest peer as it is without a word about precision.
    """
    found: dict[str, Any] = {"best_peer": None, "default_peer": None, "default_precision": None}
    found |= {f"{key}{end}": None for key in ("speedup", "default_speedup", "own_float32") for end in ("", "_ci95")}
    able = [c for c in contenders if c.failure is None and c.right]
    ours = _find(able, OURS)
    float32 = next((c for c in able if c.name.startswith("smalti") and c.precision is Precision.FLOAT32), None)
    peers = [c for c in able if not c.name.startswith("smalti")]
    best = min((c for c in peers if c.precision in RIVALS[precision]), key=_median, default=None)
    default = min((c for c in peers if _is_default(c)), key=_median, default=None)
    if best is not None:
        found["best_peer"] = best.name
    if default is not None:
        found |= {"default_peer": default.name, "default_precision": default.precision.value}
    before = float32 if float32 is not ours else None
    pairs = (("speedup", best, ours), ("own_float32", before, ours), ("default_speedup", default, float32))
    for key, other, mine in pairs:
        if other is not None and mine is not None:
            ratio = ratio_of_medians(other.rounds, mine.rounds)
            found |= {key: ratio.value, f"{key}_ci95": [ratio.low, ratio.high]}
    return found


def _median(contender: Contender) -> float:
    return median(contender.samples)


def _find(contenders: Sequence[Contender], names: Sequence[str]) -> Contender | None:
    return next((c for c in contenders if c.name in names and c.failure is None), None)


def _without_doubles(contenders: list[Contender]) -> None:
    """Take out OpenVINO's default where it is what OpenVINO is asked for anyway: that row stands for both."""
    default = _find(contenders, (OPENVINO_DEFAULT,))
    asked = _find(contenders, ("openvino",))
    if default is not None and asked is not None and default.precision is asked.precision:
        default.process.close()
        contenders.remove(default)
        asked.takes_default = True


def _is_default(contender: Contender) -> bool:
    """Return whether an engine computes so for who says nothing of precision."""
    if contender.name in ("openvino", OPENVINO_DEFAULT):
        return contender.takes_default or contender.name == OPENVINO_DEFAULT
    return contender.name in FLOAT32_BY_DEFAULT and contender.precision is Precision.FLOAT32


def _reference(job: Job, setting: Setting) -> Reference | None:
    setting.say("labels of TensorFlow")
    try:
        return Reference(job, setting)
    except EngineFailure as error:
        setting.say(f"no labels to compare with: {error}")
        return None


def _result(contender: Contender, ours: Contender | None) -> dict[str, Any]:
    ratio = None if ours is None else ratio_of_medians(contender.rounds, ours.rounds)
    samples, facts = contender.samples, contender.process.facts
    memory = contender.process.ask("memory", 60)
    return {
        "engine": contender.name,
        "precision": contender.precision.value,
        "is_default": _is_default(contender),
        "times_smalti": None if ratio is None else {"value": ratio.value, "ci95": [ratio.low, ratio.high]},
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
    add("--markdown", type=Path, help="add the table to this page")
    return parser


if __name__ == "__main__":
    sys.exit(main())
