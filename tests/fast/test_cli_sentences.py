"""Sentences of results and notes: whole words in a terminal, whole lines in a pipe, for people and for programs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import smalti
from smalti.errors import UsageError
from smalti.quant.modes import QuantMode
from smalti.scoring.report import points_lost
from walks.shell import Answer, Place, answer

SENTENCE = "the second half was 154 % slower than the first (frequency, heat, other load): measure longer"


def shown(call: str, place: Place, tmp_path: Path) -> Answer:
    code = f"from smalti.cli.ui import note, print_json, say, say_whole\n{call}({SENTENCE!r})"
    source = str(Path(smalti.__file__).parents[1])
    return answer(call, [sys.executable, "-c", code], tmp_path, {**os.environ, "PYTHONPATH": source}, place, 60)


@pytest.mark.parametrize("call", ["say", "note"])
def test_a_sentence_goes_on_between_words_in_a_terminal(call: str, tmp_path: Path) -> None:
    found = shown(call, Place.TERMINAL, tmp_path)
    assert found.wrapped == () and len(found.lines) == 2 and found.lines[1].startswith("  ")
    assert found.text.split() == SENTENCE.split()


@pytest.mark.parametrize("call", ["say", "note"])
def test_a_sentence_is_one_line_in_a_pipe(call: str, tmp_path: Path) -> None:
    assert shown(call, Place.PIPE, tmp_path).lines == (SENTENCE,)


@pytest.mark.parametrize("call", ["say_whole", "print_json"])
def test_what_programs_read_is_never_broken(call: str, tmp_path: Path) -> None:
    found = shown(call, Place.TERMINAL, tmp_path)
    # It is the terminal that has broken it: nothing stands before the second piece.
    assert len(found.wrapped) == 1 and not found.lines[1].startswith("  ")
    assert found.text.replace("\n", "").replace(" ", "") in (
        text.replace(" ", "") for text in (SENTENCE, f'"{SENTENCE}"')
    )


@pytest.mark.parametrize(
    ("word", "mode"), [("int8", "q8_f16"), ("FP16", "f16"), ("int16", "q16_f16"), ("float", "f32")]
)
def test_words_of_other_programs_for_a_mode_are_told_ours(word: str, mode: str) -> None:
    with pytest.raises(UsageError, match=f"no precision mode '{word}': give {mode} for it; the modes are"):
        QuantMode.parse(word)
    with pytest.raises(UsageError, match="no precision mode 'best'; the modes are"):
        QuantMode.parse("best")
    assert QuantMode.parse(mode).alias == mode


def test_points_that_are_won_are_called_a_gain() -> None:
    assert [points_lost(value, 2) for value in (0.0, -0.001, 0.324, -0.324)] == ["0.00", "0.00", "0.32", "gain 0.32"]
    assert points_lost(-0.324) == "gain 0.324" and points_lost(float("nan"), 2) == "-"
