"""Mutated videos: each gives frames or an error of ours, soon, and leaves no decoder behind."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import video_kit as kit
from smalti.errors import VideoError
from smalti.vision.video.frames import VideoReader

MUTANTS_EACH = 8
FRAMES = 12
SECONDS_EACH = 60.0


def _flip(random_: random.Random, data: bytearray) -> bytearray:
    for _ in range(random_.choice((1, 4, 40))):
        data[random_.randrange(len(data))] = random_.randrange(256)
    return data


def _numbers(random_: random.Random, data: bytearray) -> bytearray:
    for _ in range(random_.choice((1, 8))):
        at = random_.randrange(len(data) - 4)
        data[at : at + 4] = random_.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\x01"))
    return data


def _drop(random_: random.Random, data: bytearray) -> bytearray:
    at = random_.randrange(len(data))
    del data[at : at + random_.choice((1, 100, 3000))]
    return data


def _repeat(random_: random.Random, data: bytearray) -> bytearray:
    at = random_.randrange(len(data))
    return data[:at] + data[at : at + 500] * random_.choice((2, 50)) + data[at:]


def _cut(random_: random.Random, data: bytearray) -> bytearray:
    return data[: random_.randrange(len(data))]


MUTATIONS: tuple[Callable[[random.Random, bytearray], bytearray], ...] = (_flip, _numbers, _drop, _repeat, _cut)


def mutant(suffix: str, data: bytes, number: int) -> bytes:
    """Return a damaged video; most keep their first bytes, by which they are recognised."""
    random_ = random.Random(f"{suffix} {number}")
    kept = random_.choice((0, 64, 64, 64))
    return data[:kept] + bytes(MUTATIONS[number % len(MUTATIONS)](random_, bytearray(data[kept:])))


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv", "ts", "webm"])
def test_mutants_end_in_frames_or_a_video_error(tmp_path: Path, suffix: str) -> None:
    seed = kit.write_video(tmp_path / f"seed.{suffix}", FRAMES).read_bytes()
    outcomes: Counter[str] = Counter()
    for number in range(MUTANTS_EACH):
        path = tmp_path / f"{number}.{suffix}"
        path.write_bytes(mutant(suffix, kit.index_first(seed) if suffix == "mp4" else seed, number))
        begin = time.monotonic()
        reader = None
        try:
            with VideoReader(path) as reader:
                shapes = [frame.picture.shape for frame in reader]
            assert shapes and len(shapes) < 100 * FRAMES, number
            outcomes["frames"] += 1
        except VideoError as error:
            assert str(path) in str(error)
            outcomes["error"] += 1
        assert time.monotonic() - begin < SECONDS_EACH, number
        assert reader is None or reader._process.returncode is not None
    assert outcomes["frames"] > 1, outcomes
