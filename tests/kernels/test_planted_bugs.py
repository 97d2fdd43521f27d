"""The tests of the tests: bugs planted in kernels and code generation are caught by guard pages, poison and comparison.

Every case runs in a process of its own, because a caught bug may end it.
"""

from __future__ import annotations

import faulthandler
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import pytest
from llvmlite import ir

from kernels.harness import check, compile_graph, run_compiled, weights
from smalti.codegen import module as codegen
from smalti.ir import ops, reference
from smalti.ir.graph import Graph, Level, TensorType
from smalti.ir.infer import make_node
from smalti.ir.ops import BinaryFn, ReduceFn, UnaryFn
from smalti.kernels.elementwise import kernel as elementwise
from smalti.kernels.registry import KERNELS
from smalti.llvm.builder import Fn
from smalti.numerics import DType
from smalti.target.host import resolve_target
from soak.forks import forked
from tolerance import Tol, assert_close

TARGET = resolve_target("native")
RACES = 40
"""How often a graph of two steps is run by threads that could run into each other."""
RACES_WITHOUT_BARRIER = 1000
"""How often at most until they do: about one run in eight shows it."""


def random(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(5).standard_normal(shape).astype(np.float32)


def elementwise_case() -> None:
    """A sum with an operand that is the same in every column."""
    check(ops.Binary(BinaryFn.ADD), [random(5, 7, 3), random(5, 1, 3)], TARGET, KERNELS)


def pointwise_case() -> None:
    check(ops.Conv2d(), [random(1, 9, 13, 8), weights(random(1, 1, 8, 20))], TARGET, KERNELS, Tol.FLOAT(8))


def threads_case() -> None:
    """A step that every element of the next one depends on, run in three threads over and over."""
    x = make_node(ops.Input(), (), "x", TensorType(DType.FLOAT32, (256, 96, 64)))
    sigmoid = make_node(ops.Unary(UnaryFn.SIGMOID), (x,), "sigmoid")
    total = make_node(ops.Reduce(ReduceFn.MAX, (0,), False), (sigmoid,), "y")
    graph = Graph((x,), (total,), ("y",), Level.CANONICAL)
    values = {"x": random(256, 96, 64)}
    want = reference.run(graph, values)["y"]
    compiled = compile_graph(graph, TARGET, KERNELS)
    for _ in range(RACES):
        assert_close(run_compiled(compiled, values, threads=3)[0], want, Tol.ULP(2))


@contextmanager
def nothing() -> Iterator[None]:
    yield


@contextmanager
def one_turn_more() -> Iterator[None]:
    """Every innermost loop makes one turn too many."""
    original = elementwise.in_vectors

    def in_vectors(fn: Fn, start: Any, stop: Any, *rest: Any) -> None:
        original(fn, start, fn.add(stop, 1), *rest)

    with mock.patch.object(elementwise, "in_vectors", in_vectors):
        yield


@contextmanager
def short_write() -> Iterator[None]:
    """The last element of a run is not written."""
    original = elementwise.in_vectors

    def in_vectors(fn: Fn, start: Any, stop: Any, *rest: Any) -> None:
        original(fn, start, fn.sub(stop, 1), *rest)

    with mock.patch.object(elementwise, "in_vectors", in_vectors):
        yield


@contextmanager
def short_work() -> Iterator[None]:
    """The last work item of a step is handed out to nobody."""
    original = codegen.Emitter.parallel

    def parallel(self: codegen.Emitter, items: Any) -> Any:
        return original(self, self.fn.sub(items, 1))

    with mock.patch.object(codegen.Emitter, "parallel", parallel):
        yield


@contextmanager
def unset_read() -> Iterator[None]:
    """The result is added to what lies in its memory, which happens to be zero where memory is fresh."""
    original = elementwise._store

    def store(fn: Fn, node: Any, value: ir.Value, address: ir.Value, lanes: int) -> None:
        original(fn, node, fn.b.fadd(value, fn.load(value.type, address)), address, lanes)

    with mock.patch.object(elementwise, "_store", store):
        yield


@contextmanager
def no_barrier() -> Iterator[None]:
    """Threads do not wait for each other between steps."""

    def barrier(module: ir.Module, target: Any) -> ir.Function:
        return Fn(module, "barrier", (codegen.PTR, codegen.PTR, codegen.I32, codegen.I32)).finish()

    many = mock.patch.object(sys.modules[__name__], "RACES", RACES_WITHOUT_BARRIER)
    with mock.patch.object(codegen, "_barrier_function", barrier), many:
        yield


@contextmanager
def wrong_stride() -> Iterator[None]:
    """A repeated operand is walked through as if it were not repeated."""
    original = elementwise.broadcast_strides

    def strides(shape: Any, result: Any) -> Any:
        return [step or 3 for step in original(shape, result)]

    with mock.patch.object(elementwise, "broadcast_strides", strides):
        yield


CASES: dict[str, Callable[[], None]] = {
    "elementwise": elementwise_case,
    "pointwise": pointwise_case,
    "threads": threads_case,
}
BUGS: dict[str, Callable[[], Any]] = {
    f.__name__: f for f in (nothing, one_turn_more, short_write, short_work, unset_read, no_barrier, wrong_stride)
}
PLANTED = (
    ("one_turn_more", "elementwise"),
    ("short_write", "elementwise"),
    ("short_work", "pointwise"),
    ("unset_read", "elementwise"),
    ("no_barrier", "threads"),
    ("wrong_stride", "elementwise"),
)


def run_planted(bug: str, case: str) -> None:
    """Entry of the process of one case."""
    with BUGS[bug]():
        CASES[case]()


def outcome(bug: str, case: str) -> str:
    """Run one case in its own process; return ``clean``, ``fault`` or the message of the failed check."""

    def run() -> None:
        faulthandler.disable()
        run_planted(bug, case)

    found = forked(run, 120)
    if found.kind == "ok":
        return "clean"
    if found.kind == "signal" and found.text in ("SIGSEGV", "SIGBUS"):
        return "fault"
    assert found.text.startswith("AssertionError: "), found
    return found.text


@pytest.mark.parametrize("case", sorted(CASES))
def test_without_a_bug_all_checks_pass(case: str) -> None:
    assert outcome("nothing", case) == "clean"


@pytest.mark.parametrize(("bug", "case"), PLANTED)
def test_a_planted_bug_is_caught(bug: str, case: str) -> None:
    found = outcome(bug, case)
    if bug == "one_turn_more":
        assert found == "fault" or "beside a buffer" in found
    else:
        assert found.startswith("AssertionError: result") or (bug == "wrong_stride" and found == "fault")
    if bug in ("short_write", "short_work", "unset_read"):
        assert "nan" in found, "poison shows in the result"
