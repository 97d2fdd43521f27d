"""Matrix product of two tensors that are both computed at run time."""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from smalti.ir import ops
from smalti.ir.graph import Node
from smalti.kernels.argmax import load_spaced
from smalti.kernels.elementwise.kernel import computes
from smalti.kernels.elementwise.mathfn import madd
from smalti.kernels.kernel import KernelPlan, StepEmitter
from smalti.kernels.nodes import attributes
from smalti.kernels.values import is_float_type, load_value, number, register_type, store_value
from smalti.kernels.walk import Index, in_vectors
from smalti.llvm.builder import Fn
from smalti.numerics import DType
from smalti.target.target import Target

ROWS = 4
VECTORS = 2


@dataclass(frozen=True, slots=True)
class MatMulKernel:
    """MatMul of any number type: a register tile of ``ROWS`` rows and ``VECTORS`` vectors of columns."""

    name: str = "matmul"

    def accepts(self, node: Node, target: Target) -> bool:
        """Whether the node is a matrix product of numbers."""
        dtype = node.type.dtype
        return isinstance(node.op, ops.MatMul) and dtype is not DType.BOOL and computes(dtype)

    def plan(self, node: Node, target: Target) -> KernelPlan:
        """Return the plan."""
        return KernelPlan(operands=(0, 1))

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


def multiply_add(fn: Fn, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    """Return ``a * b + c`` for floats (fused where the target can) and integers."""
    return madd(fn, a, b, c) if is_float_type(a.type) else fn.b.add(fn.b.mul(a, b), c)


KERNELS = (MatMulKernel(),)
