"""Decode pictures and masks, encode label maps.

Only the parsers of JPEG, PNG, WebP, BMP and TIFF are reachable, the format is taken from the content and never from
the name, and a picture over the pixel cap is refused from its header alone. A cut or damaged picture is an ImageError,
never a grey area (at most a part of the last unit of its coding, mostly 16 x 16 pixels).
The EXIF orientation is applied, whatever format it stands in, as viewers and ``cv2.imread`` do, so that a label map
lies on the picture as people see it. Alpha, colour profiles and gamma are ignored; 16-bit samples keep their high byte;
of an animated PNG the still picture is taken, of a TIFF the first page.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from smalti.errors import DataError, ImageError, ResourceError, UsageError
from smalti.vision.formats import read_header, split_image
from smalti.vision.headers import ImageFormat, ImageHeader, ImageParts
from smalti.vision.jpeg import decode_jpeg
from smalti.vision.label_counts import fit_a_byte
from smalti.vision.palette import voc_palette
from smalti.vision.png_pixels import check_png_pixels
from smalti.vision.voc import printable

DEFAULT_MAX_PIXELS: Final = 64 * 2**20
LARGEST_MAX_PIXELS: Final = 85 * 2**20
JPEG_MAX_SIDE: Final = 65500
MAX_FILE_BYTES: Final = 256 * 2**20
_SCANS_PER_PICTURE: Final = 16
_ORIENTATION_TAG: Final = 0x0112
_VOC_PALETTE: Final = voc_palette().tobytes()
OUT_OF_RESOURCES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_DECODER_ERRORS: Final = (
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    LookupError,
    EOFError,
    ArithmeticError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


def read_image(path: Path, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> NDArray[np.uint8]:
    """Return the picture of a file, RGB uint8 [H, W, 3]. Raises ImageError, or ResourceError when the system is out."""
    return decode_image(read_file(path), max_pixels=max_pixels)


def decode_image(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> NDArray[np.uint8]:
    """Return the picture of a file's bytes, RGB uint8 [H, W, 3], turned upright by its EXIF orientation.

    ``max_pixels`` is checked against the header before anything is decoded. Raises ImageError.
    """
    parts = _checked_parts(data, max_pixels)
    with _opened(parts) as image:
        pixels = _rgb(image)
    return _upright(pixels, parts.orientation)


def from_pil(image: Image.Image, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> NDArray[np.uint8]:
    """Return a PIL image as RGB uint8 [H, W, 3], turned upright by its EXIF orientation, decoded if it was not yet.

    Raises ImageError when it cannot be decoded or has more than ``max_pixels`` pixels.
    """
    check_max_pixels(max_pixels)
    if not 0 < image.width * image.height <= max_pixels:
        raise ImageError(f"{image.width} x {image.height} pixels are not 1 to the limit of {max_pixels}")
    try:
        # A TIFF is turned by the library when it is loaded, and has no orientation after that.
        image.load()
        orientation = int(image.getexif().get(_ORIENTATION_TAG, 1))
        pixels = _rgb(image)
    except MemoryError as error:
        raise ResourceError(f"no memory to decode {image.width} x {image.height} pixels") from error
    except _DECODER_ERRORS:
        raise ImageError("the image is damaged, cut or of a kind that is not supported") from None
    return _upright(pixels, orientation if 1 <= orientation <= 8 else 1)


def read_mask(path: Path, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> NDArray[np.uint8]:
    """Return the label map of a PNG file, uint8 [H, W]. Raises ImageError as :func:`decode_mask` does."""
    return decode_mask(read_file(path), max_pixels=max_pixels)


def decode_mask(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> NDArray[np.uint8]:
    """Return the labels of a palette or 8-bit grey PNG, uint8 [H, W]; a pixel's index or grey value is its label.

    Raises ImageError for another format (values of a JPEG are not exact), a true-colour PNG, and grey of another depth.
    """
    header = read_header(data)
    if header.format is ImageFormat.JPEG:
        raise ImageError("a label map must be a PNG: a JPEG does not keep the labels exactly")
    if header.format is not ImageFormat.PNG:
        raise ImageError(f"a label map must be a PNG, not a {header.format.value}: save it as one, values unchanged")
    if not header.has_palette and not (header.is_grey and header.bit_depth == 8):
        raise ImageError("a label map must be a palette PNG or an 8-bit grey PNG whose pixel values are the labels")
    with _opened(_checked_parts(data, max_pixels)) as image:
        if image.mode not in ("P", "L"):
            raise ImageError("a label map must be a palette PNG or an 8-bit grey PNG whose pixel values are the labels")
        return np.array(image, dtype=np.uint8)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put a file's path before what is wrong with its picture or mask."""
    try:
        yield
    except DataError as error:
        kind = ImageError if isinstance(error, ImageError) else DataError
        raise kind(f"{printable(str(path))}: {error}") from error


