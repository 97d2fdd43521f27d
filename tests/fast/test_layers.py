"""A package imports only from packages below it, and the runtime needs nothing but numpy."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "smalti"
LAYERS = (
    ("errors",),
    ("knobs",),
    ("numerics",),
    ("target",),
    ("artifact",),
    ("runtime",),
    ("ir",),
    ("frontend",),
    ("passes",),
    ("quant",),
    ("llvm",),
    ("kernels",),
    ("plan",),
    ("codegen",),
    ("compiler",),
    ("vision",),
    ("annotations",),
    ("fetch", "demo"),
    ("apps",),
    ("cli",),
)
RANK = {name: i for i, names in enumerate(LAYERS) for name in names}
NUMPY_ONLY = ("errors", "knobs", "numerics", "target", "artifact", "runtime")


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _modules() -> list[tuple[str, Path]]:
    modules = []
    for path in sorted(SOURCE.rglob("*.py")):
        top = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        modules.append((top, path))
    return modules


@pytest.mark.parametrize(("package", "path"), _modules(), ids=lambda v: str(v) if isinstance(v, str) else v.stem)
def test_imports_point_down(package: str, path: Path) -> None:
    if package == "__init__":
        return
    assert package in RANK, f"{package} has no place in the layers"
    for name in _imports(path):
        parts = name.split(".")
        if parts[0] != "smalti" or len(parts) < 2 or parts[1] not in RANK:
            continue
        assert parts[1] == package or RANK[parts[1]] < RANK[package], f"{path.name} imports {name}"


@pytest.mark.parametrize(("package", "path"), _modules(), ids=lambda v: str(v) if isinstance(v, str) else v.stem)
def test_runtime_needs_only_numpy(package: str, path: Path) -> None:
    if package not in NUMPY_ONLY:
        return
    for name in _imports(path):
        top = name.split(".")[0]
        assert top in ("smalti", "numpy") or top in sys.stdlib_module_names, f"{path.name} imports {name}"


def test_the_rule_sees_a_wrong_import(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text("from smalti.cli import main\n")
    assert "smalti.cli" in _imports(wrong)
    assert RANK["cli"] > RANK["runtime"]
