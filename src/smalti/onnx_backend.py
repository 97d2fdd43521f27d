"""ONNX's own backend interface: anyone's suite can be pointed at Smalti through it.

``prepare``, ``run_model``, ``run_node``, ``supports_device`` and ``is_compatible`` are those of
``onnx.backend.base.Backend`` (https://github.com/onnx/onnx/blob/main/docs/ImplementingAnOnnxBackend.md). A model is
taken as its object (``ModelProto``), as bytes, or as the path of a file; the package ``onnx`` itself is needed by
``run_node`` alone.

A network is compiled, written to an offline model file and loaded, as any other. Where the sizes of results depend on
the *values* of inputs (the shape that a ``Reshape`` is given), no file can be made for every value: then the values of
all inputs but the first, or of all of them, are bound when they are first seen, and there is a file for each set of
them. So it is where an input is empty, which no file takes. A model whose first size is open (a batch) is compiled for
one of 1, and once more for each other set of sizes that it is given. Results that depend on no input have no file: they
are what the graph means.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.artifact.writer import write_programs
from smalti.compiler import CompileOptions, compile_graph
from smalti.compiling.source import GraphFile, graph_file, import_file, read_graph
from smalti.errors import GraphError, InputError, SmaltiError, UnsupportedGraphError, UsageError
from smalti.frontend.importing.importer import ImportOptions
from smalti.frontend.importing.selection import default_inputs
from smalti.frontend.onnx.nodes import INPUT
from smalti.frontend.onnx.opsets import NEWEST
from smalti.frontend.onnx.reader import read_model
from smalti.frontend.onnx.wire.types import OnnxType
from smalti.frontend.wire import BYTES, fields, source_of_bytes
from smalti.ir.graph import Graph
from smalti.ir.ops import Input
from smalti.ir.reference import run as mean
from smalti.runtime.engine import Engine, load
from smalti.target.host import resolve_targets

__all__ = ["Prepared", "is_compatible", "prepare", "run_model", "run_node", "supports_device"]

Array = NDArray[Any]
CPU = "CPU"
_GRAPH, _INITIALISER, _NAME, _RAW_DATA = 7, 5, 8, 9
"""Numbers of fields in ModelProto, GraphProto and TensorProto."""
_MORE = 128
_SIZES = (np.dtype(np.int32), np.dtype(np.int64), np.dtype(np.bool_))
"""Types whose values may decide sizes, or which branch is taken."""


class _Constant:
    """Results that no input has a part in; it runs as an engine does."""

    def __init__(self, graph: Graph) -> None:
        self.inputs = tuple(node for node in graph.inputs)
        self._graph = graph

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Return the results by name."""
        with np.errstate(all="ignore"):
            return mean(self._graph, inputs)


_Ready = Engine | _Constant


