"""Run cases between guard pages with garbage of three kinds, each batch in a child, so that a fault has a name."""

from __future__ import annotations

import faulthandler
import os
import signal
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from kernels.guard import Fill, Side
from kernels.guard_cases import Case, make_case
from kernels.half_types import Array, wide
from kernels.harness import compile_graph, run_compiled
from smalti.ir import reference
from tolerance import Tol, assert_close

Key = tuple[str, int, int]
"""Kernel, seed and number of runs of a case."""


def check_case(case: Case, sides: Sequence[Side] = tuple(Side)) -> int:
    """Run a case; return how many shapes it had.

    Raises:
        AssertionError: another kernel was taken, bits depend on garbage, a byte beside a buffer was changed, or the
            numbers are not those of the reference.
    """
    wanted = [reference.run(case.graph, values)["y"] for values in case.runs]
    for side in sides:
        compiled = compile_graph(case.graph, case.target, case.kernels or (), fused=case.fused, side=side)
        steps = [step.kernel.name for step in compiled.plan.steps]
        if steps != [case.kernel]:
            raise AssertionError(f"computed by {steps}")
        for values, want in zip(case.runs, wanted, strict=True):
            first = run_compiled(compiled, values, 1, side)[0]
            for fill in (Fill.ZERO, Fill.RANDOM):
                again = run_compiled(compiled, values, 1, side, fill=fill)[0]
                if first.tobytes() != again.tobytes():
                    raise AssertionError(f"bits depend on what memory held before ({fill.value})")
            compare(case, first, want)
    return len(case.runs)


def compare(case: Case, got: Array, want: Array) -> None:
    """Compare a result with the reference's, as exactly as the case allows."""
    dtype = case.graph.outputs[0].type.dtype
    if case.tolerance != Tol.EXACT and want.dtype.kind != "f":
        got, want = wide(got, dtype), wide(want, dtype)
    assert_close(got, want, case.tolerance)


@contextmanager
def _child() -> Iterator[tuple[int, int]]:
    """Fork; yields (0, writing end) in the child, which never comes back, and (process, reading end) in the parent."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reading)
        try:
            yield 0, writing
        finally:
            os._exit(0)
    os.close(writing)
    try:
        yield process, reading
    finally:
        os.close(reading)


def run_batch(keys: Iterable[Key], seconds: int = 300, sides: Sequence[Side] = tuple(Side)) -> tuple[int, list[str]]:
    """Check these cases in a child; return the number of shapes that passed and a line for every failure.

    A case that ends the child is named with its signal, and the rest go on in the next child.
    """
    pending, shapes, failures = list(keys), 0, []
    while pending:
        with _child() as (process, pipe):
            if process == 0:
                faulthandler.disable()
                signal.alarm(seconds)
                for key in pending:
                    os.write(pipe, _one(key, sides).encode())
                os._exit(0)
            with open(os.dup(pipe), encoding="utf-8") as lines:
                reports = [line.rstrip("\n") for line in lines]
            status = os.waitpid(process, 0)[1]
        for report in reports:
            number, _, text = report.partition(" ")
            shapes += int(number)
            failures += [text] if text else []
        if len(reports) < len(pending):
            key = pending[len(reports)]
            how = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"status {status}"
            failures.append(f"make_case{key}: {how}")
        pending = pending[len(reports) + 1 :]
    return shapes, failures


def _one(key: Key, sides: Sequence[Side]) -> str:
    try:
        return f"{check_case(make_case(*key), sides)}\n"
    except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to this case
        last = traceback.extract_tb(error.__traceback__)[-1]
        text = f"make_case{key}: {type(error).__name__}: {error} ({last.name}:{last.lineno})"
        return "0 " + text.replace("\n", " ")[:1000] + "\n"
