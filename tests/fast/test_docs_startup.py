"""Starting is cheap: what a command does not use is not imported."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import smalti.apps
from smalti.cli.commands import COMMANDS

COMPILER = {"llvmlite", "google.protobuf", "smalti.compiler", "smalti.frontend", "smalti.ir", "smalti.llvm"}
NETWORK = {"urllib3", "smalti.fetch.transport"}


def _modules_after(code: str) -> set[str]:
    """Return the names of all modules in a new process that has run some code."""
    report = "\nimport json, sys\nsys.stderr.write(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("command", ["infer", "eval", "inspect", "knobs"])
def test_a_command_that_compiles_nothing_does_not_import_the_compiler(command: str) -> None:
    loaded = _modules_after(f"from smalti.cli.main import run\nrun([{command!r}, '--help'])")
    assert COMMANDS[command].module in loaded
    assert not loaded & (COMPILER | NETWORK)


def test_export_does_not_import_the_compiler() -> None:
    loaded = _modules_after("from smalti.cli.main import run\nrun(['export', '--list'])")
    assert "urllib3" in loaded and not loaded & COMPILER


def test_build_imports_the_compiler() -> None:
    assert _modules_after("from smalti.cli.main import run\nrun(['build', '--help'])") >= COMPILER


def test_the_package_alone_imports_numpy_only() -> None:
    loaded = _modules_after("import smalti")
    assert "numpy" in loaded and not loaded & (COMPILER | NETWORK | {"cv2", "PIL", "typer", "rich"})


FIRST = ["import smalti.labelling.infer", "from smalti.apps import infer", "import smalti.apps"]


@pytest.mark.parametrize("first", FIRST)
def test_a_late_name_is_the_function_whatever_was_imported_first(first: str) -> None:
    code = f"{first}\nimport smalti.labelling.infer\nfrom smalti.apps import infer\n"
    assert "smalti.labelling.infer" in _modules_after(code + "assert infer is smalti.labelling.infer.infer")


def test_no_module_of_the_facade_has_the_name_of_a_function() -> None:
    modules = {path.stem for path in Path(smalti.apps.__file__).parent.glob("*.py")}
    assert not modules & set(smalti.apps.__all__)
    assert type(smalti.apps) is ModuleType
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        _ = smalti.apps.no_such_name


def test_the_list_of_commands_loads_none_of_them() -> None:
    loaded = _modules_after("from smalti.cli.main import run\nrun(['--help'])")
    assert not {place.module for place in COMMANDS.values()} & loaded and not loaded & (COMPILER | NETWORK)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_found_and_says_what_the_list_says(name: str) -> None:
    module = import_module(COMMANDS[name].module)
    assert callable(getattr(module, COMMANDS[name].function))
    assert module.HELP.split("\n\n")[0] == COMMANDS[name].summary
