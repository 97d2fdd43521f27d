"""Pictures of the pixels whose label flips, coloured by how sure the reference was there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from smalti.errors import UsageError
from smalti.ir import ops
from smalti.ir.graph import Node
from smalti.ir.schema import eval_op
from smalti.ir.sizes import evaluate
from smalti.vision.classes import class_name
from smalti.vision.overlay import add_legend, blend

EDGES: Final = (0.01, 0.05, 0.1, 0.25, 0.5)
"""Margins below which flips are counted."""
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_STRIP: Final = 34
_FRAME: Final = 6
# From a flip of a tie (blue) to one of a pixel the reference was sure of (red).
_STOPS: Final = np.array([[70, 130, 255], [60, 220, 170], [255, 225, 60], [255, 130, 30], [225, 20, 40]], np.float64)
_MOST_PAIRS: Final = 5


@dataclass(frozen=True, slots=True)
class Flips:
    """The pixels of one picture, or of all, whose label is not the reference's.

    Attributes:
        name: the picture.
        pixels, flipped: how many.
        below: of the flipped ones, how many have a reference margin below each of :data:`EDGES`.
        pairs: most frequent (label of the reference, label of the model, pixels).
    """

    name: str
    pixels: int
    flipped: int
    below: tuple[int, ...]
    pairs: tuple[tuple[int, int, int], ...] = ()

    @property
    def share(self) -> float:
        """Flipped pixels of all."""
        return self.flipped / self.pixels if self.pixels else 0.0

    def to_json(self, names: Sequence[str]) -> dict[str, Any]:
        """Return plain values; classes by number and by name."""
        return {
            "name": self.name,
            "pixels": self.pixels,
            "flipped": self.flipped,
            "share": self.share,
            "margin_below": {str(edge): count for edge, count in zip(EDGES, self.below, strict=True)},
            "pairs": [
                {
                    "reference": a,
                    "model": b,
                    "reference_name": class_name(a, names),
                    "model_name": class_name(b, names),
                    "pixels": n,
                }
                for a, b, n in self.pairs
            ],
        }


def count_flips(
    name: str, reference: NDArray[np.integer], model: NDArray[np.integer], margins: NDArray[np.float32]
) -> Flips:
    """Count the flips between two label maps [H, W]; ``margins`` float32 [n] are those of the flipped pixels."""
    wrong = reference != model
    pairs = Counter(zip(reference[wrong].tolist(), model[wrong].tolist(), strict=True)).most_common(_MOST_PAIRS)
    below = tuple(int((margins < edge).sum()) for edge in EDGES)
    return Flips(name, wrong.size, int(wrong.sum()), below, tuple((a, b, n) for (a, b), n in pairs))


def sum_flips(all_flips: Sequence[Flips]) -> Flips:
    """Return the flips of all pictures together."""
    pairs: Counter[tuple[int, int]] = Counter()
    for flips in all_flips:
        for a, b, n in flips.pairs:
            pairs[a, b] += n
    return Flips(
        "all",
        sum(f.pixels for f in all_flips),
        sum(f.flipped for f in all_flips),
        tuple(sum(column) for column in zip(*(f.below for f in all_flips), strict=True)) or (0,) * len(EDGES),
        tuple((a, b, n) for (a, b), n in pairs.most_common(_MOST_PAIRS)),
    )


def full_logits(node: Node, logits: NDArray[np.float32], env: dict[str, int]) -> NDArray[np.float32]:
    """Return the logits float32 [H, W, C] from which ``node`` (an argmax) takes labels, resized as it does.

    Raises:
        UsageError: it takes them along another axis than the last.
    """
    op = node.op
    if isinstance(op, ops.ResizeArgMax):
        for stage in op.stages:
            logits = eval_op(stage, (logits,), env)
        height, width = (evaluate(size, env) for size in op.crop)
        return np.asarray(logits[0, :height, :width], np.float32)
    if not isinstance(op, ops.ArgMax) or op.axis != logits.ndim - 1 or logits.ndim != 4:
        raise UsageError(
            "this graph takes no labels of [1, H, W, classes] logits, so there is no confidence to show: "
            "leave --maps away"
        )
    return np.asarray(logits[0], np.float32)


def margins_at(logits: NDArray[np.float32], where: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the softmax margin (best less second best) of logits [H, W, C] at the pixels of a mask, in C order."""
    chosen = logits[where].astype(np.float64)
    if not chosen.size or chosen.shape[1] < 2:
        return np.ones(len(chosen), np.float32)
    powers = np.exp(chosen - chosen.max(axis=1, keepdims=True))
    ordered = np.partition(powers / powers.sum(axis=1, keepdims=True), -2, axis=1)
    return (ordered[:, -1] - ordered[:, -2]).astype(np.float32)


def draw_flips(
    picture: NDArray[np.uint8],
    reference: NDArray[np.integer],
    model: NDArray[np.integer],
    margins: NDArray[np.float32],
    names: Sequence[str],
    palette: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Return three pictures side by side: the reference's labels, the model's, and the flips in heat colours.

    Args:
        picture: RGB uint8 [H, W, 3], as the network saw it.
        reference, model: label maps [H, W].
        margins: the reference's margin at each flipped pixel, in C order.
        names: class names.
        palette: colours of the classes, uint8 [256, 3]; ``None``: VOC's.
    """
    wrong = reference != model
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    flips = np.repeat((grey // 3 + 20)[..., None], 3, axis=2).astype(np.uint8)
    flips[wrong] = heat(margins)
    share = f"{int(wrong.sum()):,} of {wrong.size:,} flip ({100 * wrong.mean():.3f} %)"
    panels = [
        *(
            _titled(add_legend(blend(picture, labels, palette=palette), labels, names, palette=palette), title)
            for labels, title in ((reference, "reference"), (model, "model"))
        ),
        _titled(_with_scale(flips), share),
    ]
    height = max(panel.shape[0] for panel in panels)
    padded = [np.pad(p, ((0, height - p.shape[0]), (0, _FRAME), (0, 0)), constant_values=32) for p in panels]
    return np.concatenate(padded, axis=1)[:, :-_FRAME]


def heat(margins: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Return the colours uint8 [n, 3] of margins from 0 to 1: blue for a tie, red where the reference was sure."""
    places = np.linspace(0.0, 1.0, len(_STOPS))
    columns = [np.interp(np.clip(margins, 0.0, 1.0), places, _STOPS[:, c]) for c in range(3)]
    return np.asarray(np.rint(np.stack(columns, axis=-1)), np.uint8)


def _titled(panel: NDArray[np.uint8], title: str) -> NDArray[np.uint8]:
    strip = np.full((22, panel.shape[1], 3), 32, np.uint8)
    cv2.putText(strip, title, (5, 15), _FONT, 0.42, (235, 235, 235), 1, cv2.LINE_AA)
    return np.concatenate([strip, panel], axis=0)


def _with_scale(panel: NDArray[np.uint8]) -> NDArray[np.uint8]:
    width = panel.shape[1]
    strip = np.full((_STRIP, width, 3), 32, np.uint8)
    bar = min(200, width - 10)
    strip[5:14, 5 : 5 + bar] = heat(np.linspace(0.0, 1.0, bar))
    cv2.putText(strip, "0  confidence of the reference there  1", (5, 28), _FONT, 0.38, (235, 235, 235), 1, cv2.LINE_AA)
    return np.concatenate([panel, strip], axis=0)
