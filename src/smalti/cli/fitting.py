"""Make a table as narrow as a terminal without breaking a word or a number; pure functions, nothing is drawn here.

In this order, each only where the one before was not enough: headings go on in a second line, names lose what most of
them begin with and then their middles, sentences go on in a next line, columns stand closer, and columns leave. What
is still too wide is left whole and sticks out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from rich.cells import cell_len

from smalti.jobs.table import Table

ELLIPSIS: Final = "…"
WIDE_GAP, NARROW_GAP = 3, 2
EDGE: Final = 1
MIN_NAME: Final = 24
MIN_PROSE: Final = 30
LEAST_NAME: Final = 10
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_DIGEST = re.compile(r"\b[0-9a-f]{64}\b")
_JOINTS = re.compile(r"(?<=/)(?=[^/])|(?<=,)(?!,|\d{3}(?!\d))")
_COMMON: Final = 0.5


@dataclass(frozen=True, slots=True)
class Column:
    """A column as it is drawn: cells may have several lines, none wider than ``width``."""

    heading: str
    cells: tuple[str, ...]
    foot: str
    width: int
    is_left: bool


@dataclass(frozen=True, slots=True)
class Fitted:
    """A table that is ``width`` characters wide: lines above it, its columns ``gap`` characters apart, lines below."""

    above: tuple[str, ...]
    columns: tuple[Column, ...]
    gap: int
    below: tuple[str, ...]

    @property
    def width(self) -> int:
        """Characters of a line of the table."""
        return sum(column.width + self.gap for column in self.columns) - self.gap + 2 * EDGE


def fit(table: Table, width: int) -> Fitted:
    """Return the table for lines of ``width`` characters."""
    room = max(1, width - 2 * EDGE)
    table, below = _digests_apart(table, room)
    every = tuple(range(len(table.columns)))
    notes = [table.legend] if table.legend else []
    gap, kept = WIDE_GAP, every
    if _natural(table, every) > room:
        table, prefixes = _without_prefixes(table)
        notes += prefixes
    for gap, leaving in _measures(table):
        kept = tuple(index for index in every if index not in leaving)
        if _least(table, kept, gap, MIN_NAME, MIN_PROSE) <= room:
            break
    widths = _share_out(table, kept, room - gap * (len(kept) - 1))
    shown = {table.columns[index] for index in kept}
    gone = [heading for heading in table.columns if heading not in shown]
    if gone:
        notes.append(f"not shown in {width} columns: {', '.join(gone)}; --json has all")
    above = tuple(wrap(table.title, width)) if table.title else ()
    columns = tuple(_column(table, index, widths[index]) for index in kept)
    return Fitted(above, columns, gap, (*(line for text in notes for line in wrap(text, max(1, width - EDGE))), *below))


def wrap(text: str, width: int) -> list[str]:
    """Return the text in lines of ``width`` characters at most, broken at spaces; long paths also behind a ``/``.

    A single word that is wider loses its middle, unless it is one number.
    """
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            joined = f"{line} {word}" if line else word
            if cell_len(joined) <= width:
                line = joined
                continue
            lines += [line] if line else []
            *whole, line = _pieces(word, width)
            lines += whole
        lines.append(line)
    return lines


def flow(text: str, width: int) -> str:
    """Return sentences with line breaks at spaces instead of where a terminal is full.

    Lines that a line goes on in are indented a little more than it. A word that is wider stays whole: it may be a path
    that somebody will copy.
    """
    lines: list[str] = []
    for paragraph in text.split("\n"):
        indent = " " * (len(paragraph) - len(paragraph.lstrip(" ")) + NARROW_GAP)
        line, *rest = re.split("(?<=[^ ]) ", paragraph)
        for word in rest:
            if cell_len(f"{line} {word}") <= width or not line.strip():
                line = f"{line} {word}"
            else:
                lines.append(line)
                line = indent + word.lstrip(" ")
        lines.append(line)
    return "\n".join(lines)


def shorten(names: Sequence[str], width: int) -> list[str]:
    """Return names of ``width`` characters at most: long ones lose a part, at one place in all of them.

    The place is where most names still differ and keep their numbers, and near the middle. No number is cut in two, and
    no word where a name stays different from the others without its pieces.
    """
    if all(cell_len(name) <= width for name in names):
        return list(names)
    best: list[str] = []
    most = -1, -1
    for head in sorted(range(width), key=lambda head: abs(2 * head - width)):
        cut = [_cut(name, head, width) for name in names]
        kept = len(set(cut)), sum(len(_NUMBER.findall(name)) for name in cut)
        if kept > most:
            best, most = cut, kept
    taken = Counter(best)
    for place, (name, short) in enumerate(zip(names, best, strict=True)):
        neat = _at_joints(name, short)
        if not taken[neat]:
            taken.subtract([short])
            taken.update([neat])
            best[place] = neat
    return best


def _at_joints(name: str, cut: str) -> str:
    """Return a cut name without the piece of a word on either side of the ellipsis, where a word is left there."""
    if cut == name:
        return cut
    at = _ellipsis_of(name, cut)
    head, tail = cut[:at], cut[at + 1 :]
    head = re.sub(r"(?<=[/_])[^/_\d]*$", "", head)
    tail = re.sub(r"^[^/\d]*(?=/)", "", tail)
    return f"{head}{ELLIPSIS}{tail}"


def _ellipsis_of(name: str, cut: str) -> int:
    """Return where a cut name first differs from the whole one: its own ellipsis, not one of the name."""
    return next((at for at, (a, b) in enumerate(zip(name, cut, strict=False)) if a != b), len(cut) - 1)


def common_prefix(names: Iterable[str]) -> str:
    """Return the longest beginning, up to a ``/``, that more than half of the names have; else nothing."""
    found = [name for name in names if name]
    counts: Counter[str] = Counter()
    for name in found:
        parts = name.split("/")[:-1]
        counts.update("/".join(parts[: depth + 1]) + "/" for depth in range(len(parts)))
    shared = [prefix for prefix, count in counts.items() if count > 1 and count > _COMMON * len(found)]
    return max(shared, key=len, default="")


def _pieces(word: str, width: int) -> list[str]:
    """Return a word that is too wide in parts: a path at its slashes, anything else without its middle."""
    lines: list[str] = []
    line = ""
    for part in _JOINTS.split(word):
        if cell_len(line + part) <= width:
            line += part
            continue
        lines += [line] if line else []
        line = shorten([part], width)[0]
    return [*lines, line]


def _cut(name: str, head: int, width: int) -> str:
    """Return the name with ``head`` characters before the ellipsis and the rest of ``width`` behind it."""
    if cell_len(name) <= width:
        return name
    numbers = [match.span() for match in _NUMBER.finditer(name)]
    if numbers == [(0, len(name))]:
        return name
    begin, end = _prefix_of(name, head), len(name)
    if name.isascii():
        end -= width - 1 - begin
    while end > begin and cell_len(name[end - 1 :]) <= width - 1 - cell_len(name[:begin]):
        end -= 1
    for low, high in numbers:
        if low < begin < high:
            begin = low
        if low < end < high:
            end = high
    return f"{name[:begin].removesuffix(ELLIPSIS)}{ELLIPSIS}{name[end:]}"


def _prefix_of(name: str, width: int) -> int:
    end = 0
    if name.isascii():
        return min(width, len(name))
    while end < len(name) and cell_len(name[: end + 1]) <= width:
        end += 1
    return end


def _digests_apart(table: Table, room: int) -> tuple[Table, list[str]]:
    """Return the table with digests below it that do not fit into their column."""
    taken: list[str] = []
    first = max((cell_len(row[0]) for row in table.rows if row), default=0)
    free = room - (first + WIDE_GAP if len(table.columns) > 1 else 0)
    rows = []
    for row in table.rows:
        cells = list(row)
        for index in table.fit.prose:
            # With what stands close to it: a comma behind a digest would cost it its middle.
            room_for = max((cell_len(word) for word in row[index].split(" ") if _DIGEST.search(word)), default=0)
            if free < room_for and (found := _DIGEST.findall(row[index])):
                taken += [line for digest in found for line in (f"{row[0] or 'SHA-256'}:", digest)]
                cells[index] = _DIGEST.sub("below", row[index])
        rows.append(tuple(cells))
    if not taken:
        return table, []
    return replace(table, rows=tuple(rows)), taken


def _without_prefixes(table: Table) -> tuple[Table, list[str]]:
    """Return the table with an ellipsis for what most names of a column begin with, and lines that tell what it is."""
    rows = [list(row) for row in table.rows]
    notes = []
    for index in table.fit.names:
        prefix = common_prefix(row[index] for row in rows)
        if len(prefix) <= len(ELLIPSIS) + 1:
            continue
        for row in rows:
            if row[index].startswith(prefix):
                row[index] = f"{ELLIPSIS}/{row[index][len(prefix) :]}"
        notes.append(f"{ELLIPSIS}/ stands for {prefix}")
    return replace(table, rows=tuple(map(tuple, rows))), list(dict.fromkeys(notes))


def _measures(table: Table) -> list[tuple[int, tuple[int, ...]]]:
    """Return what may be done in turn: the gap, and the columns that leave."""
    leave = table.fit.leave
    return [(WIDE_GAP, ()), *((NARROW_GAP, leave[:count]) for count in range(len(leave) + 1))]


def _natural(table: Table, kept: Sequence[int]) -> int:
    return sum(_widest(_texts(table, index)) for index in kept) + WIDE_GAP * (len(kept) - 1)


def _least(table: Table, kept: Sequence[int], gap: int, name: int, prose: int) -> int:
    return sum(_least_width(table, index, name, prose) for index in kept) + gap * (len(kept) - 1)


def _least_width(table: Table, index: int, name: int, prose: int) -> int:
    """Return how narrow a column may become: headings may be broken at spaces, cells as the table says."""
    heading = _widest(table.columns[index].split(" "))
    cells = _widest(_cells(table, index))
    if index in table.fit.prose:
        cells = min(cells, prose)
    elif index in table.fit.names:
        cells = min(cells, name)
    return max(heading, cells)


def _share_out(table: Table, kept: Sequence[int], room: int) -> dict[int, int]:
    """Return the width of each kept column: the least it needs, and a part of the room that is left."""
    for name, prose in ((MIN_NAME, MIN_PROSE), (LEAST_NAME, LEAST_NAME)):
        widths = {index: _least_width(table, index, name, prose) for index in kept}
        if sum(widths.values()) <= room:
            break
    wanted = {index: _widest(_texts(table, index)) for index in kept}
    free = room - sum(widths.values())
    while free > 0 and (hungry := [index for index in kept if widths[index] < wanted[index]]):
        for index in hungry[:free]:
            widths[index] += 1
            free -= 1
    return widths


def _column(table: Table, index: int, width: int) -> Column:
    cells = _cells(table, index)
    foot = cells.pop() if table.footer else ""
    if index in table.fit.names:
        cells, foot = shorten(cells, width), "\n".join(wrap(foot, width))
    elif index in table.fit.prose:
        cells = ["\n".join(wrap(cell, width)) for cell in cells]
        foot = "\n".join(wrap(foot, width))
    heading = "\n".join(wrap(table.columns[index], width))
    lines = [line for text in (*cells, foot, heading) for line in text.split("\n")]
    return Column(heading, tuple(cells), foot, _widest(lines), index in table.left)


def _cells(table: Table, index: int) -> list[str]:
    """Return the cells of a column, the one of the footer last where there is one."""
    return [*(row[index] for row in table.rows), *([table.footer[index]] if table.footer else [])]


def _texts(table: Table, index: int) -> list[str]:
    return [table.columns[index], *_cells(table, index)]


def _widest(texts: Iterable[str]) -> int:
    return max((cell_len(text) for text in texts), default=0)
