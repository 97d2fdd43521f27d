"""What a terminal shows of the bytes that a command writes to it: cursor moves, erased lines and wrapped ones."""

from __future__ import annotations

import codecs
import re
import unicodedata
from typing import Final

TAB: Final = 8
# CSI (colours, cursor, erasing), OSC (titles, links), and the two-byte escapes.
_ESCAPE = re.compile(r"\x1b(?:\[([0-9;?]*)([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_=>78])")
_BEGUN = re.compile(r"\x1b(?:\[[0-9;?]*|\][^\x07\x1b]*\x1b?)?\Z")


def cells(text: str) -> int:
    """Return how many columns a text takes."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


class Screen:
    """A terminal of ``columns`` characters in a line that forgets no line; bytes go in by :meth:`write`."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.wrapped: list[str] = []
        """What stood on a line when it went on in the next one because it was full."""
        self._lines: list[list[str]] = [[]]
        self._row = 0
        self._column = 0
        self._rest = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def write(self, data: bytes) -> None:
        """Show more bytes; an escape sequence may be cut anywhere."""
        text = self._rest + self._decoder.decode(data)
        begun = _BEGUN.search(text)
        self._rest = text[begun.start() :] if begun else ""
        text = text[: begun.start()] if begun else text
        at = 0
        while at < len(text):
            found = _ESCAPE.match(text, at)
            if found:
                self._escape(found[1] or "", found[2] or "")
                at = found.end()
            else:
                self._character(text[at])
                at += 1

    def lines(self) -> list[str]:
        """Return all lines from the first, without what only blanks them."""
        shown = ["".join(line).rstrip() for line in self._lines]
        while shown and not shown[-1]:
            shown.pop()
        return shown

    def _character(self, character: str) -> None:
        if character == "\n":
            self._row += 1
            self._lines += [[] for _ in range(self._row + 1 - len(self._lines))]
        elif character == "\r":
            self._column = 0
        elif character == "\b":
            self._column = max(0, self._column - 1)
        elif character == "\t":
            self._column = min(self.columns - 1, (self._column // TAB + 1) * TAB)
        elif unicodedata.category(character) != "Cc":
            self._put(character)

    def _put(self, character: str) -> None:
        width = cells(character)
        if self._column + width > self.columns:
            self.wrapped.append("".join(self._lines[self._row]))
            self._character("\n")
            self._column = 0
        line = self._lines[self._row]
        line += [" "] * (self._column + width - len(line))
        if width:
            # The second cell of a wide character is empty, so that columns count.
            line[self._column : self._column + width] = [character, *[""] * (width - 1)]
        elif self._column:
            line[self._column - 1] += character
        self._column += width

    def _escape(self, words: str, final: str) -> None:
        count = int(words) if words.isdigit() else 0
        if final == "A":
            self._row = max(0, self._row - max(1, count))
        elif final == "B":
            self._row = min(len(self._lines) - 1, self._row + max(1, count))
        elif final == "C":
            self._column = min(self.columns - 1, self._column + max(1, count))
        elif final == "D":
            self._column = max(0, self._column - max(1, count))
        elif final == "G":
            self._column = max(1, count) - 1
        elif final == "K":
            self._erase(count)

    def _erase(self, count: int) -> None:
        line = self._lines[self._row]
        if count == 0:
            del line[self._column :]
        elif count == 1:
            line[: self._column + 1] = [" "] * min(len(line), self._column + 1)
        else:
            line.clear()
