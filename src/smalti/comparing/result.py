"""What a comparison with a reference found: layers, flipped labels, and what looking at the layers changed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smalti.comparing.maps import Flips, sum_flips
from smalti.comparing.stats import Differences
from smalti.jobs.csv_lines import csv_line
from smalti.jobs.pictures import passed_over_json
from smalti.jobs.stream import Failure

WORST = 10


@dataclass(frozen=True, slots=True)
class LayerDifference:
    """One layer: how far its results are from the reference's.

    ``added`` is its diff2 less the largest of the layers it reads: what came in here.
    """

    name: str
    op: str
    dtype: str
    differences: Differences
    added: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "name": self.name,
            "op": self.op,
            "dtype": self.dtype,
            **self.differences.to_json(),
            "added": self.added if math.isfinite(self.added) else None,
        }


@dataclass(frozen=True, slots=True)
class TapEffect:
    """What looking at the layers changed.

    Attributes:
        steps, steps_with_taps: steps of the model file, and of the code that also gives the layers.
        apart: layers that are inside a fused step of the file and were computed apart here.
        differing: values of outputs (pixels) in which file and tapped code differ, over all images.
        same_biases: whether the biases are known to be those of the file.
    """

    steps: int
    steps_with_taps: int
    apart: tuple[str, ...]
    differing: int
    same_biases: bool = True

    def to_text(self) -> str:
        """Return it in words."""
        if self.apart:
            fused = (
                f"{len(self.apart)} layers that the file computes inside fused steps were computed apart to see them "
                f"({self.steps} steps became {self.steps_with_taps})"
            )
        else:
            fused = "every layer is a step of its own in the file, too"
        same = "the outputs are those of the file, to the last bit"
        why = (
            "fused steps round less often" if self.same_biases else "its corrected biases are known only with --ranges"
        )
        other = f"{self.differing:,} output values differ from the file's: {why}"
        return f"{fused}; {other if self.differing else same}"


@dataclass(frozen=True, slots=True)
class CompareResult:
    """The comparison of a model with a reference.

    Attributes:
        model, precision, reference: what was compared with what.
        images: pictures compared.
        threshold: diff2 above which a layer departs from the reference.
        layers: one entry for each layer, in the graph's order.
        not_compared: layers left out, each with the reason.
        taps: whether looking at layers changes the labels.
        flips: pixels whose label differs.
        maps: folder of the pictures of flipped pixels, if asked for.
        labels: class names.
        seconds: wall time.
        failures: pictures that were passed over, since they could not be decoded.
        left_out: files of the folders by the kind of picture that is not read.
    """

    model: str
    precision: str
    reference: str
    images: int
    threshold: float
    layers: tuple[LayerDifference, ...]
    not_compared: tuple[tuple[str, str], ...]
    taps: TapEffect
    flips: tuple[Flips, ...]
    maps: Path | None
    labels: tuple[str, ...]
    seconds: float
    failures: tuple[Failure, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def first_departing(self) -> LayerDifference | None:
        """The first layer whose diff2 is above the threshold (or that has a NaN the reference has not)."""
        for layer in self.layers:
            if layer.differences.not_finite or not layer.differences.diff2 <= self.threshold:
                return layer
        return None

    @property
    def worst(self) -> tuple[LayerDifference, ...]:
        """Layers by diff2, largest first."""
        return tuple(sorted(self.layers, key=lambda layer: -_rank(layer)))

    @property
    def total(self) -> Flips:
        """Flips of all pictures; no pixels where the graph gives no labels."""
        return sum_flips(self.flips)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        first = self.first_departing
        return {
            "model": self.model,
            "precision": self.precision,
            "reference": self.reference,
            "images": self.images,
            **passed_over_json(self.failures, self.left_out),
            "threshold": self.threshold,
            "first_departing": None if first is None else first.name,
            "worst": [layer.name for layer in self.worst[:WORST]],
            "layers": [layer.to_json() for layer in self.layers],
            "not_compared": [{"name": name, "reason": reason} for name, reason in self.not_compared],
            "taps": {
                "steps": self.taps.steps,
                "steps_with_taps": self.taps.steps_with_taps,
                "computed_apart": list(self.taps.apart),
                "differing_outputs": self.taps.differing,
                "same_biases": self.taps.same_biases,
            },
            "flips": self.total.to_json(self.labels) if self.flips else None,
            "per_image": [flips.to_json(self.labels) for flips in self.flips],
            "maps": None if self.maps is None else str(self.maps),
            "seconds": self.seconds,
        }

    def to_csv(self) -> str:
        """Return one line for each layer."""
        rows = [layer.to_json() for layer in self.layers]
        columns = list(rows[0]) if rows else ["name"]
        return "".join([csv_line(columns), *(csv_line(row[column] for column in columns) for row in rows)])


def _rank(layer: LayerDifference) -> float:
    value = layer.differences.diff2
    return math.inf if layer.differences.not_finite or math.isnan(value) else value
