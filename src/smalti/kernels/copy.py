"""Copy: a reshape whose result must have memory of its own (a graph output)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from smalti.ir import ops
from smalti.ir.graph import Node
from smalti.kernels.kernel import KernelPlan, ReadsAll, StepEmitter
from smalti.kernels.takes import Takes, takes
from smalti.llvm.builder import I8, vector

CHUNK = 16384
LANES = 64


@dataclass(frozen=True, slots=True)
class CopyKernel(ReadsAll):
    """Copies bytes, a chunk an item."""

    takes: ClassVar[tuple[Takes, ...]] = (takes(ops.Reshape, "shape"),)
    name: str = "copy"

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step."""
        fn, wide = e.fn, vector(I8, LANES)
        source, target = e.operand(0), e.result()
        total = e.size(node.type.nbytes)
        with e.parallel(fn.ceil_div(total, CHUNK)) as item:
            start = fn.mul(item, CHUNK)
            stop = fn.minimum(fn.add(start, CHUNK), total)
            whole = fn.add(start, fn.mul(fn.div(fn.sub(stop, start), LANES), LANES))
            with fn.loop(start, whole, LANES) as i:
                fn.store(fn.load(wide, fn.at(source, i)), fn.at(target, i))
            with fn.loop(whole, stop) as i:
                fn.store(fn.load(I8, fn.at(source, i)), fn.at(target, i))


KERNELS = (CopyKernel(),)
