"""Pooling over windows of images with one to three spatial dimensions, and over whole images."""

from __future__ import annotations

from dataclasses import replace

from smalti.frontend.lower import reduce as plain
from smalti.frontend.lower.steps import Steps
from smalti.frontend.onnx import taps
from smalti.frontend.onnx.nodes import OnnxNode
from smalti.frontend.onnx.registry import Context, onnx_op
from smalti.frontend.onnx.taps import Around
from smalti.frontend.onnx.windows import PLANE, VOLUME, Window, flat_pads, plane, read_window, two, unplane
from smalti.frontend.table import Handled
from smalti.frontend.values import Special, Value
from smalti.ir import ops
from smalti.ir.dims import minimum
from smalti.ir.graph import Node
from smalti.ir.ops import BinaryFn, Layout, PoolFn, ReduceFn, UnaryFn
from smalti.numerics import DType

_DIMENSIONS = "one to three spatial dimensions"
MOST_ORDER = 64
"""The largest p of a norm."""


@onnx_op("MaxPool", inputs=1, since=(1, 8, 10, 11, 12, 22), note=_DIMENSIONS)
def max_pool(ctx: Context) -> Handled:
    """The largest element of each window, and where it is in the whole tensor."""
    columns_first = ctx.attrs.flag("storage_order", False)
    x = ctx.value(0)
    if x.type.dtype is DType.BOOL:
        ctx.unsupported("element type bool")
    window = _window(ctx, x)
    s = Steps(ctx, x.type.dtype, exact=True)
    image = plane(s, x)
    pads = window.pads_for(image.type.shape[taps.FIRST :])
    lowest = float("-inf") if x.type.dtype.is_float else float(x.type.dtype.limits[0])
    if x.type.dtype.is_float and _has_operation(window):
        pooled = _pooled(s, image, window, PoolFn.MAX, pads)
    else:
        taps.check_taps(ctx, window)
        pooled = taps.folded(s, taps.padded(s, image, pads, lowest), window, BinaryFn.MAXIMUM)
    found = s.result(unplane(s, pooled, x.type.rank))
    if not (isinstance(ctx.raw, OnnxNode) and len(ctx.raw.outputs) > 1 and ctx.raw.outputs[1]):
        return found, Special.ABSENT
    taps.check_taps(ctx, window)
    places = taps.places(s, image, pads, window, lowest=lowest, columns_first=columns_first)
    return found, s.result(unplane(s, places, x.type.rank), 1)


@onnx_op("AveragePool", inputs=1, since=(1, 7, 10, 11, 19, 22), note=_DIMENSIONS)
def average_pool(ctx: Context) -> Handled:
    """The mean of each window; paddings count where ``count_include_pad`` says so."""
    padded = ctx.attrs.flag("count_include_pad", False)
    x = ctx.floats(0)[0]
    window = _window(ctx, x)
    s = Steps(ctx, x.type.dtype, exact=_has_operation(window))
    image = plane(s, x)
    pads, stated = _paddings(image, window)
    if _has_operation(window):
        if padded:
            image, pads = taps.padded(s, image, stated, 0.0), _beyond(pads, stated)
        return s.result(unplane(s, _pooled(s, image, window, PoolFn.AVG, pads), x.type.rank))
    taps.check_taps(ctx, window)
    total = taps.folded(s, taps.padded(s, image, pads, 0.0), window, BinaryFn.ADD)
    counts = taps.counted(s, image, pads, stated if padded else ((0, 0),) * len(pads), window)
    return s.result(unplane(s, s.binary(BinaryFn.DIV, total, counts), x.type.rank))


@onnx_op("LpPool", inputs=1, since=(2, 11, 18, 22), note=_DIMENSIONS)
def lp_pool(ctx: Context) -> Handled:
    """The p-norm of each window."""
    p = _order(ctx)
    x = ctx.floats(0)[0]
    window = _window(ctx, x)
    s = Steps(ctx, x.type.dtype)
    powers = _powers(s, plane(s, x), p)
    pads, _ = _paddings(powers, window)
    powers = taps.padded(s, powers, pads, 0.0)
    if _has_operation(window):
        mean = _pooled(s, powers, window, PoolFn.AVG, ((0, 0),) * len(pads))
        total = s.mul(mean, float(window.size[0] * window.size[1]))
    else:
        taps.check_taps(ctx, window)
        total = taps.folded(s, powers, window, BinaryFn.ADD)
    return s.result(unplane(s, _root(s, total, p), x.type.rank))


@onnx_op("GlobalAveragePool", "GlobalMaxPool", inputs=1, since=(1, 22))
def global_pool(ctx: Context) -> Handled:
    """The mean or the largest element of each channel."""
    fn = ReduceFn.MEAN if ctx.op == "GlobalAveragePool" else ReduceFn.MAX
    x = ctx.floats(0)[0]
    return plain.reduce(ctx, fn, x, tuple(range(2, x.type.rank)), True)


@onnx_op("GlobalLpPool", inputs=1, since=(2, 22))
def global_lp_pool(ctx: Context) -> Handled:
    """The p-norm of each channel."""
    p = _order(ctx)
    x = ctx.floats(0)[0]
    s = Steps(ctx, x.type.dtype)
    powers = _powers(s, s.take(x), p)
    return s.result(_root(s, s.op(ops.Reduce(ReduceFn.SUM, tuple(range(2, x.type.rank)), True), powers), p))


def _order(ctx: Context) -> int:
    p = ctx.attrs.integer("p", 2)
    if not 1 <= p <= MOST_ORDER:
        ctx.unsupported(f"p={p}; norms from 1 to {MOST_ORDER} are known")
    return p


def _powers(s: Steps, v: Node, p: int) -> Node:
    """Return the magnitudes to the power ``p``."""
    if p == 2:
        return s.unary(UnaryFn.SQUARE, v)
    size = s.unary(UnaryFn.ABS, v)
    return size if p == 1 else s.binary(BinaryFn.POW, size, float(p))


def _root(s: Steps, total: Node, p: int) -> Node:
    if p == 1:
        return total
    return s.unary(UnaryFn.SQRT, total) if p == 2 else s.binary(BinaryFn.POW, total, 1 / p)


def _window(ctx: Context, x: Value) -> Window:
    ceil = ctx.attrs.flag("ceil_mode", False)
    window = replace(read_window(ctx, x.type.rank, most=VOLUME), ceil=ceil)
    for pair, extent in zip(window.pads, window.extent, strict=True):
        if max(pair) >= extent:
            ctx.invalid("a window would see padding alone")
    return window


def _has_operation(window: Window) -> bool:
    """Whether the IR pools over such windows: those of images, without holes."""
    return len(window.size) == PLANE - taps.FIRST and not window.is_spread


def _pooled(s: Steps, image: Node, window: Window, fn: PoolFn, pads: Around) -> Node:
    return s.op(ops.Pool(fn, two(window.size), two(window.stride), flat_pads(pads), Layout.NCHW), image)


def _paddings(image: Node, window: Window) -> tuple[Around, Around]:
    """Return the paddings of images, and those of them that are stated: the rest is room for a last window."""
    sides = image.type.shape[taps.FIRST :]
    pads, stated = window.pads_for(sides), replace(window, ceil=False).pads_for(sides)
    within = tuple((a[0], minimum(a[1], b[1])) for a, b in zip(pads, stated, strict=True))
    return pads, within


def _beyond(pads: Around, stated: Around) -> Around:
    return tuple((a[0] - b[0], a[1] - b[1]) for a, b in zip(pads, stated, strict=True))
