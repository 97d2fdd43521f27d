"""What became of every picture of a job, in little memory, and the report about it."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from smalti.jobs.csv_lines import csv_line
from smalti.jobs.stream import Failure
from smalti.vision.voc import printable

REPORT_FORMAT: Final = "smalti-report-1"
_PENDING: Final = 0
_DONE: Final = 1
_FIRST_REASON: Final = 2
_ROWS_PER_PIECE: Final = 1000


class Ledger:
    """For each of ``count`` pictures: still to do, done, or failed for a reason."""

    def __init__(self, count: int) -> None:
        self._states = array("i", bytes(4 * count))
        self._reasons: list[str] = []
        self._numbers: dict[str, int] = {}
        self._done = 0
        self._failed = 0

    def __len__(self) -> int:
        return len(self._states)

    @property
    def done(self) -> int:
        """How many pictures are done."""
        return self._done

    @property
    def failed(self) -> int:
        """How many pictures failed."""
        return self._failed

    @property
    def left(self) -> int:
        """How many pictures are still to do."""
        return len(self._states) - self._done - self._failed

    def set_done(self, index: int) -> None:
        self._set(index, _DONE)

    def set_failed(self, index: int, reason: str) -> None:
        number = self._numbers.get(reason)
        if number is None:
            number = self._numbers[reason] = len(self._reasons)
            self._reasons.append(reason)
        self._set(index, _FIRST_REASON + number)

    def forget(self, index: int) -> None:
        """Take a picture for still to do."""
        self._set(index, _PENDING)

    def is_done(self, index: int) -> bool:
        return self._states[index] == _DONE

    def reason(self, index: int) -> str | None:
        """Return why a picture failed, or None when it did not."""
        state = self._states[index]
        return self._reasons[state - _FIRST_REASON] if state >= _FIRST_REASON else None

    def pending(self) -> Iterator[int]:
        """Yield the indices of the pictures that are still to do."""
        for index, state in enumerate(self._states):
            if state == _PENDING:
                yield index

    def failures(self, names: Sequence[str]) -> Iterator[Failure]:
        """Yield the pictures that failed, in order."""
        for index, state in enumerate(self._states):
            if state >= _FIRST_REASON:
                yield Failure(printable(names[index]), self._reasons[state - _FIRST_REASON])

    def _set(self, index: int, state: int) -> None:
        before = self._states[index]
        self._done += (state == _DONE) - (before == _DONE)
        self._failed += (state >= _FIRST_REASON) - (before >= _FIRST_REASON)
        self._states[index] = state


def report_json(ledger: Ledger, names: Sequence[str], job: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield a report as JSON: what the job was, how many pictures were done, and why which were not.

    It has no times in it: a job that was stopped and went on gives the same bytes as one that was not.
    """
    head = {"format": REPORT_FORMAT, **job, "pictures": len(ledger), "done": ledger.done, "failed": ledger.failed}
    yield json.dumps(head, indent=2)[:-2].encode() + b',\n  "failures": ['
    between = "\n"
    for failure in ledger.failures(names):
        yield f"{between}    {json.dumps(failure.to_json())}".encode()
        between = ",\n"
    yield b"\n  ]\n}\n" if ledger.failed else b"]\n}\n"


def report_csv(ledger: Ledger, names: Sequence[str], outputs: Sequence[str] | None) -> Iterator[bytes]:
    """Yield a report as CSV: a line for every picture with its result (done, failed), output file and reason."""
    lines = [csv_line(("name", "result", "output", "reason"))]
    for index, name in enumerate(names):
        if ledger.is_done(index):
            lines.append(csv_line((printable(name), "done", "" if outputs is None else printable(outputs[index]), "")))
        else:
            reason = ledger.reason(index)
            lines.append(csv_line((printable(name), "left" if reason is None else "failed", "", reason or "")))
        if index % _ROWS_PER_PIECE == 0:
            yield "".join(lines).encode()
            lines.clear()
    yield "".join(lines).encode()
