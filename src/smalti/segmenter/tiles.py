"""Label a picture larger than a network takes, tile by tile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smalti.errors import InputError, UsageError
from smalti.segmenter.spans import Span, cut
from smalti.vision.label_counts import fit_a_byte

Picture = NDArray[np.uint8]
_MOST_PIXELS_OF_A_SIDE = 2**14
_ROWS_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Tiling:
    """How pictures are cut: tiles of at most ``height`` x ``width`` pixels, ``overlap`` pixels shared by neighbours.

    ``exact``: the network takes tiles of this very size only; a smaller picture is continued by its last pixels.

    Raises:
        UsageError: a side is not 1 to 16,384, or the overlap is more than half of one.
    """

    height: int
    width: int
    overlap: int
    exact: bool = False

    def __post_init__(self) -> None:
        if not (1 <= self.height <= _MOST_PIXELS_OF_A_SIDE and 1 <= self.width <= _MOST_PIXELS_OF_A_SIDE):
            raise UsageError(
                f"a tile has 1 to {_MOST_PIXELS_OF_A_SIDE} pixels on a side, not {self.height} x {self.width}"
            )
        most = min(self.height, self.width) // 2
        if not 0 <= self.overlap <= most:
            raise UsageError(
                f"the overlap of {self.height} x {self.width} tiles is 0 to {most} pixels (half a tile), not "
                f"{self.overlap}: choose that, or larger tiles"
            )

    def rows(self, height: int) -> tuple[Span, ...]:
        """Return the pieces from top to bottom of a picture of that height."""
        return cut(height, self.height, self.overlap, self.exact)

    def columns(self, width: int) -> tuple[Span, ...]:
        """Return the pieces from left to right of a picture of that width."""
        return cut(width, self.width, self.overlap, self.exact)

    def fill(self, picture: Picture) -> Picture:
        """Return a picture uint8 [H, W, 3] that is not too small for a tile."""
        missing = max(0, self.height - picture.shape[0]), max(0, self.width - picture.shape[1])
        if not self.exact or not any(missing):
            return picture
        return np.pad(picture, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")


def label_by_labels(
    picture: Picture, tiling: Tiling, label: Callable[[Picture], NDArray[np.integer]]
) -> NDArray[np.integer]:
    """Return the labels [H, W] of a picture uint8 [H, W, 3]: each pixel's from the tile in whose middle it is most.

    Raises InputError where the network does not give a label for each pixel of a tile.
    """
    filled = tiling.fill(picture)
    height, width = filled.shape[:2]
    rows, columns = tiling.rows(height), tiling.columns(width)
    found: NDArray[np.integer] = np.zeros((height, width), np.uint8)
    for row in rows:
        for column in columns:
            labels = label(_tile(filled, row, column))
            _check_size(labels.shape, row, column)
            part = labels[row.own_first - row.start : row.own_last - row.start]
            part = part[:, column.own_first - column.start : column.own_last - column.start]
            if found.dtype == np.uint8 and not fit_a_byte(part):
                found = found.astype(np.int32)
            found[row.own_first : row.own_last, column.own_first : column.own_last] = part
    return found[: picture.shape[0], : picture.shape[1]]


def label_by_scores(
    picture: Picture, tiling: Tiling, score: Callable[[Picture], NDArray[np.floating]]
) -> NDArray[np.integer]:
    """Return the labels [H, W] of a picture uint8 [H, W, 3]: the largest sum of the scores of the tiles over a pixel.

    ``score`` gives float [h, w, C] for a tile. Of the sums only those are kept that another tile adds to.

    Raises InputError where the network does not give scores for each pixel of a tile.
    """
    filled = tiling.fill(picture)
    rows, columns = tiling.rows(filled.shape[0]), tiling.columns(filled.shape[1])
    sums = _Sums(filled.shape[0], filled.shape[1])
    for i, row in enumerate(rows):
        shared = (rows[i - 1].last - row.first if i else 0, row.last - rows[i + 1].first if i + 1 < len(rows) else 0)
        for j, column in enumerate(columns):
            behind = columns[j + 1].first if j + 1 < len(columns) else column.last
            sums.add(_scores_of(score, filled, row, column), row, column, behind, shared)
    return sums.labels[: picture.shape[0], : picture.shape[1]]


class _Sums:
    """Sums of scores, tile by tile from the left and row by row; of them only the strips that another tile adds to."""

    def __init__(self, height: int, width: int) -> None:
        self.labels: NDArray[np.integer] = np.zeros((height, width), np.uint8)
        self._width = width
        self._left: NDArray[np.float32] | None = None
        self._above: NDArray[np.float32] | None = None

    def add(self, scores: NDArray[np.float32], row: Span, column: Span, behind: int, shared: tuple[int, int]) -> None:
        """Add a tile's scores [h, w, C] and label what no other tile adds to.

        ``behind`` is where the next tile begins to count; the first and the last ``shared`` rows are those of the row
        of tiles above and below.
        """
        if self._left is not None and column.first:
            scores[:, : self._left.shape[1]] += self._left
        self._left = scores[:, behind - column.first :].copy()
        done = scores[:, : behind - column.first]
        before, bottom = shared
        if before and self._above is not None:
            done[:before] += self._above[:before, column.first : behind]
        ready = done.shape[0] - bottom
        if bottom:
            # Its columns were read just before, so that one strip serves both sides.
            strip = self._strip(bottom, scores.shape[2])
            strip[:bottom, column.first : behind] = done[ready:]
        if scores.shape[2] > 256 and self.labels.dtype == np.uint8:
            self.labels = self.labels.astype(np.int32)
        # In bands, because argmax copies what is not contiguous.
        for top in range(0, ready, _ROWS_AT_ONCE):
            best = done[top : min(top + _ROWS_AT_ONCE, ready)].argmax(axis=2)
            self.labels[row.first + top : row.first + top + best.shape[0], column.first : behind] = best

    def _strip(self, rows: int, classes: int) -> NDArray[np.float32]:
        if self._above is None or self._above.shape[0] < rows:
            old = self._above
            self._above = np.zeros((rows, self._width, classes), np.float32)
            if old is not None:
                self._above[: old.shape[0]] = old
        return self._above


def _tile(picture: Picture, row: Span, column: Span) -> Picture:
    return np.ascontiguousarray(picture[row.start : row.stop, column.start : column.stop])


def _scores_of(
    score: Callable[[Picture], NDArray[np.floating]], picture: Picture, row: Span, column: Span
) -> NDArray[np.float32]:
    """Return the scores of a tile where they count, to be written to."""
    scores = score(_tile(picture, row, column))
    _check_size(scores.shape, row, column)
    part = scores[row.first - row.start : row.last - row.start]
    part = part[:, column.first - column.start : column.last - column.start]
    return part.astype(np.float32, copy=not part.flags.writeable)


def _check_size(shape: Sequence[int], row: Span, column: Span) -> None:
    size = row.stop - row.start, column.stop - column.start
    if tuple(shape[:2]) != size:
        raise InputError(
            f"the network gives {shape[0]} x {shape[1]} values for a tile of {size[0]} x {size[1]} pixels: only a "
            "network that labels every pixel can be used with tiles"
        )
