"""Files are told apart by their bytes: a frozen graph is always one, and what is none is named with what to do."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from graph_builder import GraphBuilder
from shared_data import shared_dir
from small_segmenter import network
from smalti.artifact.format import MAGIC
from smalti.cli.exit_codes import ExitCode
from smalti.cli.main import run
from smalti.compiling.source import read_graph
from smalti.demo.dataset import GRAPH_PATH, graph_bytes
from smalti.errors import GraphError, UsageError
from smalti.frontend.recognise import FORMATS, graph_in_folder, recognise, recognise_bytes, recognise_file
from smalti.frontend.tensorflow.graphdef import parse_graph_def
from smalti.frontend.wire import MAX_FIELDS, Source, fields, source_of_bytes
from smalti.vision.images import ImageFormat, encode_picture
from switched_graphs import switched_network

GRAPH = GraphBuilder().placeholder("x", np.float32, [1, 4, 4, 3]).node("Relu", "y", ["x"]).bytes()


def _varint(value: int) -> bytes:
    head = value & 127
    return bytes([head]) if value < 128 else bytes([head | 128]) + _varint(value >> 7)


def _bytes(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _zip(*names: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name in names:
            archive.writestr(name, b"x" * 100)
    return made.getvalue()


def _tar() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model/frozen_inference_graph.pb"))
    return made.getvalue()


PIXELS = np.zeros((4, 4, 3), np.uint8)
META = _bytes(1, _bytes(2, _bytes(1, _bytes(1, b"Add"))) + _bytes(4, b"serve") + _bytes(5, b"1.15.0")) + _bytes(
    2, GRAPH
)
ONNX_NODE = _bytes(1, b"x") + _bytes(2, b"y") + _bytes(3, b"relu") + _bytes(4, b"Relu")
ONNX = (
    _number(1, 8)
    + _bytes(2, b"pytorch")
    + _bytes(7, _bytes(1, ONNX_NODE) + _bytes(2, b"g"))
    + _bytes(8, _number(2, 13))
)
MMDNN = _bytes(
    1, _bytes(1, b"data") + _bytes(2, b"DataInput") + _bytes(4, _bytes(1, b"dtype") + _bytes(2, _number(6, 10)))
)
KINDS: dict[str, tuple[bytes, ...]] = {
    "GraphDef": (GRAPH, network(), switched_network()),
    "graph of another tool": (MMDNN,),
    "ONNX model": (ONNX, _number(1, 3) + _bytes(7, _bytes(1, ONNX_NODE))),
    "TFLite model": (b"\x1c\x00\x00\x00TFL3" + bytes(40),),
    "SavedModel": (_number(1, 1) + _bytes(2, META), _number(1, 1) + _bytes(2, META) * 2),
    "MetaGraphDef": (META, META + _bytes(3, b"\x0a\x00")),
    "checkpoint index": (bytes(100) + bytes.fromhex("57fb808b247547db"),),
    "checkpoint state": (b'model_checkpoint_path: "model.ckpt-1"\n',),
    "Keras HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(40),),
    "PyTorch archive": (_zip("archive/data.pkl", "archive/data/0"), _zip("net/data.pkl")),
    "Keras archive": (_zip("metadata.json", "config.json", "model.weights.h5"),),
    "archive": (_zip("frozen_inference_graph.pb"), _zip(), _tar(), gzip.compress(_tar()), b"BZh91AY&SY"),
    "pickle": (pickle.dumps({"w": 1}, 2), pickle.dumps([1], 4)),
    "Smalti model": (MAGIC + bytes(100),),
    "Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",),
    "web page": (b"<!DOCTYPE html><html>", b"\n  <html lang='en'>", b"\xef\xbb\xbf<HTML>", b"<head>"),
    "text GraphDef": (b'node {\n  name: "x"\n', b"# made by hand\n\nversions {", b"node: {", b"meta_info_def {"),
    "XML text": (b'<?xml version="1.0"?><net name="x">',),
    "JSON text": (b'{"class_name": "Model"}', b'{\n  "format": "graph-model"'),
    "picture": (
        *(encode_picture(PIXELS, kind) for kind in ImageFormat),
        b"GIF89a" + bytes(9),
        b"BM\x10\x00\x00\x00" + bytes(8),
        b"RIFF" + bytes(4) + b"WEBP",
    ),
    "ONNX tensor": (
        _number(1, 1) + _number(1, 4) + _number(2, 1) + _bytes(9, bytes(16)),
        _bytes(1, b"\x01\x04") + _number(2, 1) + _bytes(4, bytes(16)) + _bytes(8, b"out"),
    ),
    "empty file": (b"",),
}  # fmt: skip


def test_every_kind_has_an_example() -> None:
    assert set(KINDS) == {known.name for known in FORMATS}
    assert [known.name for known in FORMATS if not known.advice] == ["GraphDef", "ONNX model"]


@pytest.mark.parametrize("name", KINDS)
def test_kinds_are_told_apart_whatever_the_file_is_called(name: str, tmp_path: Path) -> None:
    for data in KINDS[name]:
        found = recognise_bytes(data)
        assert found is not None and found.name == name
        path = tmp_path / "frozen_inference_graph.pb"
        path.write_bytes(data)
        assert recognise_file(path) is found
        if found.advice:
            said = []
            with pytest.raises(GraphError) as caught:
                read_graph(path)
            said.append(str(caught.value))
            with pytest.raises(GraphError) as caught:
                parse_graph_def(data)
            said.append(str(caught.value))
            assert all(found.advice in text and "\n" not in text for text in said)
        elif name == "GraphDef":
            assert read_graph(path).data == data and parse_graph_def(data).node
        else:
            assert read_graph(path).data == data
            with pytest.raises(GraphError, match="not a TensorFlow GraphDef, but an ONNX model"):
                parse_graph_def(data)


@pytest.mark.parametrize(
    "data", [b"\xff" * 40, b"hello", bytes(64), b"\x0a", b"\n\n\n", b"\x08\x01", np.arange(64.0).tobytes()]
)
def test_of_other_bytes_nothing_is_said(data: bytes) -> None:
    assert recognise_bytes(data) is None
    with pytest.raises(GraphError, match="not a TensorFlow GraphDef"):
        parse_graph_def(data)


@pytest.mark.parametrize(("folder", "kinds"), [
    ("onnx", {"ONNX model"}), ("tflite", {"TFLite model"}), ("pb", {"GraphDef"}),
    ("extra", {"graph of another tool", "ONNX tensor"}),
])  # fmt: skip
def test_public_files(folder: str, kinds: set[str]) -> None:
    where = shared_dir() / "wild" / folder
    if not where.is_dir():
        pytest.skip("the public model files of other formats are not on this machine")
    found = {path.name: recognise_file(path) for path in sorted(where.iterdir())}
    assert {known.name for known in found.values() if known} == kinds and None not in found.values()


def test_real_graphs_are_graphs() -> None:
    for path in [GRAPH_PATH, *sorted((shared_dir() / "models").glob("*/*.pb"))]:
        found = recognise_file(path)
        assert found is not None and found.name == "GraphDef", path


def test_graphs_that_may_be_damaged_are_never_something_else() -> None:
    """What fuzzing kept: bytes that are accepted are graphs; of those that are refused nothing else is said."""
    corpus = Path(__file__).resolve().parents[1] / "fuzz" / "corpus" / "graphs"
    for path in sorted(corpus.glob("*/*")):
        found = recognise_file(path)
        assert (found is not None or path.parent.name == "refused") and (found is None or not found.advice), path


NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters=":^"), min_size=1, max_size=40
)
OPS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.>]{0,30}", fullmatch=True)


@given(st.lists(st.tuples(NAMES, OPS, st.binary(max_size=300)), min_size=1, max_size=12), st.booleans())
@example([("TFL3", "PK", b"")], False)
@example([("<html>", "html", b"<html")], True)
def test_a_graph_is_never_something_else(nodes: list[tuple[str, str, bytes]], versioned: bool) -> None:
    made = GraphBuilder()
    for name, op, value in nodes:
        made.node(op, name, value=value, T=np.float32, n=3, flag=True, x=0.5)
        made.graph.node[-1].device = b"/job:localhost/device:CPU:0" if versioned else b""
    data = made.bytes() + (_bytes(4, _number(1, 21)) + _bytes(2, _bytes(1, b"")) if versioned else b"")
    found = recognise_bytes(data)
    assert found is not None and found.name == "GraphDef"


@given(st.binary(max_size=400))
@settings(max_examples=200)
def test_any_bytes_can_be_looked_at(data: bytes) -> None:
    found = recognise_bytes(data)
    assert found is None or found in FORMATS
    recognise_bytes(b"\x0a" + data)
    recognise_bytes(_bytes(1, data) * 3)


@pytest.mark.parametrize("make", [
    lambda: b"\x0a\x00" * 4_000_000,
    lambda: b" " * 4_000_000,
    lambda: b"#\n" * 2_000_000,
    lambda: _bytes(1, _bytes(1, b"n") + _bytes(2, b"Op") + _bytes(4, b"\x0a\x00" * 9) * 400) * 2000,
    lambda: _number(1, 1) * 2_000_000,
], ids=("nodes", "spaces", "comments", "devices", "numbers"))  # fmt: skip
def test_a_look_is_short_and_reads_little(make: Callable[[], bytes]) -> None:
    data, read = make(), [0]

    def piece(offset: int, count: int) -> bytes:
        read[0] += count
        return data[offset : offset + count]

    start = time.perf_counter()
    recognise(Source(len(data), piece))
    assert time.perf_counter() - start < 5
    assert read[0] < 2_000_000


def test_a_huge_file_is_recognised_and_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.pb"
    header = _number(1, 8) + _varint(7 << 3 | 2) + _varint(2**33)
    path.write_bytes(header + _bytes(1, ONNX_NODE))
    os.truncate(path, len(header) + 2**33)
    known = recognise_file(path)
    assert known is not None and known.name == "ONNX model"
    with pytest.raises(GraphError, match="the limit for a graph is"):
        read_graph(path)


def test_fields_are_bounded_and_strict() -> None:
    assert len(fields(source_of_bytes(_number(1, 1) * 1000))) == MAX_FIELDS
    for wrong in (b"\x0a\x05abc", b"\x07", b"\x00\x00", b"\x0a", b"\x08", b"\xff" * 30, b"\x0b"):
        assert fields(source_of_bytes(wrong)) == ()
    found = fields(source_of_bytes(_number(3, 300) + _bytes(2, b"ab") + b"\x25abcd" + b"\x29abcdefgh"))
    assert [(f.number, f.wire, f.value, f.end - f.start) for f in found] == [
        (3, 0, 300, 0), (2, 2, 2, 2), (4, 5, 0, 4), (5, 1, 0, 8)
    ]  # fmt: skip


# ---- folders and the command line -----------------------------------------------------------------------------------


def test_a_folder_gives_its_graph_or_says_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give the .onnx or .pb file"):
        graph_in_folder(tmp_path)
    (tmp_path / "checkpoint").write_bytes(KINDS["checkpoint state"][0])
    with pytest.raises(UsageError, match="its checkpoint is the list of a TensorFlow checkpoint folder"):
        graph_in_folder(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(KINDS["SavedModel"][0])
    with pytest.raises(UsageError, match="its saved_model.pb is a TensorFlow SavedModel"):
        graph_in_folder(tmp_path)
    (tmp_path / "net.bin").write_bytes(GRAPH)
    with pytest.raises(UsageError, match=r"give the file, .*net\.bin"):
        graph_in_folder(tmp_path)
    (tmp_path / "frozen_inference_graph.pb").write_bytes(GRAPH)
    assert read_graph(tmp_path).data == GRAPH


@pytest.mark.parametrize("option", ["--model", "--tf-model"])
def test_the_command_says_what_a_file_is(option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "g.pb").write_bytes(KINDS["TFLite model"][0])
    graph = [option, str(tmp_path / "g.pb")]
    assert run(["build", *graph, "--output-model-path", str(tmp_path / "m"), "--json"]) == ExitCode.BAD_DATA
    assert "is a TFLite model" in json.loads(capsys.readouterr().out)["error"]["message"]
    assert run(["sensitivity", *graph, "--image-dir", str(tmp_path), "--quant-mode", "f16"]) == ExitCode.BAD_DATA
    assert "is a TFLite model" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "m").exists()


def test_the_demo_is_a_graph() -> None:
    assert recognise_bytes(graph_bytes()) == recognise_file(GRAPH_PATH)
