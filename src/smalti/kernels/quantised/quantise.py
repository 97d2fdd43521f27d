"""Quantise and Dequantise: between floats and the integers that stand for them, element by element."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from llvmlite import ir

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.graph import Node
from smalti.kernels.kernel import KernelPlan, StepEmitter
from smalti.kernels.values import load_value, number, store_value
from smalti.kernels.walk import Index, c_strides, collapse, for_each_run, in_vectors
from smalti.llvm.builder import F32, I32, Fn, lanes_of, named_intrinsic, scalar_type, vector
from smalti.numerics import DType
from smalti.target.target import Target

FLOATS = frozenset((DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16))


@dataclass(frozen=True, slots=True)
class QuantiseKernel:
    """Both directions; the arithmetic is that of :mod:`smalti.numerics`."""

    name: str = "quantise"

    def accepts(self, node: Node, target: Target) -> bool:
        """Whether the node is one of the two and its float type is at most 32 bits wide."""
        if not isinstance(node.op, (ops.Quantise, ops.Dequantise)):
            return False
        return bool({node.type.dtype, node.inputs[0].type.dtype} & FLOATS)

    def plan(self, node: Node, target: Target) -> KernelPlan:
        """Return the plan: no constants, no scratch."""
        return KernelPlan(operands=(0,))

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step."""
        fn, op = e.fn, node.op
        source, result = node.inputs[0].type, node.type
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
                    fn.store(quantised(fn, value, op), target)
                elif isinstance(op, ops.Dequantise):
                    store_value(fn, result.dtype, _dequantised(fn, value, op, source.dtype), target, width)
                else:
                    raise CompilerError(f"{self.name}: foreign node {node!r}")

            in_vectors(fn, 0, length, lanes, piece)

        for_each_run(e, walk, 4, run)


def nearest(fn: Fn, value: ir.Value) -> ir.Value:
    """Return float32 values rounded to int32, halves to even (the CPU's default mode); they must be in its range."""
    lanes = lanes_of(value)
    kinds = "i32.f32" if lanes == 1 else f"v{lanes}i32.v{lanes}f32"
    return named_intrinsic(fn, f"llvm.lrint.{kinds}", vector(I32, lanes), value)


def quantised(fn: Fn, value: ir.Value, op: ops.Quantise) -> ir.Value:
    """Return the integers of float32 values."""
    with np.errstate(over="ignore"):
        reciprocal = float(np.float32(1) / np.float32(op.scale))
    steps = fn.b.fmul(value, fn.f32(reciprocal, lanes_of(value)))
    return round_and_clip(fn, steps, op.zero_point, op.dtype)


def round_and_clip(fn: Fn, steps: ir.Value, zero_point: int, dtype: DType) -> ir.Value:
    """Return ``rint(steps) + zero_point`` within the type's range; halves to even, NaN the lowest."""
    lanes = lanes_of(steps)
    low, high = (float(limit - zero_point) for limit in dtype.limits)
    bottom = fn.f32(low, lanes)
    steps = fn.b.select(fn.b.fcmp_ordered(">", steps, bottom), steps, bottom)
    steps = fn.clamp_high(steps, high)
    whole = nearest(fn, steps)
    if zero_point:
        whole = fn.b.add(whole, number(whole.type, zero_point))
    return fn.b.trunc(whole, vector(scalar_type(dtype), lanes))


def _dequantised(fn: Fn, value: ir.Value, op: ops.Dequantise, dtype: DType) -> ir.Value:
    lanes = lanes_of(value)
    ints = vector(I32, lanes)
    whole = fn.b.zext(value, ints) if dtype is DType.UINT8 else fn.b.sext(value, ints)
    if op.zero_point:
        whole = fn.b.sub(whole, number(ints, op.zero_point))
    return fn.b.fmul(fn.b.sitofp(whole, vector(F32, lanes)), fn.f32(op.scale, lanes))
