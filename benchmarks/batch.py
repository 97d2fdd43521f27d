"""``Segmenter.batch`` beside a job of ``smalti infer``: ``python -m benchmarks.batch --model M --image-dir D``.

Both read the same files and give label maps at the pictures' own sizes; the job also saves them.  They take turns, and
each batch is compared with the jobs before and after it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

import cv2

from benchmarks.job import job_parser, run_benchmark, run_job
from benchmarks.stats import median
from smalti.jobs.stream import MAX_AT_ONCE
from smalti.runtime.engine import load
from smalti.segmenter.segmenter import Segmenter
from smalti.vision.voc import find_pictures


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write the JSON.  0: done; 2: wrong arguments or files."""
    parser = job_parser("benchmarks.batch", "Segmenter.batch beside a job of infer.")
    return run_benchmark(parser.parse_args(arguments), measure, _text)


def _text(report: dict[str, Any]) -> str:
    return (
        f"{report['pictures']} pictures, {report['threads']} threads, {len(report['shares'])} rounds\n"
        f"infer   {report['job_ms']:.2f} ms a picture\n"
        f"batch   {report['batch_ms']:.2f} ms a picture\n"
        f"pictures a second: {100 * report['share']:.1f} % of infer's"
        f" ({100 * min(report['shares']):.1f} to {100 * max(report['shares']):.1f})"
    )


def measure(chosen: argparse.Namespace) -> dict[str, Any]:
    """Run job and batch in turns and return the report; times are milliseconds of a picture."""
    cv2.setNumThreads(1)  # As the command has it.
    with load(chosen.model, chosen.threads, concurrency=MAX_AT_ONCE) as engine, Segmenter(engine) as segmenter:
        paths = [
            entry.path
            for entry in find_pictures(chosen.image_dir, chosen.file_list, chosen.image_num)
            if entry.path is not None
        ]
        run_job(engine, chosen)
        jobs, batches = [run_job(engine, chosen) / len(paths)], list[float]()
        for _ in range(chosen.rounds):
            started = time.perf_counter()
            count = sum(1 for _ in segmenter.batch(paths))
            batches.append((time.perf_counter() - started) / count)
            jobs.append(run_job(engine, chosen) / len(paths))
        shares = [(before + after) / 2 / batch for before, batch, after in zip(jobs, batches, jobs[1:], strict=False)]
        return {
            "model": str(chosen.model),
            "pictures": len(paths),
            "threads": engine.threads,
            "job_ms": 1e3 * median(jobs),
            "batch_ms": 1e3 * median(batches),
            "share": median(shares),
            "shares": shares,
        }


if __name__ == "__main__":
    sys.exit(main())
