"""The demo's files: the frozen graph of the package, and the val set in the PASCAL VOC directory layout."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smalti.demo.generator import TRAIN_FIRST, VAL_COUNT, demo_image
from smalti.errors import UsageError

GRAPH_PATH: Final = Path(__file__).with_name("frozen_inference_graph.pb")
# The first colours of the VOC colour map, so masks and label maps look alike.
_PALETTE: Final = bytes.fromhex("000000 800000 008000 808000 000080 800080 008080 808080 400000".replace(" ", ""))
_PALETTE_SIZE: Final = 256
_TRUE_COLOUR: Final = 2
_INDEXED: Final = 3


def graph_bytes() -> bytes:
    """Return the frozen GraphDef: uint8 ``ImageTensor:0`` [1, H, W, 3] to int32 ``SemanticPredictions:0`` [1, H, W]."""
    return GRAPH_PATH.read_bytes()


def write_voc_layout(directory: Path, count: int = VAL_COUNT, *, train_count: int = 0) -> Path:
    """Write val pictures and masks the way VOC2012 lays them out, and return the file list of the val set.

    ``JPEGImages/NAME.png`` are RGB without loss, ``SegmentationClass/NAME.png`` indexed PNGs whose pixel index is the
    label, ``ImageSets/Segmentation/val.txt`` holds a name a line. ``train_count`` adds that many training pictures
    (for calibration) and ``train.txt``. Files that exist are replaced.

    Raises UsageError when a count is out of range, OSError when a file cannot be written.
    """
    if not 1 <= count <= VAL_COUNT:
        raise UsageError(f"the demo has 1 to {VAL_COUNT} val pictures, not {count}")
    if train_count < 0:
        raise UsageError(f"the number of training pictures must not be negative: {train_count}")
    lists = directory / "ImageSets" / "Segmentation"
    for folder in (directory / "JPEGImages", directory / "SegmentationClass", lists):
        folder.mkdir(parents=True, exist_ok=True)
    val_list = lists / "val.txt"
    _write_set(directory, val_list, [(f"demo_{index:04d}", index) for index in range(count)])
    if train_count:
        train = [(f"demo_train_{index:04d}", TRAIN_FIRST + index) for index in range(train_count)]
        _write_set(directory, lists / "train.txt", train)
    return val_list


def _write_set(directory: Path, file_list: Path, members: list[tuple[str, int]]) -> None:
    for name, index in members:
        image, mask = demo_image(index)
        (directory / "JPEGImages" / f"{name}.png").write_bytes(_png(image, None))
        (directory / "SegmentationClass" / f"{name}.png").write_bytes(_png(mask, _PALETTE))
    file_list.write_text("".join(f"{name}\n" for name, _ in members), encoding="ascii")


def _png(pixels: NDArray[np.uint8], palette: bytes | None) -> bytes:
    """Return a PNG of a picture [H, W, 3], or of labels [H, W] when a palette (RGB bytes) is given."""
    height, width = pixels.shape[:2]
    # Every line begins with the number of its filter; 0 is none.
    lines = np.zeros((height, pixels.size // height + 1), dtype=np.uint8)
    lines[:, 1:] = pixels.reshape(height, -1)
    kind = _TRUE_COLOUR if palette is None else _INDEXED
    parts = [b"\x89PNG\r\n\x1a\n", _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0))]
    if palette is not None:
        parts.append(_chunk(b"PLTE", palette.ljust(3 * _PALETTE_SIZE, b"\0")))
    parts += [_chunk(b"IDAT", zlib.compress(lines.tobytes(), 6)), _chunk(b"IEND", b"")]
    return b"".join(parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
