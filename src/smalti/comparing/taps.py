"""Layer results of a compiled model: the same graph and precision, compiled again with every layer as an output.

An offline model keeps no results of its layers: they share memory, and fused steps never write them.  What a file says
about itself is enough to make it again with all of them as outputs.
"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.artifact.manifest import BUILT_IN_KEY, Manifest
from smalti.artifact.writer import write_model
from smalti.codegen.assemble import generate
from smalti.compiler import CompileOptions
from smalti.compiling.about import describe
from smalti.compiling.pictures import PictureOptions
from smalti.compiling.sizes import import_shaped
from smalti.compiling.source import GraphFile, graph_file
from smalti.errors import InputError, ModelFileError, UsageError
from smalti.ir import ops
from smalti.ir.graph import Graph, Node
from smalti.ir.reference import bfloat16_to_float32
from smalti.kernels.registry import FUSED, KERNELS
from smalti.numerics import DType, dequantise
from smalti.passes.pipeline import run_pipeline
from smalti.plan.planner import plan_graph
from smalti.quant.modes import ActivationScheme, CalibAlgo, Granularity, QuantMode, QuantOptions
from smalti.quant.params import QParams
from smalti.quant.record import CalibrationRecord, TensorStats, short
from smalti.quant.scheme import quantise
from smalti.runtime.engine import Engine, load
from smalti.target.target import Target

Array = NDArray[Any]
FLOATS = (DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16)
LABEL_OPS = (ops.ResizeArgMax, ops.ArgMax)
_PREFIX = "layer "


@dataclass(frozen=True, slots=True)
class Tap:
    """A layer whose result can be seen.

    Attributes:
        name: name of the canonical graph's node, which is the graph's.
        op: the operation that makes it.
        dtype: how the model holds it.
        params: the steps of integers; ``None`` for floats.
    """

    name: str
    op: str
    dtype: DType
    params: QParams | None = None

    def real(self, value: Array) -> NDArray[np.float32]:
        """Return the real numbers that a result stands for."""
        if self.params is not None:
            return dequantise(value, self.params.scale, self.params.zero_point)
        if self.dtype is DType.BFLOAT16:
            return np.asarray(bfloat16_to_float32(value), np.float32)
        return value.astype(np.float32, copy=False)


@dataclass(frozen=True, slots=True, eq=False)
class Lowered:
    """A graph on its way to code.

    Attributes:
        canonical: the float graph.
        graph: the graph in its precision.
        params: the steps of the quantised tensors, by name.
        about: the free-form fields of the manifest.
    """

    canonical: Graph
    graph: Graph
    params: dict[str, QParams]
    about: dict[str, Any]

    def taps(self) -> tuple[Tap, ...]:
        """Return the layers of the canonical graph that exist in this precision, in the graph's order."""
        nodes = _by_name(self.graph)
        found = []
        for name in layer_names(self.canonical):
            node = nodes.get(name)
            if node is None:
                continue
            params = None if node.type.dtype in FLOATS else self.params.get(name)
            if node.type.dtype in FLOATS or params is not None:
                found.append(Tap(name, type(node.op).__name__, node.type.dtype, params))
        return tuple(found)


def layer_names(graph: Graph) -> tuple[str, ...]:
    """Return the names of the float results that a graph computes, in its order; a name that stands twice is left out.

    Moved data (reshapes) is not a layer.
    """
    return tuple(
        name
        for name, node in _by_name(graph).items()
        if node.type.dtype is DType.FLOAT32 and not isinstance(node.op, (ops.Constant, ops.Input, ops.Reshape))
    )


def label_source(graph: Graph) -> Node | None:
    """Return the node that turns logits into labels, or ``None`` where the graph's first output is no label map."""
    node = graph.outputs[0]
    while not isinstance(node.op, LABEL_OPS):
        if node.type.dtype in FLOATS or not node.inputs:
            return None
        node = node.inputs[0]
    return node


def lower(graph: bytes | GraphFile, options: CompileOptions, record: CalibrationRecord | None = None) -> Lowered:
    """Bring a graph as far as the compiler does before it plans.

    Raises:
        GraphError, UsageError: as :func:`smalti.compiler.compile_graph`.
    """
    source = graph_file(graph)
    imported = import_shaped(source, options)
    canonical = run_pipeline(imported.graph).graph
    quantised = quantise(canonical, options.quant, record)
    about = describe(source, imported.graph, options, imported.report)
    return Lowered(canonical, quantised.graph, dict(quantised.params), about)


class TappedEngine:
    """An engine that also gives the results of layers; a context manager, which holds a file while it lives."""

    def __init__(self, lowered: Lowered, target: Target, taps: Sequence[Tap], threads: int | None = None) -> None:
        self.taps = tuple(taps)
        self.output_names = lowered.graph.output_names
        nodes = _by_name(lowered.graph)
        graph = replace(
            lowered.graph,
            outputs=(*lowered.graph.outputs, *(nodes[tap.name] for tap in self.taps)),
            output_names=(*self.output_names, *(_PREFIX + tap.name for tap in self.taps)),
        )
        made = generate(plan_graph(graph, target, KERNELS, fused=FUSED), lowered.about)
        self._folder = tempfile.TemporaryDirectory(prefix="smalti-")
        path = Path(self._folder.name) / "layers.smalti"
        sha256 = write_model(path, made.manifest, made.constants, made.code)
        self.engine: Engine = load(path, threads, sha256)

    @property
    def manifest(self) -> Manifest:
        """What the engine with taps says about itself."""
        return self.engine.manifest

    def run(self, image: NDArray[np.uint8]) -> tuple[dict[str, Array], dict[str, NDArray[np.float32]]]:
        """Return the outputs by name, and the layers' real numbers by canonical name, of a picture uint8 [H, W, 3].

        Raises:
            InputError: the graph does not take this one picture.
        """
        results = self.engine.run({one_input(self.manifest): image[np.newaxis]})
        layers = {tap.name: tap.real(results[_PREFIX + tap.name]) for tap in self.taps}
        return {name: results[name] for name in self.output_names}, layers

    def __enter__(self) -> TappedEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.engine.close()
        self._folder.cleanup()


