"""Records of options: the command line shows their fields, the command gets the record."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from smalti.cli.build import build_command
from smalti.cli.options.groups import grouped
from smalti.cli.options.inputs import TensorOptions
from smalti.cli.options.limits import LimitOptions
from smalti.frontend.budget import DEFAULT_LIMITS


@dataclass(frozen=True, slots=True)
class Size:
    height: Annotated[int, typer.Option("--height", min=1)]
    width: Annotated[int, typer.Option("--wide", min=1)] = 7


GOT: list[tuple[Path, Size, bool]] = []


@grouped
def draw(*, where: Annotated[Path, typer.Option("--where")], size: Size, fast: bool = False) -> None:
    """Draw something."""
    GOT.append((where, size, fast))


def app() -> typer.Typer:
    made = typer.Typer()
    made.command()(draw)
    return made


def test_fields_stand_where_the_record_stood() -> None:
    parameters = inspect.signature(draw).parameters
    assert list(parameters) == ["where", "height", "width", "fast"]
    assert parameters["height"].default is inspect.Parameter.empty and parameters["width"].default == 7
    assert draw.__name__ == "draw" and draw.__doc__ == "Draw something."


@pytest.mark.parametrize(
    ("arguments", "want"),
    [
        (["--where", "x", "--height", "3"], (Path("x"), Size(3, 7), False)),
        (["--where", "x", "--wide", "2", "--height", "3", "--fast"], (Path("x"), Size(3, 2), True)),
    ],
)
def test_the_command_gets_the_record(arguments: list[str], want: tuple[Path, Size, bool]) -> None:
    GOT.clear()
    assert CliRunner().invoke(app(), arguments).exit_code == 0
    assert GOT == [want]


@pytest.mark.parametrize("arguments", [["--where", "x"], ["--where", "x", "--height", "0"]])
def test_a_field_is_checked_as_an_option_is(arguments: list[str]) -> None:
    GOT.clear()
    assert CliRunner().invoke(app(), arguments).exit_code == 2
    assert GOT == []


def test_build_takes_the_fields_of_its_records() -> None:
    parameters = inspect.signature(build_command).parameters
    for kind in (TensorOptions, LimitOptions):
        assert [name for name in parameters if name in {f.name for f in fields(kind)}] == [f.name for f in fields(kind)]
    assert not {"tensors", "limits"} & set(parameters)
    assert LimitOptions().limits() == DEFAULT_LIMITS
