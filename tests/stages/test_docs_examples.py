"""The examples of the pages run: python blocks, and `smalti` lines of bash blocks, in order, in an empty folder."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from smalti.cli.main import run
from smalti.demo.generator import CLASS_NAMES
from smalti.segmenter import label_map
from smalti.vision.overlay import add_legend
from smalti.vision.palette import VOC_LABELS

ROOT = Path(__file__).resolve().parents[2]
NOT_RUN = "no-run"
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# The blocks of README.zh-CN.md are those of README.md; a test of the pages checks that.
PAGES = sorted((ROOT / "docs").glob("*.md"))


def _blocks(page: Path) -> list[tuple[str, str]]:
    """Return language and text of the blocks that can be run."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [(kind, body) for kind, words, body in found if NOT_RUN not in words.split() and kind in ("python", "bash")]


def _run_bash(body: str) -> None:
    for line in body.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        assert words[0] == "smalti", f"mark the block with {NOT_RUN}: {line}"
        assert run(words[1:]) == 0, line


def _run(page: Path) -> None:
    # A real module: what a page declares (a dataclass) is looked up there by its name.
    module = sys.modules["example"] = ModuleType("example")
    namespace = vars(module)
    for kind, body in _blocks(page):
        if kind == "bash":
            _run_bash(body)
        else:
            exec(compile(body, page.name, "exec"), namespace)


@pytest.mark.parametrize("page", [page for page in PAGES if _blocks(page)], ids=lambda page: page.name)
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _run(page)


def test_the_readme_runs_and_measures_what_it_promises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    legends: list[tuple[str, ...]] = []

    def watch(picture: Any, labels: Any, names: Sequence[str], **how: Any) -> Any:
        legends.append(tuple(names))
        return add_legend(picture, labels, names, **how)

    monkeypatch.setattr(label_map, "add_legend", watch)
    monkeypatch.chdir(tmp_path)
    assert {kind for kind, _ in _blocks(ROOT / "README.md")} == {"bash", "python"}
    _run(ROOT / "README.md")
    printed = capsys.readouterr().out
    found = re.search(r"mean IoU / pixel accuracy\s+([\d.]+)", printed)
    assert found and float(found[1]) >= 85
    tables = set(re.findall(r"[a-z]+", printed))
    assert set(CLASS_NAMES) <= tables and not tables & (set(VOC_LABELS) - set(CLASS_NAMES)), "the demo's own names"
    assert legends and all(names == CLASS_NAMES for names in legends)
    assert len(list(Path("labels/overlay").glob("*.jpg"))) == 60
