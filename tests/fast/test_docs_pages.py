"""The pages say what the code says: generated parts are up to date, links lead somewhere, both READMEs are one."""

from __future__ import annotations

import importlib
import json
import re
from itertools import groupby
from pathlib import Path

import pytest

from cli_page import cli_markdown
from graphs_page import graphs_markdown
from rooms import ROOMS
from smalti.cli.commands import COMMANDS
from smalti.ir.graph import Level
from smalti.passes.pipeline import PIPELINE
from soak_page import with_figures
from zoo_page import HALF_LARGEST, HALF_SAME, LARGEST, MISSES, SAME, zoo_markdown

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "tools").rglob("*.md")])
BLOCK = re.compile(r"^```(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
CODE_PATH = re.compile(r"`((?:src|tests|tools|scripts|docs|benchmarks)/[\w./-]+)`")
OPTION = re.compile(r"--[a-z][a-z0-9-]+")


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _prose(text: str) -> str:
    return BLOCK.sub("", text)


def test_the_command_line_page_is_generated_from_the_commands() -> None:
    assert _text("docs/cli.md") == cli_markdown(), "run scripts/docs"


def test_the_figures_of_the_long_checks_are_those_recorded() -> None:
    page = _text("docs/reliability.md")
    assert page == with_figures(page, ROOT / "docs" / "soak.json"), "run scripts/docs"
    assert page.count("| holds |") >= 20


def test_the_page_of_networks_is_what_was_recorded() -> None:
    page = _text("docs/graphs-known-to-work.md")
    assert page == graphs_markdown(ROOT / "docs" / "graphs.json"), "run scripts/docs"
    assert page.count("| yes |") >= 10


def test_the_page_of_the_zoo_is_what_was_recorded_and_every_row_agrees() -> None:
    assert _text("docs/zoo.md") == zoo_markdown(ROOT / "docs" / "zoo.json"), "run scripts/docs"
    files = json.loads(_text("docs/zoo.json"))["files"]
    assert len(files) >= 10
    assert all(row["builds"] and not row["reason"] for row in files.values())
    for name, row in files.items():
        half = (HALF_LARGEST, HALF_SAME) if name.startswith("csmask") else (LARGEST, SAME)
        largest, same = MISSES.get(name.partition("-")[0], half)
        assert row["difference"] <= largest, name
        assert row["same"] >= same * row["pixels"], name


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_excerpts_stand_in_the_files_that_they_name(page: Path) -> None:
    for _, body in BLOCK.findall(page.read_text(encoding="utf-8")):
        first, *lines = body.splitlines() or [""]
        if re.fullmatch(r"# src/[\w/]+\.py", first):
            source = _text(first[2:]).splitlines()
            assert [line for line in lines if line.strip() and line not in source] == [], page.name


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_and_paths_exist(page: Path) -> None:
    text = _prose(page.read_text(encoding="utf-8"))
    links = [target for target in LINK.findall(text) if "://" not in target]
    assert [target for target in links if not (page.parent / target).exists()] == []
    paths = [path for path in CODE_PATH.findall(text) if "*" not in path]
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_names_of_the_package_exist(page: Path) -> None:
    for name in re.findall(r"`(smalti(?:\.\w+)+)(?:\([^`]*\))?`", page.read_text(encoding="utf-8")):
        parts = name.split(".")
        for length in range(len(parts), 0, -1):
            try:
                found: object = importlib.import_module(".".join(parts[:length]))
            except ModuleNotFoundError:
                continue
            for part in parts[length:]:
                found = getattr(found, part)
            break


def test_every_page_is_in_the_index() -> None:
    listed = set(LINK.findall(_text("docs/README.md")))
    assert listed == {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}


def test_both_readmes_have_one_structure() -> None:
    english, chinese = _text("README.md"), _text("README.zh-CN.md")
    assert BLOCK.findall(english) == BLOCK.findall(chinese)

    def shape(text: str) -> list[tuple[str, int]]:
        kinds = [
            "heading" if line.startswith("#") else "row" if line.startswith("|") else "text"
            for line in _prose(text).splitlines()
            if line.strip()
        ]
        return [(kind, len(list(run)) if kind == "row" else 1) for kind, run in groupby(kinds)]

    assert shape(english) == shape(chinese)
    assert set(LINK.findall(english)) - {"README.zh-CN.md"} == set(LINK.findall(chinese)) - {"README.md"}


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md", "docs/cli.md", "docs/pipeline.md", "docs/export.md"])
def test_options_that_pages_name_exist(name: str) -> None:
    page = cli_markdown()
    sections = {c: page.split(f"## smalti {c}\n")[1].split("\n## ")[0] for c in COMMANDS}
    for command, rest in re.findall(rf"\bsmalti ({'|'.join(COMMANDS)})(?![\w-])([^`\n#]*)", _text(name)):
        cells = re.findall(r"^\| (`--[^|]+`) \|", sections[command], re.MULTILINE)
        known = {option for cell in cells for option in OPTION.findall(cell)}
        assert set(OPTION.findall(rest)) <= known, f"smalti {command} {rest}"


def test_the_layout_of_the_readme_is_that_of_the_package() -> None:
    block = next(body for kind, body in BLOCK.findall(_text("README.md")) if kind == "text")
    source = block.split("runtime-c/")[0].replace("src/smalti/", "").replace("|", " ").split()
    present = {p.name.removesuffix(".py") for p in (ROOT / "src" / "smalti").iterdir() if p.name[0] not in "_."}
    assert set(source) == {name for name in present if (ROOT / "src" / "smalti" / name).suffix != ".typed"} - {
        "py.typed"
    }
    assert {room.name.partition(".")[0] for room in ROOMS if room.name != "__main__"} == set(source)


def test_the_list_of_passes_is_that_of_the_pipeline() -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| (.*?) \|$", _text("docs/pipeline.md"), re.MULTILINE)
    assert [(int(number), name, why) for number, name, why in rows] == [
        (number, step.name, step.why) for number, step in enumerate(PIPELINE, start=1)
    ]


def test_the_levels_are_those_of_the_graph() -> None:
    table = _text("docs/ir.md").split("## Levels")[1].split("##")[0]
    assert re.findall(r"^\| (\w+) \|", table, re.MULTILINE)[1:] == [level.value for level in Level]
