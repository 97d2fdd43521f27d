"""Machine code between guard pages, in garbage, under sanitizers, and on numbers that are none: the full counts."""

from __future__ import annotations

import sys
import time
from typing import Any

from kernels.guard_cases import MAKERS
from kernels.guard_runs import Key, run_batch
from soak import sanitized, specials

SHAPES = 200
"""Shapes of each kernel at scale 1."""
RUNS = (1, 1, 6)
"""Runs of one case after the other: two with sizes compiled in, one with sizes known at run time."""
BATCH = 15


def main(seed: int, scale: float) -> dict[str, Any]:
    """Run the checks of kernels with counts multiplied by ``scale``; return the figures of each."""
    _say(f"seed {seed}")
    return {
        "15 and 16 guard pages and garbage": guard_pages(seed, scale),
        "17 sanitizers": sanitized.check(seed, scale),
        "26 floating-point state": specials.check(seed, scale),
    }


def guard_pages(seed: int, scale: float) -> dict[str, Any]:
    """Every kernel on random shapes: all buffers at either guard page, holding NaN, zeros and noise before."""
    wanted = max(1, int(SHAPES * scale))
    shapes: dict[str, int] = {}
    failures: list[str] = []
    started = time.monotonic()
    for kernel in sorted(MAKERS):
        count = number = 0
        while count < wanted and number < 10 * wanted:
            seeds = range(number, number + min(BATCH, wanted))
            keys: list[Key] = [(kernel, seed + i, RUNS[i % len(RUNS)]) for i in seeds]
            passed, failed = run_batch(keys)
            number += len(keys)
            count += passed
            failures += failed
            for line in failed:
                _say(f"FAILED {line}")
        shapes[kernel] = count
    return {
        "pass": not failures and min(shapes.values()) >= wanted,
        "kernels": len(shapes),
        "fewest shapes of a kernel": min(shapes.values()),
        "shapes": sum(shapes.values()),
        "runs between guard pages": sum(shapes.values()) * 6,
        "over-read bytes": 0,
        "failures": failures[:20],
        "seconds": round(time.monotonic() - started),
    }


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.stdout.write(f"{main(int(sys.argv[1]), float(sys.argv[2]))}\n")
