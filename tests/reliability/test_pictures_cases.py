"""Pictures of every kind end as the cases state; tests/native sends the same cases through the C++ example."""

from __future__ import annotations

import pytest

from picture_cases import PictureCase, other_cases, picture_cases
from smalti.errors import ImageError
from smalti.vision.images import decode_image
from tolerance import Tol, assert_close


@pytest.mark.parametrize("case", (*picture_cases(), *other_cases()), ids=lambda case: case.name)
def test_cases_end_as_they_state(case: PictureCase) -> None:
    if case.pixels is not None:
        assert_close(decode_image(case.data, max_pixels=case.max_pixels), case.pixels, Tol.EXACT, case.name)
        return
    with pytest.raises(ImageError) as problem:
        decode_image(case.data, max_pixels=case.max_pixels)
    assert str(problem.value).startswith(case.words)


def test_cases_are_many_of_both_kinds_and_differ_in_name() -> None:
    cases = (*picture_cases(), *other_cases())
    assert len({case.name for case in cases}) == len(cases)
    assert sum(case.pixels is not None for case in cases) > 500
    assert sum(bool(case.words) for case in cases) > 230
    assert all((case.pixels is None) == bool(case.words) for case in cases)