def encode_mask(labels: NDArray[np.integer], palette: NDArray[np.uint8] | None = None) -> bytes:
    """Return a palette PNG of a label map [H, W] with labels 0 to 255: the pixel index is the label.

    ``palette`` is uint8 [256, 3] in RGB (VOC's colours by default). Raises ImageError for labels out of range.
    """
    if labels.ndim != 2 or labels.size == 0:
        raise ImageError(f"a label map has two sides, not the shape {labels.shape}")
    if not fit_a_byte(labels):
        raise ImageError("a label map of a PNG can only hold the labels 0 to 255")
    image = Image.fromarray(np.ascontiguousarray(labels, dtype=np.uint8))
    image.putpalette(_VOC_PALETTE if palette is None else palette.tobytes())
    buffer = io.BytesIO()
    # Label maps are runs of one value: run-length matching alone is faster than a search for matches, and smaller.
    image.save(buffer, format="PNG", compress_type=zlib.Z_RLE)
    return buffer.getvalue()


def encode_picture(picture: NDArray[np.uint8], form: ImageFormat = ImageFormat.JPEG) -> bytes:
    """Return an RGB picture uint8 [H, W, 3] as a JPEG (quality 92) or a PNG.

    Raises ImageError for a side that a JPEG cannot have.
    """
    height, width = picture.shape[:2]
    if form is ImageFormat.JPEG and max(height, width) > JPEG_MAX_SIDE:
        raise ImageError(f"cannot draw {width} x {height} pixels: a JPEG has at most {JPEG_MAX_SIDE} of a side")
    buffer = io.BytesIO()
    options = {"quality": 92} if form is ImageFormat.JPEG else {}
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, format=form.value, **options)
    return buffer.getvalue()


def read_file(path: Path, *, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Return the bytes of a regular file of at most ``max_bytes``; never waits for a pipe. Raises ImageError."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _read_error(error) from error
    except ValueError as error:
        raise ImageError("cannot read: the name holds a zero byte") from error
    try:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            raise ImageError("not a regular file")
        if facts.st_size > max_bytes:
            raise ImageError(f"the file has {facts.st_size} bytes, more than the limit of {max_bytes}")
        # One byte more than there are: a file that is longer by now is still being written.
        with os.fdopen(handle, "rb", closefd=False) as file:
            data = file.read(facts.st_size + 1)
    except OSError as error:
        raise _read_error(error) from error
    finally:
        os.close(handle)
    if len(data) > facts.st_size:
        raise ImageError("the file grew while it was read")
    return data


def _read_error(error: OSError) -> ImageError | ResourceError:
    reason = os.strerror(error.errno) if error.errno else "input error"
    if error.errno in OUT_OF_RESOURCES:
        return ResourceError(f"cannot open a picture: {reason}")
    return ImageError(f"cannot read: {reason}")


def _checked_parts(data: bytes, max_pixels: int) -> ImageParts:
    check_max_pixels(max_pixels)
    header = read_header(data)
    if header.pixels > max_pixels:
        raise ImageError(
            f"{header.width} x {header.height} pixels are more than the limit of {max_pixels} (--max-pixels)"
        )
    parts = split_image(data)
    if parts.scans * header.pixels > _SCANS_PER_PICTURE * max_pixels:
        raise ImageError(f"{parts.scans} scans over {header.width} x {header.height} pixels are too much work")
    return parts


def check_max_pixels(max_pixels: int) -> None:
    """Raise UsageError unless the cap is one that the decoder can keep."""
    if not 1 <= max_pixels <= LARGEST_MAX_PIXELS:
        raise UsageError(f"the limit of pixels must be 1 to {LARGEST_MAX_PIXELS}, not {max_pixels}")


def _opened(parts: ImageParts) -> Image.Image:
    """Decode checked parts. The decoder's own message is dropped: it may hold addresses of this process."""
    header = parts.header
    try:
        if header.format is ImageFormat.JPEG:
            return decode_jpeg(parts)
        if header.format is ImageFormat.PNG:
            check_png_pixels(parts.data)
        image = Image.open(io.BytesIO(parts.data), formats=(header.format.name,))
        if image.size != (header.width, header.height):
            raise ImageError(f"the {header.format.value} gives two different sizes")
        image.load()
    except MemoryError as error:
        raise ResourceError(f"no memory to decode {header.width} x {header.height} pixels") from error
    except _DECODER_ERRORS:
        raise ImageError(_damage(header)) from None
    return image


def _damage(header: ImageHeader) -> str:
    return f"the {header.format.value} data is damaged, cut or of a kind that is not supported"


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode in ("I;16", "I;16B", "I;16L", "I"):
        grey = (np.asarray(image, dtype=np.int32) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"), dtype=np.uint8)


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo an EXIF orientation: 2, 4 mirror; 3 turns by 180 degrees; 5 to 8 also swap the sides."""
    if orientation == 1:
        return pixels
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
