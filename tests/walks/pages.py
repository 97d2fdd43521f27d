"""Commands from the pages: blocks of a page or of one of its parts, so that a walk has no copy of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOT_RUN = "no-run"
_PART = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$|^##+ ([^\n]*)$", re.MULTILINE | re.DOTALL)
_IMPORTS = re.compile(r"^(?:from [\w.]+ import .*|import .*)$", re.MULTILINE)
_COMMENT = re.compile(r"(?:^|\s)#(?: .*)?$")


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code of a page, and the heading that it stands below."""

    heading: str
    language: str
    runs: bool
    body: str


def blocks(page: str) -> list[Block]:
    """Return the blocks of a page, a path in the repository, in order."""
    heading = ""
    found = []
    for language, words, body, title in _PART.findall((ROOT / page).read_text(encoding="utf-8")):
        if title:
            heading = title
        else:
            found.append(Block(heading, language, NOT_RUN not in words.split(), body))
    return found


@dataclass(frozen=True, slots=True)
class Step:
    """A command line, or a Python program where ``language`` is ``python``."""

    language: str
    text: str


def steps(page: str, *headings: str, every: bool = False) -> list[Step]:
    """Return the steps of the parts of a page that have these headings, of all where none is given.

    Lines of bash blocks are a step each; a python block is one, with what earlier ones imported. ``every`` takes the
    blocks that tests leave out, too.

    Raises:
        LookupError: the page has no such part, or nothing to run is in it.
    """
    imports: list[str] = []
    found = []
    seen = set()
    for block in blocks(page):
        taken = (not headings or block.heading in headings) and (block.runs or every)
        if block.language == "python":
            if taken:
                found.append(Step("python", "\n".join([*imports, block.body]) if imports else block.body))
            imports += [line for line in _IMPORTS.findall(block.body) if "__future__" not in line]
        elif block.language == "bash" and taken:
            lines = block.body.replace("\\\n", " ").splitlines()
            found += [
                Step("bash", line) for text in lines if (line := _COMMENT.sub("", " ".join(text.split())).strip())
            ]
        else:
            continue
        seen |= {block.heading} if taken else set()
    if not found or set(headings) - seen:
        raise LookupError(f"{page} has nothing to run below {sorted(set(headings) - seen)}")
    return found


def line(page: str, begins: str) -> Step:
    """Return the one command line of a page that begins so, of whatever block.

    Raises:
        LookupError: there is none, or there are several.
    """
    lines = [step for step in steps(page, every=True) if step.language == "bash" and step.text.startswith(begins)]
    if len(lines) != 1:
        raise LookupError(f"{page} has {len(lines)} lines that begin with {begins!r}")
    return lines[0]
