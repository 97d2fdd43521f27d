"""A comparison as tables: a row for each layer, and where labels flip."""

from __future__ import annotations

import math
from collections.abc import Sequence

from smalti.comparing.maps import EDGES, Flips
from smalti.comparing.result import LayerDifference
from smalti.jobs.table import Fit, Table
from smalti.vision.classes import class_name


def layer_table(layers: Sequence[LayerDifference], title: str) -> Table:
    """Return one row for each layer, its name last and without TensorFlow's ``:0``."""
    rows = tuple(
        (
            layer.dtype,
            _short(layer.differences.diff1),
            _short(layer.differences.diff2),
            _short(layer.added),
            _short(layer.differences.diff3),
            f"{100 * layer.differences.greater:.0f}/{100 * layer.differences.less:.0f}",
            f"{layer.differences.cosine:.5f}",
            layer.name.removesuffix(":0"),
        )
        for layer in layers
    )
    columns = ("type", "diff1", "diff2", "added", "diff3", ">/< %", "cosine", "layer")
    return Table(title, columns, rows, left=(0, 7), fit=Fit(names=(7,), leave=(5, 1, 4, 6, 3)))


def flips_table(flips: Flips, labels: Sequence[str]) -> Table:
    """Return how many pixels flip, how sure the reference was of them, and between which classes."""
    rows = [("pixels that flip", f"{flips.flipped:,} of {flips.pixels:,}", f"{100 * flips.share:.4f} %")]
    for edge, count in zip(EDGES, flips.below, strict=True):
        share = count / flips.flipped if flips.flipped else 0.0
        rows.append((f"where the margin is below {edge}", f"{count:,}", f"{100 * share:.1f} % of them"))
    for a, b, pixels in flips.pairs:
        rows.append((f"{class_name(a, labels)} -> {class_name(b, labels)}", f"{pixels:,}", ""))
    return Table("labels", ("", "pixels", "share"), tuple(rows), left=(0,), fit=Fit(prose=(0,)))


def _short(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2g}"