class Prepared:
    """A model that can be run: what ONNX calls a ``BackendRep``.

    Attributes:
        inputs: names of the inputs, in the order of the file.
        outputs: names of the outputs.
    """

    def __init__(self, graph: GraphFile, threads: int | None) -> None:
        self._graph = graph
        self._threads = threads
        self._bound: dict[tuple[bytes, ...], _Ready] = {}
        self._whole: _Ready | None = None
        raw = read_model(graph.data, folder=graph.folder)
        inputs = [node for node in raw.nodes if node.op == INPUT]
        self.inputs = tuple(node.outputs[0] for node in inputs)
        self.outputs = tuple(result.name for result in raw.results)
        self._read = frozenset(raw.name_of(edge) for edge in default_inputs(raw, raw.outputs))
        try:
            self._whole = _ready(graph, threads)
        except UnsupportedGraphError:
            kinds = [None if node.given is None else node.given.kind for node in inputs]
            if len(inputs) < 2 and not any(kind is not None and kind.storage in _SIZES for kind in kinds):
                raise

    def run(self, inputs: Sequence[Any] | Mapping[str, Any], **_options: Any) -> tuple[Array, ...]:
        """Return the outputs in the order of the file.

        Args:
            inputs: arrays in the order of the file, or by name.

        Raises:
            InputError: there are too few or too many, or one does not fit.
            UnsupportedGraphError: the model cannot be compiled.
        """
        given = self._given(inputs)
        engine, left = self._whole, given
        if engine is None or any(value.size == 0 for value in given.values()):
            engine, left = self._for_values(given)
        try:
            found = _results(engine, left)
        except InputError:
            engine = self._for_sizes(given) if engine is self._whole else None
            if engine is None:
                raise
            found = _results(engine, given)
        return tuple(found[name] for name in self.outputs)

    def _given(self, inputs: Sequence[Any] | Mapping[str, Any]) -> dict[str, Array]:
        if isinstance(inputs, Mapping):
            return {name: np.asarray(value) for name, value in inputs.items()}
        if len(inputs) != len(self.inputs):
            raise InputError(f"the model takes {len(self.inputs)} inputs ({', '.join(self.inputs)}), not {len(inputs)}")
        return {name: np.asarray(value) for name, value in zip(self.inputs, inputs, strict=True)}

    def _shapes(self, given: Mapping[str, Array]) -> dict[str, tuple[int, ...]]:
        """Return the shapes of those inputs that the results need."""
        return {name: array.shape for name, array in given.items() if name in self._read}

    def _for_sizes(self, given: dict[str, Array]) -> _Ready | None:
        """Return what runs for the very sizes of inputs, or nothing where the model does not have these."""
        key = tuple(f"{name} {array.shape}".encode() for name, array in given.items())
        if key not in self._bound:
            try:
                self._bound[key] = _ready(self._graph, self._threads, self._shapes(given))
            except UsageError:
                return None
        return self._bound[key]

    def _for_values(self, given: dict[str, Array]) -> tuple[_Ready, dict[str, Array]]:
        """Return what runs once values are bound, and the inputs that are left."""
        first, *others = self.inputs
        if others and given[first].size:
            try:
                return self._for_bound(given, others)
            except UnsupportedGraphError:
                return self._for_bound(given, self.inputs)
        return self._for_bound(given, self.inputs)

    def _for_bound(self, given: dict[str, Array], names: Sequence[str]) -> tuple[_Ready, dict[str, Array]]:
        values = {name: given[name] for name in names}
        left = {name: value for name, value in given.items() if name not in values}
        key = tuple(f"{name} {a.dtype} {a.shape}".encode() + a.tobytes() for name, a in values.items())
        key += tuple(f"{name} {array.shape}".encode() for name, array in left.items())
        if key not in self._bound:
            stored = _with_values(self._graph.data, values)
            graph = replace(self._graph, data=stored, sha256=sha256(stored).hexdigest())
            self._bound[key] = _ready(graph, self._threads, self._shapes(left))
        return self._bound[key], left


def _results(engine: _Ready, given: Mapping[str, Array]) -> Mapping[str, Array]:
    wanted = {spec.name for spec in engine.inputs}
    return engine.run({name: _bits(value) for name, value in given.items() if name in wanted})


def _ready(graph: GraphFile, threads: int | None, shapes: Mapping[str, tuple[int, ...]] | None = None) -> _Ready:
    options = CompileOptions(targets=resolve_targets("native"), input_shapes=shapes or {})
    try:
        compiled = compile_graph(graph, options)
    except UnsupportedGraphError:
        raise
    except GraphError:
        # Where nothing depends on an input there is nothing to compile, which is no fault of a model that is asked.
        imported = import_file(graph, ImportOptions(input_shapes=shapes or {})).graph
        if any(isinstance(node.op, Input) for node in replace(imported, inputs=()).nodes()):
            raise
        return _Constant(imported)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.smalti"
        write_programs(path, compiled.programs, compiled.constants)
        return load(path, threads)


