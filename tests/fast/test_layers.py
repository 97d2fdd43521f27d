"""Rooms import only what their row of the table allows, folders stay small, and the runtime needs nothing but numpy."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

import rooms

SOURCE = Path(__file__).resolve().parents[2] / "src" / "smalti"
FOLDERS = sorted({path.parent for path in SOURCE.rglob("*.py")})
MOST_FILES, MOST_FLOORS = 26, 6
JOB_ROOMS = (
    "jobs",
    "annotations",
    "segmenter",
    "building",
    "labelling",
    "delivery",
    "bench",
    "comparing",
    "scoring",
    "apps",
)
MOST_LINES = 420


def _imports(code: str) -> set[str]:
    """Return the dotted names that code imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _named(code: str) -> set[str]:
    """Return the modules that code names in a text, to import them later."""
    texts = [node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)]
    assert not any(isinstance(text, str) and re.fullmatch(r"\.+\w+(\.\w+)*", text) for text in _loaded(code)), code
    found = (_MODULE.fullmatch(text) for text in texts if isinstance(text, str))
    return {match[1] for match in found if match is not None}


# A whole name, the first part of one that code goes on with, or a name with a function behind a colon.
_MODULE = re.compile(r"(smalti(?:\.\w+)+)(?:\.|:\w*)?")


def _loaded(code: str) -> list[object]:
    """Return the texts that calls of ``import_module`` and ``__import__`` are given."""
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    named = [c for c in calls if ast.unparse(c.func).rpartition(".")[2] in ("import_module", "__import__")]
    return [arg.value for call in named for arg in call.args if isinstance(arg, ast.Constant)]


def _modules() -> list[tuple[str, Path]]:
    paths = sorted(SOURCE.rglob("*.py"))
    return [(rooms.room_of(".".join(path.relative_to(SOURCE).with_suffix("").parts)), path) for path in paths]


def _wrong(room: str, code: str) -> list[str]:
    """Return the imports that the row of a room does not allow."""
    allowed = {room, *rooms.BY_NAME[room].imports}
    names = [name.partition(".") for name in _imports(code) | _named(code)]
    used = {rooms.room_of(rest) for top, _, rest in names if top == "smalti" and rest} & rooms.BY_NAME.keys()
    return [f"{room} imports {name}" for name in sorted(used - allowed)]


def _ids(value: object) -> str:
    return value if isinstance(value, str) else value.stem if isinstance(value, Path) else str(value)


@pytest.mark.parametrize(("room", "path"), _modules(), ids=_ids)
def test_a_room_imports_what_its_row_allows(room: str, path: Path) -> None:
    if room == "__init__":
        return
    assert room in rooms.BY_NAME, f"{room} has no row in tests/rooms.py"
    assert _wrong(room, path.read_text(encoding="utf-8")) == []


def test_the_table_has_no_circle_and_no_arrow_upward() -> None:
    rank = {room.name: place for place, room in enumerate(rooms.ROOMS)}
    assert [f"{r.name} -> {n}" for r in rooms.ROOMS for n in r.imports if rank[n] >= rank[r.name]] == []
    assert {room for room, _ in _modules()} - {"__init__"} == set(rank)


def test_every_allowed_import_is_used_by_some_file() -> None:
    """An arrow that nothing goes along is a permission nobody asked for; the general rows of the base are excused."""
    for room in ("building", "labelling", "delivery", "bench", "comparing", "scoring"):
        used = {name for r, path in _modules() if r == room for name in _imports(path.read_text(encoding="utf-8"))}
        for allowed in set(rooms.BY_NAME[room].imports) & set(JOB_ROOMS):
            assert any(name.startswith(f"smalti.{allowed}.") for name in used), f"{room} never imports {allowed}"


WRONG = {"from smalti.cli import main": "cli", "import smalti.bench.bench": "bench", "x = 'smalti.apps.road'": "apps"}


