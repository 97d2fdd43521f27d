"""Elements written to computed positions."""

from __future__ import annotations

from smalti.frontend.lower import picking
from smalti.frontend.lower.checks import Size
from smalti.frontend.lower.window import check_paddings, read_extents
from smalti.frontend.onnx.registry import Context, onnx_op
from smalti.frontend.table import Handled
from smalti.ir import ops
from smalti.ir.ops import ScatterFn

_FUNCTIONS = {
    "none": ScatterFn.SET,
    "add": ScatterFn.ADD,
    "mul": ScatterFn.MUL,
    "max": ScatterFn.MAXIMUM,
    "min": ScatterFn.MINIMUM,
}


def _function(ctx: Context) -> ScatterFn:
    text = ctx.attrs.text("reduction", "none")
    if text not in _FUNCTIONS:
        ctx.unsupported(f"reduction {text[:20]}")
    return _FUNCTIONS[text]


@onnx_op("ScatterND", inputs=3, since=(11, 13, 16, 18))
def scatter_nd(ctx: Context) -> Handled:
    """Pieces written to positions of many dimensions; one outside changes nothing."""
    fn = _function(ctx)
    return picking.folded(ctx, ops.ScatterNd(fn), ctx.values())


@onnx_op("ScatterElements", inputs=3, since=(11, 13, 16, 18))
@onnx_op("Scatter", inputs=3, since=(9, 11))
def scatter_elements(ctx: Context) -> Handled:
    """One element written for each index, along an axis; an index outside changes nothing."""
    axis, fn = ctx.attrs.integer("axis", 0), _function(ctx)
    x = ctx.value(0)
    return picking.folded(ctx, ops.ScatterElements(ctx.check_axis(axis, x.type.rank), fn), ctx.values())


@onnx_op("MaxUnpool", inputs=(2, 3), since=(9, 11, 22), note="images; a shape known at build")
def max_unpool(ctx: Context) -> Handled:
    """The results of a maximum pooling back where they were, zeros elsewhere."""
    kernel = ctx.attrs.ints("kernel_shape")
    strides, pads = ctx.attrs.ints("strides", (1,) * len(kernel)), ctx.attrs.ints("pads", (0,) * (2 * len(kernel)))
    x, positions = ctx.value(0), ctx.value(1)
    if not (len(kernel) == len(strides) == 2 and len(pads) == 4 and x.type.rank == 4):
        ctx.unsupported(f"windows {list(kernel)} of {x.type}")
    size, step = read_extents(ctx, kernel, "the window", (0, 1)), read_extents(ctx, strides, "strides", (0, 1))
    check_paddings(ctx, pads, "pads")
    n, c, *extents = x.type.shape
    inner: list[Size] = [(e - 1) * step[i] + size[i] - pads[i] - pads[i + 2] for i, e in enumerate(extents)]
    wanted = ctx.sizes(2, "the shape of the result") if ctx.has(2) else (n, c, *inner)
    return picking.unpooled(ctx, x, positions, (n, c, *inner), wanted)
