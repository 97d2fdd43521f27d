"""The page of the command line, written from the commands themselves."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from enum import Enum
from importlib import import_module
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

import typer

from smalti import knobs
from smalti.cli.commands import COMMANDS, Place
from smalti.cli.exit_codes import ExitCode

HEAD = """# The command line

Generated from the commands; a test compares this page with the code, and `scripts/docs` writes it again.

Results go to standard output, as tables or with `--json` as one JSON object and nothing else; progress, notes and
errors go to standard error. Where that is no terminal, long work says a line every ten seconds. Tables are as wide as
the terminal; in a pipe as `COLUMNS` says, or 80 columns.
"""


def cli_markdown() -> str:
    """Return the page."""
    parts = [HEAD, *(_command(name, place) for name, place in COMMANDS.items()), _exit_codes(), _knobs()]
    return "\n".join(parts)


def exit_code_rows() -> str:
    """Return the table of exit codes."""
    rows = "".join(f"| {code.value} | {code.meaning} |\n" for code in ExitCode)
    return f"| exit code | meaning |\n|---|---|\n{rows}"


def knob_rows() -> str:
    """Return the table of environment variables."""
    rows = "".join(
        f"| `{k.name}` | {'' if k.default is None else k.default} | {k.low} to {k.high} | {k.doc} |\n"
        for k in knobs.ALL
    )
    return f"| variable | default | range | what it does |\n|---|---|---|---|\n{rows}"


def _exit_codes() -> str:
    return f"## Exit codes\n\n{exit_code_rows()}"


def _knobs() -> str:
    return f"## Environment variables\n\n{knob_rows()}"


def _command(name: str, place: Place) -> str:
    module = import_module(place.module)
    about, _, examples = str(module.HELP).partition("\b\nExamples:\n")
    text = "\n\n".join(" ".join(part.split()) for part in about.split("\n\n") if part.strip())
    lines = "".join(f"{line.strip()}\n" for line in examples.splitlines() if line.strip())
    function = getattr(module, place.function)
    hints = get_type_hints(function, include_extras=True)
    rows = "".join(_option(p, hints[p.name]) for p in _options(function, hints))
    table = f"| option | value | default | what it says |\n|---|---|---|---|\n{rows}"
    return f"## smalti {name}\n\n{text}\n\n```\n{lines}```\n\n{table}"


def _options(function: Callable[..., None], hints: dict[str, Any]) -> list[inspect.Parameter]:
    """Return the parameters that are options, which the context of a command is not."""
    return [p for p in inspect.signature(function).parameters.values() if hints[p.name] is not typer.Context]


def _option(parameter: inspect.Parameter, hint: Any) -> str:
    kind, about = get_args(hint)
    # In an annotation typer keeps the first name of an option where a default would stand.
    words = [word for word in (about.default, *(about.param_decls or ())) if isinstance(word, str)]
    names = ", ".join(f"`{word}`" for word in words) or f"`{parameter.name.upper()}`"
    kinds = [k for k in get_args(kind) if k is not NoneType] or [kind]
    default = parameter.default
    if default is inspect.Parameter.empty:
        shown = "required"
    elif default is None or default is False:
        shown = ""
    else:
        shown = f"`{default.value if isinstance(default, Enum) else default}`"
    return f"| {names} | {_value(kinds[0])} | {shown} | {' '.join((about.help or '').split())} |\n"


def _value(kind: Any) -> str:
    if kind is bool:
        return ""
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " ".join(f"`{member.value}`" for member in kind)
    if get_args(kind):
        return _value(get_args(kind)[0])  # An option that may be given several times.
    return {int: "whole number", float: "number", Path: "path"}.get(kind, "text")
