"""Values in a second file: from the model's own folder, from an ordinary file, and never beyond its end."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import onnx_wire as w
from smalti.errors import GraphError
from smalti.frontend.onnx.reader import read_model
from smalti.frontend.onnx.wire import external
from smalti.frontend.onnx.wire.tensors import OnnxTensor
from smalti.frontend.onnx.wire.types import OnnxType

VALUES = np.arange(8, dtype=np.float32)
DATA = VALUES.tobytes()


def tensor(
    folder: Path | None, dims: tuple[int, ...] = (4,), kind: int = w.FLOAT, **entries: str | bytes
) -> OnnxTensor:
    """Return the initialiser of a model whose values are elsewhere; without a folder, of bytes."""
    held = w.external("k", kind, dims, **({"location": "k.data"} | entries))
    data = w.network(w.node("Relu", ["x"], ["y"]), initialisers=[held])
    if folder is None:
        graph = read_model(data)
    else:
        (folder / "net.onnx").write_bytes(data)
        graph = read_model(folder / "net.onnx")
    return graph.attributes(next(n for n in graph.nodes if n.op == "Constant")).tensor("value")


def refused(folder: Path | None, dims: tuple[int, ...] = (4,), limit: int = 1 << 20, **entries: str | bytes) -> str:
    with pytest.raises(GraphError) as caught:
        tensor(folder, dims, **entries).decode(limit)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a file of values."""
    made = tmp_path / "model"
    made.mkdir()
    (made / "k.data").write_bytes(DATA)
    return made


def test_values_of_a_second_file(folder: Path) -> None:
    assert tensor(folder).decode(16).tolist() == [0, 1, 2, 3]
    assert tensor(folder, offset="16", length="16").decode(16).tolist() == [4, 5, 6, 7]
    assert tensor(folder, (2, 3), offset="4").decode(24).tolist() == [[1, 2, 3], [4, 5, 6]]
    assert tensor(folder, (8,), length="32", checksum="of no use").decode(32).tobytes() == DATA
    assert tensor(folder, (0, 3), offset="32").decode(0).shape == (0, 3)
    assert tensor(folder, (3,), OnnxType.BFLOAT16.value, offset="2").decode(12).dtype == np.float32
    assert tensor(folder, (3,), OnnxType.BOOL.value, offset="6").decode(3).tolist() == [True, True, False]
    held = tensor(folder).decode(16)
    assert held.flags.aligned and not held.flags.writeable


def test_a_name_that_is_not_ascii(folder: Path) -> None:
    (folder / "k.data").rename(folder / "Gewichte für k.data")
    assert tensor(folder, location="Gewichte für k.data").decode(16).tolist() == [0, 1, 2, 3]


def test_a_model_without_a_folder_has_no_second_file() -> None:
    assert "the model was given as bytes: give the path of the .onnx file" in refused(None)


@pytest.mark.parametrize(
    "location",
    [
        "../k.data",
        "..",
        ".",
        "",
        "./k.data",
        "sub/k.data",
        "/etc/passwd",
        "//k.data",
        "..\\k.data",
        "C:\\k.data",
        "k.data/",
        "k.data\n",
        "k\u202e.data",
        "k" * 256,
        "é" * 128,
    ],
)
def test_names_that_lead_anywhere_are_refused_before_anything_is_opened(
    location: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.parent / "k.data").write_bytes(DATA)
    (folder / "sub").mkdir()
    (folder / "sub" / "k.data").write_bytes(DATA)
    held = tensor(folder, location=location)
    monkeypatch.setattr(os, "open", _never)
    with pytest.raises(GraphError, match="plain name of a file|is not printable"):
        held.decode(16)


def _never(*_: object, **__: object) -> int:
    raise AssertionError("a file is opened")


@pytest.mark.parametrize("location", [b"k\0.data", b"\xff.data"])
def test_names_that_are_no_text(location: bytes, folder: Path) -> None:
    assert "is not UTF-8" in refused(folder, location=location) or "not printable" in refused(folder, location=location)


def _symbolic(folder: Path) -> None:
    (folder / "k.data").rename(folder / "other")
    (folder / "k.data").symlink_to("other")


def _outside(folder: Path) -> None:
    (folder / "k.data").unlink()
    (folder / "k.data").symlink_to("/etc/passwd")


def _dangling(folder: Path) -> None:
    (folder / "k.data").unlink()
    (folder / "k.data").symlink_to("nothing")


def _loop(folder: Path) -> None:
    (folder / "k.data").unlink()
    (folder / "k.data").symlink_to("k.data")


def _hard(folder: Path) -> None:
    os.link(folder / "k.data", folder.parent / "other")


def _pipe(folder: Path) -> None:
    (folder / "k.data").unlink()
    os.mkfifo(folder / "k.data")


def _directory(folder: Path) -> None:
    (folder / "k.data").unlink()
    (folder / "k.data").mkdir()


def _socket(folder: Path) -> None:
    (folder / "k.data").unlink()
    here = Path.cwd()
    os.chdir(folder)  # the path of a socket may only be short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("k.data")
    finally:
        os.chdir(here)


def _nothing(folder: Path) -> None:
    (folder / "k.data").unlink()


