"""A whole job beside the engine alone: ``python -m benchmarks.job --model M --image-dir D``.

The engine labels pictures that are decoded and scaled already, one after the other with all threads; the job is
``smalti infer`` from files to files.  The two take turns, and each job is compared with the engine before and after it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.output import positive
from benchmarks.stats import median, percentile
from smalti.errors import SmaltiError
from smalti.jobs.pictures import seen_pictures
from smalti.jobs.stream import MAX_AT_ONCE, choose_preprocess
from smalti.labelling.infer import JobOptions, infer
from smalti.runtime.engine import Engine, load
from smalti.vision.voc import find_pictures


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write the JSON.  0: done; 2: wrong arguments or files."""
    parser = job_parser("benchmarks.job", "A whole job beside the engine alone.")
    return run_benchmark(parser.parse_args(arguments), measure, _text)


def run_benchmark(
    chosen: argparse.Namespace,
    measure: Callable[[argparse.Namespace], dict[str, Any]],
    text: Callable[[dict[str, Any]], str],
) -> int:
    """Measure, print the text of the report, write it as JSON; return the exit code."""
    try:
        report = measure(chosen)
    except SmaltiError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(text(report))
    return 0


def _text(report: dict[str, Any]) -> str:
    return (
        f"{report['pictures']} pictures, {report['threads']} threads, {len(report['shares'])} rounds\n"
        f"engine alone   {report['engine_ms']:.2f} ms a picture\n"
        f"whole job      {report['job_ms']:.2f} ms a picture\n"
        f"throughput     {100 * report['share']:.1f} % of the engine alone"
        f" ({100 * min(report['shares']):.1f} to {100 * max(report['shares']):.1f})"
    )


def job_parser(name: str, what: str) -> argparse.ArgumentParser:
    """Return the options of a benchmark that labels pictures in rounds."""
    parser = argparse.ArgumentParser(prog=name, description=what)
    parser.add_argument("--model", type=Path, required=True, help="offline model file")
    parser.add_argument("--image-dir", type=Path, required=True, help="folder of pictures, or VOC2012")
    parser.add_argument("--file-list", type=Path, help="names of pictures, one a line")
    parser.add_argument("--image-num", type=positive, help="at most so many pictures")
    parser.add_argument("--threads", type=positive, help="threads (default: CPUs that this process may use)")
    parser.add_argument("--rounds", type=positive, default=7, help="jobs to run (default 7)")
    parser.add_argument("--json", type=Path, help="write all figures here")
    return parser


def measure(chosen: argparse.Namespace) -> dict[str, Any]:
    """Run engine and job in turns and return the report; times are milliseconds of a picture."""
    cv2.setNumThreads(1)  # As the command has it.
    with load(chosen.model, chosen.threads, concurrency=MAX_AT_ONCE) as engine:
        found = find_pictures(chosen.image_dir, chosen.file_list, chosen.image_num)
        seen = [picture for _, picture in seen_pictures(found, choose_preprocess(engine))]
        _label(engine, seen[:10])
        alone, jobs = [_label(engine, seen)], list[float]()
        for _ in range(chosen.rounds):
            jobs.append(run_job(engine, chosen) / len(seen))
            alone.append(_label(engine, seen))
        shares = [(before + after) / 2 / job for before, job, after in zip(alone, jobs, alone[1:], strict=False)]
        return {
            "model": str(chosen.model),
            "pictures": len(seen),
            "threads": engine.threads,
            "engine_ms": 1e3 * median(alone),
            "job_ms": 1e3 * median(jobs),
            "job_p90_ms": 1e3 * percentile(jobs, 90),
            "share": median(shares),
            "shares": shares,
        }


def _label(engine: Engine, seen: Sequence[NDArray[np.uint8]]) -> float:
    """Return the seconds of a picture, one after the other with all threads."""
    started = time.perf_counter()
    for picture in seen:
        engine(picture)
    return (time.perf_counter() - started) / len(seen)


def run_job(engine: Engine, chosen: argparse.Namespace) -> float:
    """Return the seconds of a whole job, decoding and saving included."""
    with tempfile.TemporaryDirectory(prefix="smalti-job-") as folder:
        started = time.perf_counter()
        infer(
            engine,
            chosen.image_dir,
            Path(folder),
            file_list=chosen.file_list,
            image_num=chosen.image_num,
            job=JobOptions(engine.digest, engine.target),
        )
        return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
