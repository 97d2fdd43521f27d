"""General 2-D convolution in float32, also straight from a uint8 image.

An item is a band of result rows.  Its input rows are copied once into this thread's scratch, the padding as zeros and
a uint8 image as float32 less the offset; the sums then run over plain memory without edge tests.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from llvmlite import ir

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.dims import Dim
from smalti.ir.graph import Node
from smalti.kernels.conv.gemm import Depth, GemmSpec, gemm_panel
from smalti.kernels.conv.pointwise import bias_needs_padding, pack_convolution
from smalti.kernels.conv.tile import GemmTile, choose_tile
from smalti.kernels.kernel import KernelPlan, StepEmitter
from smalti.kernels.nodes import attributes, constant_value, static_shape
from smalti.llvm.builder import F32, I8, I64, PTR, Fn, vector
from smalti.numerics import DType
from smalti.target.target import Target

ROWS = 4


@dataclass(frozen=True, slots=True)
class GeneralConvKernel:
    """Any NHWC float32 convolution with constant weights."""

    name: str = "f32_conv2d"

    def accepts(self, node: Node, target: Target) -> bool:
        """Whether the node is a float32 convolution (of float32 or uint8) with constant weights."""
        op = node.op
        if not isinstance(op, ops.Conv2d) or op.layout is not ops.Layout.NHWC:
            return False
        weights = constant_value(node.inputs[1])
        if weights is None or node.inputs[0].type.dtype not in (DType.FLOAT32, DType.UINT8):
            return False
        depth = int(np.prod(weights.shape[:3]))
        run_time_bias = op.bias and constant_value(node.inputs[2]) is None
        return not (run_time_bias and bias_needs_padding(choose_tile(target, weights.shape[3], depth).panels))

    def plan(self, node: Node, target: Target) -> KernelPlan:
        """Choose the tile, pack weights and bias, reserve the band."""
        operands, constants, tile = pack_convolution(node, target)
        rows, width = _band(node)
        return KernelPlan(operands, constants, (width * (rows * static_shape(node.inputs[1])[2] * 4),), tile)

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step."""
        op, tile = attributes(node, ops.Conv2d), plan.tile
        if not isinstance(tile, GemmTile):
            raise CompilerError(f"{self.name}: foreign tile {tile}")
        fn = e.fn
        kh, kw, cin, cout = static_shape(node.inputs[1])
        if op.dilation[1] == 1:
            depth = Depth(kh, 1, 0, kw * cin)
        else:
            depth = Depth(kh, kw, 4 * op.dilation[1] * cin, cin)
        spec = GemmSpec(depth, 4 * op.stride[1] * cin, 4 * cout, 4 * cout, op.residual, op.activation)
        run_time_bias = len(plan.constants) == 1
        result, weights, scratch = e.result(), e.constant(0), e.scratch(0)
        bias = e.operand(1) if run_time_bias else e.constant(1)
        residual = e.operand(len(plan.operands) - 1) if op.residual else result
        band_rows, band_width = _band(node)
        row_bytes = e.size(band_width * (4 * cin))
        batch, height, width = (e.size(s) for s in node.type.shape[:3])
        bands = fn.ceil_div(height, ROWS)
        fill = _fill_function(e, node)
        with e.parallel(fn.mul(batch, bands)) as item:
            image, first = fn.div(item, bands), fn.mul(fn.mod(item, bands), ROWS)
            rows = fn.minimum(ROWS, fn.sub(height, first))
            self._fill(e, node, fill, scratch, row_bytes, image, first, band_rows)
            channel, packed = 0, 0
            for panel in tile.panels:
                function = gemm_panel(e, spec, panel)
                with fn.loop(0, rows) as row:
                    pixel = fn.mul(fn.add(fn.mul(image, height), first, row), width)
                    offset = fn.add(fn.mul(pixel, 4 * cout), 4 * channel)
                    fn.call(
                        function,
                        fn.at(scratch, fn.mul(fn.mul(row, op.stride[0]), row_bytes)),
                        fn.at(weights, 4 * packed * depth.total),
                        fn.at(result, offset),
                        fn.at(bias, 4 * packed),
                        fn.at(residual, offset),
                        fn.mul(row_bytes, op.dilation[0]),
                        width,
                    )
                channel += panel.channels
                packed += panel.width

    def _fill(
        self,
        e: StepEmitter,
        node: Node,
        fill: ir.Function,
        scratch: ir.Value,
        row_bytes: int | ir.Value,
        image: int | ir.Value,
        first: int | ir.Value,
        band_rows: int,
    ) -> None:
        fn, op, source_type = e.fn, attributes(node, ops.Conv2d), node.inputs[0].type
        _, band_width = _band(node)
        height, width, cin = (e.size(s) for s in source_type.shape[1:])
        top, left = e.size(op.pads[0]), e.size(op.pads[2])
        total = fn.mul(e.size(band_width), cin)
        before = fn.minimum(fn.mul(left, cin), total)
        inside = fn.minimum(fn.mul(width, cin), fn.sub(total, before))
        itemsize = source_type.dtype.itemsize
        source = e.operand(0)
        with fn.loop(0, band_rows) as row:
            y = fn.sub(fn.add(fn.mul(first, op.stride[0]), row), top)
            valid = fn.b.and_(fn.compare(">=", y, 0), fn.compare("<", y, height))
            start = fn.mul(fn.mul(fn.add(fn.mul(image, height), y), fn.mul(width, cin)), itemsize)
            # A row outside the image is all padding: nothing of the source is read.
            copied = fn.b.select(valid, fn.i64(inside), fn.i64(0))
            fn.call(fill, fn.at(scratch, fn.mul(row, row_bytes)), fn.at(source, start), before, copied, total)


