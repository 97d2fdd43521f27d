"""TIFF files made from known samples: every packing, depth and layout that is read, and every way to be refused."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fuzz.pictures import packed, smooth

Outcome = NDArray[np.uint8] | str
Fields = Mapping[int, Sequence[int]]
_SHORTS = frozenset({258, 259, 262, 274, 277, 284, 317, 320, 338, 339})
_HEIGHT, _WIDTH = 19, 31
_NOT_READ = "is not read"


def tiff_cases() -> Iterator[tuple[str, bytes, Outcome]]:
    """Yield a name, a file, and its pixels, RGB uint8 [H, W, 3], or the words of its refusal."""
    yield from _by_library()
    yield from _good()
    yield from _bad()
    yield from _badly_packed()


def tiff(fields: Fields, blocks: Sequence[bytes], order: str = "<", *, tiled: bool = False, more: bytes = b"") -> bytes:
    """Return a TIFF with these fields and these strips or tiles, which stand before the list of fields."""
    at, offsets = 8 + len(more), []
    for block in blocks:
        offsets.append(at)
        at += len(block)
    where, length = (324, 325) if tiled else (273, 279)
    said = {where: offsets, length: [len(block) for block in blocks], **fields}
    at += at % 2
    entries, behind = b"", b""
    behind_at = at + 2 + 12 * len(said) + 4
    for tag in sorted(said):
        values = said[tag]
        letter = "H" if tag in _SHORTS else "I"
        body = struct.pack(f"{order}{len(values)}{letter}", *values)
        entries += struct.pack(f"{order}HHI", tag, 3 if letter == "H" else 4, len(values))
        if len(body) <= 4:
            entries += body.ljust(4, b"\0")
        else:
            entries += struct.pack(f"{order}I", behind_at + len(behind))
            behind += body + b"\0" * (len(body) % 2)
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, at)
    pixels = more + b"".join(blocks)
    pixels += b"\0" * (len(pixels) % 2)
    return head + pixels + struct.pack(f"{order}H", len(said)) + entries + bytes(4) + behind


def fields_of(height: int, width: int, bits: int, samples: int, photometric: int, **others: Sequence[int]) -> Fields:
    """Return the fields of a plain picture in one strip; ``others`` are ``t`` with a tag: ``t284=[2]``."""
    plain = {256: [width], 257: [height], 258: [bits] * samples, 259: [1], 262: [photometric], 277: [samples]}
    return {**plain, 278: [height], **{int(name[1:]): values for name, values in others.items()}}


def rows_of(samples: NDArray[np.uint16], bits: int, order: str = "<") -> bytes:
    """Return samples [H, W, C] as rows of a strip, each filled up to a byte."""
    height = len(samples)
    flat = samples.reshape(height, -1)
    if bits == 16:
        return flat.astype(f"{order}u2").tobytes()
    ones = (flat[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(ones.reshape(height, -1).astype(np.uint8), axis=1).tobytes()


def _samples(bits: int, samples: int, height: int = _HEIGHT, width: int = _WIDTH) -> NDArray[np.uint16]:
    random = np.random.default_rng(bits * 10 + samples)
    return random.integers(0, 2**bits, (height, width, samples), dtype=np.uint64).astype(np.uint16)


def _eight(samples: NDArray[np.uint16], bits: int) -> NDArray[np.uint8]:
    return (samples >> 8 if bits == 16 else samples * (255 // (2**bits - 1))).astype(np.uint8)


def _rgb(samples: NDArray[np.uint16], bits: int, photometric: int) -> NDArray[np.uint8]:
    eight = _eight(samples, bits)
    if photometric == 2:
        return eight[..., :3]
    grey = 255 - eight[..., :1] if photometric == 0 else eight[..., :1]
    return np.repeat(grey, 3, axis=2)


def _by_library() -> Iterator[tuple[str, bytes, Outcome]]:
    """Files of the library's own writer, packed in each way."""
    picture = Image.fromarray(smooth(48, 64))
    for packing in ("raw", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits"):
        for mode in ("RGB", "L", "1", "P", "RGBA", "LA", "CMYK"):
            made = picture.convert(mode)
            buffer = io.BytesIO()
            made.save(buffer, "TIFF", compression=packing)
            yield f"{packing} {mode}", buffer.getvalue(), np.asarray(made.convert("RGB"), dtype=np.uint8)
        buffer = io.BytesIO()
        picture.save(buffer, "TIFF", compression=packing, tiffinfo={317: 2} if "lzw" in packing else {})
        yield f"{packing} with a predictor", buffer.getvalue(), np.asarray(picture, dtype=np.uint8)
    buffer = io.BytesIO()
    picture.save(buffer, "TIFF", save_all=True, append_images=[Image.new("RGB", (9, 9))] * 2)
    yield "the first of three pages", buffer.getvalue(), np.asarray(picture, dtype=np.uint8)


def _good() -> Iterator[tuple[str, bytes, Outcome]]:
    for order in "<>":
        kinds = [(bits, 1, photometric) for photometric in (0, 1) for bits in (1, 2, 4, 8)]
        for bits, samples, photometric in (*kinds, (16, 1, 1), (8, 3, 2), (16, 3, 2), (8, 4, 2), (16, 4, 2), (8, 2, 1)):
            made = _samples(bits, samples)
            more = {"t338": [2]} if samples in (2, 4) else {}
            fields = fields_of(_HEIGHT, _WIDTH, bits, samples, photometric, **more)
            name = f"{bits} bits, {samples} samples, meaning {photometric}, {order}"
            want = _rgb(made, bits, photometric)
            yield name, tiff(fields, [rows_of(made, bits, order)], order), want
            pack = zlib.compress(rows_of(made, bits, order))
            yield f"{name}, Deflate", tiff({**fields, 259: [8]}, [pack], order), want
            strips = [rows_of(made[at : at + 4], bits, order) for at in range(0, _HEIGHT, 4)]
            yield f"{name}, strips", tiff({**fields, 278: [4]}, strips, order), want
        for bits in (1, 2, 4, 8):
            made = _samples(bits, 1)
            colours = np.random.default_rng(bits).integers(0, 65536, (3, 2**bits))
            fields = fields_of(_HEIGHT, _WIDTH, bits, 1, 3, t320=colours.reshape(-1).tolist())
            want = (colours.T >> 8).astype(np.uint8)[made[..., 0]]
            yield f"palette of {bits} bits, {order}", tiff(fields, [rows_of(made, bits, order)], order), want
        for bits, samples, photometric in ((8, 1, 1), (8, 3, 2), (16, 3, 2)):
            made = _samples(bits, samples)
            want = _rgb(made, bits, photometric)
            tiles = list(_tiles(made, bits, order))
            fields = {**fields_of(_HEIGHT, _WIDTH, bits, samples, photometric), 322: [16], 323: [16]}
            del fields[278]
            yield f"tiles of {bits} bits, {samples}, {order}", tiff(fields, tiles, order, tiled=True), want
            small = [zlib.compress(tile) for tile in tiles]
            yield (
                f"packed tiles of {bits} bits, {samples}, {order}",
                tiff({**fields, 259: [8]}, small, order, tiled=True),
                want,
            )
            steps = np.diff(made.astype(np.int64), axis=1, prepend=0).astype(np.uint16) & (2**bits - 1)
            pack = zlib.compress(rows_of(steps, bits, order))
            fields = fields_of(_HEIGHT, _WIDTH, bits, samples, photometric, t259=[8], t317=[2])
            yield f"predictor, {bits} bits, {samples}, {order}", tiff(fields, [pack], order), want
    made = _samples(8, 3)
    rows, want = rows_of(made, 8), _rgb(made, 8, 2)
    fields = fields_of(_HEIGHT, _WIDTH, 8, 3, 2)
    for name, changed in (
        ("bits of one sample", {**fields, 258: [8]}),
        ("no number of rows", {tag: values for tag, values in fields.items() if tag != 278}),
        ("more rows than there are", {**fields, 278: [2**32 - 1]}),
        ("samples said to be unsigned", {**fields, 339: [1, 1, 1]}),
        ("a predictor that unpacked rows have not", {**fields, 317: [3]}),
        ("a lying field of another program", {**fields, 34377: [7]}),
    ):
        yield name, tiff(changed, [rows]), want
    yield "bytes behind the rows", tiff(fields, [rows + b"more"]), want
    yield "bytes behind the end", tiff(fields, [rows]) + b"more", want
    yield "bytes before the rows", tiff(fields, [rows], more=b"text"), want


def _tiles(samples: NDArray[np.uint16], bits: int, order: str) -> Iterator[bytes]:
    height, width = samples.shape[:2]
    whole = np.pad(samples, ((0, -height % 16), (0, -width % 16), (0, 0)))
    for top in range(0, height, 16):
        for left in range(0, width, 16):
            yield rows_of(whole[top : top + 16, left : left + 16], bits, order)


def _bad() -> Iterator[tuple[str, bytes, Outcome]]:
    made = _samples(8, 3)
    rows = rows_of(made, 8)
    fields = fields_of(_HEIGHT, _WIDTH, 8, 3, 2)
    whole = tiff(fields, [rows])
    yield "cut at 7", whole[:7], "the TIFF is cut before its first page"
    for end in (8, 200, len(rows) + 8, len(whole) - 40):
        yield f"cut at {end}", whole[:end], "the TIFF is cut: "
    yield "of the large kind", b"II+\0\x08\0\0\0" + bytes(99), "a BigTIFF is not read: convert it"
    yield (
        "a first page in the header",
        whole[:4] + b"\1\0\0\0" + whole[8:],
        "the TIFF is cut: its first page is missing",
    )
    for tag, values, words in (
        (256, [0], "the TIFF header gives no valid size"),
        (257, [2**31], "the TIFF header gives no valid size"),
        (258, [8, 8, 4], "a TIFF of such samples is not read"),
        (258, [8, 8], "a TIFF of such samples is not read"),
        (258, [32] * 3, "a TIFF with 3 samples of 32 bits in colour space 2 is not read"),
        (259, [7], "a TIFF packed as JPEG is not read"),
        (259, [6], "a TIFF packed as JPEG is not read"),
        (259, [4], "a TIFF packed as a fax (CCITT) is not read"),
        (259, [34712], "a TIFF packed as JPEG 2000 is not read"),
        (259, [9999], "a TIFF packed as packing 9999 is not read"),
        (262, [6], "a TIFF with 3 samples of 8 bits in colour space 6 is not read"),
        (262, [0], "a TIFF with 3 samples of 8 bits in colour space 0 is not read"),
        (266, [2], "a TIFF with its bits reversed is not read"),
        (277, [60000], "a TIFF of such samples is not read"),
        (278, [0], "the TIFF is damaged: its strips have no rows"),
        (278, [4], "the TIFF is cut: strips or tiles of its first page are missing"),
        (284, [2], "a TIFF with a plane for each colour is not read"),
        (339, [2, 2, 2], "a TIFF of such samples is not read"),
        (339, [3], "a TIFF of such samples is not read"),
        (273, [2**32 - 1], "the TIFF is cut: pixels are missing"),
        (279, [5], "the TIFF is cut: pixels are missing"),
        (279, [0], "the TIFF is cut: pixels are missing"),
        (258, [8] * 1000, "the TIFF is damaged: a field of its first page is not what it should be"),
    ):
        yield f"field {tag} of {values[:3]}", tiff({**fields, tag: values}, [rows]), words
    for tag in (256, 257):
        less = {name: values for name, values in fields.items() if name != tag}
        yield (
            f"no field {tag}",
            tiff(less, [rows]),
            "the TIFF is damaged: its first page does not say how its pixels lie",
        )
    for tag in (273, 279):
        yield (
            f"an empty field {tag}",
            tiff({**fields, tag: []}, [rows]),
            "the TIFF is cut: strips or tiles of its first",
        )
    at = whole.index(struct.pack("<HHI", 256, 4, 1))
    typed = whole[: at + 2] + struct.pack("<H", 5) + whole[at + 4 :]
    yield "a width that is a fraction", typed, "the TIFF is damaged: a field of its first page is not what it should be"
    palette = {**fields_of(_HEIGHT, _WIDTH, 8, 1, 3), 320: [0] * 30}
    short = "the TIFF is damaged: its palette has not a colour for every index"
    yield "a palette of 10 colours", tiff(palette, [rows[: len(rows) // 3]]), short


def _badly_packed() -> Iterator[tuple[str, bytes, Outcome]]:
    rows = rows_of(_samples(8, 3), 8)
    fields = fields_of(_HEIGHT, _WIDTH, 8, 3, 2)
    deflate = {**fields, 259: [8]}
    pack = zlib.compress(rows)
    for name, block, words in (
        ("a row too few", zlib.compress(rows[:-93]), "the TIFF is cut: pixels are missing"),
        ("half of the packed pixels", pack[: len(pack) // 2], "the TIFF is cut: pixels are missing"),
        ("no checksum", pack[:-4], "the TIFF is cut: the end of its packed pixels is missing"),
        ("far more pixels", zlib.compress(bytes(2**21)), "the TIFF has far more pixels than its header says"),
        ("pixels that are not packed", rows, "the TIFF is damaged: its pixels cannot be unpacked"),
    ):
        yield f"Deflate with {name}", tiff(deflate, [block]), words
    predicted = f"a TIFF with predictor 3 {_NOT_READ}"
    yield "predictor 3", tiff({**deflate, 317: [3]}, [pack]), predicted
    bits = {**fields_of(_HEIGHT, _WIDTH, 1, 1, 1), 259: [8], 317: [2]}
    yield "a predictor of bits", tiff(bits, [pack]), f"a TIFF with predictor 2 {_NOT_READ}"
    damaged = "the TIFF data is damaged, cut or of a kind that is not supported"
    lzw = packed(smooth(19, 31), "TIFF", compression="tiff_lzw")
    where = lzw.index(struct.pack("<HHI", 279, 4, 1))
    (size,) = struct.unpack_from("<I", lzw, where + 8)
    yield "LZW cut", lzw[: where + 8] + struct.pack("<I", size // 2) + lzw[where + 12 :], damaged
    strips = [rows[at : at + 93] for at in range(0, len(rows), 93)]
    over = {**fields, 259: [5], 278: [1], 273: [8] * _HEIGHT, 279: [len(rows)] * _HEIGHT}
    yield "strips over each other", tiff(over, strips), "the TIFF is damaged: its strips or tiles lie over each other"
    empty = "the TIFF is damaged: its tiles are empty or far larger than its picture"
    for side in (0, 15, 2048, 2**31):
        tiled = {**fields_of(_HEIGHT, _WIDTH, 8, 3, 2), 322: [side], 323: [16]}
        yield f"tiles of {side}", tiff(tiled, [rows] * 4, tiled=True), empty
    wide = {**fields_of(1, 2**20, 8, 1, 1), 322: [1024], 323: [1024], 259: [8]}
    yield "tiles far higher than the picture", tiff(wide, [b"x"] * 1024, tiled=True), empty
