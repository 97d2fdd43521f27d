"""ONNX's own cases of single nodes, every one in three forms: those that pass go on passing, and none is wrong."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="the onnx package is not installed")
suite = pytest.importorskip("onnx_suite", reason="the onnx package is not installed")
scope = pytest.importorskip("onnx_scope", reason="the onnx package is not installed")

ROOT = Path(__file__).resolve().parents[2]
PASSING = ROOT / "tests" / "golden" / "onnx_node_cases.txt"
"""A line for each case that passes in some form: its name and the forms. It may only grow."""
COUNTED = "1.23.2"
"""The version of the package whose cases docs/onnx.md counts."""
FEWEST_CASES = 1700
LEAST_IN_SCOPE = {"fed": 0.75, "bound": 0.9, "stored": 0.9}
"""The share of the cases in scope that pass."""


@pytest.fixture(scope="module")
def found() -> list[scope.Row]:
    """What becomes of all cases."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ONNX's numpy code divides by zero on purpose
        return scope.rows(list(suite.node_cases()))


def test_cases_of_nodes_pass_or_are_refused_by_name(found: list[scope.Row]) -> None:
    listed = {
        (name, form) for name, *forms in map(str.split, PASSING.read_text("utf-8").splitlines()) for form in forms
    }
    assert len(found) > FEWEST_CASES * len(suite.FORMS)
    assert not [f"{row.case.name} {row.form}: {row.text}" for row in found if row.outcome is suite.Outcome.WRONG]
    assert not [row.case.name for row in found if row.outcome is suite.Outcome.REFUSED and not row.text]
    passed = {(row.case.name, row.form) for row in found if row.outcome is suite.Outcome.PASS}
    known = {(row.case.name, row.form) for row in found}
    assert listed & known <= passed, "these no longer pass"
    assert passed <= listed, "these pass now: list them"


def test_cases_in_scope_pass_but_for_limits_that_the_page_names(found: list[scope.Row]) -> None:
    inside = [row for row in found if not scope.why_out(row.case)]
    for form, least in LEAST_IN_SCOPE.items():
        of_form = [row for row in inside if row.form == form]
        passed = sum(row.outcome is suite.Outcome.PASS for row in of_form)
        assert passed >= least * len(of_form), form
    refused = [row for row in inside if row.outcome is suite.Outcome.REFUSED]
    assert not [f"{row.case.name} {row.form}: {row.text}" for row in refused if not scope.limit_of(row.text)]


def test_the_page_counts_them(found: list[scope.Row]) -> None:
    if scope.VERSION != COUNTED:
        pytest.skip(f"the page counts the cases of onnx {COUNTED}")
    page = (ROOT / "docs" / "onnx.md").read_text("utf-8")
    assert scope.tables(found) in page, "python tests/onnx_scope.py prints the tables of docs/onnx.md"
    assert scope.summary(found) in page
