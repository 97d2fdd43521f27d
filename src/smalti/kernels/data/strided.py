"""Rearrangements that read the operand with other strides: slices, transpositions, broadcasts, blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.dims import Dim, floor_div
from smalti.ir.graph import Node
from smalti.ir.ops import Layout, Shape
from smalti.kernels.data.runs import strided_run
from smalti.kernels.kernel import KernelPlan, ReadsAll, StepEmitter
from smalti.kernels.takes import Takes, takes
from smalti.kernels.walk import Index, broadcast_strides, c_strides, collapse, for_each_run
from smalti.target.target import Target

_LAYOUTS = frozenset((Layout.NHWC, Layout.NCHW))
_ORDERS = {
    (ops.SpaceToDepth, Layout.NHWC): ("nhywxc", "nhwyxc"),
    (ops.SpaceToDepth, Layout.NCHW): ("nchywx", "nyxchw"),
    (ops.DepthToSpace, Layout.NHWC): ("nhwyxc", "nhywxc"),
    (ops.DepthToSpace, Layout.NCHW): ("nyxchw", "nchywx"),
}
"""How elements lie in the operand, and the order in which the result wants them."""


@dataclass(frozen=True, slots=True)
class View:
    """The result's elements in C order, as elements of the operand: sizes, strides and the first element's offset."""

    sizes: Shape
    strides: Shape
    first: int | Dim = 0


def view_of(node: Node) -> View | None:
    """Return how the result of a node lies in its operand, or ``None`` if the node is not a rearrangement."""
    op = node.op
    if not node.inputs:
        return None
    shape = node.x.type.shape
    strides = c_strides(shape)
    if isinstance(op, ops.Slice):
        first: int | Dim = 0
        for begin, stride in zip(op.begin, strides, strict=True):
            first = stride * begin + first
        return View(op.size, tuple(s * step for s, step in zip(strides, op.stride, strict=True)), first)
    if isinstance(op, ops.Transpose):
        return View(node.type.shape, tuple(strides[p] for p in op.perm))
    if isinstance(op, ops.BroadcastTo):
        return View(op.shape, broadcast_strides(shape, op.shape))
    if isinstance(op, (ops.SpaceToDepth, ops.DepthToSpace)):
        return _blocks(op, shape)
    return None


def _blocks(op: ops.SpaceToDepth | ops.DepthToSpace, shape: Shape) -> View:
    """Blocks of pixels as channels and back: a transposition of six dimensions."""
    b = op.block
    dense, wanted = _ORDERS[type(op), op.layout]
    order = op.layout.value
    n, h, w, c = (shape[order.index(name)] for name in Layout.NHWC.value)
    if isinstance(op, ops.SpaceToDepth):
        names = {"n": n, "h": floor_div(h, b), "y": b, "w": floor_div(w, b), "x": b, "c": c}
    else:
        names = {"n": n, "h": h, "w": w, "y": b, "x": b, "c": floor_div(c, b * b)}
    strides = dict(zip(dense, c_strides(tuple(names[k] for k in dense)), strict=True))
    return View(tuple(names[k] for k in wanted), tuple(strides[k] for k in wanted))


@dataclass(frozen=True, slots=True)
class StridedKernel(ReadsAll):
    """Slice, Transpose, BroadcastTo, SpaceToDepth and DepthToSpace of any element type."""

    takes: ClassVar[tuple[Takes, ...]] = (
        takes(ops.Slice, "begin", "size", "stride"),
        takes(ops.Transpose, "perm"),
        takes(ops.BroadcastTo, "shape"),
        takes(ops.SpaceToDepth, "block", layout=_LAYOUTS),
        takes(ops.DepthToSpace, "block", layout=_LAYOUTS),
    )
    name: str = "rearrange"

    def accepts(self, node: Node, target: Target) -> bool:
        """Whether the node is a rearrangement."""
        return view_of(node) is not None

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step."""
        fn = e.fn
        view = view_of(node)
        if view is None:
            raise CompilerError(f"{node!r} is not a rearrangement")
        itemsize = node.type.dtype.itemsize
        walk = collapse(view.sizes, (view.strides, c_strides(view.sizes)))
        source = fn.at(e.operand(0), fn.mul(e.size(view.first), itemsize))
        result = e.result()
        stride = walk.run_strides[0]
        step = e.size(stride)

        def run(offsets: list[Index], length: Index) -> None:
            read = fn.at(source, fn.mul(offsets[0], itemsize))
            written = fn.at(result, fn.mul(offsets[1], itemsize))
            strided_run(fn, e.target, itemsize, read, stride, step, written, length)

        for_each_run(e, walk, itemsize, run)