@pytest.mark.parametrize(("code", "room"), WRONG.items())
def test_a_wrong_import_fails_by_name(code: str, room: str) -> None:
    assert _wrong("labelling", code) == [f"labelling imports {room}"]
    assert _wrong("labelling", "from smalti.jobs.stream import Engine") == []


FORMATS = {
    "from smalti.frontend.tensorflow.attrs import AttrReader": "frontend.tensorflow",
    "from smalti.frontend import budget, tensorflow": "frontend.tensorflow",
    "x = import_module('smalti.frontend.tensorflow.handlers')": "frontend.tensorflow",
    "x = import_module(f'smalti.frontend.tensorflow.{name}')": "frontend.tensorflow",
    "x = 'smalti.frontend.tensorflow.' + name": "frontend.tensorflow",
    "x = 'smalti.frontend.tensorflow.importer:import_graph'": "frontend.tensorflow",
}


@pytest.mark.parametrize("room", ["frontend", "frontend.lower", "frontend.importing"])
@pytest.mark.parametrize(("code", "wrong"), FORMATS.items())
def test_what_formats_share_imports_no_format(code: str, wrong: str, room: str) -> None:
    assert _wrong(room, code) == [f"{room} imports {wrong}"]
    assert _wrong(room, "from smalti.frontend import budget") == []
    assert _wrong("frontend.tensorflow", code) == []


def test_builders_and_the_walk_do_not_know_each_other() -> None:
    assert _wrong("frontend.lower", "import smalti.frontend.importing.evaluate")
    assert _wrong("frontend.importing", "import smalti.frontend.lower.shape")


@pytest.mark.parametrize("code", ["import_module('.tensorflow', 'smalti.frontend')", "x.import_module('..cli')"])
def test_a_relative_import_from_a_string_is_refused(code: str) -> None:
    with pytest.raises(AssertionError, match="import_module"):
        _wrong("frontend", code)


@pytest.mark.parametrize(("room", "path"), _modules(), ids=_ids)
def test_runtime_needs_only_numpy(room: str, path: Path) -> None:
    if room not in rooms.NUMPY_ONLY:
        return
    for name in _imports(path.read_text(encoding="utf-8")):
        top = name.split(".")[0]
        assert top in ("smalti", "numpy") or top in sys.stdlib_module_names, f"{path.name} imports {name}"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_folder_is_small_and_flat(folder: Path) -> None:
    files = sorted(folder.glob("*.py"))
    assert len(files) <= MOST_FILES
    assert _floors(files) <= MOST_FLOORS


@pytest.mark.parametrize("room", JOB_ROOMS)
def test_files_of_job_rooms_are_short(room: str) -> None:
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in (SOURCE / room).rglob("*.py")}
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


def _floors(files: list[Path]) -> int:
    """Return how many files of a folder stand on each other at the most."""
    names = {".".join(("smalti", *path.relative_to(SOURCE).with_suffix("").parts)): path for path in files}
    below = {
        name: _imports(path.read_text(encoding="utf-8")) & (names.keys() - {name})
        for name, path in names.items()
        if path.name != "__init__.py"
    }
    floors = dict.fromkeys(below, 1)
    for _ in range(len(below)):
        floors = {name: 1 + max((floors.get(other, 0) for other in below[name]), default=0) for name in below}
    return max(floors.values(), default=0)


def test_floors_count_the_longest_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "SOURCE", tmp_path)
    for name, code in {"a": "", "b": "import smalti.a", "c": "from smalti import b", "d": "import smalti.a"}.items():
        (tmp_path / f"{name}.py").write_text(code)
    assert _floors(sorted(tmp_path.glob("*.py"))) == 3


def test_the_page_shows_the_table() -> None:
    page = (SOURCE.parents[1] / "docs" / "pipeline.md").read_text(encoding="utf-8")
    assert page == rooms.with_rooms(page), "run scripts/docs"