def _band(node: Node) -> tuple[int, int | Dim]:
    """Return the input rows of a band and its padded width in pixels."""
    op = attributes(node, ops.Conv2d)
    kh, kw = static_shape(node.inputs[1])[:2]
    rows = (ROWS - 1) * op.stride[0] + (kh - 1) * op.dilation[0] + 1
    return rows, (node.type.shape[2] - 1) * op.stride[1] + ((kw - 1) * op.dilation[1] + 1)


def _fill_function(e: StepEmitter, node: Node) -> ir.Function:
    """Return ``fill(row, source, before, copied, total)``: zeros, then the converted source, then zeros."""
    op = attributes(node, ops.Conv2d)
    lanes = e.target.vector_bits // 32
    from_bytes = node.inputs[0].type.dtype is DType.UINT8
    offset = op.input_offset

    def build(fn: Fn) -> None:
        row, source, before, copied, total = fn.args
        _zero(fn, row, 0, before, lanes)

        def convert(count: int, i: ir.Value) -> None:
            if from_bytes:
                value = fn.b.uitofp(fn.load(vector(I8, count), fn.at(source, i)), vector(F32, count))
            else:
                value = fn.load(vector(F32, count), fn.at(source, fn.mul(i, 4)))
            if offset:
                value = fn.b.fsub(value, fn.f32(offset, count))
            fn.store(value, fn.at(row, fn.mul(fn.add(before, i), 4)))

        whole = fn.mul(fn.div(copied, lanes), lanes)
        with fn.loop(0, whole, lanes) as i:
            convert(lanes, i)
        with fn.loop(whole, copied) as i:
            convert(1, i)
        _zero(fn, row, fn.add(before, copied), total, lanes)
        fn.finish()

    key = f"f32_fill_{'u8' if from_bytes else 'f32'}_{offset!r}"
    return e.function(key, (PTR, PTR, I64, I64, I64), build)


def _zero(fn: Fn, row: ir.Value, start: int | ir.Value, stop: int | ir.Value, lanes: int) -> None:
    whole = fn.add(start, fn.mul(fn.div(fn.sub(stop, start), lanes), lanes))
    with fn.loop(start, whole, lanes) as i:
        fn.store(fn.f32(0.0, lanes), fn.at(row, fn.mul(i, 4)))
    with fn.loop(whole, stop) as i:
        fn.store(fn.f32(0.0), fn.at(row, fn.mul(i, 4)))
