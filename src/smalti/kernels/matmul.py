"""Matrix products: by a constant that is packed for the matrix core, and of two tensors computed at run time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from llvmlite import ir

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.dims import product
from smalti.ir.graph import Node
from smalti.kernels.argmax import load_spaced
from smalti.kernels.conv.convolution import wide_constant
from smalti.kernels.elementwise.kernel import computes
from smalti.kernels.elementwise.mathfn import multiply_add
from smalti.kernels.epilogue.steps import Epilogue
from smalti.kernels.kernel import Kernel, KernelPlan, ReadsAll, StepEmitter
from smalti.kernels.matrix.core import Constants, MatrixSpec, Packed
from smalti.kernels.matrix.floats import FloatDot, element_lanes
from smalti.kernels.matrix.pixels import Elements, emit_pixels, widen_run
from smalti.kernels.matrix.shapes import Depth, GemmTile
from smalti.kernels.matrix.tile import SPARE, SPARE_WIDENED, choose_tile
from smalti.kernels.nodes import array_of, attributes, known, static_channels
from smalti.kernels.takes import FLOATS, Takes, takes
from smalti.kernels.values import load_value, native_half, number, register_type, store_value
from smalti.kernels.walk import Index, in_vectors
from smalti.numerics import DType
from smalti.target.target import Target

ROWS = 4
VECTORS = 2


@dataclass(frozen=True, slots=True)
class MatMulKernel(ReadsAll):
    """MatMul of any number type: a register tile of ``ROWS`` rows and ``VECTORS`` vectors of columns."""

    takes: ClassVar[tuple[Takes, ...]] = (takes(ops.MatMul, "transpose_a", "transpose_b"),)
    name: str = "matmul"

    def accepts(self, node: Node, target: Target) -> bool:
        """Whether the node is a matrix product of numbers."""
        dtype = node.type.dtype
        return isinstance(node.op, ops.MatMul) and dtype is not DType.BOOL and computes(dtype)

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step: an item is a tile of the result."""
        fn, op = e.fn, attributes(node, ops.MatMul)
        dtype = node.type.dtype
        lanes = VECTORS * e.target.vector_bits // 8 // max(dtype.itemsize, 4)
        rows, columns = (e.size(s) for s in node.type.shape)
        depth = e.size(node.inputs[0].type.shape[0 if op.transpose_a else 1])
        row_step, depth_step = (1, rows) if op.transpose_a else (depth, 1)
        a, b, result = e.operand(0), e.operand(1), e.result()
        blocks = fn.ceil_div(columns, lanes)
        with e.parallel(fn.mul(fn.ceil_div(rows, ROWS), blocks)) as item:
            first = fn.mul(fn.div(item, blocks), ROWS)
            column = fn.mul(fn.mod(item, blocks), lanes)
            # Behind the last row the tile computes that row again.
            tile = [fn.minimum(fn.add(first, i), fn.sub(rows, 1)) for i in range(ROWS)]

            def piece(index: Index, width: int) -> None:
                position = fn.add(column, index)

                def load_b(k: Index) -> ir.Value:
                    if op.transpose_b:
                        offset = fn.add(fn.mul(position, depth), k)
                        return load_spaced(fn, dtype, fn.at(b, fn.mul(offset, dtype.itemsize)), depth, width)
                    offset = fn.add(fn.mul(k, columns), position)
                    return load_value(fn, dtype, fn.at(b, fn.mul(offset, dtype.itemsize)), width)

                def step(k: ir.Value, totals: list[ir.Value]) -> list[ir.Value]:
                    vector = load_b(k)
                    updated = []
                    for row, total in zip(tile, totals, strict=True):
                        offset = fn.add(fn.mul(row, row_step), fn.mul(k, depth_step))
                        scalar = load_value(fn, dtype, fn.at(a, fn.mul(offset, dtype.itemsize)), 1)
                        updated.append(multiply_add(fn, fn.splat(scalar, width), vector, total))
                    return updated

                zero = number(register_type(dtype, width), 0)
                totals = fn.loop_carry(0, depth, 1, [zero] * ROWS, step)
                for row, total in zip(tile, totals, strict=True):
                    offset = fn.add(fn.mul(row, columns), position)
                    store_value(fn, dtype, total, fn.at(result, fn.mul(offset, dtype.itemsize)), width)

            in_vectors(fn, 0, fn.minimum(lanes, fn.sub(columns, column)), lanes, piece)


@dataclass(frozen=True, slots=True)
class PackedMatMulKernel:
    """MatMul of floats by a constant, as a 1x1 convolution computes it."""

    takes: ClassVar[tuple[Takes, ...]] = (takes(ops.MatMul, "transpose_b"),)
    name: str = "matmul_packed"

    def accepts(self, node: Node, target: Target) -> bool:
        """Whether the operands are floats of at most 32 bits and the second one is constant."""
        return node.type.dtype in FLOATS and array_of(node.weights) is not None

    def plan(self, node: Node, target: Target) -> KernelPlan:
        """Choose the tile, pack the constant, and reserve the widened rows of a block."""
        dot, narrow = _dot(node, target), node.type.dtype is not DType.FLOAT32
        constant = known(node.weights) if dot.weights is node.type.dtype else wide_constant(node.weights)
        if constant is None:
            raise CompilerError(f"{node!r}: the second operand is not constant")
        matrix = constant.T if attributes(node, ops.MatMul).transpose_b else constant
        depth, channels = matrix.shape
        tile = choose_tile(target, channels, depth, spare=SPARE if dot.weights is DType.FLOAT32 else SPARE_WIDENED)
        packed = dot.layout.pack(matrix, Depth.flat(depth), tile.panels)
        return KernelPlan((0,), (packed,), (4 * depth * tile.block,) if narrow else (), tile)

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step: an item is a chunk of rows."""
        fn, dtype, tile = e.fn, node.type.dtype, plan.tile
        if not isinstance(tile, GemmTile):
            raise CompilerError(f"{self.name}: foreign tile {tile}")
        channels, depth = static_channels(node), static_channels(node.inputs[0])
        epilogue = Epilogue((), dtype)
        spec = MatrixSpec(_dot(node, e.target), Depth.flat(depth), 4 * depth, dtype.itemsize * channels, epilogue)
        first, weights = e.operand(0), e.constant(0)

        def source(start: Index, count: Index) -> ir.Value:
            rows = fn.at(first, fn.mul(start, dtype.itemsize * depth))
            if dtype is DType.FLOAT32:
                return rows
            widen_run(e, Elements(dtype), e.scratch(0), rows, fn.mul(count, depth))
            return e.scratch(0)

        packed = Packed(spec, tile.panels, Constants(weights, weights, weights), 0)
        emit_pixels(e, e.size(product(node.type.shape[:-1])), tile, lambda: packed, source)


def _dot(node: Node, target: Target) -> FloatDot:
    """Return the dot product: 16-bit constants are kept as float32 where widening them takes many instructions."""
    return FloatDot(node.type.dtype if native_half(target) else DType.FLOAT32, element_lanes(target))


KERNELS: tuple[Kernel, ...] = (PackedMatMulKernel(), MatMulKernel())
