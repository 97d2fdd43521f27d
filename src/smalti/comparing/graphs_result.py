"""What a comparison of two graphs found: paired layers, paired outputs, and what has no counterpart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from smalti.comparing.result import LayerDifference
from smalti.comparing.stats import Differences
from smalti.jobs.csv_lines import csv_line
from smalti.jobs.pictures import passed_over_json
from smalti.jobs.stream import Failure


@dataclass(frozen=True, slots=True)
class PairDifference:
    """Two layers in the same place.

    Attributes:
        layer: the first graph's layer, and how far its results are from the other's.
        other: the name of the second graph's layer.
        settings: what is set otherwise in the first, in words.
        written: what is written otherwise and means the same.
        reason: why the results were not compared; empty where they were.
    """

    layer: LayerDifference
    other: str
    settings: tuple[str, ...]
    written: tuple[str, ...] = ()
    reason: str = ""

    def departs(self, threshold: float) -> bool:
        """Whether the results are further apart than a threshold of diff2 (or not finite, or of other shapes)."""
        own = self.layer.differences
        return bool(self.reason) or own.not_finite > 0 or not own.diff2 <= threshold

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        said = {"settings": list(self.settings), "written": list(self.written)}
        return {**self.layer.to_json(), "other": self.other, **said, "not_compared": self.reason or None}


@dataclass(frozen=True, slots=True)
class OutputDifference:
    """Two outputs: their differences, or for integers (labels) the share that differs; ``reason``: not comparable."""

    first: str
    second: str
    differences: Differences
    different: float | None = None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        said = {"first": self.first, "second": self.second, "not_compared": self.reason or None}
        return {**said, "different": self.different, **self.differences.to_json()}

    def to_text(self) -> str:
        """Return it in words."""
        if self.reason:
            found = f"not compared: {self.reason}"
        elif self.different is not None:
            found = f"{100 * self.different:.4f} % of the values differ"
        else:
            found = f"diff2 {self.differences.diff2:.2g}, largest difference {self.differences.largest:.2g}"
        return f"output {self.first} beside {self.second}: {found}"


@dataclass(frozen=True, slots=True)
class GraphsResult:
    """The comparison of two graphs.

    Attributes:
        first, second: the files.
        images: pictures compared.
        threshold: diff2 above which a layer departs.
        layers: paired layers, in the order of the first graph.
        outputs: paired outputs.
        only_first, only_second: layers without a counterpart.
        seconds: wall time.
        failures: pictures that were passed over, since they could not be decoded.
        left_out: files of the folders by the kind of picture that is not read.
    """

    first: str
    second: str
    images: int
    threshold: float
    layers: tuple[PairDifference, ...]
    outputs: tuple[OutputDifference, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    seconds: float
    failures: tuple[Failure, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def first_departing(self) -> PairDifference | None:
        """The first layer whose results are further from the other's than the threshold."""
        return next((pair for pair in self.layers if pair.departs(self.threshold)), None)

    @property
    def set_otherwise(self) -> tuple[PairDifference, ...]:
        """Layers whose settings or weights are not those of the other."""
        return tuple(pair for pair in self.layers if pair.settings)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        departing = self.first_departing
        return {
            "first": self.first,
            "second": self.second,
            "images": self.images,
            **passed_over_json(self.failures, self.left_out),
            "threshold": self.threshold,
            "first_departing": None if departing is None else departing.layer.name,
            "set_otherwise": [pair.layer.name for pair in self.set_otherwise],
            "layers": [pair.to_json() for pair in self.layers],
            "outputs": [output.to_json() for output in self.outputs],
            "only_first": list(self.only_first),
            "only_second": list(self.only_second),
            "seconds": self.seconds,
        }

    def to_csv(self) -> str:
        """Return one line for each pair of layers."""
        words = [{"settings": "; ".join(p.settings), "written": "; ".join(p.written)} for p in self.layers]
        rows = [{**pair.to_json(), **said} for pair, said in zip(self.layers, words, strict=True)]
        columns = list(rows[0]) if rows else ["name"]
        return "".join([csv_line(columns), *(csv_line(row[column] for column in columns) for row in rows)])

    def to_text(self) -> str:
        """Return what matters, as lines."""
        departing, set_otherwise = self.first_departing, self.set_otherwise
        lines = [output.to_text() for output in self.outputs]
        if departing is None:
            lines.append(f"no layer departs: diff2 is at most {self.threshold:g}")
        else:
            how = departing.reason or f"diff2 {departing.layer.differences.diff2:.3g}"
            lines.append(f"first layer that departs: {departing.layer.name} beside {departing.other}: {how}")
        for pair in set_otherwise:
            lines.append(f"set otherwise: {pair.layer.name}: {'; '.join(pair.settings)}")
        written = [pair for pair in self.layers if pair.written]
        if written:
            said = "; ".join(written[0].written)
            lines.append(f"written otherwise, and the same: {len(written)} layers ({written[0].layer.name}: {said})")
        for names, which in ((self.only_first, "first"), (self.only_second, "second")):
            if names:
                more = ", ..." if len(names) > _SHOWN else ""
                lines.append(f"only in the {which} graph: {len(names)} layers ({', '.join(names[:_SHOWN])}{more})")
        return "\n".join(lines)


_SHOWN = 5
