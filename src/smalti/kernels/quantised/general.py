"""General 2-D convolution of uint8 by int8.

An item is a band of result rows.  Its input rows are copied once into this thread's scratch, with the zero point as
padding (and widened to 16 bits where the dot product wants that); the sums then run over plain memory without edge
tests.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.dims import Dim
from smalti.ir.graph import Node
from smalti.kernels.kernel import KernelPlan, StepEmitter
from smalti.kernels.nodes import attributes, static_shape
from smalti.kernels.quantised.dot import Dot
from smalti.kernels.quantised.gemm import Depth, GemmSpec, gemm_block
from smalti.kernels.quantised.pointwise import (
    ConvolutionPlan,
    addend_scratch,
    computes_bytes,
    gemm_constants,
    pack_convolution,
)
from smalti.kernels.quantised.requant import RequantSpec
from smalti.kernels.values import number
from smalti.llvm.builder import I8, I16, I64, PTR, Fn, vector
from smalti.target.target import Target

ROWS = 4
SLACK = 8


@dataclass(frozen=True, slots=True)
class GeneralConvKernel:
    """Any convolution of uint8 by constant int8 weights."""

    name: str = "i8_conv2d"

    def accepts(self, node: Node, target: Target) -> bool:
        """Whether the node is such a convolution."""
        return computes_bytes(node)

    def plan(self, node: Node, target: Target) -> KernelPlan:
        """Choose the tile, pack the constants, reserve the band."""
        dot = Dot.of_matrix(target)
        packed = pack_convolution(node, target, _depth(node, dot).runs)
        rows, width = _band(node)
        band = width * (rows * static_shape(node.inputs[1])[2] * dot.element_bytes) + SLACK
        scratch = (band, *addend_scratch(node, packed.tile.panels))
        return KernelPlan(packed.operands, packed.constants, scratch, ConvolutionPlan(packed.tile, packed.requant))

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step."""
        op, own = attributes(node, ops.QuantisedConv2d), plan.tile
        if not isinstance(own, ConvolutionPlan):
            raise CompilerError(f"{self.name}: foreign tile {own}")
        fn, dot = e.fn, Dot.of_matrix(e.target)
        spec = _spec(node, dot, own.requant)
        result, scratch = e.result(), e.scratch(0)
        residual = e.operand(len(plan.operands) - 1) if op.residual else None
        band_rows, band_width = _band(node)
        row_bytes = e.size(band_width * (static_shape(node.inputs[1])[2] * dot.element_bytes))
        batch, height, width = (e.size(s) for s in node.type.shape[:3])
        bands = fn.ceil_div(height, ROWS)
        with e.parallel(fn.mul(batch, bands)) as item:
            constants = gemm_constants(e, node, plan, own.tile.panels)
            image, first = fn.div(item, bands), fn.mul(fn.mod(item, bands), ROWS)
            rows = fn.minimum(ROWS, fn.sub(height, first))
            _fill_band(e, node, scratch, row_bytes, image, first, band_rows)
            with fn.loop(0, rows) as row:
                pixel = fn.mul(fn.add(fn.mul(image, height), first, row), width)
                offset = fn.mul(pixel, spec.result_stride)
                gemm_block(
                    e,
                    spec,
                    own.tile.panels,
                    fn.at(scratch, fn.mul(fn.mul(row, op.stride[0]), row_bytes)),
                    constants,
                    fn.at(result, offset),
                    width,
                    None if residual is None else fn.at(residual, offset),
                    fn.mul(row_bytes, op.dilation[0]),
                )


def _depth(node: Node, dot: Dot) -> Depth:
    op = attributes(node, ops.QuantisedConv2d)
    kh, kw, cin, _ = static_shape(node.inputs[1])
    if op.dilation[1] == 1:
        return Depth(kh, 1, 0, kw * cin)
    return Depth(kh, kw, dot.element_bytes * op.dilation[1] * cin, cin)


def _spec(node: Node, dot: Dot, requant: RequantSpec) -> GemmSpec:
    op = attributes(node, ops.QuantisedConv2d)
    _, _, cin, cout = static_shape(node.inputs[1])
    stride = dot.element_bytes * op.stride[1] * cin
    return GemmSpec(_depth(node, dot), stride, cout * requant.itemsize, requant, slack=True)


def _band(node: Node) -> tuple[int, int | Dim]:
    """Return the input rows of a band and its padded width in pixels."""
    op = attributes(node, ops.QuantisedConv2d)
    kh, kw = static_shape(node.inputs[1])[:2]
    rows = (ROWS - 1) * op.stride[0] + (kh - 1) * op.dilation[0] + 1
    return rows, (node.type.shape[2] - 1) * op.stride[1] + ((kw - 1) * op.dilation[1] + 1)


def _fill_band(
    e: StepEmitter,
    node: Node,
    scratch: ir.Value,
    row_bytes: int | ir.Value,
    image: int | ir.Value,
    first: int | ir.Value,
    band_rows: int,
) -> None:
    fn, op, source_type = e.fn, attributes(node, ops.QuantisedConv2d), node.inputs[0].type
    fill = _fill_function(e, op.zero_point)
    _, band_width = _band(node)
    height, width, cin = (e.size(s) for s in source_type.shape[1:])
    top, left = e.size(op.pads[0]), e.size(op.pads[2])
    total = fn.mul(e.size(band_width), cin)
    before = fn.minimum(fn.mul(left, cin), total)
    inside = fn.minimum(fn.mul(width, cin), fn.sub(total, before))
    source = e.operand(0)
    # What may be read behind the last row meets weights of zero; it is written so that nothing unset is ever read.
    fn.store(number(I64, 0), fn.at(scratch, fn.mul(row_bytes, band_rows)), align=1)
    with fn.loop(0, band_rows) as row:
        y = fn.sub(fn.add(fn.mul(first, op.stride[0]), row), top)
        valid = fn.b.and_(fn.compare(">=", y, 0), fn.compare("<", y, height))
        start = fn.mul(fn.add(fn.mul(image, height), y), fn.mul(width, cin))
        # A row outside the image is all padding: nothing of the source is read.
        copied = fn.b.select(valid, fn.i64(inside), fn.i64(0))
        fn.call(fill, fn.at(scratch, fn.mul(row, row_bytes)), fn.at(source, start), before, copied, total)


def _fill_function(e: StepEmitter, zero_point: int) -> ir.Function:
    """Return ``fill(row, source, before, copied, total)``: zero points, then the source, then zero points."""
    dot = Dot.of_matrix(e.target)
    element, size = (I16, 2) if dot.widens else (I8, 1)
    lanes = 4 * dot.lanes // size

    def build(fn: Fn) -> None:
        row, source, before, copied, total = fn.args

        def pad(count: int, i: ir.Value) -> None:
            fn.store(number(vector(element, count), zero_point), fn.at(row, fn.mul(i, size)))

        def copy(count: int, i: ir.Value) -> None:
            values = fn.load(vector(I8, count), fn.at(source, i))
            values = fn.b.zext(values, vector(I16, count)) if dot.widens else values
            fn.store(values, fn.at(row, fn.mul(fn.add(before, i), size)))

        for start, stop, write in ((0, before, pad), (0, copied, copy), (fn.add(before, copied), total, pad)):
            whole = fn.add(start, fn.mul(fn.div(fn.sub(stop, start), lanes), lanes))
            with fn.loop(start, whole, lanes) as i:
                write(lanes, i)
            with fn.loop(whole, stop) as i:
                write(1, i)
        fn.finish()

    return e.function(f"i8_fill_z{zero_point}", (PTR, PTR, I64, I64, I64), build)
