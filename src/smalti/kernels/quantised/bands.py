"""Bands of a first convolution: the pixels under some result rows, converted and padded in scratch.

The sums then run over plain memory without edge tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from llvmlite import ir

from smalti.ir.dims import Dim
from smalti.ir.graph import Node
from smalti.ir.ops import Pads
from smalti.kernels.kernel import StepEmitter
from smalti.kernels.nodes import static_channels
from smalti.kernels.values import load_value, number
from smalti.kernels.walk import Index, in_vectors
from smalti.llvm.builder import F32, I16, I64, PTR, Fn, vector
from smalti.numerics import DType

ROWS = 4
SLACK = 8


class Element(Enum):
    """What becomes of a pixel: ``x - offset`` in float32, or ``2 * x - offset`` in 16 bits."""

    FLOAT = "f32"
    DOUBLED = "i16"

    @property
    def type(self) -> ir.Type:
        """The LLVM type."""
        return F32 if self is Element.FLOAT else I16

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return 4 if self is Element.FLOAT else 2


@dataclass(frozen=True, slots=True)
class Band:
    """Geometry of a window and the conversion of what it lies on."""

    element: Element
    offset: float
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pads: Pads

    @property
    def rows(self) -> int:
        """Input rows under ``ROWS`` result rows."""
        return (ROWS - 1) * self.stride[0] + (self.kernel[0] - 1) * self.dilation[0] + 1

    def row_elements(self, node: Node) -> int | Dim:
        """Return the elements of one padded input row of a convolution node."""
        width = (node.type.shape[2] - 1) * self.stride[1] + ((self.kernel[1] - 1) * self.dilation[1] + 1)
        return width * static_channels(node.inputs[0])

    def scratch_bytes(self, node: Node) -> int | Dim:
        """Return the bytes of a band; a few more than are written may be read behind its end."""
        return self.row_elements(node) * (self.rows * self.element.itemsize) + SLACK


def emit_rows(
    e: StepEmitter,
    conv: Node,
    result: Node,
    band: Band,
    pixel_bytes: int,
    row: Callable[[ir.Value, ir.Value, int | ir.Value], None],
) -> None:
    """Write a step whose items are bands.

    Args:
        e: the step: operand 0 is the picture, scratch 0 the band.
        conv: the convolution.
        result: the node whose rows are written, of the convolution's shape.
        band: the geometry.
        pixel_bytes: bytes of a result pixel.
        row: ``row(pixels, result row, bytes between rows of the window)`` emits the work of one result row.
    """
    fn = e.fn
    batch, height, width = (e.size(s) for s in result.type.shape[:3])
    row_bytes = fn.mul(e.size(band.row_elements(conv)), band.element.itemsize)
    bands = fn.ceil_div(height, ROWS)
    with e.parallel(fn.mul(batch, bands)) as item:
        image, first = fn.div(item, bands), fn.mul(fn.mod(item, bands), ROWS)
        _fill(e, conv, band, row_bytes, image, first)
        with fn.loop(0, fn.minimum(ROWS, fn.sub(height, first))) as y:
            place = fn.mul(fn.add(fn.mul(image, height), first, y), fn.mul(width, pixel_bytes))
            pixels = fn.at(e.scratch(0), fn.mul(fn.mul(y, band.stride[0]), row_bytes))
            row(pixels, fn.at(e.result(), place), fn.mul(row_bytes, band.dilation[0]))


def _fill(e: StepEmitter, conv: Node, band: Band, row_bytes: Index, image: Index, first: Index) -> None:
    fn, x = e.fn, conv.inputs[0].type
    height, width, channels = (e.size(s) for s in x.shape[1:])
    total = e.size(band.row_elements(conv))
    before = fn.minimum(fn.mul(e.size(band.pads[2]), channels), total)
    inside = fn.minimum(fn.mul(width, channels), fn.sub(total, before))
    fill = _fill_function(e, x.dtype, band)
    # What may be read behind the last row meets weights of zero; it is written so that nothing unset is ever read.
    fn.store(number(I64, 0), fn.at(e.scratch(0), fn.mul(row_bytes, band.rows)), align=1)
    with fn.loop(0, band.rows) as row:
        y = fn.sub(fn.add(fn.mul(first, band.stride[0]), row), e.size(band.pads[0]))
        valid = fn.b.and_(fn.compare(">=", y, 0), fn.compare("<", y, height))
        start = fn.mul(fn.mul(fn.add(fn.mul(image, height), y), fn.mul(width, channels)), x.dtype.itemsize)
        # A row outside the image is all padding: nothing of the source is read.
        copied = fn.b.select(valid, fn.i64(inside), fn.i64(0))
        fn.call(fill, fn.at(e.scratch(0), fn.mul(row, row_bytes)), fn.at(e.operand(0), start), before, copied, total)


def _fill_function(e: StepEmitter, dtype: DType, band: Band) -> ir.Function:
    """Return ``fill(row, source, before, copied, total)``: zeros, then the converted source, then zeros."""
    element, size = band.element, band.element.itemsize
    lanes = e.target.vector_bits // (8 * size)

    def build(fn: Fn) -> None:
        row, source, before, copied, total = fn.args

        def zeros(start: Index, stop: Index) -> None:
            def piece(index: Index, width: int) -> None:
                fn.store(number(vector(element.type, width), 0), fn.at(row, fn.mul(index, size)))

            in_vectors(fn, start, stop, lanes, piece)

        def piece(index: Index, width: int) -> None:
            value = load_value(fn, dtype, fn.at(source, fn.mul(index, dtype.itemsize)), width)
            fn.store(_converted(fn, value, band, width), fn.at(row, fn.mul(fn.add(before, index), size)))

        zeros(0, before)
        in_vectors(fn, 0, copied, lanes, piece)
        zeros(fn.add(before, copied), total)
        fn.finish()

    key = f"first_fill_{dtype.value}_{element.value}_{band.offset.hex()}"
    return e.function(key, (PTR, PTR, I64, I64, I64), build)


def _converted(fn: Fn, value: ir.Value, band: Band, lanes: int) -> ir.Value:
    kind = vector(band.element.type, lanes)
    if band.element is Element.DOUBLED:
        wide = fn.b.zext(value, kind)
        return fn.b.sub(fn.b.add(wide, wide), number(kind, int(band.offset)))
    real = value if value.type == kind else fn.b.uitofp(value, kind)
    return fn.b.fsub(real, number(kind, band.offset)) if band.offset else real
