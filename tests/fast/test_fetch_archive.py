"""Unpacking of archives that somebody built to do harm, or that are damaged."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from smalti.errors import ArchiveError, FetchError, SmaltiError
from smalti.fetch import archive as archive_module
from smalti.fetch.archive import UnpackedFile, unpack
from smalti.fetch.registry import Limits

LIMITS = Limits(archive_bytes=10_000_000, unpacked_bytes=5_000_000, members=50)
MUTANTS = 400
GRAPH = bytes(range(256)) * 20


def member(name: str, data: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def tar_bytes(*members: tuple[tarfile.TarInfo, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


HONEST = (
    member("net", type=tarfile.DIRTYPE),
    member("net/graph.pb", GRAPH),
    member("./net/deep/er/x.txt", b"x"),
    member("beside/readme", b"left out"),
    member("net/empty", b""),
)


def run(data: bytes, folder: Path, limits: Limits = LIMITS) -> tuple[UnpackedFile, ...]:
    source = folder / "archive"
    source.write_bytes(data)
    into = folder / "into"
    into.mkdir(exist_ok=True)
    with open(source, "rb") as file:
        return unpack(file, "net.tar", "net", into, limits)


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("packed", [False, True])
def test_honest_archive(packed: bool, format: int, tmp_path: Path) -> None:
    data = tar_bytes(*HONEST, format=format)
    written = run(gzip.compress(data) if packed else data, tmp_path)
    assert files_below(tmp_path / "into") == {"graph.pb": GRAPH, "deep/er/x.txt": b"x", "empty": b""}
    assert {file.path: (file.bytes, file.sha256) for file in written} == {
        path: (len(content), hashlib.sha256(content).hexdigest())
        for path, content in files_below(tmp_path / "into").items()
    }


def test_modes_and_owners_are_ignored(tmp_path: Path) -> None:
    run(tar_bytes(member("net/tool", b"#!", mode=0o6777, uid=1234), member("net/secret", b"", mode=0)), tmp_path)
    for name in ("tool", "secret"):
        status = os.stat(tmp_path / "into" / name)
        assert status.st_mode & 0o7111 == 0 and status.st_mode & 0o400 and status.st_uid == os.getuid()


def test_long_honest_names(tmp_path: Path) -> None:
    name = "net/" + "a" * 150 + "/" + "é" * 60
    for format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        folder = tmp_path / str(format)
        folder.mkdir()
        assert run(tar_bytes(member(name, b"x"), format=format), folder)[0].path == name.removeprefix("net/")


HOSTILE: dict[str, tuple[tuple[tarfile.TarInfo, bytes], ...]] = {
    "traversal": (member("net/../../evil", b"x"),),
    "traversal-first": (member("../evil", b"x"),),
    "traversal-dir": (member("net/../..", type=tarfile.DIRTYPE),),
    "traversal-beside": (member("net/graph.pb", b"x"), member("other/../../evil", b"x")),
    "absolute": (member("/tmp/evil", b"x"),),
    "absolute-double": (member("//tmp/evil", b"x"),),
    "backslash": (member("net\\..\\evil", b"x"),),
    "drive": (member("C:evil", b"x"),),
    "symlink": (member("net/link", type=tarfile.SYMTYPE, linkname="/etc"), member("net/link/x", b"x")),
    "symlink-inside": (member("net/a", b"x"), member("net/b", type=tarfile.SYMTYPE, linkname="a")),
    "hardlink": (member("net/a", b"x"), member("net/b", type=tarfile.LNKTYPE, linkname="net/a")),
    "hardlink-out": (member("net/b", type=tarfile.LNKTYPE, linkname="/etc/passwd"),),
    "char-device": (member("net/zero", type=tarfile.CHRTYPE, devmajor=1, devminor=5),),
    "block-device": (member("net/sda", type=tarfile.BLKTYPE, devmajor=8),),
    "fifo": (member("net/pipe", type=tarfile.FIFOTYPE),),
    "unknown-type": (member("net/odd", type=b"Q"),),
    "contiguous": (member("net/odd", b"x", type=tarfile.CONTTYPE),),
    "sparse": (member("net/hole", b"x", pax_headers={"GNU.sparse.map": "0,1", "GNU.sparse.size": "999999999"}),),
    "duplicate": (member("net/a", b"1"), member("net/a", b"2")),
    "duplicate-dotted": (member("net/a", b"1"), member("net/./a", b"2")),
    "duplicate-slashes": (member("net/a", b"1"), member("net//a", b"2")),
    "case-collision": (member("net/a", b"1"), member("net/A", b"2")),
    "unicode-collision": (member("net/\u00e9", b"1"), member("net/e\u0301", b"2")),
    "folder-case-collision": (member("net/d/a", b"1"), member("net/D/b", b"2")),
    "file-then-folder": (member("net/a", b"1"), member("net/a/b", b"2")),
    "folder-then-file": (member("net/a/b", b"1"), member("net/a", b"2")),
    "newline": (member("net/a\nb", b"x"),),
    "escape": (member("net/\x1b[2J", b"x"),),
    "not-utf-8": (member("net/\udcff", b"x"),),
    "right-to-left": (member("net/\u202egpj.exe", b"x"),),
    "long-path": (member("net/" + "/".join(["a" * 100] * 6), b"x"),),
    "long-part": (member("net/" + "a" * 201, b"x"),),
    "deep": (member("net/" + "a/" * 16 + "b", b"x"),),
    "stamp": (member("net/.smalti-export.json", b"{}"),),
    "scratch": (member("net/.unpacked.tar", b""),),
    "members": tuple(member(f"net/{i}") for i in range(51)),
    "total": tuple(member(f"net/{i}", bytes(1_000_000)) for i in range(6)),
    "many-headers": (member("net/a", b"x", pax_headers={f"k{i}": "v" for i in range(100)}),),
    "huge-header": (member("net/a", b"x", pax_headers={"comment": "v" * 2_000_000}),),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archive(name: str, packed: bool, tmp_path: Path) -> None:
    data = tar_bytes(member("net/first", b"1"), *HOSTILE[name], format=tarfile.PAX_FORMAT)
    limits = Limits(LIMITS.archive_bytes, LIMITS.unpacked_bytes, LIMITS.members, ratio=10_000)
    with pytest.raises(ArchiveError) as caught:
        run(gzip.compress(data) if packed else data, tmp_path, limits)
    assert str(caught.value).isprintable()
    assert os.listdir(tmp_path / "into") == []
    assert sorted(os.listdir(tmp_path)) == ["archive", "into"]


def test_the_same_archive_without_the_hostile_member_passes(tmp_path: Path) -> None:
    run(tar_bytes(member("net/first", b"1")), tmp_path)
    assert files_below(tmp_path / "into") == {"first": b"1"}


def test_limits_are_exact(tmp_path: Path) -> None:
    data = tar_bytes(member("net/a", bytes(1000)), member("net/b", bytes(1000)))
    run(data, tmp_path, Limits(len(data), 2000, 2))
    for limits in (Limits(len(data) - 1, 2000, 2), Limits(len(data), 1999, 2), Limits(len(data), 2000, 1)):
        with pytest.raises(ArchiveError):
            run(data, tmp_path, limits)


def test_gzip_bomb(tmp_path: Path) -> None:
    bomb = gzip.compress(tar_bytes(member("net/zeros", bytes(4_500_000))))
    assert len(bomb) < 10_000
    with pytest.raises(ArchiveError, match="unpacks to more than the"):
        run(bomb, tmp_path)
    assert os.listdir(tmp_path / "into") == []


@pytest.mark.parametrize("packed", [False, True])
def test_every_truncation_is_noticed(packed: bool, tmp_path: Path) -> None:
    data = tar_bytes(*HONEST, format=tarfile.USTAR_FORMAT)
    data = data[: data.rindex(b"empty") // 512 * 512 + 1024]
    whole = gzip.compress(data) if packed else data
    run(whole, tmp_path)
    for length in range(0, len(whole) - 512 if not packed else len(whole), 1 if packed else 64):
        folder = tmp_path / str(length)
        folder.mkdir()
        with pytest.raises(ArchiveError):
            run(whole[:length], folder)


@pytest.mark.parametrize(
    "data", [b"", b"x", b"<html>" * 500, bytes(512), gzip.compress(b"", mtime=0), gzip.compress(b"x" * 9999, mtime=0)]
)
def test_no_archive_at_all(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError):
        run(data, tmp_path)


def test_damaged_gzip_checksum(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(tar_bytes(*HONEST)))
    data[-6] ^= 1
    with pytest.raises(ArchiveError, match="damaged or cut"):
        run(bytes(data), tmp_path)


def _set_size(data: bytes, field: bytes) -> bytes:
    header = bytearray(data[:512])
    header[124:136] = field
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data[512:]


@pytest.mark.parametrize(
    "field",
    [b"77777777777\0", b"\xff" * 12, b"\x80" + b"\x7f" * 11, b"\xff" * 10 + b"\xfc\x00", b"99999999999\0"],
    ids=["8-gib", "minus-one", "2-to-the-87", "minus-1024", "not-octal"],
)
def test_impossible_sizes(field: bytes, tmp_path: Path) -> None:
    data = tar_bytes(member("net/a", GRAPH), member("net/b", GRAPH), format=tarfile.USTAR_FORMAT)
    with pytest.raises(ArchiveError):
        run(_set_size(data, field), tmp_path)


def test_mutated_archives_raise_nothing_else(tmp_path: Path) -> None:
    seed = 20260101
    rng = random.Random(seed)
    originals = [tar_bytes(*HONEST, format=f) for f in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)]
    originals.append(tar_bytes(member("net/" + "a" * 150, b"x"), member("net/é", b"y"), format=tarfile.PAX_FORMAT))
    refused = 0
    for i in range(MUTANTS):
        data = bytearray(rng.choice(originals))
        header = rng.randrange(len(data)) // 512 * 512 if rng.random() < 0.5 else rng.choice((0, 512, 1024))
        for _ in range(rng.randint(1, 3)):
            place = rng.choice((rng.randrange(100), rng.randrange(100, 148), 156, rng.randrange(257, 512)))
            data[header + place] = rng.choice((0, 0x30, 0x37, 0x78, 0x4C, 0x53, 0x80, 0xFF, rng.randrange(256)))
        if rng.random() < 0.7:
            data[header + 148 : header + 156] = b" " * 8
            data[header + 148 : header + 156] = b"%06o\0 " % sum(data[header : header + 512])
        folder = tmp_path / str(i)
        folder.mkdir()
        try:
            run(bytes(data), folder)
        except SmaltiError:
            refused += 1
        except BaseException as error:
            raise AssertionError(f"seed {seed}, case {i}") from error
        assert set(os.listdir(folder)) == {"archive", "into"}
    assert MUTANTS // 8 < refused < MUTANTS


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: object, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive_module, "write_all", full)
    with pytest.raises(
        FetchError, match=rf"disk is full.*: {len(GRAPH) + 1} more bytes are needed to write .*graph\.pb"
    ):
        run(tar_bytes(*HONEST), tmp_path)


def test_space_is_checked_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage: Callable[[Path], object] = lambda path: type("Usage", (), {"free": 21})()  # noqa: E731
    monkeypatch.setattr("shutil.disk_usage", usage)
    with pytest.raises(FetchError, match=f"{len(GRAPH) + 1 - 21} more bytes are needed"):
        run(tar_bytes(*HONEST), tmp_path)
    assert os.listdir(tmp_path / "into") == []


def test_folder_without_files(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="holds no files in net"):
        run(tar_bytes(member("other/a", b"x"), member("net", type=tarfile.DIRTYPE)), tmp_path)
