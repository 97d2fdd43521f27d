"""Pictures of a list for jobs that measure: those that can be used, and those that are passed over and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.errors import DataError, ImageError, InputError
from smalti.jobs.stream import DECODED_AHEAD, Failure, OnError, Preprocess, failed, picture_pool, read_entry
from smalti.vision.images import read_mask
from smalti.vision.preprocess import resize_picture, target_size
from smalti.vision.voc import Entry, Pictures, printable


class PassedOver:
    """Collects the pictures that a job passes over, each once, and the files of kinds that are not read.

    With ``OnError.STOP`` the first picture that is no good is an error instead.
    """

    def __init__(self, on_error: OnError = OnError.SKIP) -> None:
        self._on_error = on_error
        self._failures: dict[str, Failure] = {}
        self._left_out: Counter[str] = Counter()

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The pictures that were passed over."""
        return tuple(self._failures.values())

    @property
    def left_out(self) -> Mapping[str, int]:
        """How many files there are of each kind of picture that is not read."""
        return dict(self._left_out)

    def add(self, entry: Entry, problem: DataError | InputError) -> None:
        """Note a picture that is no good. Raises it, with its name, when the job is to stop there."""
        failure = failed(entry, problem, self._on_error)
        self._failures.setdefault(failure.name, failure)

    def leave_out(self, pictures: Pictures) -> None:
        """Note what the folders of pictures hold beside them."""
        self._left_out |= Counter(pictures.left_out)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return passed_over_json(self.failures, self._left_out)

    def check(self, used: int) -> None:
        """Raise ImageError when no picture at all could be used."""
        if used:
            return
        failures = self.failures
        if not failures:
            raise ImageError("there is no picture to use: give others")
        count = "the only picture is" if len(failures) == 1 else f"all {len(failures)} pictures are"
        raise ImageError(f"{count} no good: give others ({failures[0].name}: {failures[0].reason})")


def passed_over_json(failures: Sequence[Failure], left_out: Mapping[str, int]) -> dict[str, Any]:
    """Return what reports say of pictures that were passed over, and of files of kinds that are not read."""
    return {
        "failed": len(failures),
        "failures": [failure.to_json() for failure in failures],
        "pictures_left_out": dict(left_out),
    }


def seen_pictures(
    entries: Sequence[Entry], preprocess: Preprocess, passed_over: PassedOver | None = None
) -> Iterator[tuple[Entry, NDArray[np.uint8]]]:
    """Yield the pictures of a list as the network sees them; those that are no good go to ``passed_over``.

    Raises:
        ImageError: one cannot be read, and there is no ``passed_over``, or it is to stop there.
    """
    given = PassedOver(OnError.STOP) if passed_over is None else passed_over
    for entry in entries:
        try:
            picture = read_entry(entry).picture
        except ImageError as error:
            given.add(entry, error)
            continue
        size = target_size(picture.shape[0], picture.shape[1], preprocess.resize, preprocess.input_size)
        yield entry, resize_picture(picture, *size)


def usable_pictures(entries: Sequence[Entry], passed_over: PassedOver, masks: Path | None = None) -> list[int]:
    """Return the indices of the pictures that can be decoded, in order; the others go to ``passed_over``.

    With ``masks``, a folder, a picture's mask must be there and readable, too. Every file is decoded once, several at
    the same time; nothing of them is kept.

    Raises:
        ImageError: none can be used, or one cannot and ``passed_over`` is to stop there.
        ResourceError: the system is out of memory or files.
    """
    good: list[int] = []
    with picture_pool() as pool:
        window = DECODED_AHEAD * 2
        for start in range(0, len(entries), window):
            some = entries[start : start + window]
            for index, problem in enumerate(pool.map(lambda entry: _problem(entry, masks), some), start):
                if problem is None:
                    good.append(index)
                else:
                    passed_over.add(entries[index], problem)
    passed_over.check(len(good))
    return good


def _problem(entry: Entry, masks: Path | None) -> DataError | None:
    """Return what is wrong with a picture or its mask."""
    try:
        read_entry(entry)
        if masks is not None:
            path = masks / f"{entry.stem}.png"
            try:
                read_mask(path)
            except ImageError as error:
                return ImageError(f"its mask {printable(str(path))}: {error}")
    except ImageError as error:
        return error
    return None
