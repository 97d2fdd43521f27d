"""Padding in all its modes; a negative padding cuts."""

from __future__ import annotations

from smalti.frontend import symbolic
from smalti.frontend.lower import pad as padding
from smalti.frontend.lower.checks import Size, check_amounts
from smalti.frontend.onnx.axes import read_axes
from smalti.frontend.onnx.registry import Context, onnx_op
from smalti.frontend.symbolic import sign_is_known
from smalti.frontend.table import Handled
from smalti.frontend.values import Value
from smalti.ir.dims import floor_div
from smalti.ir.ops import PadMode

_MODES = {"constant": PadMode.CONSTANT, "reflect": PadMode.REFLECT, "edge": PadMode.EDGE, "wrap": PadMode.WRAP}


@onnx_op("Pad", inputs=1, since=(2,))
@onnx_op("Pad", inputs=(2, 4), since=(11, 13, 18, 19, 21, 23, 24, 25), note="paddings known at build")
def pad(ctx: Context) -> Handled:
    """Padding with a number, the border, the mirrored or the repeated tensor; negative paddings cut."""
    mode = _MODES.get(ctx.attrs.text("mode", "constant"))
    if mode is None:
        ctx.unsupported(f"mode {ctx.attrs.text('mode')[:20]}")
    sizes: tuple[Size, ...]
    number: float | None
    if len(ctx.inputs) == 1:
        sizes, number = ctx.attrs.ints("pads"), ctx.attrs.number("value", 0.0)
        x = ctx.value(0)
    else:
        x, sizes = ctx.value(0), ctx.sizes(1, "the paddings")
        number = _number(ctx, x) if ctx.has(2) and mode is PadMode.CONSTANT else 0.0
    axes = (read_axes(ctx, 3) if len(ctx.inputs) > 3 else None) or tuple(range(x.type.rank))
    if len(sizes) != 2 * len(axes):
        ctx.invalid(f"{len(sizes)} paddings for {len(axes)} axes")
    places = [ctx.check_axis(axis, x.type.rank) for axis in axes]
    amounts: list[tuple[Size, Size]] = [(0, 0)] * x.type.rank
    for axis, before, after in zip(places, sizes[: len(axes)], sizes[len(axes) :], strict=True):
        amounts[axis] = (before, after)
    if number is None:
        return padding.pad_computed(ctx, x, tuple(amounts), ctx.value(2))
    return padding.pad_or_cut(ctx, x, tuple(amounts), mode, number)


def _number(ctx: Context, x: Value) -> float | None:
    """Return the padding value; ``None`` where it is data of a run."""
    filling = ctx.value(2)
    if filling.type.elements != 1 or filling.type.dtype is not x.type.dtype:
        ctx.invalid(f"a padding value {filling.type} for {x.type}")
    found: object = None
    if filling.array is not None:
        found = filling.array.item(0)
    elif filling.sym is not None:
        found = filling.sym.item(0)
    if isinstance(found, bool):
        return float(found)
    if not isinstance(found, (int, float)):
        number = symbolic.constants(filling.sym) if filling.sym is not None else None
        if number is None:
            return None
        found = float(number[0])
    if isinstance(found, int) and int(float(found)) != found:
        ctx.unsupported(f"the padding value {found}")
    return float(found)


@onnx_op("CenterCropPad", inputs=2, since=(18,), note="sizes known at build")
def center_crop_pad(ctx: Context) -> Handled:
    """The middle of a tensor, cut or padded with zeros to sizes along some axes."""
    stated = ctx.attrs.ints("axes") if "axes" in ctx.attrs else None
    x, sizes = ctx.value(0), ctx.sizes(1, "the sizes")
    check_amounts(ctx, sizes, "a size")
    axes = tuple(range(x.type.rank)) if stated is None else tuple(ctx.check_axis(a, x.type.rank) for a in stated)
    if len(axes) != len(sizes) or len(set(axes)) != len(axes):
        ctx.invalid(f"{len(sizes)} sizes for the axes {list(axes)}")
    amounts: list[tuple[Size, Size]] = [(0, 0)] * x.type.rank
    for axis, size in zip(axes, sizes, strict=True):
        missing = size - x.type.shape[axis]
        grows = sign_is_known(missing)
        if grows is None:
            ctx.unsupported(f"cuts or pads axis {axis} of {x.type} to {size}, depending on the image")
        before = floor_div(missing, 2) if grows else -floor_div(-missing, 2)
        amounts[axis] = (before, missing - before)
    return padding.pad_or_cut(ctx, x, tuple(amounts), PadMode.CONSTANT, 0.0)
