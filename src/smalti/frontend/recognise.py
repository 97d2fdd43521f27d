"""What a file is, by its bytes: a graph that is read, or what users take for one, and what to do then.

The table ``FORMATS`` is the one place for that advice.  The graphs that are read are looked for before the rest, so
that no weaker sign can make something else of them; names and suffixes do not count.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from smalti.errors import UsageError
from smalti.frontend.wire import BYTES, VARINT, Field, Source, fields, source_of_bytes, source_of_file, text_of

GRAPH_FILE = "frozen_inference_graph.pb"
MAX_FILES = 64
"""Files of a folder that are looked at."""
_START = 4096
_ZIP_END = 1 << 16
_MAX_NAME = 4096
_TAR_MAGIC_AT = 257
_MOST_NODES = 16
_OP = re.compile(r"[A-Za-z_][A-Za-z0-9_.>]*")
_FREEZE = (
    "freeze it in TensorFlow (convert_variables_to_constants, or convert_variables_to_constants_v2 of a concrete "
    "function) and give the GraphDef (.pb) that this makes"
)
GRAPH_DEF, ONNX = "GraphDef", "ONNX model"
"""The names of the formats that are read."""
READ_KINDS = "an ONNX model (.onnx) or a frozen TensorFlow GraphDef (.pb)"
_EXPORT = f"export the network as {READ_KINDS}, which is what this version of Smalti reads"


@dataclass(frozen=True, slots=True)
class Look:
    """The beginning of some bytes, the fields they have if they are protobuf, and where more of them is."""

    source: Source
    start: bytes
    fields: tuple[Field, ...]

    def numbered(self, number: int) -> tuple[Field, ...]:
        """Return the fields of a number."""
        return tuple(field for field in self.fields if field.number == number)


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of file: ``is_it`` tells by the bytes; ``advice`` completes "this is ...", and is empty for graphs."""

    name: str
    is_it: Callable[[Look], bool]
    advice: str


def recognise(source: Source) -> Format | None:
    """Return what bytes are, or ``None`` where nothing is known of them."""
    look = Look(source, source.read(0, _START), fields(source))
    return next((known for known in FORMATS if known.is_it(look)), None)


def recognise_bytes(data: bytes) -> Format | None:
    """Return what bytes in memory are."""
    return recognise(source_of_bytes(data))


def recognise_file(path: Path) -> Format | None:
    """Return what a file is; a few kilobytes of it are read.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return recognise(source_of_file(file.fileno()))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; give a file that you may read") from error


def graph_in_folder(path: Path) -> Path:
    """Return the frozen graph of a folder: the file with the name that such graphs of TensorFlow usually have.

    Raises:
        UsageError: there is none; the text says what else the folder holds.
    """
    if (path / GRAPH_FILE).is_file():
        return path / GRAPH_FILE
    try:
        with os.scandir(path) as entries:
            names = sorted(entry.name for entry, _ in zip(entries, range(MAX_FILES), strict=False) if entry.is_file())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; give a file that you may read") from error
    found = {name: known for name in names if (known := recognise_file(path / name)) is not None and name}
    graph = next((name for name, known in found.items() if not known.advice), None)
    if graph is not None:
        raise UsageError(f"{path} is a folder without {GRAPH_FILE}: give the file, {path / graph}")
    other = min(found.items(), key=lambda item: FORMATS.index(item[1]), default=None)
    if other is None:
        raise UsageError(f"{path} is a folder without {GRAPH_FILE}: give the .onnx or .pb file")
    raise UsageError(f"{path} is a folder without {GRAPH_FILE}; its {other[0]} is {other[1].advice}")


# ---- the tests ------------------------------------------------------------------------------------------------------


def _begins(*beginnings: bytes) -> Callable[[Look], bool]:
    return lambda look: look.start.startswith(beginnings)


def _text_begins(pattern: str) -> Callable[[Look], bool]:
    """Return a test for texts that begin so, behind white space, a byte order mark and ``#`` comments."""
    compiled = re.compile(rb"(?:\xef\xbb\xbf)?(?:\s|#[^\n]*\n)*(?:" + pattern.encode("ascii") + rb")", re.IGNORECASE)
    return lambda look: compiled.match(look.start) is not None


