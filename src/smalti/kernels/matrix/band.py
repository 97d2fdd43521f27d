"""Bands: the pixels under some result rows of a convolution, converted and padded in this thread's scratch.

An item is a band.  The sums then run over plain memory without edge tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import assert_never

from llvmlite import ir

from smalti.ir.dims import Dim
from smalti.ir.graph import Node
from smalti.ir.ops import Pads
from smalti.kernels.epilogue.emit import load_wide
from smalti.kernels.kernel import FunctionEmitter, StepEmitter
from smalti.kernels.matrix.core import Packed, Run, call_panel, call_panels
from smalti.kernels.nodes import static_channels
from smalti.kernels.values import number
from smalti.kernels.walk import Index, in_vectors
from smalti.llvm.builder import F32, I8, I16, I64, PTR, Fn, vector
from smalti.numerics import DType

ROWS = 4
SLACK = 8


class Conversion(Enum):
    """What becomes of an element of the picture."""

    FLOAT = "x - offset in float32"
    COPY_WORDS = "16 bits as they are"
    COPY_BYTES = "8 bits as they are"
    WIDEN = "8 bits in 16"
    DOUBLE = "2 * x - offset in 16 bits"

    @property
    def type(self) -> ir.Type:
        """The LLVM type of an element of the band."""
        match self:
            case Conversion.FLOAT:
                return F32
            case Conversion.COPY_BYTES:
                return I8
            case Conversion.COPY_WORDS | Conversion.WIDEN | Conversion.DOUBLE:
                return I16
            case _:
                assert_never(self)

    @property
    def itemsize(self) -> int:
        """Bytes of an element of the band."""
        return {F32: 4, I16: 2, I8: 1}[self.type]


@dataclass(frozen=True, slots=True)
class Fill:
    """How the row of a band is filled from a row of the picture; the padding is ``padding``.

    What a vector leaves over is filled in shorter vectors, or (``single``) element by element: shorter code.
    """

    source: DType
    conversion: Conversion
    offset: float = 0.0
    padding: int = 0
    single: bool = True


@dataclass(frozen=True, slots=True)
class Band:
    """Geometry of a window and the conversion of what it lies on.

    With ``slack`` a few more bytes than are filled may be read behind the end; they are written as zeros, so that
    nothing unset is ever read.
    """

    fill: Fill
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pads: Pads
    slack: bool = True

    @property
    def rows(self) -> int:
        """Input rows under ``ROWS`` result rows."""
        return (ROWS - 1) * self.stride[0] + (self.kernel[0] - 1) * self.dilation[0] + 1

    def row_pixels(self, conv: Node) -> int | Dim:
        """Return the pixels of one padded input row of a convolution node."""
        return (conv.type.shape[2] - 1) * self.stride[1] + ((self.kernel[1] - 1) * self.dilation[1] + 1)

    def row_bytes(self, conv: Node) -> int | Dim:
        """Return the bytes of one padded input row."""
        return self.row_pixels(conv) * (self.fill.conversion.itemsize * static_channels(conv.x))

    def scratch_bytes(self, conv: Node) -> int | Dim:
        """Return the bytes of a band."""
        return self.row_bytes(conv) * self.rows + (SLACK if self.slack else 0)


def emit_bands(
    e: StepEmitter,
    conv: Node,
    band: Band,
    packed: Callable[[], Packed],
    residual: Callable[[], ir.Value | None] = lambda: None,
    by_panel: bool = False,
) -> None:
    """Write a step whose items are bands of a convolution: operand 0 is the picture, scratch 0 the band.

    Args:
        e: the step.
        conv: the convolution; the result has its shape.
        band: the geometry.
        packed: returns the panels (called inside an item).
        residual: returns the address of the residual.
        by_panel: compute all rows of one panel before those of the next one.
    """
    fn, result, scratch = e.fn, e.result(), e.scratch(0)
    other = residual()
    row_bytes = e.size(band.row_bytes(conv))
    batch, height, width = (e.size(s) for s in conv.type.shape[:3])
    count = fn.ceil_div(height, ROWS)
    with e.parallel(fn.mul(batch, count)) as item:
        image, first = fn.div(item, count), fn.mul(fn.mod(item, count), ROWS)
        rows = fn.minimum(ROWS, fn.sub(height, first))
        _fill(e, conv, band, row_bytes, image, first)
        panels = packed()

        def run(y: Index) -> Run:
            place = fn.mul(fn.add(fn.mul(image, height), first, y), width)
            offset = fn.mul(place, panels.spec.result_stride)
            start = fn.at(scratch, fn.mul(fn.mul(y, band.stride[0]), row_bytes))
            return Run(start, result, other, offset, width, row_bytes, band.dilation[0])

        if by_panel:
            for work in panels.each(fn):
                with fn.loop(0, rows) as y:
                    call_panel(e, panels.spec, work, run(y))
        else:
            with fn.loop(0, rows) as y:
                call_panels(e, panels, run(y))


def _fill(e: StepEmitter, conv: Node, band: Band, row_bytes: Index, image: Index, first: Index) -> None:
    fn, x = e.fn, conv.x.type
    height, width, channels = (e.size(s) for s in x.shape[1:])
    top, left = e.size(band.pads[0]), e.size(band.pads[2])
    total = fn.mul(e.size(band.row_pixels(conv)), channels)
    before = fn.minimum(fn.mul(left, channels), total)
    inside = fn.minimum(fn.mul(width, channels), fn.sub(total, before))
    source, scratch = e.operand(0), e.scratch(0)
    fill = e.function(fill_row, band.fill, (PTR, PTR, I64, I64, I64))
    if band.slack:
        fn.store(number(I64, 0), fn.at(scratch, fn.mul(row_bytes, band.rows)), align=1)
    with fn.loop(0, band.rows) as row:
        y = fn.sub(fn.add(fn.mul(first, band.stride[0]), row), top)
        valid = fn.b.and_(fn.compare(">=", y, 0), fn.compare("<", y, height))
        start = fn.mul(fn.mul(fn.add(fn.mul(image, height), y), fn.mul(width, channels)), x.dtype.itemsize)
        # A row outside the image is all padding: nothing of the source is read.
        copied = fn.b.select(valid, fn.i64(inside), fn.i64(0))
        fn.call(fill, fn.at(scratch, fn.mul(row, row_bytes)), fn.at(source, start), before, copied, total)


def fill_row(e: FunctionEmitter, fill: Fill) -> None:
    """Build ``fill(row, source, before, copied, total)``: padding, then the converted source, then padding."""
    fn, size, element = e.fn, fill.conversion.itemsize, fill.conversion.type
    row, source, before, copied, total = fn.args
    lanes = e.target.vector_bits // (8 * size)

    def pad(index: Index, width: int) -> None:
        fn.store(number(vector(element, width), fill.padding), fn.at(row, fn.mul(index, size)))

    def copy(index: Index, width: int) -> None:
        value = _converted(fn, fill, fn.at(source, fn.mul(index, fill.source.itemsize)), width)
        fn.store(value, fn.at(row, fn.mul(fn.add(before, index), size)))

    def run(start: Index, stop: Index, write: Callable[[Index, int], None]) -> None:
        if not fill.single:
            in_vectors(fn, start, stop, lanes, write)
            return
        whole = fn.add(start, fn.mul(fn.div(fn.sub(stop, start), lanes), lanes))
        for begin, end, width in ((start, whole, lanes), (whole, stop, 1)):
            with fn.loop(begin, end, width) as index:
                write(index, width)

    run(0, before, pad)
    run(0, copied, copy)
    run(fn.add(before, copied), total, pad)
    fn.finish()


def _converted(fn: Fn, fill: Fill, address: ir.Value, lanes: int) -> ir.Value:
    kind = vector(fill.conversion.type, lanes)
    match fill.conversion:
        case Conversion.FLOAT:
            return load_wide(fn, fill.source, address, lanes, fill.offset)
        case Conversion.COPY_WORDS | Conversion.COPY_BYTES:
            return fn.load(kind, address)
        case Conversion.WIDEN:
            return fn.b.zext(fn.load(vector(I8, lanes), address), kind)
        case Conversion.DOUBLE:
            wide = fn.b.zext(fn.load(vector(I8, lanes), address), kind)
            return fn.b.sub(fn.b.add(wide, wide), number(kind, int(fill.offset)))
        case _:
            assert_never(fill.conversion)
