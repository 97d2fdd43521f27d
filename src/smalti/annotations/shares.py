"""A CSV table of how much of each picture every class covers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from smalti.annotations.picture import Annotated, as_text, shown_name
from smalti.jobs.csv_lines import csv_line
from smalti.vision.label_counts import count_labels

_STARTS_OF_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r")
_OTHERS: Final = "(other labels)"


def shares_pieces(pictures: Iterable[Annotated], names: Sequence[str]) -> Iterator[str]:
    """Yield a CSV table line by line: the header, then a row for each picture, which is read when its turn comes.

    A row is the picture's name, height and width in pixels, then for each class of ``names`` its share of the pixels,
    0 to 1, and last the share of all labels that have no name. Spreadsheets run a cell as a formula that begins with
    ``=``, ``+``, ``-``, ``@``, a tab or a carriage return: a name that does gets a ``'`` before it.
    """
    yield csv_line(["name", "height", "width", *(_cell(shown_name(i, names)) for i in range(len(names))), _OTHERS])
    for picture in pictures:
        counts = _counts(picture, len(names))
        shares = [format(count / max(picture.labels.size, 1), ".9g") for count in counts]
        yield csv_line([_cell(as_text(picture.name)), picture.height, picture.width, *shares])


def _counts(picture: Annotated, classes: int) -> list[int]:
    """Return the number of pixels of every label below ``classes``, and of all others."""
    found = count_labels(picture.labels)
    named = [found.get(label, 0) for label in range(classes)]
    return [*named, picture.labels.size - sum(named)]


def _cell(name: str) -> str:
    return f"'{name}" if name.startswith(_STARTS_OF_FORMULAS) else name
