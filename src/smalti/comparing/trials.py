"""Builds of one graph with some layers kept in float, measured on the same pictures; results are remembered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from smalti import __version__
from smalti.comparing.stats import DifferenceSums
from smalti.comparing.taps import Lowered, Tap, TappedEngine, label_source, lower
from smalti.compiler import CompileOptions
from smalti.compiling.source import read_graph
from smalti.errors import UsageError
from smalti.jobs.outputs import write_file
from smalti.jobs.pictures import PassedOver, seen_pictures, usable_pictures
from smalti.jobs.stream import choose_preprocess
from smalti.numerics import DType
from smalti.quant.modes import QuantMode, QuantOptions
from smalti.quant.record import CalibrationRecord
from smalti.quant.scheme import quantise
from smalti.strict_json import Fields, JsonFault, document, map_of, number, obj, optional, text
from smalti.vision.images import naming, read_file, read_mask
from smalti.vision.metrics import ConfusionMatrix
from smalti.vision.preprocess import resize_labels
from smalti.vision.voc import Entry, PicturePaths, find_pictures, inner_folder

STATE_FORMAT: Final = "smalti-trials-1"
MAX_STATE_BYTES: Final = 64 << 20

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Score:
    """How a build did.

    Attributes:
        miou: mean IoU against the masks; ``None`` without masks.
        logit_error: ``sqrt(sum d^2 / sum r^2)`` of the logits against those of float32.
        flipped: share of pixels whose label is not that of float32.
    """

    miou: float | None
    logit_error: float
    flipped: float


@dataclass(frozen=True, slots=True)
class PictureSet:
    """Pictures, and their masks where there are any: folders (or VOC roots), a list of names, and at most how many.

    ``passed_over`` is told of pictures that are no good; without it, the first one is an error.
    """

    image_dir: PicturePaths
    gt_dir: Path | None = None
    file_list: Path | None = None
    image_num: int | None = None
    recursive: bool = False
    passed_over: PassedOver | None = field(default=None, compare=False)

    def entries(self) -> list[Entry]:
        """Return the pictures that can be used.

        Raises:
            UsageError: as :func:`smalti.vision.voc.find_pictures`.
            ImageError: none can be used.
        """
        found = find_pictures(self.image_dir, self.file_list, self.image_num, recursive=self.recursive)
        if self.passed_over is None:
            return list(found)
        self.passed_over.leave_out(found)
        masks = None if self.gt_dir is None else inner_folder(self.gt_dir, "SegmentationClass")
        return [found[index] for index in usable_pictures(found, self.passed_over, masks)]

    @property
    def folders(self) -> list[str]:
        """The real paths of pictures and masks."""
        paths = [self.image_dir] if isinstance(self.image_dir, Path) else list(self.image_dir)
        return [str(path.resolve()) for path in (*paths, self.gt_dir) if path is not None]


@dataclass(frozen=True, slots=True, eq=False)
class _Reference:
    labels: NDArray[np.integer[Any]]
    logits: NDArray[np.float32] | None


class Trials:
    """Measures builds of a graph that differ in the layers kept in float.

    Args:
        tf_model: the file of the graph.
        options: the build; its ``quant`` states the mode, and layers that are kept whatever is tried.
        record: ranges, for the modes that quantise.
        data: pictures to measure with.
        state: file that remembers scores, so that a stopped job goes on where it was.
        threads: threads of an inference.
        tell: told in words what is being done.

    Raises:
        UsageError: the graph gives no labels of one picture, the mode quantises nothing, or a path is not usable.
        GraphError: the graph is not supported.
    """

    def __init__(
        self,
        tf_model: Path,
        options: CompileOptions,
        record: CalibrationRecord | None,
        data: PictureSet,
        *,
        state: Path | None = None,
        threads: int | None = None,
        tell: Tell | None = None,
    ) -> None:
        self.options = options
        self.data = data
        self._record = record
        self._threads = threads
        self._tell: Tell = tell or (lambda what: None)
        self._graph = read_graph(tf_model, options.limits)
        self._entries = data.entries()
        self._masks = None if data.gt_dir is None else inner_folder(data.gt_dir, "SegmentationClass")
        self._reference: list[_Reference] = []
        self._float_miou: float | None = None
        plain = lower(self._graph, replace(options, quant=QuantOptions()))
        if options.quant_mode is QuantMode.FORCE_FLOAT32:
            raise UsageError("force_float32 has no layer to look at: choose another --quant-mode")
        if label_source(plain.canonical) is None or len(plain.canonical.inputs) != 1:
            raise UsageError("only a graph that gives the labels of one picture can be measured")
        self._plain = plain
        self.layers = self._changed_layers(plain)
        if not self.layers:
            raise UsageError(f"{options.quant_mode.value} changes no layer of this graph: choose another --quant-mode")
        self._state = state
        self._key = self._fingerprint()
        self._known = {} if state is None else _read_state(state, self._key)

    @property
    def images(self) -> int:
        """How many pictures each score comes from."""
        return len(self._entries)

    def float32(self) -> Score:
        """Return how force_float32 does."""
        self._prepare()
        return Score(self._float_miou, 0.0, 0.0)

    def score(self, keep: Iterable[str]) -> Score:
        """Return how the build does that keeps these layers (and those of the options) in float.

        Raises:
            UsageError: a name is no layer.
            ImageError: a picture or a mask cannot be read.
        """
        kept = tuple(sorted({*keep, *self.options.quant.keep}))
        name = hashlib.sha256("\n".join(kept).encode()).hexdigest()
        if name not in self._known:
            self._prepare()
            self._tell(f"{self.options.quant_mode.value} with {len(kept)} layers kept in float")
            quant = replace(self.options.quant, keep=kept)
            lowered = lower(self._graph, replace(self.options, quant=quant), self._record)
            self._known[name] = self._measure(lowered)
            self._save()
        return self._known[name]

    def only(self, names: Iterable[str]) -> Score:
        """Return how the build does in which only these layers are not float."""
        return self.score(set(self.layers) - set(names))

    def _changed_layers(self, plain: Lowered) -> tuple[str, ...]:
        """Return the layers that the mode computes in another type than float32, in order."""
        made = quantise(plain.canonical, self.options.quant, self._record)
        mode = self.options.quant_mode
        wanted = {DType.INT8, DType.INT16} if mode.quantised is not None else {mode.float_type}
        return tuple(layer.name for layer in made.layers if layer.weights in wanted)

    def _prepare(self) -> None:
        """Run force_float32 once: its labels and logits are what builds are compared with."""
        if not self._reference:
            self._tell("measuring force_float32")
            with TappedEngine(self._plain, self.options.target, self._logits(self._plain), self._threads) as engine:
                self._float_miou = self._run(engine, None, None)

    def _measure(self, lowered: Lowered) -> Score:
        logits, flips = DifferenceSums(), [0, 0]
        with TappedEngine(lowered, self.options.target, self._logits(lowered), self._threads) as engine:
            miou = self._run(engine, logits, flips)
        return Score(miou, logits.result().diff2, flips[0] / max(1, flips[1]))

    def _run(self, engine: TappedEngine, sums: DifferenceSums | None, flips: list[int] | None) -> float | None:
        """Run an engine over the pictures; keep its results as the reference where nothing is to be summed."""
        counter = ConfusionMatrix(self.options.labels)
        found: list[_Reference] = []
        preprocess = choose_preprocess(engine.engine)
        for index, (entry, picture) in enumerate(seen_pictures(self._entries, preprocess)):
            outputs, layers = engine.run(picture)
            labels = outputs[engine.output_names[0]][0]
            logits = next(iter(layers.values()), None)
            if sums is None or flips is None:
                found.append(_Reference(labels.astype(np.uint16), logits))
            else:
                wanted = self._reference[index]
                flips[0] += int((labels != wanted.labels).sum())
                flips[1] += labels.size
                if logits is not None and wanted.logits is not None:
                    sums.add(logits, wanted.logits)
            if self._masks is not None:
                path = self._masks / f"{entry.stem}.png"
                with naming(path):
                    mask = read_mask(path)
                    counter.add(resize_labels(labels, *mask.shape), mask)
        if sums is None:
            self._reference = found
        return None if self._masks is None else counter.measured().miou

    def _logits(self, lowered: Lowered) -> tuple[Tap, ...]:
        source = label_source(lowered.canonical)
        return tuple(tap for tap in lowered.taps() if source is not None and tap.name == source.inputs[0].name)

    def _fingerprint(self) -> str:
        """Return a digest of everything that a score depends on but the kept layers."""
        record = b"" if self._record is None else self._record.to_json()
        quant = {key: getattr(value, "value", value) for key, value in asdict(self.options.quant).items()}
        said: dict[str, Any] = {
            "version": __version__,
            "graph": self._graph.sha256,
            "record": hashlib.sha256(record).hexdigest(),
            "quant": {key: value for key, value in quant.items() if key != "keep"},
            "target": str(self.options.target),
            "shape": [self.options.shape_mutable, self.options.input_size, self.options.outputs, self.options.inputs],
            "pictures": [entry.name for entry in self._entries],
            "folders": self.data.folders,
        }
        if self.options.input_shapes or self.options.binds:
            said["given"] = [self.options.input_shapes, self.options.binds]
        if self.options.drop_dropout:
            said["drop_dropout"] = True
        if self.options.pictures is not None:
            said["pictures"] = self.options.pictures.to_json()
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def _save(self) -> None:
        if self._state is not None:
            scores = {name: asdict(score) for name, score in self._known.items()}
            record = {"format": STATE_FORMAT, "key": self._key, "scores": scores}
            write_file(self._state, (json.dumps(record, indent=1) + "\n").encode())


def _read_state(path: Path, key: str) -> dict[str, Score]:
    """Return remembered scores; none where the file is of another job (it is then written anew)."""
    if not path.exists():
        return {}
    try:
        take = Fields(document(read_file(path, max_bytes=MAX_STATE_BYTES), max_bytes=MAX_STATE_BYTES))
        if take("format", text) != STATE_FORMAT:
            raise JsonFault(f"its format is not {STATE_FORMAT}")
        is_ours = take("key", text) == key
        scores = take("scores", map_of(_score) if is_ours else obj)
        take.finish()
    except JsonFault as fault:
        raise UsageError(
            f"{path} holds no scores of sensitivity trials ({fault}); it is left alone: move it or take another folder"
        ) from fault
    return scores if is_ours else {}


def _score(value: Any, where: str) -> Score:
    take = Fields(value, where)
    score = Score(take("miou", optional(number)), take("logit_error", number), take("flipped", number))
    take.finish()
    return score


def blocks_of(layers: Sequence[str], enough: int = 8) -> dict[str, tuple[str, ...]]:
    """Return layers by block, in order: the first parts of their paths, as many as give at least ``enough`` blocks."""
    paths = [name.replace(":0", "").split("/") for name in layers]
    blocks: dict[str, tuple[str, ...]] = {}
    for depth in range(1, max(map(len, paths), default=0) + 1):
        blocks = {}
        for name, path in zip(layers, paths, strict=True):
            block = "/".join(path[:depth])
            blocks[block] = (*blocks.get(block, ()), name)
        if len(blocks) >= enough:
            break
    return blocks
