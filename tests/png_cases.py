"""PNG files made from known samples: every colour type, depth, filter and interlacing, and every way to be refused."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fuzz.pictures import PNG_SIGNATURE, chunk

KINDS = ((0, (1, 2, 4, 8, 16)), (2, (8, 16)), (3, (1, 2, 4, 8)), (4, (8, 16)), (6, (8, 16)))
"""Colour types, and the depths of each."""
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_DAMAGED = "the PNG data is damaged, cut or of a kind that is not supported"
_MISSING = "the PNG is cut: pixels are missing"
_PALETTE = "the PNG is damaged: its palette is not one list of 1 to 256 colours"
_HEADER = "the PNG header gives an unknown compression, filter or interlacing"
_END = chunk(b"IEND", b"")
Outcome = NDArray[np.uint8] | str


def png_cases() -> Iterator[tuple[str, bytes, Outcome]]:
    """Yield a name, a file, and its pixels, RGB uint8 [H, W, 3], or the words of its refusal."""
    yield from _kinds()
    yield from _odd()
    yield from _bad()


def _samples(height: int, width: int, depth: int, colour: int) -> NDArray[np.uint16]:
    random = np.random.default_rng(height * 100 + depth * 10 + colour)
    return random.integers(0, 2**depth, (height, width, _CHANNELS[colour]), dtype=np.uint16)


def _pixels(samples: NDArray[np.uint16], depth: int, colour: int, palette: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if colour == 3:
        black = np.zeros((256, 3), np.uint8)
        black[: len(palette)] = palette
        return black[samples[..., 0]]
    eight = samples >> 8 if depth == 16 else samples * (255 // (2**depth - 1))
    rgb = np.repeat(eight[..., :1], 3, axis=2) if colour in (0, 4) else eight[..., :3]
    return rgb.astype(np.uint8)


def _rows(samples: NDArray[np.uint16], depth: int, interlaced: bool = False) -> bytes:
    """Return the rows of all passes, filtered in each of the five ways in turn."""
    made = bytearray()
    for left, top, right, down in _PASSES if interlaced else ((0, 0, 1, 1),):
        part = samples[top::down, left::right]
        if part.size:
            made += _filtered(part, depth)
    return bytes(made)


def _filtered(samples: NDArray[np.uint16], depth: int) -> bytes:
    height, _, channels = samples.shape
    flat = samples.reshape(height, -1)
    if depth == 16:
        raw = flat.astype(">u2").view(np.uint8)
    elif depth == 8:
        raw = flat.astype(np.uint8)
    else:
        bits = (flat[..., None] >> np.arange(depth - 1, -1, -1)) & 1
        raw = np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1)
    step = max(1, channels * depth // 8)
    raw = raw.reshape(height, -1).astype(np.int32)
    before = np.pad(raw, ((1, 0), (step, 0)))
    up, corner, left = before[:-1, step:], before[:-1, :-step], before[1:, :-step]
    guess = left + up - corner
    distance = np.abs(np.stack([guess - left, guess - up, guess - corner]))
    nearest = np.choose(distance.argmin(axis=0), [left, up, corner])
    ways = (np.zeros_like(raw), left, up, (left + up) // 2, nearest)
    rows = [bytes([y % 5]) + (raw[y] - ways[y % 5][y]).astype(np.uint8).tobytes() for y in range(height)]
    return b"".join(rows)


def _file(height: int, width: int, depth: int, colour: int, *parts: bytes, interlaced: int = 0) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))
    return b"".join([PNG_SIGNATURE, header, *parts])


def _kinds() -> Iterator[tuple[str, bytes, Outcome]]:
    for colour, depths in KINDS:
        for depth in depths:
            for interlaced in (False, True):
                for height, width in ((1, 1), (3, 2), (19, 31)):
                    samples = _samples(height, width, depth, colour)
                    palette = np.random.default_rng(depth).integers(0, 256, (2**depth, 3), dtype=np.uint8)
                    parts = [chunk(b"PLTE", palette.tobytes())] if colour == 3 else []
                    packed = chunk(b"IDAT", zlib.compress(_rows(samples, depth, interlaced)))
                    data = _file(height, width, depth, colour, *parts, packed, _END, interlaced=int(interlaced))
                    name = f"colour type {colour}, depth {depth}, {height} x {width}" + ", interlaced" * interlaced
                    yield name, data, _pixels(samples, depth, colour, palette)


def _odd() -> Iterator[tuple[str, bytes, Outcome]]:
    samples = _samples(19, 31, 8, 2)
    want, rows = samples.astype(np.uint8), _rows(samples, 8)
    packed = zlib.compress(rows)
    body = chunk(b"IDAT", packed)
    text = chunk(b"tEXt", b"Title\0none")
    pieces = [chunk(b"IDAT", packed[i : i + 100]) for i in range(0, len(packed), 100)]
    for name, parts in (
        ("transparent colour", (chunk(b"tRNS", bytes(6)), body, _END)),
        ("gamma", (chunk(b"gAMA", struct.pack(">I", 100000)), body, _END)),
        ("damaged profile and text", (chunk(b"iCCP", b"x"), chunk(b"zTXt", b"y"), body, _END)),
        ("text with a wrong checksum", (text[:-1] + b"\0", body, _END)),
        ("pixels in many parts", (*pieces, _END)),
        ("texts and empty parts between pixels", (*(text + chunk(b"IDAT", b"") + piece for piece in pieces), _END)),
        ("a frame of an animation", (chunk(b"acTL", bytes(8)), body, chunk(b"fdAT", bytes(9)), _END)),
        ("bytes behind the end", (body, _END, b"more")),
        ("colours that are a hint", (chunk(b"PLTE", bytes(10)), chunk(b"PLTE", bytes(3)), body, _END)),
        ("a row too many", (chunk(b"IDAT", zlib.compress(rows + rows[:94])), _END)),
        ("bytes behind the packed pixels", (chunk(b"IDAT", packed + b"more"), _END)),
        ("a second stream of pixels", (body, body, _END)),
        ("stored pixels", (chunk(b"IDAT", zlib.compress(rows, 0)), _END)),
    ):
        yield name, _file(19, 31, 8, 2, *parts), want
    index = _samples(19, 31, 8, 3)
    few = np.arange(30, dtype=np.uint8).reshape(10, 3)
    parts = (chunk(b"PLTE", few.tobytes()), chunk(b"IDAT", zlib.compress(_rows(index, 8))), _END)
    yield "indices beyond the palette", _file(19, 31, 8, 3, *parts), _pixels(index, 8, 3, few)
    index = _samples(19, 31, 2, 3)
    parts = (chunk(b"PLTE", few.tobytes()), chunk(b"IDAT", zlib.compress(_rows(index, 2))), _END)
    yield "more colours than indices", _file(19, 31, 2, 3, *parts), _pixels(index, 2, 3, few)


def _bad() -> Iterator[tuple[str, bytes, Outcome]]:
    samples = _samples(19, 31, 8, 2)
    rows = _rows(samples, 8)
    packed = zlib.compress(rows)
    body = chunk(b"IDAT", packed)
    whole = _file(19, 31, 8, 2, body, _END)
    for end in (8, 20, 32):
        yield f"cut at {end}", whole[:end], "the PNG header is cut"
    for end in (33, 44, 60, len(whole) - 12, len(whole) - 1):
        yield f"cut at {end}", whole[:end], "the PNG is cut"
    yield "part longer than a file", whole[:33] + b"\xff\xff\xff\xff" + whole[37:], "the PNG is cut"
    yield "header with a wrong checksum", whole[:29] + b"\0\0\0\0" + whole[33:], "the PNG header is damaged"
    changed = whole[:50] + bytes([whole[50] ^ 1]) + whole[51:]
    yield "pixels with a wrong checksum", changed, "the PNG is damaged: a checksum does not match"
    for height, width in ((0, 5), (5, 0), (5, 2**31)):
        yield f"{height} x {width}", _file(height, width, 8, 2, body, _END), "the PNG header gives no valid size"
    for at in (26, 27, 28):
        header = whole[:at] + b"\2" + whole[at + 1 : 29]
        data = header + struct.pack(">I", zlib.crc32(header[12:])) + whole[33:]
        yield f"header with a 2 at {at}", data, _HEADER
    for depth, colour in ((3, 0), (16, 3), (4, 2), (0, 0), (8, 1), (8, 5), (8, 7)):
        palette = chunk(b"PLTE", bytes(9)) * (colour == 3)
        data = _file(1, 1, depth, colour, palette, chunk(b"IDAT", zlib.compress(bytes(9))), _END)
        yield f"depth {depth} of colour type {colour}", data, _DAMAGED
    header = whole[8:33]
    yield "two headers", _file(19, 31, 8, 2, header, body, _END), "the PNG has two headers"
    yield "header behind the pixels", _file(19, 31, 8, 2, body, header, _END), "the PNG has two headers"
    unknown = "the PNG has a critical part of unknown kind"
    yield "unknown critical part", _file(19, 31, 8, 2, chunk(b"JDAT", b""), body, _END), unknown
    many = _file(19, 31, 8, 2, chunk(b"teXt", b"") * 200_000, body, _END)
    yield "too many parts", many, "the PNG has too many parts"
    index = chunk(b"IDAT", zlib.compress(_rows(_samples(19, 31, 8, 3), 8)))
    colours = chunk(b"PLTE", bytes(30))
    absent = "the PNG is damaged: its palette is missing"
    yield "no palette", _file(19, 31, 8, 3, index, _END), absent
    yield "palette behind the pixels", _file(19, 31, 8, 3, index, colours, _END), absent
    yield "two palettes", _file(19, 31, 8, 3, colours, colours, index, _END), _PALETTE
    for length in (0, 1, 31, 771):
        yield f"palette of {length} bytes", _file(19, 31, 8, 3, chunk(b"PLTE", bytes(length)), index, _END), _PALETTE
    for name, parts, words in (
        ("no pixels", (_END,), _MISSING),
        ("a row too few", (chunk(b"IDAT", zlib.compress(rows[:-94])), _END), _MISSING),
        ("a byte too few", (chunk(b"IDAT", zlib.compress(rows[:-1])), _END), _MISSING),
        ("half of the packed pixels", (chunk(b"IDAT", packed[: len(packed) // 2]), _END), _MISSING),
        ("no checksum of pixels", (chunk(b"IDAT", packed[:-4]), _END), "the PNG is cut: the end of its packed"),
        ("half a checksum of pixels", (chunk(b"IDAT", packed[:-2]), _END), "the PNG is cut: the end of its packed"),
        ("a wrong checksum of pixels", (chunk(b"IDAT", packed[:-4] + b"none"), _END), _DAMAGED),
        ("pixels that are not packed", (chunk(b"IDAT", rows), _END), _DAMAGED),
        ("pixels packed with a dictionary", (chunk(b"IDAT", b"\x78\xbb" + packed[2:]), _END), _DAMAGED),
        ("a filter of kind 5", (chunk(b"IDAT", zlib.compress(b"\5" + rows[1:])), _END), _DAMAGED),
        ("far more pixels", (chunk(b"IDAT", zlib.compress(bytes(2**21))), _END), "the PNG has far more pixels than"),
    ):
        yield name, _file(19, 31, 8, 2, *parts), words
    parted = (colours, chunk(b"IDAT", packed[:99]), chunk(b"IEND", b""), chunk(b"IDAT", packed[99:]))
    yield "an end between pixels", _file(19, 31, 8, 2, *parted), _MISSING
