"""Every refusal says what to do next: the message itself, its kind, or a reviewed reason why it need not."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import typer

from cli_page import cli_markdown
from smalti import errors
from smalti.cli.commands import COMMANDS
from smalti.cli.exit_codes import ExitCode
from smalti.cli.main import run

SOURCE = Path(__file__).resolve().parents[2] / "src" / "smalti"
KINDS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.SmaltiError) and kind is not errors.CompilerError
}
IMPERATIVE = re.compile(
    r"--[a-z]|\b(?:use|give|add|choose|name|build|calibrate|update|leave|take|remove|move|ask|install|drop|call|"
    r"repeat|cut|load|measure|write|close|state|go on|freeze|save|export|convert|let|turn|wait|look|fetch)\b|pip "
    r"install|`smalti "
)
WHAT_IS_RIGHT = re.compile(
    r", not |\bmust\b|\bneeds?\b|\btakes?\b|\bare \d|\bonly\b|there are \{|known: |\bknown are|the \w+ are \{|such as|"
    r"for instance|at least|at most|look like|is written|the limit|is from \d|from \d to \d|are from|between them|"
    r"may use the|HEX\b|an image is \[|\bthe inputs of this model are|more than the|"
    r"it has \{|are written|are a list|1 to \{"
)

# What stands here was read and found to need no more: reason -> places and words of the messages.
ALLOWED: dict[str, tuple[tuple[str, str], ...]] = {
    "the text comes from somewhere else, which this test sees too, or from the system": (
        ("building/", "{shown}: {error}"),
        ("frontend/recognise.py", "{other[1].advice}"),
        ("jobs/outputs.py", "<text>"),
        ("", "<str(write_error("),
        ("jobs/stream.py", ": {error}"),
        ("", "entry.problem"),
        ("bench/cold.py", "the process for the cold start"),
        ("vision/images.py", "{printable(str(path))}: {error}"),
    ),
    "the system's own words say what is wrong: a path, a permission, a full disk": (
        ("", "{error.strerror"),
        ("", "os.strerror("),
        ("artifact/reader.py", "NUL character"),
        ("runtime/memory.py", "executable: {reason}"),
        ("vision/images.py", "cannot open a picture: {reason}"),
    ),
    "memory was refused for what the message names; a smaller request needs less": (
        ("", "no memory"),
        ("runtime/memory.py", "cannot get memory for"),
    ),
    "no cold start at all is a failure of the machine, which the message before it tells": (
        ("bench/cold.py", "no cold start was measured"),
    ),
    "only a caller in Python can get it, and it names the argument and what it was": (
        ("bench/stats.py", ""),
        ("comparing/stats.py", "beside"),
        ("ir/", ""),
        ("vision/overlay.py", "does not have the size of the picture"),
        ("vision/rle.py", ""),
        ("segmenter/network.py", "but this output has"),
        ("runtime/dims.py", "cannot be computed with"),
    ),
    "a field of a record is named with what stands in it; the file is one that --save-ranges wrote": (
        ("quant/record.py", ""),
    ),
    "two maps differ in size: both sizes are there, and the picture is listed": (
        ("vision/metrics.py", "differ in size"),
        ("comparing/compare.py", "differ"),
    ),
    "a value does not fit its tensor: the option, the tensor and what it takes are there": (
        ("frontend/importing/binds.py", "{wrong}"),
    ),
}
# A picture or a mask is at fault, not a command: it is listed with the reason, and the job goes on.
LISTED = ("ImageError",)
CHOSEN = "kind"
"""The local name of an error class, where one of two is chosen: ``raise kind(...)``."""

# What a ``raise`` may have that is no error of users by its name -> why no message of its own is read here.
OTHERS: dict[str, tuple[str, ...]] = {
    "a bug of Smalti, or of who writes a program with it, and no refusal": (
        "CompilerError",
        "AssertionError",
        "AttributeError",
        "IndexError",
        "ValueError",
    ),
    "a signal inside a room, which becomes an error of users where it is caught": (
        "JsonFault",
        "NeedsLimit",
        "NeedsSteps",
        "NotSymbolic",
        "TransientError",
        "Unsupported",
        "UnknownInput",
        "_Ended",
        "_Refused",
        "_Stopped",
        "_known_as",
        "body_error",
    ),
    "the end of a command, whose message was printed before": (
        "BrokenPipeError",
        "Exit",
        "KeyboardInterrupt",
        "SystemExit",
        "typer.Exit",
    ),
    "what the command line itself says of": ("MemoryError",),
    "an error that was made elsewhere, handed on, with more words before it or without": (
        "StorageError",
        "type",
        "broken[0]",
        "error",
        "found[1]",
        "item[1]",
        "problem",
        "written.stopped",
    ),
}


@dataclass(frozen=True, slots=True)
class Place:
    """A place that raises an error of users."""

    file: str
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.kind}: {self.text}"


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        parts = (
            v.value if isinstance(v, ast.Constant) else f"{{{ast.unparse(getattr(v, 'value', v))}}}"
            for v in node.values
        )
        return "".join(str(part) for part in parts)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    return f"<{ast.unparse(node)}>"


@cache
def _places() -> tuple[Place, ...]:
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        raised = {id(node.exc) for node in nodes if isinstance(node, ast.Raise)}
        for node in nodes:
            if isinstance(node, ast.Call) and node.args:
                name = _called(node)
                if name in KINDS or (name == CHOSEN and id(node) in raised):
                    text = " ".join(_text(argument) for argument in node.args)
                    # Of a kind that is chosen there, nothing is known but the message.
                    kind = name if name in KINDS else "UsageError"
                    found.append(Place(str(path.relative_to(SOURCE)), node.lineno, kind, text))
    return tuple(found)


def _called(node: ast.expr) -> str:
    """Return the name of what is called, without the module or object that it is looked up in."""
    function = getattr(node, "func", None)
    if isinstance(function, ast.Call):
        return _called(function)
    return str(getattr(function, "id", getattr(function, "attr", "")))


@cache
def _raised() -> tuple[tuple[str, str], ...]:
    """Return every ``raise`` of the package: its place, and the name of what it calls, or else its text."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and node.exc is not None:
                name = _called(node.exc) or ast.unparse(node.exc)
                found.append((f"{path.relative_to(SOURCE)}:{node.lineno}", name))
    return tuple(found)