def one_input(manifest: Manifest) -> str:
    """Return the name of a model's only input.

    Raises:
        InputError: it has several.
    """
    if len(manifest.inputs) != 1:
        raise InputError("this model has several inputs; only models of one picture can be compared")
    return manifest.inputs[0].name


def options_of(
    manifest: Manifest, graph: bytes | GraphFile, record: CalibrationRecord | None = None
) -> tuple[CompileOptions, CalibrationRecord | None]:
    """Return the options, and for a quantised model the ranges, that make an offline model again from its graph.

    Args:
        manifest: what the file says about itself.
        graph: what it was built from.
        record: the calibration record the file was built with, where that is at hand.

    Raises:
        UsageError: the file was made from another graph or with another record, or its target is unknown here.
        ModelFileError: the file does not say enough about its precision.
    """
    stated = manifest.graph.get("sha256")
    if stated != graph_file(graph).sha256:
        raise UsageError("the model was built from another graph than --graph (their SHA-256 differ)")
    said = manifest.quantisation
    try:
        mode = QuantMode.parse(manifest.precision)
        quant = QuantOptions(
            mode,
            CalibAlgo(said.get("calib_algo", CalibAlgo.LINEAR.value)),
            Granularity(said.get("weight_granularity", Granularity.PER_AXIS.value)),
            ActivationScheme(said.get("activation", ActivationScheme.ASYMMETRIC.value)),
            tuple(str(name) for name in said.get("keep", ())),
        )
        if mode.quantised is None:
            record = None
        elif record is None:
            record = CalibrationRecord(_ranges(said["tensors"], said.get("means", {}), quant.activation))
        elif record.summary().get("record_sha256") != said["calibration"]["record_sha256"]:
            raise UsageError("the model was built with another calibration record than --ranges")
        size = manifest.preprocess.get("input_size")
        built_in = manifest.preprocess.get(BUILT_IN_KEY)
        options = CompileOptions(
            targets=(Target.parse(manifest.target),),
            quant=quant,
            shape_mutable=manifest.shape_mutable,
            input_size=None if size is None or isinstance(size, list) else int(size),
            batch_size=manifest.batch_size,
            inputs=tuple(t.name for t in manifest.inputs),
            outputs=tuple(t.name for t in manifest.outputs),
            input_shapes=manifest.graph.get("input_shapes", {}),
            binds=manifest.graph.get("binds", {}),
            drop_dropout=manifest.graph.get("drop_dropout", False),
            labels=manifest.labels,
            pictures=None if built_in is None else PictureOptions.from_json(built_in),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelFileError("the model file does not say how it was quantised: build it again") from error
    return options, record


def keeps_means(manifest: Manifest) -> bool:
    """Whether a file tells the channel means that its biases were corrected with (or needs none)."""
    return not manifest.quantisation.get("tensors") or "means" in manifest.quantisation


def check_same_steps(lowered: Lowered, manifest: Manifest) -> None:
    """Check that a graph was brought into the very precision that a model file states.

    Raises:
        ModelFileError: the scale or zero point of a tensor differs, or the same tensors are not quantised.
    """
    said = manifest.quantisation.get("tensors", {})
    if set(said) != set(lowered.params):
        raise ModelFileError("the model file quantises other tensors than this version of Smalti: build it again")
    for name, params in lowered.params.items():
        if (said[name]["scale"], said[name]["zero_point"]) != (params.scale, params.zero_point):
            raise ModelFileError(f"the steps of {name} are not those of this version of Smalti: build the model again")


def _ranges(tensors: dict[str, Any], means: dict[str, str], scheme: ActivationScheme) -> dict[str, TensorStats]:
    """Return ranges from which the same steps follow as a file states; ``means`` are float32 values in base64."""
    found = {}
    for name, said in tensors.items():
        dtype, scale, zero_point = DType(said["dtype"]), float(said["scale"]), int(said["zero_point"])
        low, high = dtype.limits
        if dtype is not DType.UINT8:
            low = -high
        elif scheme is ActivationScheme.SYMMETRIC and zero_point:
            # Symmetric steps reach one integer less below zero than their type does.
            low += 1
        ends = (low - zero_point) * scale, (high - zero_point) * scale
        packed = np.frombuffer(base64.b64decode(means.get(name, ""), validate=True), "<f4")
        found[name] = TensorStats(*ends, *ends, channel_mean=tuple(short(value) for value in packed))
    return found


def _by_name(graph: Graph) -> dict[str, Node]:
    found: dict[str, Node] = {}
    twice: set[str] = set()
    for node in graph.nodes():
        if node.name in found:
            twice.add(node.name)
        found.setdefault(node.name, node)
    return {name: node for name, node in found.items() if name not in twice}
