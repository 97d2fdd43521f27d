"""Compare a model with a reference, layer by layer, and say where its labels flip."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from smalti.artifact.colours import colours_of
from smalti.artifact.manifest import Manifest
from smalti.building.calibrate import load_record
from smalti.comparing.maps import Flips, count_flips, draw_flips, full_logits, margins_at
from smalti.comparing.result import CompareResult, LayerDifference, TapEffect
from smalti.comparing.sources import EngineSource, NumpySource, Sample, Source, TensorFlowSource
from smalti.comparing.stats import DifferenceSums
from smalti.comparing.taps import (
    Lowered,
    Tap,
    TappedEngine,
    check_same_steps,
    keeps_means,
    label_source,
    layer_names,
    lower,
    one_input,
    options_of,
)
from smalti.compiler import CompileOptions
from smalti.compiling.source import GraphFile, read_graph
from smalti.errors import ModelFileError, UsageError
from smalti.ir.graph import Graph
from smalti.ir.reference import bind_sizes
from smalti.jobs.outputs import OutputFolder
from smalti.jobs.pictures import PassedOver, seen_pictures
from smalti.jobs.stream import OnError, Progress, choose_preprocess
from smalti.runtime.engine import Engine, load
from smalti.vision.classes import Classes
from smalti.vision.headers import ImageFormat
from smalti.vision.images import encode_picture
from smalti.vision.palette import class_palette
from smalti.vision.preprocess import Resize
from smalti.vision.voc import Entry, PicturePaths, find_pictures, output_names

DEFAULT_IMAGES = 8
DEFAULT_THRESHOLD = 0.05
NUMPY, FLOAT32, TENSORFLOW = "numpy", "float32", "tensorflow"


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """What to compare.

    Attributes:
        tf_model: the graph the model was built from.
        model: the offline model file.
        image_dir, file_list, image_num, recursive: pictures, as for inference.
        reference: ``numpy``, ``float32`` (this compiler's own float32 code), ``tensorflow``, or an offline model file.
        threshold: diff2 above which a layer departs from the reference.
        maps: folder for the pictures of flipped pixels.
        resize, input_size: how pictures meet the network, if not as the model says.
        ranges: the calibration record of the model, which gives exactly its biases.
        threads: threads of an inference.
        classes: names and colours in place of those in the file.
        on_error: what a picture that is no good does to the run.
    """

    tf_model: Path
    model: Path
    image_dir: PicturePaths
    file_list: Path | None = None
    image_num: int | None = DEFAULT_IMAGES
    reference: str = NUMPY
    threshold: float = DEFAULT_THRESHOLD
    maps: Path | None = None
    resize: Resize | None = None
    input_size: int | None = None
    ranges: Path | None = None
    threads: int | None = None
    classes: Classes = Classes()
    recursive: bool = False
    on_error: OnError = OnError.SKIP


def compare(
    options: CompareOptions, progress: Progress | None = None, tell: Callable[[str], None] | None = None
) -> CompareResult:
    """Run a model and a reference on pictures and compare the results of every layer.

    Raises:
        UsageError: the model was built from another graph, or an option does not fit.
        ModelFileError: the file cannot be used, or does not say how it was made.
        GraphError, ImageError, InputError: as build and inference.
    """
    start = time.perf_counter()
    say = tell or (lambda what: None)
    graph = read_graph(options.tf_model)
    entries = find_pictures(options.image_dir, options.file_list, options.image_num, recursive=options.recursive)
    names = dict(zip(entries.names, output_names(entries), strict=True))
    passed_over = PassedOver(options.on_error)
    passed_over.leave_out(entries)
    with ExitStack() as stack:
        engine = stack.enter_context(load(options.model, options.threads))
        one_input(engine.manifest)
        say("compiling the model again with its layers as outputs")
        given = None if options.ranges is None else load_record(options.ranges)
        compile_options, record = options_of(engine.manifest, graph, given)
        lowered = lower(graph, compile_options, record)
        check_same_steps(lowered, engine.manifest)
        taps = lowered.taps()
        tapped = TappedEngine(lowered, compile_options.target, taps, options.threads)
        stack.enter_context(tapped)
        say(f"preparing the reference: {options.reference}")
        reference = stack.enter_context(_reference(options, graph, compile_options, lowered, engine.manifest))
        folder = None if options.maps is None else stack.enter_context(OutputFolder(options.maps))
        job = _Comparison(lowered, taps, engine, tapped, reference, folder, options.classes, given is not None)
        preprocess = choose_preprocess(engine, options.resize, options.input_size)
        used = 0
        for entry, picture in seen_pictures(entries, preprocess, passed_over):
            job.add(entry, names[entry.name], picture)
            used += 1
            if progress is not None:
                progress(used + len(passed_over.failures), len(entries))
        passed_over.check(used)
        return CompareResult(
            str(options.model),
            engine.manifest.precision,
            reference.description,
            used,
            options.threshold,
            job.layers(),
            job.not_compared(),
            job.tap_effect(),
            tuple(job.flips),
            options.maps,
            job.names,
            time.perf_counter() - start,
            passed_over.failures,
            passed_over.left_out,
        )


class _Comparison:
    def __init__(
        self,
        lowered: Lowered,
        taps: Sequence[Tap],
        engine: Engine,
        tapped: TappedEngine,
        reference: Source,
        folder: OutputFolder | None,
        classes: Classes,
        has_record: bool,
    ) -> None:
        self.graph = lowered.canonical
        self.taps = taps
        self.engine = engine
        self.tapped = tapped
        self.reference = reference
        self.folder = folder
        self.names = classes.names or engine.manifest.labels or ()
        self.palette = class_palette(classes.colours or colours_of(engine.manifest))
        self.same_biases = has_record or keeps_means(engine.manifest)
        self.sums = {tap.name: DifferenceSums() for tap in taps}
        self.missing: dict[str, str] = {}
        self.differing = 0
        self.flips: list[Flips] = []
        self.labels = label_source(self.graph)
        if folder is not None and self.labels is None:
            raise UsageError("--maps needs a model that gives labels")

    def add(self, entry: Entry, name: str, picture: NDArray[np.uint8]) -> None:
        outputs, layers = self.tapped.run(picture)
        plain = self.engine.run({one_input(self.engine.manifest): picture[np.newaxis]})
        self.differing += sum(int((outputs[key] != plain[key]).sum()) for key in plain)
        sample = self.reference(picture)
        for tap in self.taps:
            wanted = sample.layers.get(tap.name)
            if wanted is None:
                self.missing[tap.name] = "the reference has no such tensor"
            elif wanted.shape != layers[tap.name].shape:
                self.missing[tap.name] = f"its shape is {list(layers[tap.name].shape)}, not {list(wanted.shape)}"
            else:
                self.sums[tap.name].add(layers[tap.name], wanted)
        if self.labels is not None:
            first = self.graph.output_names[0]
            self._count_flips(entry, name, picture, sample, plain[first])

    def _count_flips(
        self, entry: Entry, name: str, picture: NDArray[np.uint8], sample: Sample, labels: NDArray[np.integer]
    ) -> None:
        wanted = sample.outputs[self.graph.output_names[0]]
        if wanted.shape != labels.shape or wanted.ndim != 3:
            raise UsageError(f"the label maps of the model, {labels.shape}, and the reference, {wanted.shape}, differ")
        wanted, labels = wanted[0], labels[0]
        margins = self._margins(sample, picture, wanted != labels)
        self.flips.append(count_flips(entry.name, wanted, labels, margins))
        if self.folder is not None and picture.shape[:2] == labels.shape:
            drawn = draw_flips(picture, wanted, labels, margins, self.names, palette=self.palette)
            self.folder.write(name, encode_picture(drawn, ImageFormat.PNG))

    def _margins(self, sample: Sample, picture: NDArray[np.uint8], wrong: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return how sure the reference was of its label at the flipped pixels."""
        if self.labels is None or self.labels.inputs[0].name not in sample.layers:
            return np.full(int(wrong.sum()), np.nan, np.float32)
        env = bind_sizes(self.graph, {self.graph.inputs[0].name: picture[np.newaxis]})
        logits = full_logits(self.labels, sample.layers[self.labels.inputs[0].name], env)
        if logits.shape[:2] != wrong.shape:
            raise UsageError(
                "the labels of this graph are moved after they are chosen, so there is no confidence: leave --maps away"
            )
        return margins_at(logits, wrong)

    def layers(self) -> tuple[LayerDifference, ...]:
        """Return the compared layers, each with what it added to the differences of those it reads."""
        results = {tap.name: self.sums[tap.name].result() for tap in self.taps if tap.name not in self.missing}
        reads = layers_read(self.graph, set(results))
        found = []
        for tap in self.taps:
            if tap.name in results:
                own = results[tap.name]
                before = max((results[name].diff2 for name in reads[tap.name]), default=0.0)
                added = own.diff2 - before if math.isfinite(own.diff2) and math.isfinite(before) else math.nan
                found.append(LayerDifference(tap.name, tap.op, tap.dtype.value, own, added))
        return tuple(found)

    def not_compared(self) -> tuple[tuple[str, str], ...]:
        known = {tap.name for tap in self.taps}
        gone = [(name, "this precision has no such tensor") for name in layer_names(self.graph) if name not in known]
        return (*gone, *self.missing.items())

    def tap_effect(self) -> TapEffect:
        steps = {step.name for step in self.engine.manifest.steps}
        apart = tuple(tap.name for tap in self.taps if tap.name not in steps)
        counts = len(self.engine.manifest.steps), len(self.tapped.manifest.steps)
        return TapEffect(*counts, apart, self.differing, self.same_biases)


def layers_read(graph: Graph, names: set[str]) -> dict[str, set[str]]:
    """Return the compared layers that each compared layer reads, through what is not compared."""
    nearest: dict[int, set[str]] = {}
    found: dict[str, set[str]] = {}
    for node in graph.nodes():
        before = set[str]().union(*(nearest[id(operand)] for operand in node.inputs))
        if node.name in names:
            found[node.name] = before
        nearest[id(node)] = {node.name} if node.name in names else before
    return found


def _reference(
    options: CompareOptions, graph: GraphFile, compiled: CompileOptions, lowered: Lowered, manifest: Manifest
) -> Source:
    canonical = lowered.canonical
    names = layer_names(canonical)
    if options.reference == NUMPY:
        return NumpySource(canonical, names)
    if options.reference == TENSORFLOW:
        if compiled.pictures is not None:
            raise UsageError(
                "--reference tensorflow runs the graph as its file has it, and this model was built with options about "
                "pictures: take numpy"
            )
        return TensorFlowSource(graph.data, canonical, names, compiled.binds)
    if options.reference == FLOAT32:
        plain = Lowered(canonical, canonical, {}, lowered.about)
        return EngineSource(
            TappedEngine(plain, compiled.target, plain.taps(), options.threads), "compiled, force_float32"
        )
    path = Path(options.reference)
    if not path.is_file():
        raise UsageError(f"--reference is numpy, float32, tensorflow or an offline model file, not {path}")
    with load(path, options.threads) as other:
        its_options, its_record = options_of(other.manifest, graph)
        if [t.name for t in other.manifest.outputs] != [t.name for t in manifest.outputs]:
            raise ModelFileError(f"{path} has other outputs than {options.model}: give two builds of one graph")
        its = lower(graph, its_options, its_record)
        check_same_steps(its, other.manifest)
        precision = other.manifest.precision
    return EngineSource(TappedEngine(its, its_options.target, its.taps(), options.threads), f"{path}, {precision}")
