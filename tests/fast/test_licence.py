"""The licence: its whole text, what the package says of it, and the line in files that travel without it."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINE = "SPDX-License-Identifier: Apache-2.0"
# Of the text as the Apache Software Foundation publishes it.
APACHE_2 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
BLOCK, LINES, HASH = f"/* {LINE} */", f"// {LINE}", f"# {LINE}"
COMMENTS = {
    ".c": (BLOCK,),
    ".h": (BLOCK,),
    ".hpp": (BLOCK, LINES),
    ".cpp": (LINES,),
    ".cmake": (HASH,),
    ".txt": (HASH,),
    ".in": (HASH,),
}


def _travelling(root: Path) -> list[Path]:
    """Return the files that people take into projects of their own: all but pages of the C library and the examples."""
    every = (path for folder in ("runtime-c", "examples") for path in (root / folder).rglob("*") if path.is_file())
    return sorted(path for path in every if path.suffix != ".md" and "build" not in path.relative_to(root).parts)


def _without_line(paths: Iterable[Path]) -> list[str]:
    """Return the files whose first line does not name the licence, in a comment of their language."""
    return [
        path.name for path in paths if path.read_text(encoding="utf-8").partition("\n")[0] not in COMMENTS[path.suffix]
    ]


def _project() -> dict[str, Any]:
    # Python 3.10 has no tomllib; pytest brings the same reader there.
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    project: dict[str, Any] = toml.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return project


def test_files_that_travel_alone_name_the_licence() -> None:
    paths = _travelling(ROOT)
    assert len(paths) > 40
    assert {path.name for path in paths} >= {"smalti.h", "smalti.hpp", "engine.c", "smalti.pc.in", "CMakeLists.txt"}
    assert _without_line(paths) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.c", "#include <stdio.h>\n"),
        ("a.h", f"/* About. */\n/* {LINE} */\n"),
        ("a.cpp", f"/* {LINE} */\n"),
        ("a.hpp", "// SPDX-License-Identifier: MIT\n"),
        ("CMakeLists.txt", f"# {LINE} OR MIT\n"),
        ("a.in", ""),
    ],
)
def test_the_rule_sees_a_file_without_the_line(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "runtime-c").mkdir()
    (tmp_path / "runtime-c" / name).write_text(text)
    (tmp_path / "runtime-c" / "README.md").write_text("A page needs no line.\n")
    assert _without_line(_travelling(tmp_path)) == [name]


def test_the_licence_is_the_whole_text_unaltered() -> None:
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE_2


def test_the_package_names_its_licence_once() -> None:
    package = _project()
    project = package["project"]
    assert project["license"] == "Apache-2.0"
    # An older one neither knows the expression nor writes the files' names.
    assert package["build-system"]["requires"] == ["hatchling>=1.27,<2"]
    assert [name for name in project["license-files"] if not (ROOT / name).is_file()] == []
    assert set(project["license-files"]) == {"LICENSE", "NOTICE"}
    # Beside an expression a classifier of the licence is an error.
    assert [line for line in project["classifiers"] if line.startswith("License ::")] == []
    assert (ROOT / "NOTICE").read_text(encoding="utf-8").startswith("Smalti\nCopyright The Smalti authors\n")


def test_the_pkg_config_file_names_the_licence() -> None:
    assert "\nLicense: Apache-2.0\n" in (ROOT / "runtime-c" / "smalti.pc.in").read_text(encoding="utf-8")


def test_the_package_says_that_it_is_typed() -> None:
    package = _project()
    (folder,) = package["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert (ROOT / folder / "py.typed").read_bytes() == b""
    assert "Typing :: Typed" in package["project"]["classifiers"]


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
def test_both_readmes_name_the_licence(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert "](LICENSE)" in text and "](NOTICE)" in text and "](docs/dependencies.md)" in text
