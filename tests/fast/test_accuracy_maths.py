"""The numbers of comparisons, worked out by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from smalti.comparing.maps import count_flips, draw_flips, heat, margins_at, sum_flips
from smalti.comparing.stats import DifferenceSums
from smalti.errors import InputError
from tolerance import Tol, assert_close


def differences(result: list[float], reference: list[float]) -> DifferenceSums:
    sums = DifferenceSums()
    sums.add(np.array(result, np.float32), np.array(reference, np.float32))
    return sums


def close(got: float, want: float) -> None:
    assert_close(np.array(got), np.array(want), Tol.ULP(4))


def test_the_four_differences() -> None:
    found = differences([1.0, 2.5, -4.0, 0.5], [1.0, 2.0, -2.0, 0.0]).result()
    close(found.diff1, 3.0 / 5.0)
    close(found.diff2, math.sqrt((0.25 + 4.0 + 0.25) / 9.0))
    close(found.diff3, 1.0)
    assert (found.greater, found.less, found.largest, found.elements) == (0.5, 0.25, 2.0, 4)
    close(found.cosine, (1.0 + 5.0 + 8.0) / (math.sqrt(1 + 6.25 + 16 + 0.25) * 3.0))


def test_differences_add_up_over_arrays() -> None:
    once = differences([1.0, 2.5, -4.0, 0.5], [1.0, 2.0, -2.0, 0.0])
    parts = differences([1.0, 2.5], [1.0, 2.0])
    parts.add(np.array([-4.0, 0.5]), np.array([-2.0, 0.0]))
    assert parts.result() == once.result()


def test_zeros_and_numbers_that_are_none() -> None:
    equal = differences([0.0, 0.0], [0.0, 0.0]).result()
    assert (equal.diff1, equal.diff2, equal.diff3, equal.largest) == (0, 0, 0, 0) and math.isnan(equal.cosine)
    assert differences([1.0], [0.0]).result().diff1 == math.inf
    odd = differences([math.nan, math.inf, math.inf, 2.0], [1.0, math.inf, 3.0, 1.0]).result()
    assert odd.not_finite == 2 and odd.elements == 1 and odd.largest == 1.0
    json.dumps(differences([math.nan], [0.0]).result().to_json(), allow_nan=False)
    with pytest.raises(InputError, match="shape"):
        DifferenceSums().add(np.zeros((2, 3)), np.zeros((3, 2)))


def test_flips_and_their_margins() -> None:
    reference, model = np.array([[0, 1], [2, 2]]), np.array([[0, 2], [2, 1]])
    logits = np.zeros((2, 2, 3), np.float32)
    logits[0, 1] = [0.0, math.log(2.0), 0.0]
    logits[1, 1] = [-50.0, 0.0, 0.0]
    margins = margins_at(logits, reference != model)
    assert_close(margins, np.array([0.25, 0.0], np.float32), Tol.FLOAT(3, scale=1.0))
    flips = count_flips("a", reference, model, margins)
    assert (flips.pixels, flips.flipped, flips.share) == (4, 2, 0.5)
    assert flips.below == (1, 1, 1, 1, 2) and set(flips.pairs) == {(1, 2, 1), (2, 1, 1)}
    total = sum_flips([flips, flips])
    assert (total.flipped, total.below, total.pairs[0][2]) == (4, (2, 2, 2, 2, 4), 2)
    assert sum_flips([]).pixels == 0


def test_only_flipped_pixels_are_hot() -> None:
    picture = np.full((40, 120, 3), 120, np.uint8)
    reference, model = np.zeros((40, 120), int), np.zeros((40, 120), int)
    model[5, 7] = 1
    drawn = draw_flips(picture, reference, model, np.array([1.0], np.float32), ("ground", "thing"))
    panel = drawn[22:62, -120:]
    assert panel[5, 7].tolist() == heat(np.ones(1))[0].tolist()
    others = np.delete(panel.reshape(-1, 3), 5 * 120 + 7, axis=0)
    assert (others == others[0]).all() and drawn.shape[1] == 3 * 120 + 2 * 6
    assert heat(np.array([0.0, 1.0]))[0, 2] > heat(np.array([0.0, 1.0]))[1, 2], "a tie is blue, certainty red"
