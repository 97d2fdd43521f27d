"""The first hour of a new user, by the commands of the pages: in a terminal of 80 columns, and what is refused."""

from __future__ import annotations

import io
import os
import re
import shlex
import sys
import urllib.request
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import numpy as np
import pytest

from infer_cpp_kit import smalti_command
from smalti.cli.main import run
from smalti.demo.generator import CLASS_NAMES
from smalti.segmenter import label_map
from smalti.segmenter.segmenter import Segmenter
from smalti.vision.images import decode_mask
from smalti.vision.overlay import add_legend
from smalti.vision.palette import VOC_LABELS
from tolerance import Tol, assert_close
from walks import tours
from walks.pages import Step
from walks.reading import faults, refusals, vocabulary
from walks.runner import Way, go, serving
from walks.shell import Answer, Place

FOREIGN = set(VOC_LABELS) - set(CLASS_NAMES)
WIDE, NARROW = 240, 80


@pytest.fixture
def way(tmp_path: Path) -> Way:
    """A terminal whose ``smalti`` and ``python`` are those under test."""
    programs = tmp_path / "bin"
    programs.mkdir()
    smalti_command(programs)
    python = programs / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    source = [str(Path(place).resolve()) for place in sys.path if Path(place, "smalti").is_dir()]
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    return Way({**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join(source)}, Place.TERMINAL, NARROW)


def said(step: Step, columns: int) -> Answer:
    """Run a step of a page in this process, with its output in a pipe."""
    shown = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(shown), redirect_stderr(shown):
        patch.setenv("COLUMNS", str(columns))
        if step.language == "python":
            exec(compile(step.text, "example", "exec"), {"__name__": "example"})
            code = 0
        else:
            code = run(shlex.split(step.text)[1:])
    return Answer(step.text, tuple(shown.getvalue().split("\n")), code, columns)


def test_the_readme_shows_the_names_of_the_demo_and_reads_well_in_a_terminal(
    way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    legends: list[tuple[str, ...]] = []

    def watch(picture: Any, labels: Any, names: Sequence[str], **how: Any) -> Any:
        legends.append(tuple(names))
        return add_legend(picture, labels, names, **how)

    walk = tours.readme()
    monkeypatch.setattr(label_map, "add_legend", watch)
    (tmp_path / "wide").mkdir()
    monkeypatch.chdir(tmp_path / "wide")
    wide = [said(step, WIDE) for step in walk.steps]
    assert faults(wide, foreign=FOREIGN) == []
    assert len(legends) == 61 and all(names == CLASS_NAMES for names in legends)
    # The program in Python has no terminal to fit, and builds once more.
    seen = go(replace(walk, steps=walk.steps[:-1]), tmp_path / "walk", way)
    assert faults(seen.done, foreign=FOREIGN, known=vocabulary(wide)) == []
    text = "\n".join(given.text for given in (*seen.done, wide[-1]))
    assert set(CLASS_NAMES) <= set(re.findall(r"[a-z]+", text))
    miou = re.search(r"mean IoU / pixel accuracy\s+([\d.]+)", text)
    right = re.search(r"([\d.]+)% of the pixels are right", text)
    assert miou and float(miou[1]) >= 85 and right and float(right[1]) >= 95
    assert len(seen.done) == 5 and len(list((tmp_path / "walk" / "labels" / "overlay").glob("*.jpg"))) == 60


def test_the_usual_mistakes_are_refused_and_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    walk = tours.mistakes()
    assert faults([said(step, NARROW) for step in walk.steps]) == []
    refused = [said(step, NARROW) for step in walk.refused]
    assert refusals(refused) == [] and len(refused) > 20
    assert not list(tmp_path.glob("x.smalti"))


def test_the_service_in_ten_lines(way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walk = tours.service()
    own = [text for text in walk.program.splitlines() if text.strip() and not re.match("import|from", text)]
    assert len(own) == 10
    monkeypatch.chdir(tmp_path)
    assert faults([said(step, NARROW) for step in walk.steps]) == []
    with serving(walk.program, tmp_path, way) as address:
        picture = Path("data/demo_voc/JPEGImages/demo_0000.png")
        with urllib.request.urlopen(address, data=picture.read_bytes(), timeout=60) as answered:
            assert answered.headers["Content-Type"] == "image/png"
            labels = decode_mask(answered.read())
        for nonsense in (b"no picture", b""):
            with pytest.raises(HTTPError) as refused:
                urllib.request.urlopen(address, data=nonsense, timeout=60)
            assert refused.value.code == 400 and refused.value.read().strip()
    with Segmenter("demo.smalti") as segmenter:
        assert_close(labels, np.asarray(segmenter(picture).labels), Tol.EXACT)
