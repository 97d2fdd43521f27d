"""What the sources never do: run data as code, start shells, or guard with ``assert``, which ``python -O`` removes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import smalti

SOURCES = Path(smalti.__file__).parent
MODULES = frozenset(("pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "joblib", "yaml", "xmlrpc", "code"))
CALLS = frozenset(("eval", "exec", "compile", "__import__"))
METHODS = frozenset(
    (("os", "system"), ("os", "popen"), ("builtins", "eval"), ("builtins", "exec"), ("code", "interact"))
)
KEYWORDS = frozenset(("allow_pickle", "shell"))


def forbidden(source: str) -> Iterator[str]:
    """Yield what a source does that it must not."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assert):
            yield f"{node.lineno}: assert"
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"{node.lineno}: import {n}" for n in names if n.split(".")[0] in MODULES)
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in CALLS:
                yield f"{node.lineno}: {node.func.id}()"
            if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
                if (node.func.value.id, node.func.attr) in METHODS:
                    yield f"{node.lineno}: {node.func.value.id}.{node.func.attr}()"
            for keyword in node.keywords:
                if keyword.arg in KEYWORDS and not (
                    isinstance(keyword.value, ast.Constant) and not keyword.value.value
                ):
                    yield f"{node.lineno}: {keyword.arg}="


def test_no_source_runs_data_or_guards_with_assert() -> None:
    paths = sorted(SOURCES.rglob("*.py"))
    assert len(paths) > 150
    found = [f"{p.relative_to(SOURCES)}:{what}" for p in paths for what in forbidden(p.read_text(encoding="utf-8"))]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from marshal import loads",
        "import yaml.reader",
        "eval('1')",
        "exec('x = 1')",
        "assert data",
        "np.load(f, allow_pickle=True)",
        "subprocess.run('ls', shell=True)",
        "os.system('ls')",
    ],
)
def test_each_of_them_is_seen(source: str) -> None:
    assert list(forbidden(source))
