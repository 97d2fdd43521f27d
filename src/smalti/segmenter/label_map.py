"""A labelled picture."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smalti.errors import UsageError
from smalti.jobs.outputs import write_file
from smalti.vision.classes import class_name
from smalti.vision.images import encode_mask, encode_picture
from smalti.vision.label_counts import fit_a_byte
from smalti.vision.outline import class_borders
from smalti.vision.overlay import add_legend, blend
from smalti.vision.palette import colourise
from smalti.vision.polygons import Polygon, find_polygons
from smalti.vision.voc import printable

BACKGROUND: Final = 0
_SUFFIXES: Final = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True, slots=True, eq=False)
class LabelMap:
    """What a network says about a picture.

    Attributes:
        labels: integers [H, W]: the class of each pixel of the picture; uint8 where that holds them.
        picture: uint8 [H, W, 3], RGB, turned upright.
        names: class names by label; may be fewer than there are classes.
        palette: uint8 [256, 3], RGB, the colour of each label.
        name: name of the picture's file, if it came from one.
    """

    labels: NDArray[np.integer]
    picture: NDArray[np.uint8]
    names: tuple[str, ...]
    palette: NDArray[np.uint8]
    name: str | None = None

    def share(self) -> dict[str, float]:
        """Return the share of the pixels that each class in the picture has, the largest first; they sum up to 1."""
        values, counts = np.unique(self.labels, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return {class_name(int(values[i]), self.names): float(counts[i] / self.labels.size) for i in order}

    def mask(self, label: int | str) -> NDArray[np.bool_]:
        """Return the pixels [H, W] of a class, by its label or its name.

        Raises:
            UsageError: no class has that name.
        """
        if isinstance(label, str):
            if label not in self.names:
                raise UsageError(f"no class is called {label!r}; there are {', '.join(self.names) or 'no names'}")
            label = self.names.index(label)
        found: NDArray[np.bool_] = self.labels == label
        return found

    def colour(self) -> NDArray[np.uint8]:
        """Return the classes in their colours, RGB uint8 [H, W, 3].

        Raises:
            UsageError: a label is not 0 to 255.
        """
        return colourise(self._byte_labels(), self.palette)

    def overlay(self, alpha: float = 0.6, outline: int = 0, legend: bool = False) -> NDArray[np.uint8]:
        """Return the picture with the classes but 0 in their colours over it, RGB uint8 [H, W, 3].

        ``alpha`` 0 gives the picture, 1 the plain colours. ``outline`` is the width in pixels of the lines between
        classes, drawn in the plain colours. ``legend`` adds a strip of rows below, with the classes.

        Raises:
            UsageError: ``alpha`` is not 0 to 1, ``outline`` not 0 to 64, or a label not 0 to 255.
        """
        if not 0 <= alpha <= 1:
            raise UsageError(f"alpha is 0 (the picture) to 1 (plain colours), not {alpha}")
        if not 0 <= outline <= 64:
            raise UsageError(f"the outline is 0 to 64 pixels wide, not {outline}")
        labels = self._byte_labels()
        drawn = blend(self.picture, labels, strength=alpha, palette=self.palette)
        if outline:
            lines = class_borders(labels, outline)
            drawn[lines] = self.palette[labels[lines]]
        return add_legend(drawn, labels, self.names, palette=self.palette) if legend else drawn

    def polygons(self, min_area: float = 0.0, tolerance: float = 0.0, background: bool = False) -> tuple[Polygon, ...]:
        """Return the outlines of the connected regions, with their holes, in pixels of the picture.

        ``min_area`` leaves out smaller regions and fills smaller holes (pixels); ``tolerance`` is how far a simplified
        line may lie from the true one (pixels); ``background`` includes the regions of label 0.

        Raises:
            InputError: ``min_area`` or ``tolerance`` is negative or no number.
        """
        leave_out = () if background else (BACKGROUND,)
        return find_polygons(self.labels, leave_out=leave_out, min_area=min_area, tolerance=tolerance)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file, whole or not at all: ``.png`` the label map (see :meth:`png`), ``.jpg`` the overlay.

        Raises:
            UsageError: another suffix, or a path that cannot be.
            ImageError: a label is not 0 to 255, which is all that a PNG holds.
            OutputError: the disk refuses.
        """
        target = Path(path)
        suffix = target.suffix.lower()
        if suffix not in _SUFFIXES:
            raise UsageError(
                f"{printable(target.name)}: a label map is saved as .png (its pixels are the labels) or .jpg (the "
                "overlay); annotations of many pictures are written by smalti.annotations"
            )
        write_file(target, self.png() if suffix == ".png" else self.jpeg())

    def png(self) -> bytes:
        """Return a palette PNG whose pixel index is the label. Raises ImageError for labels that are not 0 to 255."""
        return encode_mask(self.labels, self.palette)

    def jpeg(self) -> bytes:
        """Return the overlay with its legend as a JPEG. Raises as :meth:`overlay`; ImageError for too long a side."""
        return encode_picture(self.overlay(legend=True))

    def _byte_labels(self) -> NDArray[np.integer]:
        if not fit_a_byte(self.labels):
            raise UsageError("only labels from 0 to 255 have a colour: use the labels array itself")
        return self.labels


def narrow(labels: NDArray[np.integer]) -> NDArray[np.integer]:
    """Return labels in one byte each where that keeps them; what follows is then faster."""
    return labels.astype(np.uint8, copy=False) if fit_a_byte(labels) else labels
