"""The page of the Python API has every public name, with its docstring."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import smalti
import smalti.apps
from api_page import ANNOTATIONS, api_markdown, public, text_of
from smalti.cli.commands import COMMANDS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "python-api.md"
# Commands about this installation, and the one whose work has two functions.
NO_FUNCTION = {"config", "knobs"}
OTHER_NAMES = {"eval": {"evaluate_folder", "evaluate_model"}}


def test_the_page_is_generated_from_the_docstrings() -> None:
    assert PAGE.read_text(encoding="utf-8") == api_markdown(), "run scripts/docs"


@pytest.mark.parametrize("module", [smalti, smalti.apps], ids=lambda module: module.__name__)
def test_every_public_name_has_a_docstring_in_the_page(module: ModuleType) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert not re.search(r"^- `\w+`:$", page, re.MULTILINE), "a property has no docstring"
    for name in set(module.__all__) - {"__version__"}:
        thing = getattr(module, name)
        assert len(inspect.getdoc(thing) or "") > 20, name
        assert not (inspect.getdoc(thing) or "").startswith(f"{name}("), f"{name} has dataclass's own docstring"
        assert text_of(thing).splitlines()[0] in page and f"{module.__name__}.{name}" in page, name


def test_every_public_function_of_the_annotations_is_there() -> None:
    page = PAGE.read_text(encoding="utf-8")
    found = [value for name in ANNOTATIONS for value in public(import_module(f"smalti.annotations.{name}"))]
    assert len(found) >= 6
    assert [v.__name__ for v in found if not v.__doc__ or f"### {v.__module__}.{v.__name__}\n" not in page] == []


def test_the_commands_are_functions() -> None:
    for command in set(COMMANDS) - NO_FUNCTION:
        names = OTHER_NAMES.get(command, {command.replace("-", "_")})
        assert names <= set(smalti.apps.__all__), command


def test_sections_and_roles_become_markdown() -> None:
    def example() -> None:
        """Do a thing with :class:`smalti.Engine` and ``x``.

        Args:
            a, b: what they are,
                on two lines.
        """

    assert text_of(example) == (
        "Do a thing with `smalti.Engine` and `x`.\n\nArgs:\n\n- `a, b`: what they are,\n  on two lines.\n"
    )
