"""Quantise and Dequantise: between floats and the integers that stand for them, element by element."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from llvmlite import ir

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.graph import Node
from smalti.kernels.epilogue.emit import Finisher, Place, no_rows
from smalti.kernels.epilogue.steps import Epilogue, quantising
from smalti.kernels.kernel import KernelPlan, ReadsAll, StepEmitter
from smalti.kernels.takes import FLOATS, Takes, takes
from smalti.kernels.values import load_value, number, store_value
from smalti.kernels.walk import Index, c_strides, collapse, for_each_run, in_vectors
from smalti.llvm.builder import F32, I32, Fn, lanes_of, vector
from smalti.numerics import DType
from smalti.target.target import Target

QUANTISE = takes(ops.Quantise, "scale", "zero_point", dtype=frozenset((DType.UINT8, DType.INT8, DType.INT16)))


@dataclass(frozen=True, slots=True)
class QuantiseKernel(ReadsAll):
    """Both directions; the arithmetic is that of :mod:`smalti.numerics`."""

    takes: ClassVar[tuple[Takes, ...]] = (
        QUANTISE,
        takes(ops.Dequantise, "scale", "zero_point", dtype=FLOATS),
    )
    name: str = "quantise"

    def accepts(self, node: Node, target: Target) -> bool:
        """Whether the node is one of the two and its float type is at most 32 bits wide."""
        if not isinstance(node.op, (ops.Quantise, ops.Dequantise)):
            return False
        return bool({node.type.dtype, node.x.type.dtype} & FLOATS)

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step."""
        fn, op = e.fn, node.op
        source, result = node.x.type, node.type
        strides = c_strides(result.shape)
        walk = collapse(result.shape, [strides, strides])
        read, written = e.operand(0), e.result()
        lanes = e.target.vector_bits // 32

        def run(offsets: list[Index], length: Index) -> None:
            def piece(index: Index, width: int) -> None:
                place = fn.add(offsets[0], index)
                value = load_value(fn, source.dtype, fn.at(read, fn.mul(place, source.dtype.itemsize)), width)
                target = fn.at(written, fn.mul(place, result.dtype.itemsize))
                if isinstance(op, ops.Quantise):
                    finisher = Finisher(fn, e.target, Epilogue((quantising(op),), op.dtype))
                    finisher.store([value], Place(target, width, no_rows))
                elif isinstance(op, ops.Dequantise):
                    store_value(fn, result.dtype, _dequantised(fn, value, op, source.dtype), target, width)
                else:
                    raise CompilerError(f"{self.name}: foreign node {node!r}")

            in_vectors(fn, 0, length, lanes, piece)

        for_each_run(e, walk, 4, run)


def _dequantised(fn: Fn, value: ir.Value, op: ops.Dequantise, dtype: DType) -> ir.Value:
    lanes = lanes_of(value)
    ints = vector(I32, lanes)
    whole = fn.b.zext(value, ints) if dtype is DType.UINT8 else fn.b.sext(value, ints)
    if op.zero_point:
        whole = fn.b.sub(whole, number(ints, op.zero_point))
    return fn.b.fmul(fn.b.sitofp(whole, vector(F32, lanes)), fn.f32(op.scale, lanes))