def _is_node(look: Look, field: Field) -> bool:
    """Whether a field looks like a NodeDef: one name and one operation, which is an identifier."""
    if field.wire != BYTES:
        return False
    inside = fields(look.source, field.start, field.end)
    names = [text_of(look.source, f, _MAX_NAME) for f in inside if f.number == 1]
    kinds = [text_of(look.source, f, _MAX_NAME) for f in inside if f.number == 2]
    if len(names) != 1 or len(kinds) != 1:
        return False
    return names[0] is not None and kinds[0] is not None and _OP.fullmatch(kinds[0]) is not None


def _is_graph(look: Look) -> bool:
    nodes = look.numbered(1)
    return bool(nodes) and _is_node(look, nodes[0])


def _is_foreign_graph(look: Look) -> bool:
    """Whether nodes are as in a GraphDef, but have attributes where TensorFlow's have the name of a device."""
    for field in look.numbered(1)[:_MOST_NODES]:
        if not _is_node(look, field):
            return False
        devices = [f for f in fields(look.source, field.start, field.end) if f.number == 4 and f.wire == BYTES]
        for device in devices:
            inside = fields(look.source, device.start, device.end)
            if [(f.number, f.wire) for f in inside] == [(1, BYTES), (2, BYTES)]:
                return True
    return False


def _is_onnx(look: Look) -> bool:
    graphs, versions = look.numbered(7), look.numbered(1)
    if (
        len(graphs) != 1
        or not versions
        or versions[0].wire != VARINT
        or any(f.wire == VARINT for f in look.numbered(2))
    ):
        return False
    return graphs[0].wire == BYTES and bool(fields(look.source, graphs[0].start, graphs[0].end, most=1))


def _is_onnx_tensor(look: Look) -> bool:
    kinds = look.numbered(2)
    data = [f for number in (4, 5, 6, 7, 9, 10, 11) for f in look.numbered(number)]
    known = all(1 <= f.number <= 14 for f in look.fields)
    return known and bool(data) and len(kinds) == 1 and kinds[0].wire == VARINT and 1 <= kinds[0].value <= 32


def _is_meta_graph(look: Look, inside: tuple[Field, ...] | None = None) -> bool:
    """Whether a message begins with facts about a graph (field 1) and goes on with a GraphDef (field 2)."""
    found = look.fields if inside is None else inside
    graph = next((f for f in found if f.number == 2 and f.wire == BYTES), None)
    if graph is None or found[0].number != 1 or found[0].wire != BYTES:
        return False
    nodes = fields(look.source, graph.start, graph.end)
    return bool(nodes) and nodes[0].number == 1 and _is_node(look, nodes[0])


def _is_saved_model(look: Look) -> bool:
    if not look.fields or look.fields[0].number != 1 or look.fields[0].wire != VARINT:
        return False
    graphs = look.numbered(2)
    if not graphs or len(look.fields) != 1 + len(graphs) or graphs[0].wire != BYTES:
        return False
    return _is_meta_graph(look, fields(look.source, graphs[0].start, graphs[0].end))


def _is_checkpoint_index(look: Look) -> bool:
    # The last eight bytes of the sorted tables that TensorFlow keeps the names of variables in.
    return look.source.read(max(0, look.source.size - 8), 8) == bytes.fromhex("57fb808b247547db")


def _zip_with(*names: bytes) -> Callable[[Look], bool]:
    """Return a test for zip archives that list a file of one of these names."""

    def test(look: Look) -> bool:
        if not look.start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return False
        listed = look.start + look.source.read(max(0, look.source.size - _ZIP_END), _ZIP_END)
        return not names or any(name in listed for name in names)

    return test


def _is_tar(look: Look) -> bool:
    return look.start[_TAR_MAGIC_AT : _TAR_MAGIC_AT + 5] == b"ustar"


