"""ONNX's own cases of single nodes, every one in two forms: those that pass go on passing, and none is wrong."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="the onnx package is not installed")
suite = pytest.importorskip("onnx_suite", reason="the onnx package is not installed")

PASSING = Path(__file__).resolve().parents[1] / "golden" / "onnx_node_cases.txt"
"""A line for each case that passes in some form: its name and the forms. It may only grow."""
FEWEST_CASES = 1700


def test_cases_of_nodes_pass_or_are_refused_by_name() -> None:
    listed = {
        (name, form) for name, *forms in map(str.split, PASSING.read_text("utf-8").splitlines()) for form in forms
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ONNX's numpy code divides by zero on purpose
        cases = list(suite.node_cases())
    assert len(cases) > FEWEST_CASES
    passed, wrong, silent = set(), [], []
    for case in cases:
        for form in suite.FORMS:
            outcome, text = suite.by_meaning(case, form)
            if outcome is suite.Outcome.PASS:
                passed.add((case.name, form))
            elif outcome is suite.Outcome.WRONG:
                wrong.append(f"{case.name} {form}: {text}")
            elif not text:
                silent.append(case.name)
    assert not wrong
    assert not silent
    known = {(case.name, form) for case in cases for form in suite.FORMS}
    assert listed & known <= passed, "these no longer pass"
    assert passed <= listed, "these pass now: list them"
