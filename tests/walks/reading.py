"""What must hold of the answers of every walk: what is found against them is a list of sentences."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from walks.screen import cells
from walks.shell import Answer

ELLIPSIS = "…"
RULE = re.compile(r"^ *─{3,}[─ ]*$")
DIGEST = re.compile(r"^[0-9a-f]{64}$")
NUMBER = re.compile(r"^[~≥≤<>±+(-]*\d+(?:[.,:/x-]\d+)*(?:e[-+]?\d+)?[%x)]*(?:/s)?[,;:.]?$")
# A wrong option, bad data, a wrong model file, what the disk refuses.
REFUSED = (2, 4, 5, 6)
BORDER = "─│╭╮╰╯ "
JOINTS = "/,"


def faults(answers: Sequence[Answer], *, foreign: Iterable[str] = (), known: Iterable[str] = ()) -> list[str]:
    """Return what is wrong with the answers of commands that should have succeeded.

    ``foreign`` are names of classes that must not occur. ``known`` are the words of the same commands where lines are
    wide: where there are any, no table may have pieces of them.
    """
    found = []
    vocabulary = frozenset(known)
    for given in answers:
        said = [f"it ended with {given.code}"] if given.code else []
        said += _of_lines(given)
        said += [f"it names {word}, a class of another data set" for word in sorted(words(given) & set(foreign))]
        said += [f"{piece!r} is a piece of a word" for piece in (pieces(given, vocabulary) if vocabulary else ())]
        found += [f"$ {given.command}: {text}" for text in said]
    return found


def refusals(answers: Sequence[Answer]) -> list[str]:
    """Return what is wrong with the answers of commands that had to be refused."""
    found = []
    for given in answers:
        said = [] if given.code in REFUSED else [f"it ended with {given.code}"]
        said += _of_lines(given)
        said += [] if NEXT_STEP.search(" ".join(given.lines)) else ["nothing says what to do next"]
        found += [f"$ {given.command}: {text}" for text in said]
    return found


NEXT_STEP = re.compile(
    r" --[a-z]|`smalti |--help|Try 'smalti|\bmust be\b|\btakes\b|\bknown(?: are|:)|\bare written\b|"
    r"\b(?:give|use|add|choose|name|build|take|remove|leave|export|freeze|copy|look|call)\b"
)


def words(given: Answer) -> set[str]:
    """Return the words of an answer without what tables, JSON and sentences put around them."""
    return {word.strip("'\",:;.[]{}()%") for word in given.text.split()}


def vocabulary(answers: Iterable[Answer]) -> set[str]:
    """Return all that stands between spaces."""
    return {word for given in answers for word in given.text.split()}


def pieces(given: Answer, known: frozenset[str]) -> Iterator[str]:
    """Yield what stands in a table and is no whole word of the wide tables, nor a number, nor what an ellipsis cut."""
    whole = known | {word.rstrip(".,;:") for word in known}
    for row, goes_on in rows(given.lines):
        for word in row.split():
            if word in whole or word.rstrip(".,;:") in whole or ELLIPSIS in word or set(word) <= set(BORDER):
                continue
            if NUMBER.match(word) and not goes_on:
                continue
            if not _is_cut_at_a_joint(word, known):
                yield word


def rows(lines: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Yield the rows of tables, which end with a blank line, and whether each goes on with the row before it."""
    inside = False
    for line in lines:
        if RULE.match(line):
            inside = True
        elif not line.strip():
            inside = False
        elif inside:
            yield line, line.startswith("    ")


def _of_lines(given: Answer) -> list[str]:
    traces = [line for line in given.lines if line.startswith("Traceback (most recent call last)")]
    rows_of_pipes = [line for line, _ in rows(given.lines) if cells(line) > given.columns]
    wide = [line for line in (*given.wrapped, *rows_of_pipes) if not _is_one_word(line)]
    return [*traces, *(f"a line is too wide: {line!r}" for line in wide)]


def _is_one_word(line: str) -> bool:
    """Return whether a line is one word, such as a path or a digest, which is better whole than short."""
    return len(line.split()) == 1


def _is_cut_at_a_joint(piece: str, known: frozenset[str]) -> bool:
    """Return whether a piece is of a path or a list that goes on in the next line behind a ``/`` or a comma."""
    for word in known:
        at = word.find(piece)
        if at < 0 or len(word) == len(piece):
            continue
        begins = at == 0 or word[at - 1] in JOINTS
        ends = at + len(piece) == len(word) or piece[-1] in JOINTS
        if begins and ends:
            return True
    return False
