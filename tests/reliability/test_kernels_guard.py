"""Every kernel of the registry on random shapes: no byte beside a buffer, no bit from garbage, inputs untouched.

A few shapes of each here; ``tests/soak/kernels.py`` runs hundreds.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest

from kernels import guard_runs
from kernels.guard import PAGE, Side, apart
from kernels.guard_cases import MAKERS, make_case
from kernels.guard_runs import run_batch
from smalti.codegen import module as codegen
from smalti.kernels.registry import FUSED, KERNELS
from smalti.llvm.builder import I8

SEED = 20
NAMES = [kernel.name for kernel in (*KERNELS, *FUSED)]


def test_every_kernel_of_the_registry_has_cases() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert set(NAMES) == set(MAKERS)


@pytest.mark.parametrize("kernel", sorted(MAKERS))
def test_nothing_outside_the_buffers(kernel: str) -> None:
    shapes, failures = run_batch([(kernel, SEED, 1), (kernel, SEED + 1, 3)])
    assert not failures and shapes == 4


def test_cases_cover_the_sizes_where_kernels_go_wrong() -> None:
    found: set[Any] = set()
    for seed in range(40):
        case = make_case("f32_conv2d", seed)
        for node in case.graph.inputs:
            found |= set(node.type.shape)
    assert found >= {1, 7, 15, 16, 17, 33, 65}


@pytest.mark.parametrize("side", Side, ids=str)
def test_constants_lie_apart(side: Side) -> None:
    sizes = (1, PAGE, 0, PAGE + 1, 64)
    offsets, total = apart(sizes, side)
    ends = [0, *(offset + size for offset, size in zip(offsets, sizes, strict=True))]
    for offset, end, size in zip((*offsets, total), ends, (*sizes, 0), strict=True):
        assert offset - end >= PAGE or not size
    edges = offsets if side is Side.LEFT else ends[1:]
    assert all(edge % PAGE == 0 for edge in edges)


# ---- bugs planted in every kind of access: each must end a child or fail a check


@contextmanager
def _moved(name: str, distance: int) -> Iterator[None]:
    """Addresses that a kernel gets are off by some bytes."""
    original = getattr(codegen.Emitter, name)

    def moved(self: codegen.Emitter, *args: Any) -> Any:
        return self.fn.at(original(self, *args), distance)

    with mock.patch.object(codegen.Emitter, name, moved):
        yield


@contextmanager
def _around_items(change: Callable[[codegen.Emitter], Callable[[], None]]) -> Iterator[None]:
    """Do something before every work item of a step, and what that returns behind it."""
    original = codegen.Emitter.parallel

    @contextmanager
    def parallel(self: codegen.Emitter, items: Any) -> Iterator[Any]:
        with original(self, items) as item:
            after = change(self)
            yield item
            after()

    with mock.patch.object(codegen.Emitter, "parallel", parallel):
        yield


def _scribble(e: codegen.Emitter) -> Callable[[], None]:
    """A kernel writes to its input."""
    return lambda: e.fn.store(I8(0), e.operand(0))


def _keep_garbage(e: codegen.Emitter) -> Callable[[], None]:
    """The first byte of the result is what it was before."""
    before = e.fn.load(I8, e.result())
    return lambda: e.fn.store(before, e.result())


PLANTED = {
    "constant one element further": (_moved("constant", 4), "f32_conv1x1", Side.RIGHT, "SIGSEGV"),
    "constant one element before": (_moved("constant", -4), "f32_conv1x1", Side.LEFT, "SIGSEGV"),
    "scratch one element further": (_moved("scratch", 4), "f32_conv2d", Side.RIGHT, "SIGSEGV"),
    "operand one element further": (_moved("operand", 4), "softmax", Side.RIGHT, "SIGSEGV"),
    "result one element before": (_moved("result", -4), "softmax", Side.LEFT, "SIGSEGV"),
    "result written on the open side": (_moved("result", -4), "softmax", Side.RIGHT, "beside a buffer"),
    "write to an input": (_around_items(_scribble), "copy", Side.RIGHT, "SIGSEGV"),
    "result not written": (_around_items(_keep_garbage), "copy", Side.RIGHT, "bits depend on what memory held"),
}


@pytest.mark.parametrize("bug", sorted(PLANTED))
def test_a_planted_bug_is_caught(bug: str) -> None:
    planted, kernel, side, sign = PLANTED[bug]
    with planted:
        shapes, failures = run_batch([(kernel, SEED, 1)], sides=(side,))
    assert shapes == 0 and len(failures) == 1 and f"make_case('{kernel}', {SEED}, 1)" in failures[0]
    assert sign in failures[0]


def test_a_batch_goes_on_behind_a_case_that_ends_its_child() -> None:
    original = guard_runs.check_case

    def check(case: Any, sides: Any) -> int:
        if case.kernel == "copy":
            ctypes.memset(8, 0, 1)
        if case.kernel == "softmax":
            raise AssertionError("wrong")
        return original(case, sides)

    with mock.patch.object(guard_runs, "check_case", check):
        shapes, failures = run_batch([("softmax", 1, 1), ("copy", 1, 1), ("pad", 1, 1), ("sizes", 1, 1)])
    assert shapes == 2 and ["SIGSEGV" in text for text in failures] == [False, True]
