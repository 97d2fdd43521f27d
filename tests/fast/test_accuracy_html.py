"""The page of an accuracy table: what it says, that strange names stay text, and that one flip can be seen."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from smalti.quant.modes import QuantMode
from smalti.scoring.html import html_report
from smalti.scoring.html_pictures import ReportSource, draw_flipped
from smalti.scoring.report import to_markdown
from smalti.scoring.rows import AccuracyRow, AccuracyTable
from smalti.vision.headers import ImageFormat
from smalti.vision.images import encode_mask, encode_picture
from smalti.vision.metrics import ConfusionMatrix
from smalti.vision.palette import class_palette
from smalti.vision.voc import Entry

SIDE = 40
HOSTILE = '<script>alert("1")</script>&\'"'
NAMES = ("ground", HOSTILE, "never seen")


class Page(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.captions: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.open and self.open[-1] == "figcaption":
            self.captions.append(data)


def report(folder: Path, names: tuple[str, ...] | None) -> tuple[AccuracyTable, str]:
    """Return a table of two modes on one picture, where one label flips, and its page."""
    picture = np.full((SIDE, SIDE, 3), 90, np.uint8)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[:20] = 1
    mask[-1] = 255
    flipped = mask.copy()
    flipped[mask == 255] = 0
    float32 = flipped.copy()
    flipped[30, 5] = 1 if names else 2
    stem = "<b>&"
    for part, data in (("a", float32), ("b", flipped), ("masks", mask)):
        (folder / part).mkdir()
        (folder / part / f"{stem}.png").write_bytes(encode_mask(data))
    (folder / f"{stem}.jpg").write_bytes(encode_picture(picture, ImageFormat.PNG))
    rows = []
    for mode, labels, part in ((QuantMode.FORCE_FLOAT32, float32, "a"), (QuantMode.FORCE_FLOAT16, flipped, "b")):
        counter = ConfusionMatrix(names)
        counter.add(labels, mask)
        flips = {f"{stem}.png": int((labels != float32).sum())}
        pixels = {f"{stem}.png": mask.size}
        rows.append(
            AccuracyRow(mode, True, "", counter.result(), flips, pixels, 1.0, 3, 9, "m", "0", part, 1, "CPU", 1.0)
        )
    table = AccuracyTable(HOSTILE, "0" * 64, "0" * 64, 1, tuple(rows))
    source = ReportSource(
        folder,
        {f"{stem}.png": Entry(f"{stem}.jpg", folder)},
        folder / "masks",
        class_palette((None, "#123456")),
        "pictures of <i>",
        "masks of <i>",
        "smalti accuracy --model '<x>'",
        datetime(2026, 3, 4, 5, 6, tzinfo=timezone.utc),
    )
    return table, html_report(table, source)


def test_what_a_page_says(tmp_path: Path) -> None:
    table, text = report(tmp_path, NAMES)
    page = Page(text)
    assert not page.open
    known = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "h4", "dl", "dt", "dd", "code", "div"}
    known |= {"table", "tr", "th", "td", "p", "span", "i", "b", "details", "summary", "figure", "img", "figcaption"}
    assert {tag for tag, _ in page.tags} == known, "no script, no link, nothing of the names"
    said = " ".join(page.texts)
    for words in ("2026-03-04 05:06 UTC", "pictures of <i>", "masks of <i>", "smalti accuracy --model '<x>'", HOSTILE):
        assert words in said
    assert "in no mask and no prediction" in said and "<b>&.jpg" in page.texts
    captions = ["picture", "true mask", "force_float32", "force_float16", "flips, 0.062 %"]
    assert page.captions == captions
    assert set(re.findall(r"0\.06\d* %", said)) == {"0.062 %"}, "one share of flipped pixels for a picture"
    heads = [words for words in page.texts if words in NAMES]
    assert heads.count("never seen") == 1 + 2 * 2, "a bar, and a row and a column of each matrix"
    titles = [values["title"] for tag, values in page.tags if tag == "td" and "title" in values]
    assert (
        f"ground as {HOSTILE}: 0.13 %, 1 pixels" in titles and f"{HOSTILE} as {HOSTILE}: 100.00 %, 800 pixels" in titles
    )
    assert "prefers-color-scheme:dark" in text and "initial-scale=1" in text and "#123456" in text
    drops = [part for part in page.texts if re.fullmatch(r"[+-]\d\.\d\d", part)]
    assert drops == ["+0.13", "+0.12"], "ground loses one of 760 pixels, and the other class gains one to its 800"
    assert all(str(values["src"]).startswith("data:image/png;base64,") for tag, values in page.tags if tag == "img")
    assert to_markdown(table).count("never seen") == 1


def test_rows_with_different_numbers_of_classes(tmp_path: Path) -> None:
    table, text = report(tmp_path, None)
    assert [row.accuracy.classes for row in table.rows] == [2, 3] and table.labels == ("class 0", "class 1", "class 2")
    page = Page(text)
    bars: list[Any] = [values["title"] for tag, values in page.tags if values.get("class") == "b"]
    assert bars.count("class 2, force_float16") == 1 and "class 2, force_float32" not in bars
    assert "| class 2 | - | 0.00 |" in to_markdown(table)


def test_one_flip_is_seen_at_any_size() -> None:
    flips = np.zeros((300, 500), bool)
    flips[7, 300] = True
    drawn = np.asarray(draw_flipped(np.full((60, 100, 3), 255, np.uint8), flips).convert("RGB"))
    red = np.argwhere((drawn == (235, 40, 60)).all(axis=2))
    assert red.min(axis=0).tolist() == [0, 59] and red.max(axis=0).tolist() == [2, 61] and len(red) == 9
    assert drawn[30, 30].tolist() == [105, 105, 105]
