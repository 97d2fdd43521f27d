"""Hostile pictures: mutated bytes, every cut with an end marker put behind it, and the fuzzer."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from fuzz import pictures, targets
from smalti.errors import ImageError
from smalti.vision.images import decode_image
from soak.batches import run_cases
from soak.graphs import fuzzed

MUTANTS, CUTS, FUZZ_RUNS = 20_000, 20_000, 250_000


def main(seed: int, scale: float) -> dict[str, Any]:
    """Run the checks of pictures with counts multiplied by ``scale``; return the figures of each."""
    return {
        "27 mutated pictures": mutated(seed, scale),
        "27 cut pictures": cut(seed, scale),
        "4 fuzzed pictures": fuzzed("pictures", seed, scale, FUZZ_RUNS),
    }


def mutated(seed: int, scale: float) -> dict[str, Any]:
    """Decoded or refused, within the cap; the processes have little memory."""

    def case(number: int) -> str:
        return targets.picture(pictures.mutant(seed, number)).partition(":")[0]

    return run_cases(case, range(max(20, int(MUTANTS * scale))), f"targets.picture(pictures.mutant({seed}, {{}}))")


def cut(seed: int, scale: float) -> dict[str, Any]:
    """No cut gives other pixels than the whole picture, but for the very last block of one."""
    whole = []
    for number, options in enumerate(pictures.JPEGS):
        data = pictures.packed(pictures.smooth(90 + number, 120, number), "JPEG", **options)  # type: ignore[arg-type]
        whole.append((data, decode_image(data)))

    def case(number: int) -> str:
        rng = random.Random(f"cut {seed} {number}")
        data, want = whole[number % len(whole)]
        end = rng.randrange(data.index(b"\xff\xda") + 12, len(data) - 2)
        tail = rng.choice((b"\xff\xd9", b"\xff\xff\xd9", bytes(rng.randint(1, 60)) + b"\xff\xd9", b""))
        try:
            found = decode_image(data[:end] + tail)
        except ImageError:
            return "refused"
        wrong = int(np.any(found != want, axis=2).sum())
        if wrong > 256:
            raise AssertionError(f"{wrong} pixels are wrong, cut at {end} of {len(data)}, then {tail!r}")
        return "same pixels" if wrong == 0 else "last block differs"

    return run_cases(case, range(max(20, int(CUTS * scale))), f"cut({seed}, ...) number {{}}")
