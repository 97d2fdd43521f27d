"""The examples of the pages run: python blocks, and `smalti` lines of bash blocks, in order, in an empty folder."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest

from smalti.cli.main import run
from smalti.demo.generator import CLASS_NAMES
from smalti.vision.palette import VOC_LABELS
from walks.reading import faults
from walks.shell import Answer

ROOT = Path(__file__).resolve().parents[2]
NOT_RUN = "no-run"
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COLUMNS = 80
# All examples are of the demo, so no command may name a class of another data set.
FOREIGN = set(VOC_LABELS) - set(CLASS_NAMES)
# README.md is walked by test_walks.py.
PAGES = sorted((ROOT / "docs").glob("*.md"))


def _blocks(page: Path) -> list[tuple[str, str]]:
    """Return language and text of the blocks that can be run."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [(kind, body) for kind, words, body in found if NOT_RUN not in words.split() and kind in ("python", "bash")]


def _run_bash(body: str, page: str, capsys: pytest.CaptureFixture[str]) -> None:
    for line in body.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        assert words[0] == "smalti", f"mark the block with {NOT_RUN}: {line}"
        capsys.readouterr()
        code = run(words[1:])
        shown = "".join(capsys.readouterr())
        assert faults([Answer(line, tuple(shown.split("\n")), code, COLUMNS)], foreign=FOREIGN) == [], page


def _run(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # A real module: what a page declares (a dataclass) is looked up there by its name.
    module = sys.modules["example"] = ModuleType("example")
    namespace = vars(module)
    for kind, body in _blocks(page):
        if kind == "bash":
            _run_bash(body, page.name, capsys)
        else:
            exec(compile(body, page.name, "exec"), namespace)


@pytest.mark.parametrize("page", [page for page in PAGES if _blocks(page)], ids=lambda page: page.name)
def test_examples_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _run(page, capsys)
