"""The comparison used by all tests fails on wrong answers, and nothing else compares with tolerances."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tolerance import Tol, assert_close

WANT = np.array([[1.0, -2.0, 0.0], [1e-3, 4.0, -5.0]], np.float32)
ALL = [Tol.EXACT, Tol.ULP(2), Tol.FLOAT(reduction=9)]


def changed(index: tuple[int, int], value: float) -> np.ndarray:
    got = WANT.copy()
    got[index] = value
    return got


@pytest.mark.parametrize("tol", ALL, ids=str)
def test_equal_arrays_pass(tol: Tol) -> None:
    assert_close(WANT.copy(), WANT, tol)
    assert_close(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32), tol)
    assert_close(-np.zeros(2, np.float32), np.zeros(2, np.float32), tol)


@pytest.mark.parametrize("tol", ALL, ids=str)
@pytest.mark.parametrize(
    "got",
    [
        WANT.astype(np.float64),
        WANT[:1],
        WANT.reshape(3, 2),
        changed((0, 0), 1.01),
        changed((1, 2), 5.0),
        changed((0, 1), np.nan),
        changed((0, 1), np.inf),
    ],
    ids=["dtype", "rows", "shape", "value", "sign", "nan", "inf"],
)
def test_wrong_answers_fail(tol: Tol, got: np.ndarray) -> None:
    with pytest.raises(AssertionError):
        assert_close(got, WANT, tol)


@pytest.mark.parametrize("tol", ALL, ids=str)
def test_special_values_must_stand_in_the_same_places(tol: Tol) -> None:
    want = changed((0, 0), np.nan)
    want[1, 1] = np.inf
    assert_close(want.copy(), want, tol)
    for value in (0.0, -np.inf, np.nan):
        got = want.copy()
        got[1, 1] = value
        with pytest.raises(AssertionError):
            assert_close(got, want, tol)
    with pytest.raises(AssertionError):
        assert_close(changed((1, 1), np.inf), want, tol)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_ulp_counts_representable_numbers(dtype: type[np.floating]) -> None:
    want = np.array([1.0, -1.0, 0.0, 2.0**-10], dtype)
    got = want.copy()
    for steps in range(1, 4):
        got = np.nextafter(got, dtype(np.inf))
        assert_close(got, want, Tol.ULP(steps))
        with pytest.raises(AssertionError, match="ulp"):
            assert_close(got, want, Tol.ULP(steps - 1))


def test_ulp_crosses_zero() -> None:
    tiny = np.nextafter(np.float32(0), np.float32(1))
    assert_close(np.array([-tiny]), np.array([tiny]), Tol.ULP(2))
    with pytest.raises(AssertionError):
        assert_close(np.array([-tiny]), np.array([tiny]), Tol.ULP(1))


def test_float_limit_grows_with_the_root_of_the_reduction() -> None:
    eps = np.finfo(np.float32).eps
    want = np.array([0.0, 8.0], np.float32)
    got = np.array([4 * eps * 3 * 8 * 0.99, 8.0], np.float32)
    assert_close(got, want, Tol.FLOAT(reduction=9))
    with pytest.raises(AssertionError, match="largest error"):
        assert_close(got, want, Tol.FLOAT(reduction=8))
    assert_close(got, want, Tol.FLOAT(reduction=1, scale=24.0))
    with pytest.raises(AssertionError):
        assert_close(got, want, Tol.FLOAT(reduction=9, scale=4.0))


def test_integers_are_exact_under_every_tolerance() -> None:
    want = np.arange(6, dtype=np.int32)
    for tol in ALL:
        assert_close(want.copy(), want, tol)
        with pytest.raises(AssertionError, match="1 of 6"):
            assert_close(want + (want == 3), want, tol)


def test_no_other_tolerances_in_the_tests() -> None:
    # The words are split so that this file does not find itself.
    forbidden = re.compile(r"\b(r" + r"tol|a" + r"tol)\s*=|all" + r"close|assert_" + r"almost|app" + r"rox\(")
    root = Path(__file__).resolve().parents[1]
    found = [
        f"{path.relative_to(root)}:{number}"
        for path in sorted(root.rglob("*.py"))
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if forbidden.search(line)
    ]
    assert not found, "compare with tolerance.assert_close instead: " + ", ".join(found)