@cache
def _makers() -> frozenset[str]:
    """Return the names of functions in which an error of users is made."""
    made = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and any(_called(part) in KINDS for part in ast.walk(node)):  # type: ignore[arg-type]
                made.add(node.name)
    return frozenset(made)


def _says_it(place: Place) -> bool:
    return bool(IMPERATIVE.search(place.text) or WHAT_IS_RIGHT.search(place.text))


def _kind_says_it(place: Place) -> bool:
    return bool(KINDS[place.kind].next_step) and "--" not in place.text


def _is_allowed(place: Place) -> bool:
    places = (entry for entries in ALLOWED.values() for entry in entries)
    return place.kind in LISTED or any(place.file.startswith(f) and words in place.text for f, words in places)


def test_every_refusal_says_what_to_do_next() -> None:
    places = _places()
    assert len(places) > 500
    bare = [str(p) for p in places if not (_says_it(p) or _kind_says_it(p) or _is_allowed(p))]
    assert not bare, "\n".join(bare)


def test_the_reviewed_list_has_no_entry_without_a_message() -> None:
    open_ones = [p for p in _places() if not (_says_it(p) or _kind_says_it(p))]
    listed = [(reason, file, words) for reason, entries in ALLOWED.items() for file, words in entries]
    assert [e for e in listed if not any(p.file.startswith(e[1]) and e[2] in p.text for p in open_ones)] == []


def test_no_error_is_raised_that_this_test_does_not_read() -> None:
    others = {name for names in OTHERS.values() for name in names}
    raised = _raised()
    assert len(raised) > 500
    seen = {name for _, name in raised}
    assert [place for place in raised if place[1] not in {*KINDS, *_makers(), *others, CHOSEN}] == []
    assert sorted(others - seen) == [], "nothing raises these any more"


def test_errors_of_users_are_declared_in_one_module() -> None:
    """A class elsewhere would be missed here, but for one: a picture whose place to be saved in is at fault."""
    kinds = {
        f"{path.relative_to(SOURCE)}:{node.name}"
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).rpartition(".")[2] in KINDS for base in node.bases)
    }
    assert {name for name in kinds if not name.startswith("errors.py:")} == {"jobs/stream.py:StorageError"}


@pytest.mark.parametrize(
    "command", [(), *((name,) for name in sorted(COMMANDS))], ids=lambda c: c[0] if c else "smalti"
)
def test_a_wrong_option_of_a_command_is_told_where_help_is(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, "--no-such-option"]) == ExitCode.USAGE
    said = " ".join(capsys.readouterr().err.split())
    assert f"Try '{' '.join(('smalti', *command))} -h' for help." in said and "--no-such-option" in said


@pytest.mark.parametrize(
    "problem", [MemoryError(), RuntimeError("can't start new thread")], ids=lambda p: type(p).__name__
)
def test_what_the_system_refuses_has_a_next_step(
    problem: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_app: object) -> None:
        raise problem

    monkeypatch.setattr(typer.main, "get_command", refuse)
    assert run(["doctor"]) == ExitCode.RESOURCE
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("smalti: ") and IMPERATIVE.search(second) and "--threads" in second


def test_every_option_in_a_message_exists() -> None:
    known = set(re.findall(r"--[a-z][a-z0-9-]+", cli_markdown()))
    named = {option for p in _places() for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", p.text)}
    assert len(named) > 40
    # CMake's and pkg-config's own.
    assert named - known == {"--build", "--install", "--cflags", "--libs", "--prefix"} & (named - known)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_next_step_of_a_kind_is_a_sentence(kind: str) -> None:
    step = KINDS[kind].next_step
    assert step == "" or (len(step) > 20 and step[0].islower() | step.startswith("--") and not step.endswith("."))


def test_the_check_sees_a_bare_refusal() -> None:
    bare = Place("cli/x.py", 1, "UsageError", "this is wrong")
    assert not (_says_it(bare) or _kind_says_it(bare) or _is_allowed(bare))
    assert _says_it(Place("cli/x.py", 1, "UsageError", "this is wrong: give another"))
    assert _kind_says_it(Place("cli/x.py", 1, "DamagedModelError", "the file is damaged"))
