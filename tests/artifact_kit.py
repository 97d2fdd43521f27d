"""Model files without LLVM, for tests of the format, the reader and request checking.  Their code never runs."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smalti.artifact.format import PAGE, align_up
from smalti.artifact.manifest import ArenaBuffer, DimInstr, DimOp, Manifest, Step, Symbol, TeamEntries, TensorSpec
from smalti.artifact.writer import model_chunks, write_model
from smalti.numerics import DType
from smalti.target.host import resolve_target
from smalti.target.target import Target

_NO_TEAM = TeamEntries(0, 0)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a model file is written from."""

    manifest: Manifest
    constants: bytes
    code: bytes

    def write(self, path: Path) -> Path:
        """Write the model file and return its path."""
        write_model(path, self.manifest, self.constants, self.code)
        return path

    def data(self) -> bytes:
        """Return the bytes of the model file."""
        return b"".join(bytes(chunk) for chunk in model_chunks(self.manifest, self.constants, self.code))


def reverse_manifest(target: Target | None = None, entry: int = 0, team: TeamEntries = _NO_TEAM) -> Manifest:
    """``y[0, i] = 2 * x[0, n - 1 - i] + bias`` in two steps, n from 1 to 100,000; any batch size."""
    target = target or resolve_target("generic")
    return Manifest(
        target=target.name,
        features=target.features,
        inputs=(TensorSpec("x:0", DType.FLOAT32, (0, 1)),),
        outputs=(TensorSpec("y:0", DType.FLOAT32, (0, 1)),),
        symbols=(Symbol("N", 1, 100_000),),
        dims=(
            DimInstr(DimOp.CONST, 1),
            DimInstr(DimOp.SYMBOL, 0),
            DimInstr(DimOp.CONST, 4),
            DimInstr(DimOp.MUL, 1, 2),
            DimInstr(DimOp.CONST, 0),
        ),
        arena=(ArenaBuffer("temporary", 3, 0, 1),),
        steps=(Step("double", "test", "mul", (0, 1), 1, 3), Step("reverse", "test", "reverse", (0, 1), 4, 3)),
        entry=entry,
        team=team,
        batch_size=None,
        shape_mutable=True,
        producer={"smalti": "test"},
    )


def label_manifest(
    batch_size: int | None = 1, target: Target | None = None, entry: int = 0, team: TeamEntries = _NO_TEAM
) -> Manifest:
    """Images up to 600 x 600: the label of a pixel is the sum of its three bytes."""
    target = target or resolve_target("generic")
    return Manifest(
        target=target.name,
        features=target.features,
        inputs=(TensorSpec("image:0", DType.UINT8, (0, 1, 2, 3)),),
        outputs=(TensorSpec("labels:0", DType.INT32, (0, 1, 2)),),
        symbols=(Symbol("H", 1, 600), Symbol("W", 1, 600)),
        dims=(
            DimInstr(DimOp.CONST, 1),
            DimInstr(DimOp.SYMBOL, 0),
            DimInstr(DimOp.SYMBOL, 1),
            DimInstr(DimOp.CONST, 3),
            DimInstr(DimOp.MUL, 1, 2),
        ),
        steps=(Step("sum", "test", "sum", (0, 1, 2), 4, 4),),
        entry=entry,
        team=team,
        batch_size=batch_size,
        shape_mutable=True,
    )


def plain_parts() -> Parts:
    """Return parts whose code only returns."""
    return Parts(reverse_manifest(), bytes(range(256)) * 20, b"\x31\xc0\xc3" + bytes(61))


def forge(
    manifest: bytes,
    constants: bytes,
    code: bytes,
    target: str,
    sections: list[tuple[int, int, int, int, bytes]] | None = None,
    version: int = 1,
) -> bytes:
    """Return a file with correct checksums around any contents: what an attacker would write.

    ``sections`` replaces the table: (kind, reserved, offset, size, name).  Independent of the writer on purpose.
    """
    header_bytes = 128 + 64 * (3 if sections is None else len(sections))
    offset = align_up(header_bytes, 64)
    places = [offset, align_up(offset + len(manifest), PAGE)]
    places.append(align_up(places[1] + len(constants), PAGE))
    if sections is None:
        names = (b"", b"", target.encode())
        sizes = (len(manifest), len(constants), len(code))
        sections = [(k + 1, 0, places[k], sizes[k], names[k]) for k in range(3)]
    total = places[2] + len(code)
    body = bytearray(total - header_bytes)
    for place, content in zip(places, (manifest, constants, code), strict=True):
        body[place - header_bytes : place - header_bytes + len(content)] = content
    return seal(sections, bytes(body), header_bytes, total, version)


def seal(
    sections: list[tuple[int, int, int, int, bytes]], body: bytes, header_bytes: int, total: int, version: int = 1
) -> bytes:
    """Return header + body, every checksum right."""
    prefix = struct.pack("<8sIIQI", b"\x89SMALTI\n", version, header_bytes, total, 0)
    head = prefix + struct.pack("<II28s", zlib.crc32(prefix), len(sections), b"") + hashlib.sha256(body).digest()
    table = b"".join(struct.pack("<IIQQ40s", *section) for section in sections)
    digest = hashlib.sha256(head + bytes(32) + table).digest()
    return head + digest + table + body


def forge_manifest(parts: Parts, record: Any) -> bytes:
    """Return the file of ``parts`` with another manifest (any JSON value, or raw bytes)."""
    text = record if isinstance(record, bytes) else json.dumps(record).encode()
    return forge(text, parts.constants, parts.code, parts.manifest.target)


def forge_programs(
    programs: list[tuple[bytes, bytes, str]],
    constants: bytes,
    change: Callable[[list[list[Any]]], None] = lambda sections: None,
) -> bytes:
    """Return a file of (manifest, code, target) in the given order with correct checksums; ``change`` edits the table.

    Independent of the writer on purpose.
    """
    contents = [*((1, m, b"") for m, _, _ in programs), (2, constants, b"")]
    contents += [(3, code, target.encode()) for _, code, target in programs]
    header_bytes = end = 128 + 64 * len(contents)
    sections: list[list[Any]] = []
    body = b""
    for kind, content, name in contents:
        offset = align_up(end, 64 if kind == 1 else PAGE)
        sections.append([kind, 0, offset, len(content), name])
        body += bytes(offset - end) + content
        end = offset + len(content)
    change(sections)
    rows = [(int(s[0]), int(s[1]), int(s[2]), int(s[3]), bytes(s[4])) for s in sections]
    return seal(rows, body, header_bytes, end)
