"""BMP files made from known samples: every depth and header, and every way to be refused."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Outcome = NDArray[np.uint8] | str
HEADERS = (12, 40, 52, 56, 108, 124)
_HEIGHT, _WIDTH = 5, 13
_MASKS = {
    (16, "5-6-5"): (0xF800, 0x7E0, 0x1F),
    (16, "5-5-5"): (0x7C00, 0x3E0, 0x1F),
    (32, "BGRX"): (0xFF0000, 0xFF00, 0xFF),
    (32, "RGBA"): (0xFF, 0xFF00, 0xFF0000),
    (32, "XBGR"): (0xFF000000, 0xFF0000, 0xFF00),
}


def bmp_cases() -> Iterator[tuple[str, bytes, Outcome]]:
    """Yield a name, a file, and its pixels, RGB uint8 [H, W, 3], or the words of its refusal."""
    yield from _good()
    yield from _bad()


def _samples(bits: int, most: int | None = None) -> NDArray[np.uint32]:
    random = np.random.default_rng(bits)
    return random.integers(0, most or 2**bits, (_HEIGHT, _WIDTH), dtype=np.uint64).astype(np.uint32)


def rows_of(samples: NDArray[np.uint32], bits: int) -> bytes:
    """Return the rows of a BMP, the first given one first, each filled up to four bytes."""
    if bits < 8:
        ones = (samples[..., None] >> np.arange(bits - 1, -1, -1)) & 1
        raw = np.packbits(ones.reshape(len(samples), -1).astype(np.uint8), axis=1)
    else:
        raw = samples.astype("<u4")[..., None].view(np.uint8)[..., : bits // 8].reshape(len(samples), -1)
    return np.pad(raw, ((0, 0), (0, -raw.shape[1] % 4))).tobytes()


def bmp(
    samples: NDArray[np.uint32],
    bits: int,
    *,
    size: int = 40,
    palette: bytes = b"",
    masks: tuple[int, ...] = (),
    top_down: bool = False,
    colours: int = 0,
    gap: int = 0,
) -> bytes:
    """Return a BMP with a header of ``size`` bytes; ``gap`` bytes lie before the rows."""
    height, width = samples.shape
    rows = rows_of(samples if top_down else samples[::-1], bits)
    if size == 12:
        info = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        signed = -height if top_down else height
        compression = 3 if masks else 0
        info = struct.pack("<IiiHHIIiiII", size, width, signed, 1, bits, compression, len(rows), 0, 0, colours, 0)
        info += struct.pack(f"<{len(masks)}I", *masks)
        info = info.ljust(size, b"\0")
    at = 14 + len(info) + len(palette) + gap
    return b"BM" + struct.pack("<IHHI", at + len(rows), 0, 0, at) + info + palette + b"\x99" * gap + rows


def _palette(count: int, entry: int = 4) -> tuple[bytes, NDArray[np.uint8]]:
    """Return a palette as it stands in a file, blue first, and as RGB [256, 3], black where it ends."""
    colours = np.random.default_rng(count).integers(0, 256, (count, 3), dtype=np.uint8)
    rgb = np.zeros((256, 3), np.uint8)
    rgb[:count] = colours
    stored = np.zeros((count, entry), np.uint8)
    stored[:, :3] = colours[:, ::-1]
    return stored.tobytes(), rgb


def _masked(samples: NDArray[np.uint32], masks: tuple[int, ...]) -> NDArray[np.uint8]:
    channels = []
    for mask in masks:
        shift = (mask & -mask).bit_length() - 1
        most = mask >> shift
        channels.append(((samples & mask) >> shift) * 255 // most)
    return np.stack(channels, axis=-1).astype(np.uint8)


def _good() -> Iterator[tuple[str, bytes, Outcome]]:
    for size in HEADERS:
        for bits in (1, 4, 8):
            palette, rgb = _palette(2**bits, 3 if size == 12 else 4)
            samples = _samples(bits)
            yield f"{bits} bits, header of {size}", bmp(samples, bits, size=size, palette=palette), rgb[samples]
        samples = _samples(24)
        want = _masked(samples, (0xFF0000, 0xFF00, 0xFF))
        yield f"24 bits, header of {size}", bmp(samples, 24, size=size), want
        samples = _samples(32)
        yield f"32 bits, header of {size}", bmp(samples, 32, size=size), _masked(samples, _MASKS[32, "BGRX"])
        samples = _samples(16)
        yield f"16 bits, header of {size}", bmp(samples, 16, size=size), _masked(samples, _MASKS[16, "5-5-5"])
        for (bits, name), masks in _MASKS.items():
            if size > 12:
                samples = _samples(bits)
                yield f"{name}, header of {size}", bmp(samples, bits, size=size, masks=masks), _masked(samples, masks)
    samples = _samples(24)
    want = _masked(samples, (0xFF0000, 0xFF00, 0xFF))
    yield "from the top", bmp(samples, 24, top_down=True), want
    yield "a gap before the rows", bmp(samples, 24, gap=50), want
    yield "bytes behind the rows", bmp(samples, 24) + b"more", want
    palette, rgb = _palette(10)
    samples = _samples(8)
    yield "fewer colours than indices", bmp(samples, 8, palette=palette, colours=10), rgb[samples]
    for bits in (1, 4, 8):
        grey = np.repeat(np.arange(2**bits, dtype=np.uint8)[:, None], 4, axis=1)
        samples = _samples(bits)
        yield f"greys in order, {bits} bits", bmp(samples, bits, palette=grey.tobytes()), grey[samples][..., :3]


def _bad() -> Iterator[tuple[str, bytes, Outcome]]:
    whole = bmp(_samples(24), 24)

    def changed(at: int, *values: int, letter: str = "i") -> bytes:
        made = bytearray(whole)
        struct.pack_into(f"<{len(values)}{letter}", made, at, *values)
        return bytes(made)

    for end in (2, 17, 30, 53):
        yield f"cut at {end}", whole[:end], "the BMP header is cut"
    for end in (54, 60, len(whole) - 1):
        yield f"cut at {end}", whole[:end], "the BMP is cut: rows are missing"
    for size in (0, 13, 41, 64, 2**31 - 1):
        yield f"header of {size}", changed(14, size), f"a BMP with a header of {size} bytes is not read"
    for width, height in ((0, 5), (5, 0), (-5, 5), (2**24, 1), (1, 2**24), (1, -(2**31))):
        yield f"{width} x {height}", changed(18, width, height), "the BMP header gives no valid size"
    for bits in (0, 2, 12, 48, 64):
        yield f"{bits} bits", changed(28, bits, letter="H"), f"a BMP of {bits} bits a pixel is not read"
    for compression, name in ((1, "RLE"), (2, "RLE"), (4, "a JPEG inside"), (5, "a PNG inside"), (9, "packing 9")):
        yield f"packed by {compression}", changed(30, compression), f"a BMP with {name} is not read"
    yield "rows in the header", changed(10, 30), "the BMP is damaged: its rows would lie in its header"
    yield "rows behind the end", changed(10, 2**31 - 1), "the BMP is cut: rows are missing"
    masks = "a BMP with such colour masks is not read"
    yield "odd masks", bmp(_samples(32), 32, size=52, masks=(0xFF, 0xFF, 0xFF)), masks
    yield "masks of 24 bits", bmp(_samples(24), 24, size=52, masks=(0xFF0000, 0xFF00, 0xFF)), masks
    yield "masks of 8 bits", bmp(_samples(8), 8, size=52, masks=(0xFF0000, 0xFF00, 0xFF)), masks
    palette, _ = _palette(256)
    few = "the BMP is damaged: its palette would lie in its rows"
    yield "a palette in the rows", bmp(_samples(8), 8, palette=palette[:400], colours=256), few
    most = "the BMP is damaged: its palette has more colours than its pixels can name"
    yield "a palette too long", bmp(_samples(4), 4, palette=palette, colours=256), most
    yield "no palette", bmp(_samples(8), 8), "the BMP is cut: its palette is missing"
    eight = bmp(_samples(8), 8, palette=palette)
    yield "a palette that is cut", eight[:100], "the BMP is cut: its palette is missing"
