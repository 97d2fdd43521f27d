"""Generated code under valgrind and under clang's sanitizers, and bugs that these must find."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernels.guard_cases import make_case
from kernels.harness import single
from kernels.native import Ran, Sanitizer, build_plain, build_sanitized, clang, module_of, native_target, run_program
from kernels.test_planted_bugs import BUGS
from quantised_graphs import graph_of_quantised_operations, picture
from smalti.ir import ops, reference
from smalti.ir.graph import Graph, Level, TensorType
from smalti.ir.infer import make_node
from smalti.ir.ops import BinaryFn, ReduceFn, UnaryFn
from smalti.kernels.registry import FUSED, KERNELS
from smalti.llvm.team import with_team
from smalti.numerics import DType
from smalti.plan.planner import plan_graph
from smalti.plan.schedule import Plan
from tolerance import Tol, assert_close

Array = np.ndarray[Any, Any]
TARGET = native_target()
VALGRIND = ("valgrind", "-q", "--error-exitcode=9", "--leak-check=full")

with_valgrind = pytest.mark.skipif(
    not (shutil.which("valgrind") and shutil.which("cc")), reason="valgrind or a C compiler is not installed"
)
with_clang = pytest.mark.skipif(clang() is None, reason="no clang of version 19 or later is installed")


def _planned(graph: Graph) -> Plan:
    return plan_graph(graph, TARGET, KERNELS, None, FUSED)


def _plain(graph: Graph, values: Mapping[str, Array], folder: Path, threads: int = 2) -> Ran:
    plan = _planned(graph)
    text = module_of(plan)
    return run_program(build_plain(text, plan.target, folder), plan, text, values, threads, VALGRIND)


def _watched(graph: Graph, values: Mapping[str, Array], sanitizer: Sanitizer, folder: Path, turns: int = 1) -> Ran:
    """Run in three threads, until something is found, at most ``turns`` times."""
    plan = _planned(graph)
    text = module_of(plan)
    (own := folder / "case").mkdir()
    program = build_sanitized(text, plan.target, sanitizer, own)
    for _ in range(turns):
        ran = run_program(program, plan, text, values, 3)
        if ran.report:
            break
    return ran


def _sum() -> tuple[Graph, dict[str, Array]]:
    """Return a sum with an operand that is the same in every column."""
    rng = np.random.default_rng(5)
    operands = [rng.standard_normal(shape).astype(np.float32) for shape in ((5, 7, 3), (5, 1, 3))]
    return single(ops.Binary(BinaryFn.ADD), operands), {f"x{i}": v for i, v in enumerate(operands)}


def _two_steps() -> tuple[Graph, dict[str, Array]]:
    """Return a step that every element of the next one depends on."""
    x = make_node(ops.Input(), (), "x", TensorType(DType.FLOAT32, (64, 24, 64)))
    sigmoid = make_node(ops.Unary(UnaryFn.SIGMOID), (x,), "sigmoid")
    total = make_node(ops.Reduce(ReduceFn.MAX, (0,), False), (sigmoid,), "y")
    values = np.random.default_rng(1).standard_normal((64, 24, 64)).astype(np.float32)
    return Graph((x,), (total,), ("y",), Level.CANONICAL), {"x": values}


def _check(ran: Ran, graph: Graph, values: Mapping[str, Array], tolerances: Sequence[Tol]) -> None:
    assert not ran.report
    want = reference.run(graph, values)
    for name, got, tolerance in zip(graph.output_names, ran.outputs, tolerances, strict=True):
        assert_close(got, want[name], tolerance)


@with_valgrind
def test_memcheck_of_integer_operations(tmp_path: Path) -> None:
    graph, values = graph_of_quantised_operations(), picture(5, 7)
    _check(_plain(graph, values, tmp_path), graph, values, (Tol.EXACT, Tol.FLOAT(8, 1e4)))


@with_valgrind
def test_memcheck_sees_an_unset_byte_and_one_too_many(tmp_path: Path) -> None:
    graph, values = _sum()
    for bug, sign in (("one_turn_more", "Invalid"), ("short_write", "uninitialised")):
        with BUGS[bug]():
            assert sign in _plain(graph, values, tmp_path, 1).report


@with_clang
@pytest.mark.parametrize("sanitizer", Sanitizer, ids=lambda s: s.name.lower())
def test_nothing_is_found(sanitizer: Sanitizer, tmp_path: Path) -> None:
    case = make_case("i8_conv2d", 5, 2, TARGET)
    plan = plan_graph(case.graph, case.target, case.kernels)
    text = module_of(plan)
    (own := tmp_path / "conv").mkdir()
    program = build_sanitized(text, case.target, sanitizer, own)
    for values in case.runs:
        _check(run_program(program, plan, text, values, 3), case.graph, values, (case.tolerance,))
    graph, inputs = _two_steps()
    _check(_watched(graph, inputs, sanitizer, tmp_path), graph, inputs, (Tol.ULP(4),))


ROUNDS = 60
TURNS = 50
"""How often at most a planted bug is given the chance: on a busy machine one thread may do all the work."""
PLANTED = (
    ("one_turn_more", Sanitizer.ADDRESS, "heap-buffer-overflow"),
    ("short_write", Sanitizer.MEMORY, "uninitialized"),
    ("unset_read", Sanitizer.MEMORY, "uninitialized"),
    ("wrong_stride", Sanitizer.ADDRESS, "heap-buffer-overflow"),
    ("no_barrier", Sanitizer.THREAD, "data race"),
)


@with_clang
@pytest.mark.parametrize(("bug", "sanitizer", "sign"), PLANTED, ids=[bug for bug, _, _ in PLANTED])
def test_a_planted_bug_is_found(bug: str, sanitizer: Sanitizer, sign: str, tmp_path: Path) -> None:
    graph, values = _two_steps() if bug == "no_barrier" else _sum()
    with BUGS[bug]():
        assert sign in _watched(graph, values, sanitizer, tmp_path, TURNS).report


def _team(text: str, folder: Path, turns: int = 1) -> Ran:
    """Run two steps many times in helper threads that stay, with these functions to wake and to join them."""
    graph, values = _two_steps()
    plan = _planned(graph)
    module = module_of(plan)
    (own := folder / "team").mkdir()
    program = build_sanitized(module, plan.target, Sanitizer.THREAD, own, ROUNDS, text)
    for _ in range(turns):
        ran = run_program(program, plan, module, values, 3)
        if ran.report:
            break
        _check(ran, graph, values, (Tol.ULP(4),))
    return ran


@with_clang
def test_waking_and_joining_threads(tmp_path: Path) -> None:
    assert not _team(with_team(""), tmp_path).report


@with_clang
def test_a_helper_that_leaves_without_saying_so_is_found(tmp_path: Path) -> None:
    careful, careless = "store atomic i64 0, ptr %state release", "store atomic i64 0, ptr %state monotonic"
    team = with_team("")
    assert careful in team
    assert "data race" in _team(team.replace(careful, careless), tmp_path, TURNS).report