def _device(folder: Path) -> None:
    (folder / "k.data").unlink()
    try:
        os.mknod(folder / "k.data", 0o20600, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("devices cannot be made here")


FILES: dict[Callable[[Path], None], str] = {
    _symbolic: "is a link, and links are not followed",
    _outside: "is a link, and links are not followed",
    _dangling: "is a link, and links are not followed",
    _loop: "is a link, and links are not followed",
    _hard: "has 2 names (hard links)",
    _pipe: "is no ordinary file",
    _directory: "is no ordinary file",
    _socket: "is no ordinary file",
    _device: "is no ordinary file",
    _nothing: "cannot be read: No such file or directory; the files of a model's values must stand beside it",
}


@pytest.mark.parametrize("make", FILES, ids=lambda make: make.__name__.strip("_"))
def test_files_that_are_none(make: Callable[[Path], None], folder: Path) -> None:
    make(folder)
    assert FILES[make] in refused(folder)


def test_a_link_that_takes_the_place_of_the_file_is_not_followed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at it and the opening of it."""
    look = external._check_kind

    def swap(status: os.stat_result, name: str) -> None:
        look(status, name)
        _outside(folder)

    monkeypatch.setattr(external, "_check_kind", swap)
    assert "cannot be read: Too many levels of symbolic links" in refused(folder)


def test_another_file_that_takes_its_place_is_looked_at_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look = external._check_kind
    looks: list[str] = []

    def swap(status: os.stat_result, name: str) -> None:
        looks.append(name)
        look(status, name)
        if len(looks) == 1:
            _hard(folder)

    monkeypatch.setattr(external, "_check_kind", swap)
    assert "has 2 names" in refused(folder)


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ({"offset": "17"}, "end at byte 33 of the file 'k.data', which has 32"),
        ({"offset": "32"}, "end at byte 48 of the file 'k.data', which has 32"),
        ({"offset": str(1 << 62)}, "which has 32"),
        ({"offset": "99999999999999999999"}, "which has 32"),
        ({"offset": "9" * 21}, "no number of bytes"),
        ({"offset": "-4"}, "the offset of its external data is '-4', which is no number of bytes"),
        ({"offset": "4.0"}, "no number of bytes"),
        ({"offset": "0x10"}, "no number of bytes"),
        ({"offset": ""}, "no number of bytes"),
        ({"offset": "٤"}, "no number of bytes"),
        ({"length": "15"}, "has 15 bytes where 16 are needed"),
        ({"length": "17"}, "has 17 bytes where 16 are needed"),
        ({"length": "0"}, "has 0 bytes where 16 are needed"),
        ({"length": "-1"}, "no number of bytes"),
        ({"colour": "red"}, "the unknown entry 'colour'"),
    ],
)
def test_ranges_that_are_none(entries: dict[str, str], text: str, folder: Path) -> None:
    assert text in refused(folder, **entries)


def test_entries_that_lie(folder: Path) -> None:
    many = w.body(13, w.body(1, "location") + w.body(2, "k.data"))
    for fields, text in ((many * 2, "two entries 'location'"), (many * 17, "has 17 entries"), (b"", "plain name")):
        data = w.network(
            w.node("Relu", ["x"], ["y"]), initialisers=[w.tensor("k", w.FLOAT, (4,), fields, w.number(14, 1))]
        )
        (folder / "net.onnx").write_bytes(data)
        graph = read_model(folder / "net.onnx")
        value = graph.attributes(graph.nodes[1]).tensor("value")
        with pytest.raises(GraphError, match=text):
            value.decode(16)


def test_the_limit_counts_before_anything_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = tensor(folder), tensor(folder, (1 << 20, 1 << 20))
    monkeypatch.setattr(os, "open", _never)
    with pytest.raises(GraphError, match="takes 16 bytes; 15 are left of the limit"):
        small.decode(15)
    with pytest.raises(GraphError, match="takes 4398046511104 bytes"):
        large.decode(1 << 30)


def test_a_file_of_a_terabyte_without_content_is_read_where_it_is_asked_to_be(folder: Path) -> None:
    os.truncate(folder / "k.data", 1 << 40)
    assert tensor(folder, offset=str((1 << 40) - 16)).decode(16).tolist() == [0, 0, 0, 0]
    assert "which has 1099511627776" in refused(folder, offset=str((1 << 40) - 15))


def test_a_file_that_is_cut_while_it_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = os.pread

    def cut(descriptor: int, count: int, at: int) -> bytes:
        os.truncate(folder / "k.data", 8)
        return read(descriptor, count, at)

    held = tensor(folder)
    monkeypatch.setattr(os, "pread", cut)
    with pytest.raises(GraphError, match=r"'k\.data' was cut while it was read"):
        held.decode(16)


def test_reads_may_come_in_pieces(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = os.pread
    monkeypatch.setattr(os, "pread", lambda descriptor, count, at: read(descriptor, min(count, 5), at))
    assert tensor(folder).decode(16).tolist() == [0, 1, 2, 3]


def test_no_descriptor_stays_open(folder: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    tensor(folder).decode(16)
    for entries in ({"offset": "99"}, {"location": "none"}, {"location": "net.onnx", "offset": "9999"}):
        refused(folder, **entries)
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_sparse_tensor_may_have_its_parts_there_too(folder: Path) -> None:
    parts = w.sparse(w.external("s", w.FLOAT, (2,), location="k.data", offset="4"), w.array("", [0, 3], np.int64), (5,))
    data = w.model(w.graph([], [], [w.value("s")], (), w.body(15, parts)))
    (folder / "net.onnx").write_bytes(data)
    graph = read_model(folder / "net.onnx")
    value = graph.attributes(graph.nodes[0]).sparse("sparse_value")
    assert value.decode(100, 100).tolist() == [1, 0, 0, 2, 0]
