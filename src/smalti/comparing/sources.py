"""Where the layer results of a comparison come from: numpy, TensorFlow, or a compiled model."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from smalti.comparing.taps import TappedEngine
from smalti.errors import UsageError
from smalti.frontend.recognise import ONNX, recognise_bytes
from smalti.ir import reference
from smalti.ir.graph import Graph

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """What one picture gives: outputs by the graph's output names, float32 layers by canonical name."""

    outputs: dict[str, Array]
    layers: dict[str, NDArray[np.float32]]


class Source(Protocol):
    """Gives the layers of pictures; a context manager."""

    @property
    def description(self) -> str:
        """What it is, in words."""
        ...

    def __call__(self, image: NDArray[np.uint8]) -> Sample:
        """Return the layers of a picture uint8 [H, W, 3]."""
        ...

    def __enter__(self) -> Source: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class EngineSource:
    """A compiled model with its layers as outputs."""

    def __init__(self, engine: TappedEngine, description: str) -> None:
        self.engine = engine
        self._description = description

    @property
    def description(self) -> str:
        return self._description

    def __call__(self, image: NDArray[np.uint8]) -> Sample:
        return Sample(*self.engine.run(image))

    def __enter__(self) -> EngineSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.engine.__exit__(kind, error, trace)


class NumpySource:
    """The canonical graph in float32, computed by numpy (see :mod:`smalti.ir.reference`)."""

    description = "numpy, float32"

    def __init__(self, graph: Graph, names: Sequence[str]) -> None:
        self._graph = graph
        self._names = tuple(names)
        self._input = _only_input(graph)

    def __call__(self, image: NDArray[np.uint8]) -> Sample:
        results = reference.run(self._graph, {self._input: image[np.newaxis]}, taps=self._names)
        outputs = {name: results[name] for name in self._graph.output_names}
        return Sample(outputs, {name: results[name] for name in self._names})

    def __enter__(self) -> NumpySource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class TensorFlowSource:
    """The original GraphDef in TensorFlow, its tensors fetched by name; ``binds`` are fed with every picture."""

    def __init__(self, data: bytes, graph: Graph, names: Sequence[str], binds: Mapping[str, Any]) -> None:
        kind = recognise_bytes(data)
        if kind is not None and kind.name == ONNX:
            raise UsageError("--reference tensorflow runs frozen GraphDefs, and this is an ONNX model: take numpy")
        if importlib.util.find_spec("tensorflow") is None:
            raise UsageError("--reference tensorflow needs TensorFlow: pip install tensorflow-cpu, or take numpy")
        tf = importlib.import_module("tensorflow")
        definition = tf.compat.v1.GraphDef.FromString(data)
        self._description = f"TensorFlow {tf.__version__}"
        self._input = _only_input(graph)
        self._outputs = graph.output_names
        made = tf.Graph()
        with made.as_default():
            tf.import_graph_def(definition, name="")
        self._session = tf.compat.v1.Session(graph=made)
        known = {tensor.name for operation in made.get_operations() for tensor in operation.outputs}
        self._names = tuple(name for name in names if name in known)
        self._fed = {name: _as_fed(made.get_tensor_by_name(name), value) for name, value in binds.items()}

    @property
    def description(self) -> str:
        return self._description

    def __call__(self, image: NDArray[np.uint8]) -> Sample:
        wanted = [*self._outputs, *self._names]
        found = self._session.run(wanted, {**self._fed, self._input: image[np.newaxis]})
        values = dict(zip(wanted, found, strict=True))
        return Sample(
            {name: np.asarray(values[name]) for name in self._outputs},
            {name: np.asarray(values[name], np.float32) for name in self._names},
        )

    def __enter__(self) -> TensorFlowSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()


def _as_fed(tensor: Any, value: Any) -> Array:
    array = np.array(value, tensor.dtype.as_numpy_dtype)
    return array.reshape(tensor.shape.as_list()) if tensor.shape.is_fully_defined() else array


def _only_input(graph: Graph) -> str:
    if len(graph.inputs) != 1:
        raise UsageError("this graph has several inputs; only graphs of one picture can be compared")
    return graph.inputs[0].name
