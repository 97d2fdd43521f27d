"""Which layers cost accuracy, and the fewest of them to keep in float for a bound on the loss."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from smalti.comparing.trials import PictureSet, Score, Tell, Trials, blocks_of
from smalti.compiler import CompileOptions
from smalti.errors import UsageError
from smalti.jobs.csv_lines import csv_line
from smalti.jobs.stream import Progress
from smalti.jobs.table import Fit, Table
from smalti.quant.record import CalibrationRecord

PROBE_IMAGES: Final = 16
MAX_RETURNS: Final = 16
_BAR: Final = 12


@dataclass(frozen=True, slots=True)
class SensitivityRow:
    """One layer, or one block of layers.

    Attributes:
        name: of the layer or block.
        layers: the layers in it.
        only: the build in which these layers alone are not float.
        without: the build in which all others are not float; ``None`` where that was not asked for.
    """

    name: str
    layers: tuple[str, ...]
    only: Score
    without: Score | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "name": self.name,
            "layers": list(self.layers),
            "only": asdict(self.only),
            "without": None if self.without is None else asdict(self.without),
        }


@dataclass(frozen=True, slots=True)
class SensitivityResult:
    """All layers, the most sensitive first, and the builds to compare with.

    Attributes:
        mode: precision mode.
        images: pictures that every score comes from.
        float32: force_float32.
        none: the mode with every layer kept in its float type.
        full: the mode as it is.
        rows: layers or blocks.
        seconds: wall time.
    """

    mode: str
    images: int
    float32: Score
    none: Score
    full: Score
    rows: tuple[SensitivityRow, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "mode": self.mode,
            "images": self.images,
            "float32": asdict(self.float32),
            "none": asdict(self.none),
            "full": asdict(self.full),
            "rows": [row.to_json() for row in self.rows],
            "seconds": self.seconds,
        }

    def to_csv(self) -> str:
        """Return one line for each row."""
        parts = ("miou", "logit_error", "flipped")
        lines = [csv_line(["name", "layers", *(f"only_{p}" for p in parts), *(f"without_{p}" for p in parts)])]
        for row in self.rows:
            scores = [row.only, row.without]
            values = ["" if s is None else getattr(s, p) for s in scores for p in parts]
            lines.append(csv_line([row.name, len(row.layers), *values]))
        return "".join(lines)


def sensitivity(
    tf_model: Path,
    options: CompileOptions,
    record: CalibrationRecord | None,
    data: PictureSet,
    *,
    by_block: bool = False,
    without: bool = False,
    state: Path | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    tell: Tell | None = None,
) -> SensitivityResult:
    """Measure every layer (or block) alone in the mode's type, and with ``without`` also every one alone in float.

    Rows are sorted by the loss of mIoU where there are masks, else by the error of the logits.

    Raises:
        UsageError, GraphError, ImageError: as :class:`Trials`.
    """
    start = time.perf_counter()
    trials = Trials(tf_model, options, record, data, state=state, threads=threads, tell=tell)
    groups = _groups(trials, by_block)
    rows = _rows(trials, groups, without, progress)
    return SensitivityResult(
        options.quant_mode.value,
        trials.images,
        trials.float32(),
        trials.score(trials.layers),
        trials.score(()),
        tuple(sorted(rows, key=_loss)),
        time.perf_counter() - start,
    )


def _groups(trials: Trials, by_block: bool) -> Mapping[str, tuple[str, ...]]:
    return blocks_of(trials.layers) if by_block else {name: (name,) for name in trials.layers}


def _rows(
    trials: Trials, groups: Mapping[str, tuple[str, ...]], without: bool, progress: Progress | None
) -> list[SensitivityRow]:
    rows = []
    for index, (name, layers) in enumerate(groups.items()):
        only = trials.only(layers)
        rows.append(SensitivityRow(name, layers, only, trials.score(layers) if without else None))
        if progress is not None:
            progress(index + 1, len(groups))
    return rows


def _loss(row: SensitivityRow) -> tuple[float, float]:
    return (0.0 if row.only.miou is None else row.only.miou), -row.only.logit_error


# ---- the fewest layers to keep in float -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KeepTrial:
    """One build that was measured: how many layers it keeps in float, why, its mIoU, and whether the bound holds."""

    kept: int
    what: str
    miou: float
    drop: float
    holds: bool


@dataclass(frozen=True, slots=True)
class KeptLayers:
    """The layers to keep in float, and the evidence.

    Attributes:
        names: for ``QuantOptions.keep``, in the graph's order.
        miou, float32_miou: mean IoU with these layers kept, and of force_float32.
        max_miou_drop: the bound.
        images: pictures of the trials.
        trials: the builds that were measured on all of them.
        sensitivity: every layer with its error on the probe pictures, most sensitive first.
        why: the choice in words.
    """

    names: tuple[str, ...]
    miou: float
    float32_miou: float
    max_miou_drop: float
    images: int
    trials: tuple[KeepTrial, ...]
    sensitivity: tuple[SensitivityRow, ...]
    why: str

    @property
    def drop(self) -> float:
        """Loss of mean IoU against force_float32."""
        return self.float32_miou - self.miou

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "keep": list(self.names),
            "miou": self.miou,
            "float32_miou": self.float32_miou,
            "drop": self.drop,
            "max_miou_drop": self.max_miou_drop,
            "images": self.images,
            "trials": [asdict(trial) for trial in self.trials],
            "sensitivity": [row.to_json() for row in self.sensitivity],
            "why": self.why,
        }


def choose_kept_layers(
    tf_model: Path,
    options: CompileOptions,
    record: CalibrationRecord | None,
    data: PictureSet,
    max_miou_drop: float,
    *,
    probe_images: int = PROBE_IMAGES,
    state: Path | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    tell: Tell | None = None,
) -> KeptLayers:
    """Return the fewest layers to keep in the mode's float type so that mIoU drops by at most ``max_miou_drop``.

    Layers are ordered by the error of the logits when each alone is quantised, on the first ``probe_images`` pictures.
    A bisection over how many of them to keep finds a build that meets the bound on all pictures; then each kept layer,
    the least sensitive first, is given back if the bound still holds (at most 16 times).  Every build that counts is
    measured; the search is greedy, so another choice of fewer layers may exist.

    Args:
        tf_model: the file of the graph.
        options: the build; layers in its ``quant.keep`` stay kept.
        record: ranges, for the modes that quantise.
        data: pictures with masks.
        max_miou_drop: bound on the loss against force_float32, as a share (0.002 is 0.2 points).
        probe_images: pictures for the order of the layers.
        state: file that remembers scores; the order's are in another beside it, with the suffix ``.probe``.
        threads: threads of an inference.
        progress: told how many layers are ordered.
        tell: told in words what is being done.

    Raises:
        UsageError: there are no masks, or not even all layers in the float type meet the bound.
        GraphError, ImageError: as :class:`Trials`.
    """
    if data.gt_dir is None:
        raise UsageError("a bound on the mIoU needs masks: give --gt-dir")
    if not 0 <= max_miou_drop < 1:
        raise UsageError(f"--max-miou-drop is a share from 0 to 1 (0.002 is 0.2 points), not {max_miou_drop}")
    trials = Trials(tf_model, options, record, data, state=state, threads=threads, tell=tell)
    search = _Search(trials, max_miou_drop)
    if search.holds((), "everything quantised"):
        return search.result((), (), "the bound holds with every layer quantised")
    if not search.holds(trials.layers, f"everything in {options.quant_mode.float_type.value}"):
        raise UsageError(
            f"even with every layer in {options.quant_mode.float_type.value} mIoU drops by "
            f"{100 * search.trials[-1].drop:.3f} points, more than {100 * max_miou_drop:.3f}: give a larger "
            "--max-miou-drop, or a --quant-mode with float32"
        )
    count = min(probe_images, data.image_num or probe_images)
    probe_state = None if state is None else state.with_name(state.name + ".probe")
    probe = Trials(
        tf_model,
        options,
        record,
        replace(data, gt_dir=None, image_num=count),
        state=probe_state,
        threads=threads,
        tell=tell,
    )
    rows = sorted(_rows(probe, _groups(probe, False), False, progress), key=_loss)
    kept = search.give_back(search.bisect([row.name for row in rows]))
    why = (
        f"quantising everything costs {100 * search.trials[0].drop:.3f} points of mIoU, more than "
        f"{100 * max_miou_drop:.3f}; with these {len(kept)} of {len(trials.layers)} layers in "
        f"{options.quant_mode.float_type.value} it is {100 * search.drop(kept):.3f}"
    )
    return search.result(kept, tuple(rows), why)


class _Search:
    def __init__(self, trials: Trials, bound: float) -> None:
        self._source = trials
        self._bound = bound
        self.trials: list[KeepTrial] = []
        self._answers: dict[frozenset[str], bool] = {}

    def drop(self, kept: Sequence[str]) -> float:
        return _miou(self._source.float32()) - _miou(self._source.score(kept))

    def holds(self, kept: Sequence[str], what: str) -> bool:
        if frozenset(kept) in self._answers:
            return self._answers[frozenset(kept)]
        drop = self.drop(kept)
        # The difference of two equal means may be a rounding error above zero.
        holds = drop <= self._bound + 1e-12
        self._answers[frozenset(kept)] = holds
        self.trials.append(KeepTrial(len(kept), what, _miou(self._source.score(kept)), drop, holds))
        return holds

    def bisect(self, order: Sequence[str]) -> list[str]:
        """Return the shortest beginning of ``order`` that bisection finds to hold; all of it is known to."""
        low, high = 0, len(order)
        while high - low > 1:
            middle = (low + high) // 2
            if self.holds(order[:middle], f"the {middle} most sensitive layers in float"):
                high = middle
            else:
                low = middle
        return list(order[:high])

    def give_back(self, kept: list[str]) -> list[str]:
        """Quantise kept layers again, the least sensitive first, where the bound holds without them."""
        for name in kept[::-1][:MAX_RETURNS]:
            fewer = [other for other in kept if other != name]
            if fewer and self.holds(fewer, f"{name} quantised again"):
                kept = fewer
        return kept

    def result(self, kept: Sequence[str], rows: tuple[SensitivityRow, ...], why: str) -> KeptLayers:
        names = tuple(name for name in self._source.layers if name in set(kept))
        return KeptLayers(
            tuple(dict.fromkeys((*self._source.options.quant.keep, *names))),
            _miou(self._source.score(kept)),
            _miou(self._source.float32()),
            self._bound,
            self._source.images,
            tuple(self.trials),
            rows,
            why,
        )


def _miou(score: Score) -> float:
    return float("nan") if score.miou is None else score.miou


# ---- tables ---------------------------------------------------------------------------------------------------------


def sensitivity_table(result: SensitivityResult) -> Table:
    """Return one row for each layer or block, with a bar of what it costs."""
    with_miou = result.float32.miou is not None
    with_without = any(row.without is not None for row in result.rows)
    base = _miou(result.none)
    losses = [max(0.0, base - _miou(row.only)) if with_miou else row.only.logit_error for row in result.rows]
    longest = max(losses, default=0.0) or 1.0
    rows = []
    for row, loss in zip(result.rows, losses, strict=True):
        cells = [f"{100 * _miou(row.only):.3f}", f"{100 * (base - _miou(row.only)):+.3f}"] if with_miou else []
        cells += [f"{row.only.logit_error:.4f}", f"{100 * row.only.flipped:.3f}"]
        if with_without and row.without is not None:
            cells += [f"{100 * _miou(row.without):.3f}"] if with_miou else [f"{row.without.logit_error:.4f}"]
        bar = "#" * round(_BAR * loss / longest)
        rows.append((*cells, bar, row.name.removesuffix(":0")))
    columns = ["mIoU %", "drop"] if with_miou else []
    columns += ["logit error", "flipped %"]
    columns += (["others: mIoU"] if with_miou else ["others: error"]) if with_without else []
    what = "drop" if with_miou else "logit error"
    title = (
        f"{result.mode}, {result.images} images: each layer alone quantised, the others in float; "
        f"all quantised: {_score_text(result.full)}; none: {_score_text(result.none)}; "
        f"force_float32: {_score_text(result.float32)}"
    )
    place, layer = len(columns), len(columns) + 1
    leave = (place, *([columns.index("mIoU %")] if with_miou else []), columns.index("flipped %"))
    fit = Fit(names=(layer,), leave=leave)
    return Table(title, (*columns, what, "layer"), tuple(rows), left=(place, layer), fit=fit)


def kept_table(kept: KeptLayers) -> Table:
    """Return the builds that were measured on the way to the choice."""
    rows = tuple(
        (str(t.kept), f"{100 * t.miou:.3f}", f"{100 * t.drop:+.3f}", "yes" if t.holds else "no", t.what)
        for t in kept.trials
    )
    title = f"at most {100 * kept.max_miou_drop:.3f} points below force_float32, {kept.images} images: {kept.why}"
    return Table(title, ("in float", "mIoU %", "drop", "holds", "what"), rows, left=(4,), fit=Fit(prose=(4,)))


def _score_text(score: Score) -> str:
    miou = "" if score.miou is None else f"mIoU {100 * score.miou:.3f} %, "
    return f"{miou}logit error {score.logit_error:.4f}"
