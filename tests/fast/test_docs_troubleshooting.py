"""The page of symptoms quotes messages that the code still has."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
QUOTED = re.findall(r"^> (.+)$", (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8"), re.MULTILINE)
GAP = "\0"


@cache
def _texts() -> tuple[str, ...]:
    """Return every text of the package, with a mark for each value that is put in."""
    found = []
    for path in sorted((ROOT / "src" / "smalti").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(v.value if isinstance(v, ast.Constant) else GAP for v in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return tuple(found)


def _is_there(quoted: str) -> bool:
    """Say whether the words around the gaps of a quoted message stand in one text of the package, in order."""
    words = [re.escape(part.strip()) for part in quoted.split("…") if part.strip(" :.,()")]
    pattern = re.compile(".*".join(words), re.DOTALL)
    return any(pattern.search(text) for text in _texts())


@pytest.mark.parametrize("quoted", QUOTED)
def test_a_quoted_message_is_in_the_code(quoted: str) -> None:
    assert _is_there(quoted)


def test_enough_messages_are_quoted_and_another_would_be_seen() -> None:
    assert len(QUOTED) >= 25 and len(set(QUOTED)) == len(QUOTED)
    assert not _is_there("the file is mouldy: … bytes of it")
