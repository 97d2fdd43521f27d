"""The demo's pictures: shaded and textured shapes on textured ground, with their masks.

A picture depends on its index alone and is made with integers only, so every machine makes the same bits. Val pictures
have the indices 0 to ``VAL_COUNT - 1``; training uses indices from ``TRAIN_FIRST`` on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smalti.demo.lattice import Stream, grain, smooth_noise
from smalti.demo.shapes import OUTLINES, SCALE, Plane, bands, coverage, ramp, random_turn
from smalti.errors import UsageError

CLASS_NAMES: Final = ("background", "disk", "square", "triangle", "ring", "star", "cross", "striped", "checkered")
CROP: Final = 193
SMALLEST_SIDE: Final = 113
VAL_COUNT: Final = 60
TRAIN_FIRST: Final = 1_000_000

_STRIPED: Final = CLASS_NAMES.index("striped")
_CHECKERED: Final = CLASS_NAMES.index("checkered")
_MIN_CONTRAST: Final = 110
_TRIES: Final = 24

Colour = tuple[int, int, int]


@dataclass(slots=True)
class _Scene:
    """A picture in the making: colours int64 [H, W, 3], labels int64 [H, W], the owner of each pixel int64 [H, W]."""

    pixels: Plane
    labels: Plane
    owner: Plane
    areas: list[int]

    @property
    def size(self) -> tuple[int, int]:
        return self.labels.shape[0], self.labels.shape[1]


def demo_image(index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a picture uint8 [H, W, 3] (RGB) and its mask uint8 [H, W] with the labels of ``CLASS_NAMES``.

    Sides are ``SMALLEST_SIDE`` to ``CROP``; the mask has no void. Raises UsageError for a negative index.
    """
    if index < 0:
        raise UsageError(f"the index of a demo picture must not be negative: {index}")
    stream = Stream(index)
    size = _size(stream)
    ground, colour = _ground(stream, size)
    empty = np.zeros(size, dtype=np.int64)
    scene = _Scene(ground, empty, empty.copy(), [])
    for _ in range(stream.between(2, 5)):
        _place(stream, scene, colour)
    low, high = stream.between(150, 230), stream.between(256, 330)
    lit = scene.pixels * ramp(random_turn(stream), size, low, high)[..., None] >> 8
    lit += grain(stream.bits(), *size, stream.between(4, 26))
    return np.clip(lit, 0, 255).astype(np.uint8), scene.labels.astype(np.uint8)


def _size(stream: Stream) -> tuple[int, int]:
    """A third is square at the crop, a third has one side of it, the rest is smaller both ways."""
    kind = stream.between(0, 2)
    first = CROP if kind < 2 else stream.between(SMALLEST_SIDE, CROP - 1)
    second = CROP if kind == 0 else stream.between(SMALLEST_SIDE, CROP - 1)
    return (first, second) if stream.chance(50) else (second, first)


def _colour(stream: Stream) -> Colour:
    return stream.between(20, 235), stream.between(20, 235), stream.between(20, 235)


def _distance(one: Colour, other: Colour) -> int:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True))


def _away_from(stream: Stream, avoided: Colour) -> Colour:
    while True:
        colour = _colour(stream)
        if _distance(colour, avoided) >= _MIN_CONTRAST:
            return colour


def _ground(stream: Stream, size: tuple[int, int]) -> tuple[Plane, Colour]:
    """Two octaves of noise that move the colour towards a second one, plus a soft change over the picture."""
    colour = _colour(stream)
    second = tuple(min(255, max(0, c + stream.between(-60, 60))) for c in colour)
    noise = smooth_noise(stream.bits(), *size, stream.between(14, 40))
    fine = smooth_noise(stream.bits(), *size, stream.between(3, 9))
    mix = np.clip(128 + noise + (fine * stream.between(0, 128) >> 7), 0, 256)[..., None]
    plain = np.array(colour, dtype=np.int64)
    other = np.array(second, dtype=np.int64)
    soft = ramp(random_turn(stream), size, stream.between(-30, 0), stream.between(0, 30))[..., None]
    return plain + ((other - plain) * mix >> 8) + soft, colour


def _surface(stream: Stream, size: tuple[int, int], label: int, ground: Colour) -> Plane:
    """Return the colours of one object over the whole picture, int64 [H, W, 3]."""
    colour = _away_from(stream, ground)
    base = np.array(colour, dtype=np.int64)
    shade = ramp(random_turn(stream), size, stream.between(-40, 0), stream.between(0, 40))
    shade += smooth_noise(stream.bits(), *size, stream.between(3, 20)) * stream.between(0, 48) >> 7
    surface = base + shade[..., None]
    if label in (_STRIPED, _CHECKERED):
        second = np.array(_away_from(stream, colour), dtype=np.int64)
        period = stream.between(4, 8) * SCALE if label == _STRIPED else stream.between(6, 10) * SCALE
        where = bands(random_turn(stream), period, size, crossed=label == _CHECKERED)[..., None]
        surface += (second - base) * where
    return surface


def _place(stream: Stream, scene: _Scene, ground: Colour) -> None:
    """Add one object, in front of the others; leave it out when no place keeps enough of all objects visible."""
    size = scene.size
    label = stream.between(1, len(CLASS_NAMES) - 1)
    outline = OUTLINES[label - 1] if label <= len(OUTLINES) else OUTLINES[stream.between(0, 2)]
    for _ in range(_TRIES):
        radius = stream.between(24 * SCALE, min(size) * SCALE * 2 // 7)
        margin = radius * 3 // 4
        centre = (
            stream.between(margin, size[0] * SCALE - margin),
            stream.between(margin, size[1] * SCALE - margin),
        )
        flatten = stream.between(256, 312)
        cover = coverage(outline, random_turn(stream), centre, radius, flatten, size)
        if _fits(scene, cover >= 2):
            break
    else:
        return
    surface = _surface(stream, size, label, ground)
    scene.pixels += (surface - scene.pixels) * cover[..., None] >> 2
    inside = cover >= 2
    scene.labels[inside] = label
    scene.owner[inside] = len(scene.areas) + 1
    scene.areas.append(int(inside.sum()))


def _fits(scene: _Scene, inside: NDArray[np.bool_]) -> bool:
    """At least four fifths of every earlier object must stay visible."""
    hidden = np.bincount(scene.owner[inside], minlength=len(scene.areas) + 1)
    owned = np.bincount(scene.owner.reshape(-1), minlength=len(scene.areas) + 1)
    return all(5 * int(owned[i + 1] - hidden[i + 1]) >= 4 * area for i, area in enumerate(scene.areas))
