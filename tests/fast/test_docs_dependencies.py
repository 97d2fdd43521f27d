"""docs/dependencies.md has a row for everything that the project asks for, and no other."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "dependencies.md"
COLUMNS = "| package | licence | why, and over what | what of it is used | without it |"
TOOLS = "Tools of the checks"


def _project() -> dict[str, Any]:
    # Python 3.10 has no tomllib; pytest brings the same reader there.
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    project: dict[str, Any] = toml.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return project


def _names(requirements: Sequence[str]) -> list[str]:
    """Return the names of packages, sorted; ``smalti[...]`` repeats other groups."""
    names = (re.split(r"[\s<>=!~;\[]", text, maxsplit=1)[0] for text in requirements)
    return sorted(name for name in names if name != "smalti")


def _wanted(project: Mapping[str, Any], ci: str) -> dict[str, list[str]]:
    """Return the names of packages by the heading of the table that has to hold them."""
    extras = project["project"]["optional-dependencies"]
    wanted = {"Packages of every installation": _names(project["project"]["dependencies"])}
    wanted |= {f"`smalti[{extra}]`": names for extra, texts in extras.items() if (names := _names(texts))}
    wanted["Building the wheel"] = _names(project["build-system"]["requires"])
    tools = re.search(r'^ *tools="([^"]+)"$', ci, re.MULTILINE)
    assert tools is not None, "where are the tools of .ci/run?"
    wanted[TOOLS] = sorted(tools[1].split())
    return wanted


def _rows(page: str) -> dict[str, list[list[str]]]:
    """Return the rows of the tables of packages, by heading."""
    found = {}
    for section in page.split("\n## ")[1:]:
        heading, _, body = section.partition("\n")
        if COLUMNS in body:
            lines = body.split(COLUMNS)[1].strip().split("\n\n")[0].splitlines()[1:]
            found[heading] = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return found


def _compared(page: str) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    wanted = _wanted(_project(), (ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    return {heading: sorted(row[0] for row in rows) for heading, rows in _rows(page).items()}, wanted


def test_every_dependency_has_a_row_and_every_row_a_dependency() -> None:
    listed, wanted = _compared(PAGE.read_text(encoding="utf-8"))
    assert listed == wanted
    assert "numpy" in listed["Packages of every installation"] and len(listed) == 6


def test_every_row_says_all_five_things() -> None:
    rows = [row for table in _rows(PAGE.read_text(encoding="utf-8")).values() for row in table]
    assert [row for row in rows if len(row) != 5 or not all(row)] == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("| pillow |", "| pillows |"),
        ("\n| mypy | MIT |", "\n| mypy | MIT | a | b | c |\n| flake8 | MIT |"),
        ("| strace |", "| ltrace |"),
        ("## `smalti[soak]`", "## `smalti[soaked]`"),
    ],
)
def test_the_rule_sees_a_difference(old: str, new: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page.count(old) == 1
    listed, wanted = _compared(page.replace(old, new))
    assert listed != wanted
