"""The graph that is compiled: formats told apart by bytes, values in second files, and the digest of it all."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

import onnx_wire as w
from graph_builder import GraphBuilder
from smalti.comparing.sources import TensorFlowSource
from smalti.compiler import CompileOptions
from smalti.compiling.sizes import import_shaped
from smalti.compiling.source import GraphFile, graph_file, import_file, read_graph
from smalti.errors import GraphError, UsageError
from smalti.frontend.budget import GraphLimits
from smalti.frontend.importing.importer import ImportOptions
from smalti.ir import ops
from smalti.target.host import resolve_targets

GRAPH_DEF = GraphBuilder().placeholder("x", np.float32, [1, 4, 4, 3]).node("Relu", "y", ["x"]).bytes()
OPTIONS = CompileOptions(resolve_targets("generic"))


def _model(*initialisers: bytes) -> bytes:
    outputs = [w.value("x"), *(w.value("k") for _ in initialisers)]
    return w.model(w.graph([], [w.value("x", w.FLOAT, [1, 3, "h", "w"])], outputs, list(initialisers)))


def _outside(name: str = "values.bin", **entries: str) -> bytes:
    return _model(w.external("k", w.FLOAT, [2, 2], location=name, **entries))


def test_bytes_decide_and_names_do_not(tmp_path: Path) -> None:
    (tmp_path / "a.pb").write_bytes(_model())
    (tmp_path / "b.onnx").write_bytes(GRAPH_DEF)
    names = [
        import_file(read_graph(tmp_path / name), ImportOptions()).graph.output_names for name in ("a.pb", "b.onnx")
    ]
    assert names == [("x",), ("y:0",)]
    for data in (_model(), GRAPH_DEF):
        found = graph_file(data)
        assert (found.data, found.folder, found.sha256) == (data, None, hashlib.sha256(data).hexdigest())
        assert graph_file(found) is found


def test_sizes_of_channels_first_inputs_are_fixed_as_asked() -> None:
    fixed = import_shaped(_model(), CompileOptions(OPTIONS.targets, shape_mutable=False, input_size=33))
    assert [str(n.type) for n in fixed.graph.inputs] == ["float32[1, 3, 33, 33]"]
    given = import_shaped(_model(), CompileOptions(OPTIONS.targets, input_shapes={"x": (None, None, 5, 7)}))
    assert [str(n.type) for n in given.graph.inputs] == ["float32[1, 3, 5, 7]"]


def test_values_in_a_second_file_are_read_and_count_in_the_digest(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(_outside())
    values = np.arange(4, dtype="<f4")
    found: list[GraphFile] = []
    for shift in (0, 1):
        (tmp_path / "values.bin").write_bytes((values + shift).tobytes())
        found.append(read_graph(path))
        held = import_shaped(found[-1], OPTIONS).graph.outputs[1].op
        assert isinstance(held, ops.Constant)
        assert held.value.tolist() == [[shift, 1 + shift], [2 + shift, 3 + shift]]
    assert len({file.sha256 for file in found}) == 2
    assert found[0].sha256 == hashlib.sha256(_outside() + values.tobytes()).hexdigest()


def test_values_outside_the_folder_are_named_and_never_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(16))
    inner = tmp_path / "model"
    inner.mkdir()
    (inner / "link").symlink_to(tmp_path / "secret")
    for name, match in (("../secret", "not the plain name"), ("link", "is a link"), ("gone", "must stand beside it")):
        (inner / "m.onnx").write_bytes(_outside(name))
        file = read_graph(inner / "m.onnx")
        assert file.sha256 == hashlib.sha256(file.data).hexdigest()
        with pytest.raises(GraphError, match=match):
            import_shaped(file, OPTIONS)
    with pytest.raises(GraphError, match="given as bytes: give the path"):
        import_shaped(_outside(), OPTIONS)


def test_no_more_is_read_for_the_digest_than_constants_may_take(tmp_path: Path) -> None:
    (tmp_path / "values.bin").write_bytes(np.ones(4, "<f4").tobytes())
    (tmp_path / "m.onnx").write_bytes(_outside())
    limited = read_graph(tmp_path / "m.onnx", GraphLimits(max_constant_bytes=8))
    assert limited.sha256 == hashlib.sha256(_outside()).hexdigest()
    with pytest.raises(GraphError, match="--max-constant-bytes"):
        import_shaped(limited, CompileOptions(OPTIONS.targets, limits=GraphLimits(max_constant_bytes=8)))


def test_what_is_no_graph_says_what_is_taken(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no graph .*: give an ONNX model \(\.onnx\) or a frozen"):
        read_graph(tmp_path / "gone.onnx")
    (tmp_path / "m.onnx").write_bytes(b"PK\x03\x04 data.pkl")
    with pytest.raises(GraphError, match=r"is a PyTorch file, .*torch\.onnx\.export"):
        read_graph(tmp_path / "m.onnx")
    with pytest.raises(GraphError, match="not a TensorFlow GraphDef"):
        import_shaped(b"\xff" * 40, OPTIONS)


def test_tensorflow_is_no_reference_for_an_onnx_model() -> None:
    graph = import_shaped(_model(), OPTIONS).graph
    with pytest.raises(UsageError, match="this is an ONNX model: take numpy"):
        TensorFlowSource(_model(), graph, (), {})
