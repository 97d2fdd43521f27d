"""Elementwise kernels: one pass over the result, operands broadcast as numpy does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from llvmlite import ir

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.graph import Node, TensorType
from smalti.kernels.elementwise.functions import (
    BINARY,
    UNARY,
    binary_value,
    cast_value,
    is_scalar_only,
    supports_binary,
    supports_unary,
    unary_value,
)
from smalti.kernels.kernel import KernelPlan, ReadsAll, StepEmitter
from smalti.kernels.takes import Takes, takes
from smalti.kernels.values import load_value, raw_type, store_value
from smalti.kernels.walk import Index, broadcast_strides, c_strides, collapse, for_each_run, in_vectors
from smalti.llvm.builder import Fn
from smalti.numerics import DType
from smalti.target.target import Target

_PLAIN = frozenset(DType)
MAX_LANES = 32


def computes(dtype: DType) -> bool:
    """Whether there is arithmetic for the element type (half precision: in float32, rounded at every store)."""
    return dtype in _PLAIN


@dataclass(frozen=True, slots=True)
class ElementwiseKernel(ReadsAll):
    """Unary, Binary, Select and Cast of any number type."""

    takes: ClassVar[tuple[Takes, ...]] = (
        takes(ops.Unary, "alpha", fn=frozenset(UNARY)),
        takes(ops.Binary, fn=BINARY),
        takes(ops.Select),
        takes(ops.Cast, dtype=_PLAIN),
    )
    name: str = "elementwise"

    def accepts(self, node: Node, target: Target) -> bool:
        """Whether the node is elementwise and its element types can be computed with."""
        op = node.op
        if isinstance(op, ops.Select):
            return True
        if not isinstance(op, (ops.Unary, ops.Binary, ops.Cast)):
            return False
        source = node.inputs[0].type.dtype
        if not (computes(source) and computes(node.type.dtype)):
            return False
        if isinstance(op, ops.Unary):
            return supports_unary(op.fn, source)
        return not isinstance(op, ops.Binary) or supports_binary(op.fn, source)

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step."""
        fn = e.fn
        types = [n.type for n in node.inputs]
        result = node.type
        strides = [broadcast_strides(t.shape, result.shape) for t in types]
        walk = collapse(result.shape, [*strides, c_strides(result.shape)])
        pointers = [e.operand(i) for i in range(len(types))]
        target = e.result()
        widest = max(t.dtype.itemsize for t in (*types, result))
        lanes = _lanes(node, e.target, widest)
        run_strides = walk.run_strides

        def run(offsets: list[Index], length: Index) -> None:
            addresses = [
                fn.at(p, fn.mul(o, t.dtype.itemsize)) for p, o, t in zip(pointers, offsets, types, strict=False)
            ]
            written = fn.at(target, fn.mul(offsets[-1], result.dtype.itemsize))
            repeated = {
                i: _load(fn, node, t, a, 1)
                for i, (t, a, s) in enumerate(zip(types, addresses, run_strides, strict=False))
                if s == 0
            }

            def piece(index: Index, width: int) -> None:
                values = [
                    fn.splat(repeated[i], width)
                    if i in repeated
                    else _load(fn, node, t, fn.at(a, fn.mul(index, t.dtype.itemsize)), width)
                    for i, (t, a) in enumerate(zip(types, addresses, strict=True))
                ]
                _store(fn, node, _value(fn, node, values), fn.at(written, fn.mul(index, result.dtype.itemsize)), width)

            in_vectors(fn, 0, length, lanes, piece)

        for_each_run(e, walk, widest, run)


def _lanes(node: Node, target: Target, widest: int) -> int:
    if isinstance(node.op, ops.Binary) and is_scalar_only(node.op.fn, node.inputs[0].type.dtype):
        return 1
    return min(target.vector_bits // 8 // widest, MAX_LANES)


def _moves(node: Node, type: TensorType) -> bool:
    """Whether values of this operand (or the result) are only moved, so that any element type will do."""
    return isinstance(node.op, ops.Select) and type.dtype is not DType.BOOL


def _load(fn: Fn, node: Node, type: TensorType, address: ir.Value, lanes: int) -> ir.Value:
    if _moves(node, type):
        return fn.load(raw_type(type.dtype.itemsize, lanes), address)
    return load_value(fn, type.dtype, address, lanes)


def _store(fn: Fn, node: Node, value: ir.Value, address: ir.Value, lanes: int) -> None:
    if _moves(node, node.type):
        fn.store(value, address)
    else:
        store_value(fn, node.type.dtype, value, address, lanes)


def _value(fn: Fn, node: Node, values: list[ir.Value]) -> ir.Value:
    op = node.op
    dtype = node.inputs[0].type.dtype
    if isinstance(op, ops.Unary):
        return unary_value(fn, op.fn, values[0], dtype, op.alpha)
    if isinstance(op, ops.Binary):
        return binary_value(fn, op.fn, values[0], values[1], dtype)
    if isinstance(op, ops.Cast):
        return cast_value(fn, values[0], dtype, op.dtype)
    if isinstance(op, ops.Select):
        return fn.b.select(values[0], values[1], values[2])
    raise CompilerError(f"{type(op).__name__} is not elementwise")
