"""Ranges of integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from smalti.ir import ops
from smalti.ir.graph import Node
from smalti.kernels.kernel import KernelPlan, ReadsAll, StepEmitter
from smalti.kernels.nodes import attributes
from smalti.kernels.takes import Takes, takes
from smalti.kernels.walk import CHUNK_BYTES
from smalti.llvm.builder import I64, scalar_type
from smalti.numerics import DType


@dataclass(frozen=True, slots=True)
class IotaKernel(ReadsAll):
    """Writes a range of integers."""

    takes: ClassVar[tuple[Takes, ...]] = (
        takes(ops.Iota, "first", "step", "count", dtype=frozenset((DType.INT32, DType.INT64))),
    )
    name: str = "iota"

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step: an item is a chunk."""
        fn, op = e.fn, attributes(node, ops.Iota)
        type_, itemsize = scalar_type(op.dtype), op.dtype.itemsize
        first, count, result = e.size(op.first), e.size(op.count), e.result()
        chunk = CHUNK_BYTES // itemsize
        with e.parallel(fn.ceil_div(count, chunk)) as item:
            start = fn.mul(item, chunk)
            with fn.loop(start, fn.minimum(fn.add(start, chunk), count)) as i:
                value = fn.i64(fn.add(first, fn.mul(i, op.step)))
                fn.store(value if type_ == I64 else fn.b.trunc(value, type_), fn.at(result, fn.mul(i, itemsize)))
