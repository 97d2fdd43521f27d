"""What the walks are read with: a terminal's screen, commands of pages, and the rules for what was shown."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from walks.pages import blocks, line, steps
from walks.reading import faults, pieces, refusals, vocabulary
from walks.screen import Screen, cells
from walks.shell import Answer, Place, answer
from walks.tours import walks

TABLE = (
    "title",
    "",
    " name       mIoU   ms",
    " ──────────────────",
    " square   0.8766  4.1",
    " a long   ~12.25   7",
    " tail",
)


def screen(data: bytes, columns: int = 20, cut: int = 1000) -> Screen:
    shown = Screen(columns)
    for at in range(0, len(data), cut):
        shown.write(data[at : at + cut])
    return shown


def given(*lines: str, code: int = 0, columns: int = 80, wrapped: tuple[str, ...] = ()) -> Answer:
    return Answer("smalti x", lines, code, columns, wrapped)


@pytest.mark.parametrize("cut", [1, 3, 1000])
def test_a_bar_that_is_drawn_again_and_erased_leaves_what_was_said(cut: int) -> None:
    bar = "\x1b[?25l\x1b[36minfer\x1b[0m ━━ 1/2\r\x1b[2Kinfer ━━ 2/2\r\n\x1b[1A\x1b[2K\x1b[?25hdone: é\r\n".encode()
    shown = screen(bar + b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\\r\n", cut=cut)
    assert shown.lines() == ["done: é", "link"] and shown.wrapped == []


def test_a_line_that_is_full_goes_on_in_the_next_one() -> None:
    shown = screen(b"x" * 20 + b"\r\n" + b"y" * 21 + b"\r\n")
    assert shown.lines() == ["x" * 20, "y" * 20, "y"] and shown.wrapped == ["y" * 20]


def test_wide_characters_tabs_and_backspaces_take_their_columns() -> None:
    assert cells("aé漢") == 4
    shown = screen("漢\t|\babc\r\n\x1b[3Cx\x1b[1Dy\x1b[K\x1b[1K\r\n".encode())
    assert shown.lines()[0] == "漢      abc" and shown.lines()[1:] == []


@pytest.mark.parametrize("place", list(Place))
def test_a_command_sees_a_terminal_or_a_pipe(place: Place, tmp_path: Path) -> None:
    code = "import os, sys; t = sys.stdout.isatty(); print(t, os.get_terminal_size(1).columns if t else 0); sys.exit(3)"
    found = answer("python", [sys.executable, "-c", code], tmp_path, os.environ, place, 72)
    assert (found.lines, found.code) == (("True 72",) if place is Place.TERMINAL else ("False 0",), 3)


def test_steps_come_from_pages() -> None:
    readme = steps("README.md")
    assert [step.language for step in readme] == ["bash"] * 5 + ["python"]
    assert all(step.text.startswith("smalti ") for step in readme[:5])
    own = steps("docs/tutorial.md", "4. Your own pictures")
    assert own[0].text.startswith("from pathlib import Path\nimport smalti\n") and "mine_labels" in own[1].text
    assert line("README.md", "bash run.sh").text == "bash run.sh"
    assert any(not block.runs and block.heading == "A real model" for block in blocks("README.md"))
    for begins in ("smalti", "no such"):
        with pytest.raises(LookupError, match="lines that begin"):
            line("README.md", begins)
    with pytest.raises(LookupError, match="No part"):
        steps("README.md", "No part")


def test_every_walk_has_steps_and_a_name_of_its_own() -> None:
    known = walks("/mirror")
    assert len({walk.name for walk in known}) == len(known) == len(walks(None)) + 3
    assert all(walk.steps for walk in known)
    assert [walk.name for walk in known if walk.is_real and "/mirror" not in str(walk.steps)] == []
    assert not any("demo_voc" in step.text or "data/demo/" in step.text for w in known if w.is_real for step in w.steps)


def test_a_good_answer_has_no_faults() -> None:
    assert faults([given(*TABLE[:5])], foreign={"cat"}, known=vocabulary([given(*TABLE)])) == []


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (given("x", code=2), "ended with 2"),
        (given("Traceback (most recent call last):"), "Traceback"),
        (given(wrapped=("two words",)), "too wide: 'two words'"),
        (given(*TABLE, columns=20), "too wide: ' square   0.8766  4.1'"),
        (given("it is 'cat': 3"), "it names cat"),
    ],
)
def test_a_fault_is_found(bad: Answer, said: str) -> None:
    found = faults([bad], foreign={"cat", "dog"})
    assert len(found) == 1 and said in found[0] and found[0].startswith("$ smalti x: ")


def test_one_long_word_may_be_wider_than_the_terminal() -> None:
    assert faults([given("a" * 64, wrapped=("a" * 60,), columns=60)]) == []


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ((" square   0.8766",), []),
        ((" square   0.99",), []),  # another number, not a piece
        ((" squ…re   ~0.9 %",), []),
        ((" squ      0.8766", "     are"), ["squ", "are"]),
        ((" square   0.876", "          6"), ["6"]),
        ((" /srv/data/   1", "     m.smalti"), []),
        ((" /srv/da      1", "     ta/m.smalti"), ["/srv/da", "ta/m.smalti"]),
    ],
)
def test_pieces_of_words_and_numbers_are_found(rows: tuple[str, ...], found: list[str]) -> None:
    known = frozenset({"square", "0.8766", "1", "/srv/data/m.smalti", "%"})
    assert list(pieces(given(" ─────────", *rows, "", " after"), known)) == found


def test_a_refusal_ends_with_its_code_and_a_next_step() -> None:
    good = given("smalti: there is no m.smalti: build it with `smalti build`", code=2)
    assert refusals([good]) == []
    assert refusals([given("smalti: use another", code=0)]) == ["$ smalti x: it ended with 0"]
    assert refusals([given("smalti: this is wrong", code=4)]) == ["$ smalti x: nothing says what to do next"]
