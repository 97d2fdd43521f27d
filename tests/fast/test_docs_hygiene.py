"""What holds for every file of the repository: size, words, licences of nobody else, scripts that can run."""

from __future__ import annotations

import ast
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LONGEST_MODULE = 600
LONGEST_FUNCTION = 80
LARGEST_FILE = 3_000_000
# In pieces, so that this file does not hold them itself.
FORBIDDEN = re.compile(
    "|".join(
        (
            r"(?<![\w.$}])/wo" + r"rk/",
            r"/ro" + r"ot/",
            r"/ho" + r"me/\w",
            r"\bTO" + r"DO\b",
            r"\bFIX" + r"ME\b",
            r"\bX" + r"XX\b",
            r"\bissue" + r" #?\d",
            r"(?i:\bcl" + r"aude\b|\bchat" + r"gpt\b|\bcop" + r"ilot\b|\blanguage " + r"model\b)",
            r"(?i:\b(?:this|next|last|previous|another) ses" + r"sion\b)",
            r"(?i:artifac" + r"tory|pypi\." + r"org|files\.python" + r"hosted|--index" + r"-url)",
            r"<<<<" + r"<<<|>>>>" + r">>>",
        )
    )
)


def _files() -> list[Path]:
    """Return the files of the repository: those git knows, or in an unpacked archive all but caches."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False, timeout=60
    )
    if listed.returncode == 0 and listed.stdout:
        paths = [ROOT / os.fsdecode(name) for name in listed.stdout.split(b"\0") if name]
    else:
        kept = ("src", "tests", "docs", "tools", "scripts", "benchmarks")
        paths = [*ROOT.glob("*.*"), *(p for folder in kept for p in (ROOT / folder).rglob("*"))]
    return sorted(p for p in paths if p.is_file() and "__pycache__" not in p.parts)


def _texts() -> list[tuple[str, str]]:
    found = []
    for path in _files():
        raw = path.read_bytes()
        if b"\0" not in raw and path.suffix not in (".pb", ".onnx", ".npz", ".png", ".jpg", ".bin"):
            found.append((str(path.relative_to(ROOT)), raw.decode("utf-8")))
    return found


def test_no_module_is_too_long() -> None:
    lengths = {name: text.count("\n") for name, text in _texts() if name.endswith(".py")}
    assert len(lengths) > 100
    assert {name: n for name, n in lengths.items() if n > LONGEST_MODULE} == {}


def test_no_function_is_too_long() -> None:
    long = {}
    for name, text in _texts():
        if name.endswith(".py"):
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    # Without the signature: that of a command is its list of options.
                    lines = (node.end_lineno or 0) - node.body[0].lineno + 1
                    if lines > LONGEST_FUNCTION:
                        long[f"{name}:{node.name}"] = lines
    assert long == {}


def test_the_repository_speaks_of_the_product_alone() -> None:
    found = [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in _texts()
        for number, line in enumerate(text.splitlines(), start=1)
        if FORBIDDEN.search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    "line", ["see /wo" + "rk/tmp", "# TO" + "DO: later", "as issu" + "e 12 asks", "pypi." + "org/simple"]
)
def test_the_rule_sees_a_forbidden_word(line: str) -> None:
    assert FORBIDDEN.search(line)


@pytest.mark.parametrize(
    "line", ["a network/file", "in a TensorFlow session", "the work/tmp of it", "an issue of speed"]
)
def test_the_rule_lets_ordinary_words_pass(line: str) -> None:
    assert not FORBIDDEN.search(line)


def test_files_are_small_and_end_with_a_line_break() -> None:
    assert [str(p.relative_to(ROOT)) for p in _files() if p.stat().st_size > LARGEST_FILE] == []
    assert [name for name, text in _texts() if text and not text.endswith("\n")] == []
    assert [name for name, text in _texts() if "\r" in text or re.search(r"[ \t]+$", text, re.MULTILINE)] == []


def test_scripts_can_run() -> None:
    scripts = [path for path in _files() if path.read_bytes().startswith(b"#!")]
    assert {"run.sh", "test", "check", "run"} <= {path.name for path in scripts}
    for path in scripts:
        assert os.access(path, os.X_OK), f"chmod +x {path.relative_to(ROOT)}"
        if "bash" in path.read_text().splitlines()[0]:
            assert "set -euo pipefail" in path.read_text(), path
            subprocess.run(["bash", "-n", str(path)], check=True, timeout=20)
