"""What is odd about a calibration set, in words that say what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from smalti.quant.observers import Observer, TensorObserver
from smalti.quant.record import SeenImage, TensorStats

FEWEST_IMAGES = 16
MOST_CLIPPED = 0.01
"""Share of clipped values of one tensor above which it is named."""

HALVES_RATIO = 2.0
"""How much wider one half of the set may make a range than the other."""

FEWEST_FOR_HALVES = 4
SHOWN = 3
"""Tensors named in one sentence."""


def check_calibration(
    observer: Observer, images: Sequence[SeenImage], tensors: Mapping[str, TensorStats]
) -> tuple[str, ...]:
    """Return what the check of a calibration set found, a sentence each; empty when nothing is odd."""
    found = (
        _few(images),
        _same(images),
        _one_class(observer),
        _clipped(tensors),
        _dead(observer),
        _halves(observer),
    )
    return tuple(sentence for sentence in found if sentence)


def _few(images: Sequence[SeenImage]) -> str:
    if len(images) >= FEWEST_IMAGES:
        return ""
    seen = "only 1 image was" if len(images) == 1 else f"only {len(images)} images were"
    return f"{seen} seen: ranges settle with {FEWEST_IMAGES} or more, 100 are usual"


def _same(images: Sequence[SeenImage]) -> str:
    different = len({image.sha256 for image in images})
    if different == len(images):
        return ""
    if different == 1:
        return f"all {len(images)} images are the same picture: take different ones"
    return f"only {different} of the {len(images)} images are different pictures: the others add nothing"


def _one_class(observer: Observer) -> str:
    if not observer.has_labels or len(observer.classes) != 1:
        return ""
    (label,) = observer.classes
    return (
        f"the float32 network sees nothing but class {label} in these images: take images that show what it is to find"
    )


def _clipped(tensors: Mapping[str, TensorStats]) -> str:
    clipped = sorted(((s.clipped, name) for name, s in tensors.items() if s.clipped > MOST_CLIPPED), reverse=True)
    if not clipped:
        return ""
    worst = _shown([f"{name} ({share:.1%})" for share, name in clipped])
    return (
        f"more than {MOST_CLIPPED:.0%} of the values lie outside the chosen range of {worst}: try another --calib-algo"
    )


def _dead(observer: Observer) -> str:
    dead = [(int(np.sum(t.channel_low == t.channel_high)), t) for t in observer.tensors]
    dead = sorted(((n, t) for n, t in dead if n), key=lambda item: -item[0])
    if not dead:
        return ""
    total = sum(n for n, _ in dead)
    worst = _shown([f"{t.name} ({n} of {t.channel_low.size})" for n, t in dead])
    channels = "channel has" if total == 1 else "channels have"
    return (
        f"{total} {channels} one and the same value in all images (dead, or not reached by these images): {worst}. "
        "This costs no accuracy by itself, since a tensor's range is that of all its channels; if these images lack "
        "something that the network is to find, add images that show it"
    )


def _halves(observer: Observer) -> str:
    if observer.images < FEWEST_FOR_HALVES:
        return ""
    ratios = [(_half_ratio(t), t) for t in observer.tensors]
    far = sorted(((r, t) for r, t in ratios if r > HALVES_RATIO), key=lambda item: -item[0])
    if not far:
        return ""
    worst = _shown([f"{t.name} ({_extent(t, 0)} and {_extent(t, 1)})" for _, t in far])
    return f"the two halves of the set give very different ranges, so take more images: {worst}"


def _half(tensor: TensorObserver, which: int) -> tuple[float, float]:
    middle = len(tensor.image_lows) // 2
    part = slice(None, middle) if which == 0 else slice(middle, None)
    return min(*tensor.image_lows[part], 0.0), max(*tensor.image_highs[part], 0.0)


def _half_ratio(tensor: TensorObserver) -> float:
    first, second = (high - low for low, high in (_half(tensor, 0), _half(tensor, 1)))
    narrow, wide = sorted((first, second))
    if narrow == 0.0:
        return float("inf") if wide else 1.0
    return wide / narrow


def _extent(tensor: TensorObserver, which: int) -> str:
    low, high = _half(tensor, which)
    return f"{low:.3g} to {high:.3g}"


def _shown(items: Sequence[str]) -> str:
    more = len(items) - SHOWN
    return ", ".join(items[:SHOWN]) + (f" and {more} more" if more > 0 else "")
