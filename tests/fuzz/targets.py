"""What a coverage-guided fuzzer calls, and what replays the corpus: bytes in, nothing out, only documented errors."""

from __future__ import annotations

import hashlib
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from fuzz import onnx_models
from smalti.artifact.format import FIXED_BYTES, PREFIX_BYTES, unpack_header, unpack_prefix
from smalti.artifact.reader import open_model
from smalti.artifact.schema import parse_manifest
from smalti.errors import DataError, ImageError, InputError, ModelFileError, ResourceError, UsageError
from smalti.frontend.budget import GraphLimits
from smalti.frontend.tensorflow.importer import ImportOptions, import_graph
from smalti.ir.graph import Level
from smalti.ir.verify import verify
from smalti.passes.pipeline import run_pipeline
from smalti.vision.images import decode_image

CORPUS = Path(__file__).parent / "corpus"
OPTIONS = ImportOptions(limits=GraphLimits(max_constant_bytes=1 << 24))
REFUSALS = (DataError, UsageError, InputError, ResourceError)
"""The errors a stranger's graph may end in; a ``CompilerError`` is a bug of ours and not among them."""


def graph(data: bytes) -> str:
    """Import GraphDef bytes and run all passes."""
    try:
        imported = import_graph(data, OPTIONS).graph
        verify(imported, Level.IMPORTED)
        run_pipeline(imported, check=True)
    except REFUSALS as error:
        return f"{type(error).__name__}: {error}"
    return "accepted"


def onnx(data: bytes) -> str:
    """Read an ONNX model, all its attributes and the values of its constants, and give it to the importer."""
    try:
        onnx_models.read_all(data)
    except REFUSALS as error:
        return f"{type(error).__name__}: {error}"
    return "accepted"


def with_checksums(data: bytes) -> bytes:
    """Return the bytes of a model file with all three checksums made right, if it is long enough to have them."""
    made = bytearray(data)
    if len(made) < FIXED_BYTES:
        return data
    struct.pack_into("<Q", made, 16, len(made))
    struct.pack_into("<I", made, PREFIX_BYTES - 4, zlib.crc32(made[: PREFIX_BYTES - 4]))
    (size,) = struct.unpack_from("<I", made, 12)
    size = min(size, len(made))
    made[64:96] = hashlib.sha256(made[size:]).digest()
    made[96:128] = bytes(32)
    made[96:128] = hashlib.sha256(made[:size]).digest()
    return bytes(made)


def model(data: bytes) -> str:
    """Read a model file; the first byte says whether as it is, with its checksums made right, or as a manifest."""
    how, body = data[:1], data[1:]
    try:
        if how == b"m":
            parse_manifest(body)
        elif how == b"f":
            with tempfile.NamedTemporaryFile() as file:
                file.write(with_checksums(body))
                file.flush()
                open_model(file.name).__exit__(None, None, None)
        else:
            body = with_checksums(body) if how == b"c" else body
            prefix = unpack_prefix(body[:PREFIX_BYTES], len(body))
            unpack_header(body[: prefix.header_bytes], prefix)
    except ModelFileError as error:
        return f"{type(error).__name__}: {error}"
    return "accepted"


def picture(data: bytes) -> str:
    """Decode a picture under a small cap."""
    try:
        decode_image(data, max_pixels=1_000_000)
    except ImageError as error:
        return f"{type(error).__name__}: {error}"
    return "accepted"


TARGETS: dict[str, Callable[[bytes], str]] = {"graphs": graph, "models": model, "onnx": onnx, "pictures": picture}
SECONDS_EACH = 2.0


def replay(corpus: Path = CORPUS) -> tuple[int, list[str]]:
    """Give every file of the corpus to its target; return how many there are and what went wrong.

    A file in a folder ``refused`` or ``accepted`` must end that way.
    """
    wrong: list[str] = []
    files = sorted(p for name in TARGETS for p in (corpus / name).glob("*/*"))
    for path in files:
        begin = time.process_time()
        try:
            found = TARGETS[path.parents[1].name](path.read_bytes())
        except Exception as error:  # noqa: BLE001 - any other exception is what is looked for
            wrong.append(f"{path.relative_to(corpus)}: {type(error).__name__}: {error}")
            continue
        if time.process_time() - begin > SECONDS_EACH:
            wrong.append(f"{path.relative_to(corpus)}: took {time.process_time() - begin:.1f} s")
        if (found == "accepted") != (path.parent.name == "accepted"):
            wrong.append(f"{path.relative_to(corpus)}: {found}")
    return len(files), wrong


if __name__ == "__main__":
    count, failures = replay()
    sys.stdout.write("\n".join([*failures, f"{count} files, {len(failures)} wrong", ""]))
    sys.exit(1 if failures or not count else 0)
