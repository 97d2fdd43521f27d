"""Compare two graphs, such as two exports of one network: where do they depart, and what is set otherwise there?"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.comparing.compare import DEFAULT_IMAGES, DEFAULT_THRESHOLD, layers_read
from smalti.comparing.graphs_result import GraphsResult, OutputDifference, PairDifference
from smalti.comparing.pairs import Pairing, pair_layers
from smalti.comparing.result import LayerDifference
from smalti.comparing.stats import DifferenceSums
from smalti.comparing.taps import Lowered, TappedEngine, lower
from smalti.compiler import CompileOptions
from smalti.compiling.pictures import LabelsFrom, PictureOptions
from smalti.compiling.sizes import import_shaped
from smalti.compiling.source import GraphFile, read_graph
from smalti.errors import UsageError
from smalti.ir.graph import Graph, Node
from smalti.jobs.pictures import PassedOver, seen_pictures
from smalti.jobs.stream import OnError, Preprocess, Progress, choose_preprocess
from smalti.numerics import DType
from smalti.target.host import resolve_targets
from smalti.vision.preprocess import Resize
from smalti.vision.voc import PicturePaths, find_pictures

Array = NDArray[Any]
_TO_LAST = (0, 2, 3, 1)


@dataclass(frozen=True, slots=True)
class GraphsOptions:
    """What to compare.

    Attributes:
        first, second: the graphs, of any formats.
        image_dir, file_list, image_num, recursive: pictures, as for inference.
        outputs: tensors of the first and the second graph that are to be the same; none: the graphs' own outputs, in
            their order.
        pictures: how pictures become the numbers that a graph takes; a graph that takes pictures itself is left alone.
        threshold: diff2 above which a layer departs.
        resize, input_size: how pictures meet the graphs, where neither takes one size alone.
        threads: threads of an inference.
        on_error: what a picture that is no good does to the run.
    """

    first: Path
    second: Path
    image_dir: PicturePaths
    file_list: Path | None = None
    image_num: int | None = DEFAULT_IMAGES
    outputs: tuple[tuple[str, str], ...] = ()
    pictures: PictureOptions | None = None
    threshold: float = DEFAULT_THRESHOLD
    resize: Resize | None = None
    input_size: int | None = None
    threads: int | None = None
    recursive: bool = False
    on_error: OnError = field(default=OnError.SKIP)


def compare_graphs(
    options: GraphsOptions, progress: Progress | None = None, tell: Callable[[str], None] | None = None
) -> GraphsResult:
    """Run two graphs on pictures, both compiled in float32 with all layers as outputs, and compare what is paired.

    Raises:
        UsageError: a graph takes numbers, and it is not said how pictures become them; or their sizes do not agree.
        GraphError, ImageError, InputError: as build and inference.
    """
    start = time.perf_counter()
    say = tell or (lambda what: None)
    entries = find_pictures(options.image_dir, options.file_list, options.image_num, recursive=options.recursive)
    passed_over = PassedOver(options.on_error)
    passed_over.leave_out(entries)
    sides = tuple(zip(*options.outputs, strict=True)) or (None, None)
    files = (options.first, options.second)
    lowered = [_lowered(file, names, options) for file, names in zip(files, sides, strict=True)]
    say("pairing the layers of the two graphs")
    pairing = pair_layers(lowered[0].canonical, lowered[1].canonical)
    with ExitStack() as stack:
        say("compiling both with their layers as outputs")
        job = _Comparison(lowered, pairing, options, stack)
        preprocess = job.preprocess()
        used = 0
        for _, picture in seen_pictures(entries, preprocess, passed_over):
            job.add(picture)
            used += 1
            if progress is not None:
                progress(used + len(passed_over.failures), len(entries))
        passed_over.check(used)
    return GraphsResult(
        str(options.first),
        str(options.second),
        used,
        options.threshold,
        job.layers(),
        job.outputs(),
        tuple(node.name for node in pairing.only_first),
        tuple(node.name for node in pairing.only_second),
        time.perf_counter() - start,
        passed_over.failures,
        passed_over.left_out,
    )


def _lowered(path: Path, outputs: tuple[str, ...] | None, options: GraphsOptions) -> Lowered:
    graph = read_graph(path)
    plain = CompileOptions(resolve_targets("native"), outputs=outputs)
    return lower(graph, replace(plain, pictures=_pictures(path, graph, plain, options.pictures)))


def _pictures(
    path: Path, graph: GraphFile, plain: CompileOptions, said: PictureOptions | None
) -> PictureOptions | None:
    """Return what to put before a graph; ``None`` where it takes pictures itself."""
    inputs = import_shaped(graph, plain).graph.inputs
    if len(inputs) != 1:
        raise UsageError(f"{path} has {len(inputs)} inputs; only graphs of one picture can be compared")
    if inputs[0].type.dtype is DType.UINT8 and inputs[0].type.shape[-1:] == (3,):
        return None
    if said is None or not said.says_numbers:
        raise UsageError(
            f"{path} takes {inputs[0].type}, which is no picture: say how bytes become its numbers, with --preset or "
            "--scale, --mean and --std"
        )
    return replace(said, labels_from=LabelsFrom.NONE)


class _Comparison:
    def __init__(self, lowered: Sequence[Lowered], pairing: Pairing, options: GraphsOptions, stack: ExitStack) -> None:
        self._options = options
        self._graphs: tuple[Graph, ...] = tuple(side.canonical for side in lowered)
        taps = [{tap.name: tap for tap in side.taps()} for side in lowered]
        self._pairs = [p for p in pairing.pairs if p.first.name in taps[0] and p.second.name in taps[1]]
        names = ([p.first.name for p in self._pairs], [p.second.name for p in self._pairs])
        target = resolve_targets("native")[0]
        self._engines = [
            stack.enter_context(TappedEngine(side, target, [known[n] for n in wanted], options.threads))
            for side, known, wanted in zip(lowered, taps, names, strict=True)
        ]
        self._sums = {p.first.name: DifferenceSums() for p in self._pairs}
        self._apart: dict[str, str] = {}
        self._outputs = [_Output(*names) for names in zip(*(g.output_names for g in self._graphs), strict=False)]

    def preprocess(self) -> Preprocess:
        """Return how pictures meet both graphs."""
        given = self._options.resize, self._options.input_size
        if given != (None, None):
            return choose_preprocess(self._engines[0].engine, *given)
        fixed = {size for size in map(_only_size, self._graphs) if size is not None}
        if len(fixed) > 1:
            shown = " and ".join(f"{h} x {w}" for h, w in sorted(fixed))
            raise UsageError(
                f"the graphs take pictures of {shown}, so no picture serves both: export them for one size"
            )
        return Preprocess(Resize.STRETCH, fixed.pop()) if fixed else choose_preprocess(self._engines[0].engine)

    def add(self, picture: NDArray[np.uint8]) -> None:
        (ours, layers), (theirs, others) = (engine.run(picture) for engine in self._engines)
        for pair in self._pairs:
            x, r = layers[pair.first.name], others[pair.second.name]
            if x.shape == r.shape:
                self._sums[pair.first.name].add(x, r)
            else:
                self._apart[pair.first.name] = f"its shape is {list(x.shape)}, not {list(r.shape)}"
        for output in self._outputs:
            output.add(ours[output.first], theirs[output.second])

    def layers(self) -> tuple[PairDifference, ...]:
        results = {name: sums.result() for name, sums in self._sums.items() if name not in self._apart}
        reads = layers_read(self._graphs[0], set(results))
        found = []
        for pair in self._pairs:
            name, op = pair.first.name, type(pair.first.op).__name__
            own = results.get(name, DifferenceSums().result())
            before = max((results[n].diff2 for n in reads.get(name, ())), default=0.0)
            added = own.diff2 - before if math.isfinite(own.diff2) and math.isfinite(before) else math.nan
            layer = LayerDifference(name, op, pair.first.type.dtype.value, own, added)
            found.append(
                PairDifference(layer, pair.second.name, pair.settings, pair.written, self._apart.get(name, ""))
            )
        return tuple(found)

    def outputs(self) -> tuple[OutputDifference, ...]:
        return tuple(output.result() for output in self._outputs)


class _Output:
    """Two outputs that are to be the same, over all pictures."""

    def __init__(self, first: str, second: str) -> None:
        self.first, self.second = first, second
        self._sums = DifferenceSums()
        self._different = self._count = 0
        self._reason = ""

    def add(self, x: Array, r: Array) -> None:
        if x.shape != r.shape and x.ndim == 4 and r.ndim == 4:
            # Channels first in one graph and last in the other.
            x, r = (x.transpose(_TO_LAST), r) if x.transpose(_TO_LAST).shape == r.shape else (x, r.transpose(_TO_LAST))
        is_float = {x.dtype.kind == "f", r.dtype.kind == "f"}
        if x.shape != r.shape or len(is_float) > 1:
            self._reason = f"{x.dtype}{list(x.shape)}, not {r.dtype}{list(r.shape)}: pair tensors with --pair A=B"
        elif x.dtype.kind == "f":
            self._sums.add(x, r)
        else:
            self._different += int((x != r).sum())
            self._count += x.size

    def result(self) -> OutputDifference:
        labels = self._different / self._count if self._count else None
        return OutputDifference(self.first, self.second, self._sums.result(), labels, self._reason)


def _only_size(graph: Graph) -> tuple[int, int] | None:
    node: Node = graph.inputs[0]
    height, width = node.type.shape[1:3]
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None