def prepare(model: Any, device: str = CPU, *, threads: int | None = None, **_options: Any) -> Prepared:
    """Compile a model for this CPU.

    Args:
        model: a ``ModelProto``, bytes, or a path.
        device: ``"CPU"``.
        threads: threads of the engine; ``None``: as ``smalti.load``.

    Raises:
        UsageError: another device, or no such file.
        GraphError: the model is damaged or not supported.
    """
    if not supports_device(device):
        raise UsageError(f"there is no device {device!r} here: give {CPU!r}")
    return Prepared(_graph_of(model), threads)


def run_model(model: Any, inputs: Any, device: str = CPU, **options: Any) -> tuple[Array, ...]:
    """Compile a model and run it once; see :func:`prepare` and :meth:`Prepared.run`."""
    return prepare(model, device, **options).run(inputs)


def run_node(
    node: Any, inputs: Sequence[Any], device: str = CPU, outputs_info: Any = None, **options: Any
) -> tuple[Array, ...]:
    """Run a single node (``NodeProto``) of the newest operators that are known here.

    ``outputs_info`` is not needed: types follow from the inputs.
    """
    helper: Any = import_module("onnx.helper")
    arrays = [np.asarray(value) for value in inputs]
    names = [name for name in node.input if name]
    stated = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in zip(names, arrays, strict=True)
    ]
    results = [helper.ValueInfoProto(name=name) for name in node.output if name]
    graph = helper.make_graph([node], "node", stated, results)
    opset = options.pop("opset_version", NEWEST)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid(node.domain, opset)])
    return run_model(made, arrays, device, **options)


def supports_device(device: str) -> bool:
    """Return whether models can be compiled for a device: ``"CPU"`` and ``"CPU:0"`` are this machine."""
    return device.partition(":")[0].upper() == CPU


def is_compatible(model: Any, device: str = CPU, **_options: Any) -> bool:
    """Return whether a model can be imported as it stands, before values of its inputs are known."""
    if not supports_device(device):
        return False
    try:
        import_file(_graph_of(model), ImportOptions())
    except SmaltiError:
        return False
    return True


def _graph_of(model: Any) -> GraphFile:
    if isinstance(model, bytes):
        return graph_file(model)
    if isinstance(model, (str, os.PathLike)):
        return read_graph(Path(model))
    return graph_file(bytes(model.SerializeToString()))


def _with_values(data: bytes, values: Mapping[str, Array]) -> bytes:
    """Return a model in which values of inputs are stored, as if its exporter had put them there."""
    graph = next(f for f in fields(source_of_bytes(data), 0, len(data)) if f.number == _GRAPH)
    tensors = b"".join(_field(_INITIALISER, _tensor(name, value)) for name, value in values.items())
    before = graph.start - len(_varint(_GRAPH << 3 | BYTES) + _varint(graph.end - graph.start))
    return data[:before] + _field(_GRAPH, data[graph.start : graph.end] + tensors) + data[graph.end :]


def _tensor(name: str, value: Array) -> bytes:
    kind = next((kind for kind in OnnxType if kind.label == value.dtype.name), None)
    if kind is None:
        raise InputError(f"{name}: numbers of type {value.dtype.name} cannot be stored; give a type that ONNX has")
    dims = b"".join(b"\x08" + _varint(size) for size in value.shape)
    raw = np.ascontiguousarray(value).tobytes()
    return dims + b"\x10" + _varint(kind.value) + _field(_NAME, name.encode()) + _field(_RAW_DATA, raw)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | BYTES) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= _MORE:
        out.append(value % _MORE + _MORE)
        value //= _MORE
    return bytes((*out, value))


def _bits(value: Array) -> Array:
    """Return a number of 16 bits that numpy does not know (bfloat16) as its bits."""
    return value.view(np.uint16) if value.dtype.name == "bfloat16" else value
