"""Times on the command line."""

from __future__ import annotations

import pytest

from smalti.cli.durations import parse_duration
from smalti.errors import UsageError


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("4s", 4000),
        ("500ms", 500),
        ("2m", 120_000),
        ("1h", 3_600_000),
        ("3", 3000),
        ("0", 0),
        (" 1.5 S ", 1500),
        (".25", 250),
    ],
)
def test_a_number_and_a_unit(text: str, milliseconds: int) -> None:
    assert round(1e6 * parse_duration(text, "--duration")) == 1000 * milliseconds


@pytest.mark.parametrize("text", ["", "s", "-1", "-1s", "nan", "inf", "1e3", "4 years", "1s500ms", "٤s", "9" * 400])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--warmup"):
        parse_duration(text, "--warmup")
