"""General 2-D convolution with sums in float32, also straight from a uint8 image.

An item is a band of result rows.  Its input rows are copied once into this thread's scratch, the padding as zeros and
integers or narrow elements as float32, less an offset; the sums then run over plain memory without edge tests.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from smalti.errors import CompilerError
from smalti.ir.dims import Dim
from smalti.ir.graph import Node
from smalti.kernels.conv.convolution import PREFIXES, Convolution, convolution, is_depthwise, read_convolution
from smalti.kernels.conv.epilogue import load_wide
from smalti.kernels.conv.gemm import Depth, GemmSpec, gemm_panel
from smalti.kernels.conv.matrix import matrix_plan, panels_of
from smalti.kernels.conv.tile import GemmTile
from smalti.kernels.kernel import KernelPlan, StepEmitter
from smalti.kernels.nodes import static_shape
from smalti.kernels.values import number
from smalti.llvm.builder import F32, I16, I64, PTR, Fn, vector
from smalti.numerics import DType
from smalti.target.target import Target

ROWS = 4


@dataclass(frozen=True, slots=True)
class GeneralConvKernel:
    """Any NHWC convolution with constant weights; ``dtype`` is that of the weights."""

    dtype: DType = DType.FLOAT32

    @property
    def name(self) -> str:
        """Name shown in profiles."""
        return f"{PREFIXES[self.dtype]}_conv2d"

    def accepts(self, node: Node, target: Target) -> bool:
        """Whether the node is a convolution (of such elements or of uint8) with constant weights."""
        c = read_convolution(node, target)
        return c is not None and not is_depthwise(node) and c.weights is self.dtype

    def plan(self, node: Node, target: Target) -> KernelPlan:
        """Choose the tile, pack weights and parameters, reserve the band."""
        c = convolution(node, target)
        rows, width = _band(node, c)
        cin = static_shape(node.inputs[1])[2]
        return matrix_plan(node, c, target, _depth(node, c), (width * (rows * cin * c.itemsize),))

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step."""
        c, tile = convolution(node, e.target), plan.tile
        if not isinstance(tile, GemmTile):
            raise CompilerError(f"{self.name}: foreign tile {tile}")
        fn = e.fn
        cin, cout = static_shape(node.inputs[1])[2:]
        size, depth = c.epilogue.stored.itemsize, _depth(node, c)
        pixel = c.itemsize * c.stride[1] * cin
        spec = GemmSpec(depth, pixel, size * cout, size * cout, c.residual, c.epilogue, c.pairs, c.panel_type)
        result, scratch = e.result(), e.scratch(0)
        residual = e.operand(len(plan.operands) - 1) if c.residual else result
        band_rows, band_width = _band(node, c)
        row_bytes = e.size(band_width * (c.itemsize * cin))
        batch, height, width = (e.size(s) for s in node.type.shape[:3])
        bands = fn.ceil_div(height, ROWS)
        with e.parallel(fn.mul(batch, bands)) as item:
            image, first = fn.div(item, bands), fn.mul(fn.mod(item, bands), ROWS)
            rows = fn.minimum(ROWS, fn.sub(height, first))
            _fill(e, node, c, row_bytes, image, first)
            for work in panels_of(e, node, c, depth, plan, tile).each():
                function = gemm_panel(e, spec, work.panel)
                with fn.loop(0, rows) as row:
                    place = fn.mul(fn.add(fn.mul(image, height), first, row), width)
                    offset = fn.add(fn.mul(place, size * cout), size * work.channel)
                    fn.call(
                        function,
                        fn.at(scratch, fn.mul(fn.mul(row, c.stride[0]), row_bytes)),
                        work.weights,
                        fn.at(result, offset),
                        work.parameters,
                        fn.at(residual, offset),
                        fn.mul(row_bytes, c.dilation[0]),
                        width,
                    )


def _depth(node: Node, c: Convolution) -> Depth:
    kh, kw, cin = static_shape(node.inputs[1])[:3]
    if c.dilation[1] == 1:
        return Depth(kh, 1, 0, kw * cin)
    return Depth(kh, kw, c.itemsize * c.dilation[1] * cin, cin)


def _band(node: Node, c: Convolution) -> tuple[int, int | Dim]:
    """Return the input rows of a band and its padded width in pixels."""
    kh, kw = static_shape(node.inputs[1])[:2]
    rows = (ROWS - 1) * c.stride[0] + (kh - 1) * c.dilation[0] + 1
    return rows, (node.type.shape[2] - 1) * c.stride[1] + ((kw - 1) * c.dilation[1] + 1)


def _fill(
    e: StepEmitter,
    node: Node,
    c: Convolution,
    row_bytes: int | ir.Value,
    image: int | ir.Value,
    first: int | ir.Value,
) -> None:
    fn = e.fn
    band_rows, band_width = _band(node, c)
    height, width, cin = (e.size(s) for s in node.inputs[0].type.shape[1:])
    top, left = e.size(c.pads[0]), e.size(c.pads[2])
    total = fn.mul(e.size(band_width), cin)
    before = fn.minimum(fn.mul(left, cin), total)
    inside = fn.minimum(fn.mul(width, cin), fn.sub(total, before))
    source, scratch, fill = e.operand(0), e.scratch(0), _fill_function(e, c)
    with fn.loop(0, band_rows) as row:
        y = fn.sub(fn.add(fn.mul(first, c.stride[0]), row), top)
        valid = fn.b.and_(fn.compare(">=", y, 0), fn.compare("<", y, height))
        start = fn.mul(fn.mul(fn.add(fn.mul(image, height), y), fn.mul(width, cin)), c.x.itemsize)
        # A row outside the image is all padding: nothing of the source is read.
        copied = fn.b.select(valid, fn.i64(inside), fn.i64(0))
        fn.call(fill, fn.at(scratch, fn.mul(row, row_bytes)), fn.at(source, start), before, copied, total)


def _fill_function(e: StepEmitter, c: Convolution) -> ir.Function:
    """Return ``fill(row, source, before, copied, total)``: zeros, then the converted source, then zeros."""
    element, size = (I16, 2) if c.pairs else (F32, 4)
    lanes = e.target.vector_bits // (8 * size)

    def build(fn: Fn) -> None:
        row, source, before, copied, total = fn.args

        def pieces(start: int | ir.Value, stop: int | ir.Value, zero: bool) -> None:
            whole = fn.add(start, fn.mul(fn.div(fn.sub(stop, start), lanes), lanes))
            for begin, end, count in ((start, whole, lanes), (whole, stop, 1)):
                kind = vector(element, count)
                with fn.loop(begin, end, count) as i:
                    if zero:
                        fn.store(number(kind, 0), fn.at(row, fn.mul(i, size)))
                        continue
                    place = fn.at(source, fn.mul(i, c.x.itemsize))
                    value = fn.load(kind, place) if c.pairs else load_wide(fn, c.x, place, count, c.offset)
                    fn.store(value, fn.at(row, fn.mul(fn.add(before, i), size)))

        pieces(0, before, True)
        pieces(0, copied, False)
        pieces(fn.add(before, copied), total, True)
        fn.finish()

    key = f"fill_{c.x.value}_{'pairs' if c.pairs else 'f32'}_{c.offset!r}"
    return e.function(key, (PTR, PTR, I64, I64, I64), build)
