"""Elements picked by number or by a condition, and images read at computed positions."""

from __future__ import annotations

import numpy as np

from smalti.frontend import symbolic
from smalti.frontend.lower import picking, slices
from smalti.frontend.lower import shape as shapes
from smalti.frontend.lower.fill import kept
from smalti.frontend.onnx.registry import Context, onnx_op
from smalti.frontend.table import Handled
from smalti.frontend.values import Value
from smalti.ir import ops
from smalti.ir.ops import SampleEdge, SampleFn

_SAMPLES = {
    "nearest": SampleFn.NEAREST,
    "linear": SampleFn.LINEAR,
    "bilinear": SampleFn.LINEAR,
    "cubic": SampleFn.CUBIC,
    "bicubic": SampleFn.CUBIC,
}
_EDGES = {"zeros": SampleEdge.ZEROS, "border": SampleEdge.BORDER, "reflection": SampleEdge.REFLECTION}
_COUNTS = "how many results there are depends on the data of a run: end the graph before this node (--outputs)"


@onnx_op("Gather", inputs=2, since=(1, 11, 13))
def gather(ctx: Context) -> Handled:
    """Elements picked by number along an axis; of a computed number outside, code takes the nearest element."""
    axis = ctx.attrs.integer("axis", 0)
    x, picked = ctx.value(0), ctx.value(1)
    slices.check_gather(ctx, x, picked)
    return picking.gather(ctx, x, picked, ctx.check_axis(axis, x.type.rank))


@onnx_op("GatherND", inputs=2, since=(11, 12, 13))
def gather_nd(ctx: Context) -> Handled:
    """Pieces at positions of many dimensions; a computed position outside takes the nearest."""
    batch = ctx.attrs.integer("batch_dims", 0)
    return picking.folded(ctx, ops.GatherNd(batch), ctx.values())


@onnx_op("GatherElements", inputs=2, since=(11, 13))
def gather_elements(ctx: Context) -> Handled:
    """One element for each index, along an axis; a computed index outside takes the nearest."""
    axis = ctx.attrs.integer("axis", 0)
    x, picked = ctx.value(0), ctx.value(1)
    return picking.folded(ctx, ops.GatherElements(ctx.check_axis(axis, x.type.rank)), (x, picked))


@onnx_op("TopK", inputs=1, since=(1,))
@onnx_op("TopK", inputs=2, since=(10, 11, 24), note="k known at build")
def top_k(ctx: Context) -> Handled:
    """The largest or smallest numbers along an axis, and where they are; always in order."""
    axis, largest = ctx.attrs.integer("axis", -1), ctx.attrs.flag("largest", True)
    ctx.attrs.flag("sorted", True)
    stated = ctx.attrs.integer("k") if "k" in ctx.attrs else None
    x = ctx.value(0)
    if stated is None:
        count = ctx.sizes(1, "k") if ctx.type_of(1).rank == 1 else tuple(ctx.known(1, "k").ravel().tolist())
    else:
        count = (stated,)
    if len(count) != 1:
        ctx.invalid(f"k must be one number, not {len(count)}")
    return picking.top_k(ctx, x, count[0], ctx.check_axis(axis, x.type.rank), largest)


@onnx_op("Compress", inputs=2, since=(9, 11, 28), note="a condition known at build")
def compress(ctx: Context) -> Handled:
    """Elements of which a condition holds."""
    axis = ctx.attrs.integer("axis") if "axis" in ctx.attrs else None
    x, condition = ctx.value(0), ctx.value(1)
    flags = _constant(condition)
    if flags is None:
        ctx.unsupported(_COUNTS)
    _check_budget(ctx, flags, 1)
    positions = np.flatnonzero(flags).astype(np.int64)
    place = 0 if axis is None else ctx.check_axis(axis, x.type.rank)
    whole = x if axis is not None else shapes.reshaped(ctx, x, (x.type.elements,))
    return picking.gather(ctx, whole, kept(ctx, positions, "positions"), place)


@onnx_op("NonZero", inputs=1, since=(9, 13), note="of a tensor known at build")
def nonzero(ctx: Context) -> Handled:
    """Positions where a known tensor is not zero: a row for each dimension."""
    flags = _constant(ctx.value(0))
    if flags is None:
        ctx.unsupported(_COUNTS)
    flags = np.atleast_1d(flags)
    _check_budget(ctx, flags, flags.ndim)
    return ctx.constant(np.ascontiguousarray(np.argwhere(flags).T.astype(np.int64)))


@onnx_op("GridSample", inputs=2, since=(16, 20, 22), note="images, no volumes")
def grid_sample(ctx: Context) -> Handled:
    """Images read at computed positions."""
    fn = _SAMPLES.get(ctx.attrs.text("mode", "linear"))
    edge = _EDGES.get(ctx.attrs.text("padding_mode", "zeros"))
    align = ctx.attrs.flag("align_corners", False)
    if fn is None or edge is None:
        ctx.unsupported(f"mode {ctx.attrs.text('mode', 'linear')[:20]} with {ctx.attrs.text('padding_mode', '')[:20]}")
    x, grid = ctx.floats(0, 1)
    if x.type.rank != 4:
        ctx.unsupported(f"positions in {x.type}")
    return picking.grid_sample(ctx, x, grid, ops.GridSample(fn, edge, align))


def _check_budget(ctx: Context, flags: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], each: int) -> None:
    """Refuse positions of more bytes than constants may still take, before they are made."""
    nbytes, left = int(np.count_nonzero(flags)) * each * 8, min(ctx.host.constant_budget())
    if nbytes > left:
        ctx.invalid(f"the positions take {nbytes} bytes; {left} are left for constants that do not stand in the file")


def _constant(value: Value) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]] | None:
    """Return where a value that is known now is not zero, or ``None``."""
    if value.array is not None:
        return np.asarray(value.array != 0)
    found = None if value.sym is None else symbolic.constants(value.sym)
    return None if found is None or value.sym is None else np.array([n != 0 for n in found]).reshape(value.sym.shape)
