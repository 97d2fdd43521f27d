"""Tables in narrow terminals: what leaves, what is cut and where, and that no word or number is broken."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from smalti.cli.fitting import ELLIPSIS, MIN_NAME, common_prefix, fit, flow, shorten, wrap
from smalti.jobs.table import Fit, Table

NAMES = tuple(
    f"MobilenetV2/expanded_conv_{block}/{part}"
    for block in (1, 2, 10, 16)
    for part in ("expand/Relu6", "depthwise/Relu6", "project/BatchNorm/FusedBatchNormV3", "add")
)
ROWS = tuple((name, f"{block:.4f}", f"{1000 * block:,}") for block, name in enumerate(NAMES))
LAYERS = Table("layers", ("name", "milliseconds of a step", "bytes"), ROWS, fit=Fit(names=(0,), leave=(2,)))
DIGEST = "0123456789abcdef" * 4


def test_a_table_with_room_is_left_as_it_is() -> None:
    fitted = fit(LAYERS, 120)
    assert [column.cells for column in fitted.columns] == list(zip(*ROWS, strict=True))
    assert [column.heading for column in fitted.columns] == list(LAYERS.columns)
    assert fitted.above == ("layers",) and fitted.below == () and fitted.gap == 3


def test_what_names_begin_with_is_said_once() -> None:
    fitted = fit(LAYERS, 70)
    assert fitted.below == ("…/ stands for MobilenetV2/",)
    assert fitted.columns[0].cells[3] == "…/expanded_conv_1/add"


def test_columns_leave_by_priority_and_are_named() -> None:
    fitted = fit(LAYERS, 38)
    assert [column.heading.replace("\n", " ") for column in fitted.columns] == ["name", "milliseconds of a step"]
    assert " ".join(fitted.below).endswith("not shown in 38 columns: bytes; --json has all")
    assert fitted.width <= 38
    first = replace(LAYERS, fit=Fit(names=(0,), leave=(1, 2)))
    assert [column.heading for column in fit(first, 44).columns] == ["name", "bytes"]


def test_a_number_that_does_not_fit_sticks_out_whole() -> None:
    table = Table("t", ("a", "b"), (("x", "123456789012345678901234567890"),))
    fitted = fit(table, 20)
    assert fitted.columns[1].cells == ("123456789012345678901234567890",) and fitted.width > 20


@pytest.mark.parametrize(("width", "stays"), [(80, True), (79, True), (77, False), (60, False)])
def test_a_digest_that_does_not_fit_gets_lines_of_its_own(width: int, stays: bool) -> None:
    rows = (("precision", "float32"), ("SHA-256", f"{DIGEST}, vouched for by its publisher"))
    fitted = fit(Table("facts", ("", ""), rows, left=(0, 1), fit=Fit(prose=(1,))), width)
    shown = fitted.columns[1].cells[1]
    if stays:
        assert shown.split(",")[0] == DIGEST and fitted.below == ()
    else:
        assert shown.startswith("below, vouched") and fitted.below == ("SHA-256:", DIGEST)


@pytest.mark.parametrize("behind", ["", ", vouched for by its publisher"])
def test_a_digest_is_whole_whatever_stands_behind_it(behind: str) -> None:
    for width in range(70, 90):
        rows = (("class names", "labels.txt"), ("SHA-256", f"{DIGEST}{behind}"))
        fitted = fit(Table("facts", ("", ""), rows, left=(0, 1), fit=Fit(prose=(1,))), width)
        assert DIGEST in fitted.below or DIGEST in fitted.columns[1].cells[1], width


def test_sentences_go_on_in_indented_lines() -> None:
    assert flow("one two three", 9) == "one two\n  three"
    assert flow("note: a\n  row  x1   name: a reason", 20) == "note: a\n  row  x1   name: a\n    reason"
    assert flow("see /a/path/that/is/long now", 10) == "see\n  /a/path/that/is/long\n  now"
    assert flow("", 5) == "" and flow("  ", 1) == "  "


@given(st.text(st.sampled_from("ab 漢\n"), max_size=90), st.integers(8, 40))
def test_flowing_moves_words_and_breaks_none(text: str, width: int) -> None:
    flowed = flow(text, width)
    assert flowed.split() == text.split()
    for line in flowed.split("\n"):
        assert cell_len(line.rstrip()) <= width or len(line.split()) == 1 or line in text.split("\n")


def test_sentences_break_at_spaces_and_paths_at_slashes() -> None:
    assert wrap("one two three", 7) == ["one two", "three"]
    assert wrap("see /srv/data/2012/m.smalti, 0.876/6", 12) == ["see", "/srv/data/", "2012/", "m.smalti,", "0.876/6"]
    assert wrap("1,449 of 12,345", 5) == ["1,449", "of", "12,345"]
    assert wrap("", 5) == [""] and wrap("a\nb", 5) == ["a", "b"]
    assert wrap("1x513x513x3,1x375x500x3", 14) == ["1x513x513x3,", "1x375x500x3"]


def test_the_cut_is_where_names_still_differ() -> None:
    for width in (32, 28, 24):
        cut = shorten([name.replace("MobilenetV2", ELLIPSIS) for name in NAMES], width)
        assert len(set(cut)) == len(NAMES) and max(map(len, cut)) <= width, cut
        assert [re.findall(r"conv_(\d+)", text) for text in cut] == [re.findall(r"conv_(\d+)", name) for name in NAMES]
    assert shorten(["short"], 5) == ["short"] and shorten(["123456789012"], 5) == ["123456789012"]


def test_the_beginning_that_most_names_have() -> None:
    assert common_prefix(NAMES) == "MobilenetV2/"
    assert common_prefix([*NAMES, "aspp0/Relu", "Cast_1"]) == "MobilenetV2/"
    assert common_prefix(["a/b/c", "a/b/d"]) == "a/b/"
    assert common_prefix(["a/b", "c/d"]) == common_prefix(["a/b"]) == common_prefix([]) == ""


@given(st.lists(st.text(st.sampled_from("ab/_0123456789.,é漢"), max_size=60), max_size=12), st.integers(2, 60))
def test_cutting_breaks_no_number_and_keeps_the_width(names: list[str], width: int) -> None:
    for name, cut in zip(names, shorten(names, width), strict=True):
        if cell_len(name) <= width:
            assert cut == name
            continue
        numbers = re.findall(r"\d+(?:[.,]\d+)*", name)
        assert cell_len(cut) <= width or cut == name == "".join(numbers)
        assert set(re.findall(r"\d+(?:[.,]\d+)*", cut)) <= set(numbers)


@given(st.text(st.sampled_from("abc 123,./"), max_size=80), st.integers(1, 30))
def test_wrapping_keeps_words_that_fit(text: str, width: int) -> None:
    lines = wrap(text, width)
    words = [word for word in text.split(" ") if word and len(word) <= width]
    found = " ".join(lines).split(" ")
    assert all(word in found for word in words)
    numbers = set(re.findall(r"\d+(?:\.\d+)*", text))
    assert set(re.findall(r"\d+(?:\.\d+)*", "\n".join(lines))) <= numbers


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 10**9), st.text("ab 12", max_size=90)), min_size=1),
    st.integers(40, 130),
)
def test_every_table_keeps_its_width_and_its_numbers(rows: list[tuple[str, int, str]], width: int) -> None:
    cells = tuple((name, f"{number:,}", f"{number / 7:.2f}", text) for name, number, text in rows)
    shape = Fit(names=(0,), prose=(3,), leave=(2,))
    fitted = fit(Table("t", ("name", "number", "share", "why"), cells, left=(0, 3), fit=shape), width)
    assert fitted.columns[1].cells == tuple(row[1] for row in cells)
    longest = max(len(word) for row in cells for word in row[3].split(" "))
    if longest <= 8 and width >= MIN_NAME + 36:
        assert fitted.width <= width
