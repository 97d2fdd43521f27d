"""What every kind of file is made of: a picture's name with its labels, and names that any text can hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from smalti.errors import InputError
from smalti.vision.classes import class_name
from smalti.vision.voc import printable

BACKGROUND: Final = 0


@dataclass(frozen=True, slots=True, eq=False)
class Annotated:
    """A labelled picture: the name of its file, relative to the folder of pictures, and its labels, integers [H, W].

    The label map has the size of the picture. Raises InputError when it is no integer array [H, W].
    """

    name: str
    labels: NDArray[np.integer]

    def __post_init__(self) -> None:
        if self.labels.ndim != 2 or not np.issubdtype(self.labels.dtype, np.integer):
            raise InputError(
                f"{printable(self.name)}: a label map is an array of integers [H, W], not {self.labels.dtype} "
                f"{list(self.labels.shape)}"
            )

    @property
    def height(self) -> int:
        """The height in pixels."""
        return int(self.labels.shape[0])

    @property
    def width(self) -> int:
        """The width in pixels."""
        return int(self.labels.shape[1])


def shown_name(label: int, names: Sequence[str]) -> str:
    """Return the name of a class as any text can hold it."""
    return as_text(class_name(label, names))


def as_text(name: str) -> str:
    """Return a name as it is, or with its undecodable bytes escaped when no UTF-8 can hold it."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return printable(name)
    return name


def plain_points(ring: NDArray[np.float64]) -> list[list[Any]]:
    """Return the points of a ring as lists of x and y, integers where all of them are whole."""
    whole = ring.astype(np.int64)
    points: list[list[Any]] = (whole if np.array_equal(whole, ring) else ring).tolist()
    return points