def _is_picture(look: Look) -> bool:
    start = look.start
    if start[:2] == b"BM":
        return start[6:10] == bytes(4)
    return start.startswith(_PICTURES) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")


_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"7z\xbc\xaf\x27\x1c", b"\x28\xb5\x2f\xfd", b"Rar!")
_PICTURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\x00", b"MM\x00*")

FORMATS = (
    Format(
        "graph of another tool",
        _is_foreign_graph,
        f"a graph of another tool (such as MMdnn's) that only resembles a TensorFlow GraphDef: {_EXPORT}",
    ),
    Format(GRAPH_DEF, _is_graph, ""),
    Format(ONNX, _is_onnx, ""),
    Format(
        "TFLite model",
        lambda look: look.start[4:8] == b"TFL3",
        "a TFLite model: give the frozen GraphDef (.pb) that it was converted from, or export the network as ONNX",
    ),
    Format("SavedModel", _is_saved_model, f"a TensorFlow SavedModel, whose weights are in files beside it: {_FREEZE}"),
    Format(
        "MetaGraphDef",
        _is_meta_graph,
        f"a MetaGraphDef (the .meta file of a TensorFlow checkpoint), which holds no weights: {_FREEZE}",
    ),
    Format(
        "checkpoint index",
        _is_checkpoint_index,
        f"a TensorFlow checkpoint, which holds weights or their names and no graph: {_FREEZE}",
    ),
    Format(
        "checkpoint state",
        _text_begins("model_checkpoint_path:"),
        f"the list of a TensorFlow checkpoint folder: {_FREEZE}",
    ),
    Format("Keras HDF5", _begins(b"\x89HDF\r\n\x1a\n"), f"an HDF5 file (Keras .h5): load it, then {_FREEZE}"),
    Format(
        "PyTorch archive",
        _zip_with(b"data.pkl"),
        "a PyTorch file, which holds weights and Python code: load it and export the network with torch.onnx.export",
    ),
    Format(
        "Keras archive",
        _zip_with(b"model.weights.h5"),
        f"a Keras model (.keras): load it, then {_FREEZE}",
    ),
    Format(
        "archive",
        lambda look: _zip_with()(look) or _is_tar(look) or look.start.startswith(_PACKED),
        "an archive: unpack it and give the .onnx file or the frozen GraphDef (.pb) in it",
    ),
    Format(
        "pickle",
        _begins(b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"),
        f"a Python pickle (an older PyTorch file, for instance), which Smalti never loads: {_EXPORT}",
    ),
    Format(
        "Smalti model",
        _begins(b"\x89SMALTI\n"),
        "an offline model file of Smalti, so it is built already: run it with `smalti infer`",
    ),
    Format(
        "Git LFS pointer",
        _begins(b"version https://git-lfs.github.com/spec/"),
        "a Git LFS pointer and not the file itself: fetch that with `git lfs pull`",
    ),
    Format(
        "web page",
        _text_begins("<!doctype html|<html|<head|<body"),
        "a web page: the download went wrong; fetch the file itself (the raw or download link) again",
    ),
    Format(
        "text GraphDef",
        _text_begins(r"(?:node|versions|library|meta_info_def|saved_model_schema_version)\s*[:{]"),
        "a graph in text form (.pbtxt): read it with google.protobuf.text_format and write SerializeToString() of the "
        "frozen GraphDef to a .pb file",
    ),
    Format("XML text", _text_begins(r"<\?xml"), f"an XML text (OpenVINO keeps networks so): {_EXPORT}"),
    Format("JSON text", _text_begins(r"\{\s*\""), f"a JSON text, which holds no frozen graph: {_EXPORT}"),
    Format(
        "picture",
        _is_picture,
        "a picture: pictures go to `smalti infer --image-dir`, and a build takes a graph (.onnx, .pb)",
    ),
    Format(
        "ONNX tensor",
        _is_onnx_tensor,
        "one tensor of ONNX (test data of a model) and no graph: give the .onnx file of the model",
    ),
    Format(
        "empty file",
        lambda look: look.source.size == 0,
        "an empty file: the download or export was cut; make it again",
    ),
)
