"""Resizes of images and of any other axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import floor, isfinite
from typing import TypeVar

import numpy as np

from smalti.frontend import symbolic
from smalti.frontend.lower import resized
from smalti.frontend.lower.checks import Size
from smalti.frontend.lower.resampling import Kernel, Position, Rounding, Weighing
from smalti.frontend.lower.resized import Extent
from smalti.frontend.onnx.registry import Context, onnx_op
from smalti.frontend.table import Handled
from smalti.frontend.values import Value
from smalti.ir import dims

T = TypeVar("T")
MAX_SCALE = float(1 << 16)
_MAX_DENOMINATOR = 1 << 10
_MODES = {"nearest": None, "linear": Kernel.LINEAR, "cubic": Kernel.CUBIC}
_POSITIONS = {p.value: p for p in Position}
_ROUNDINGS = {r.value: r for r in Rounding}
_RESIZE = "no tf_crop_and_resize; align_corners by sizes, or by scales that give whole ones"
_POLICIES = ("stretch", "not_larger", "not_smaller")


@onnx_op("Upsample", inputs=1, since=(7,), note="nearest and linear")
@onnx_op("Upsample", inputs=2, since=(9, 10), note="nearest and linear; constant scales")
@onnx_op("Resize", inputs=2, since=(10,), note="nearest and linear; constant scales")
def resize_by_scales(ctx: Context) -> Handled:
    """The old resize, ``i`` of a result at ``i / scale``; the nearest lies before that, or where it shrinks, behind."""
    kernel = _read_mode(ctx)
    if kernel is Kernel.CUBIC:
        ctx.invalid("attribute mode is cubic, which this version does not have")
    stated = ctx.attrs.numbers("scales") if len(ctx.inputs) == 1 else None
    x = ctx.value(0)
    scales = _scales(ctx, 1) if stated is None else stated
    extents = _by_scales(ctx, x, scales, range(x.type.rank))
    if kernel is None:
        roundings = [Rounding.UP if e.scale is not None and e.scale < 1 else Rounding.DOWN for e in extents]
        return resized.nearest(ctx, x, extents, Position.ASYMMETRIC, roundings)
    return resized.weighed(ctx, x, extents, Position.ASYMMETRIC, Weighing(kernel))


@onnx_op("Resize", inputs=(1, 4), since=(11, 13, 18, 19), ignore=("extrapolation_value",), note=_RESIZE)
def resize(ctx: Context) -> Handled:
    """Nearest, linear or cubic resize along any axes, to sizes or by constant scales."""
    kernel = _read_mode(ctx)
    position = _choice(ctx, "coordinate_transformation_mode", _POSITIONS, "half_pixel")
    rounding = _choice(ctx, "nearest_mode", _ROUNDINGS, "round_prefer_floor")
    cubic, inside = ctx.attrs.number("cubic_coeff_a", -0.75), ctx.attrs.flag("exclude_outside", False)
    wide, policy = ctx.attrs.flag("antialias", False), ctx.attrs.text("keep_aspect_ratio_policy", "stretch")
    if not isfinite(cubic):
        ctx.invalid(f"attribute cubic_coeff_a is {cubic}")
    if policy not in _POLICIES:
        ctx.invalid(f"attribute keep_aspect_ratio_policy is {policy[:20]}")
    stated = ctx.attrs.ints("axes") if "axes" in ctx.attrs else None
    x = ctx.value(0)
    axes = tuple(ctx.check_axis(a, x.type.rank) for a in (range(x.type.rank) if stated is None else stated))
    if len(set(axes)) != len(axes):
        ctx.invalid(f"the axes {list(axes)} repeat")
    if ctx.has(3) and ctx.type_of(3).shape != (0,):
        extents = _by_sizes(ctx, x, axes, policy)
    elif ctx.has(2):
        extents = _by_scales(ctx, x, _scales(ctx, 2), axes)
    else:
        ctx.invalid("sizes and scales are left out")
    if position is Position.CORNERS and any(not e.is_quotient for e in extents):
        ctx.unsupported(
            "align_corners by scales that give no whole size, which runtimes take in different ways: export sizes"
        )
    if kernel is None:
        if wide:
            ctx.invalid("antialias of the nearest")
        return resized.nearest(ctx, x, extents, position, [rounding] * x.type.rank)
    return resized.weighed(ctx, x, extents, position, Weighing(kernel, cubic, wide, inside))


def _read_mode(ctx: Context) -> Kernel | None:
    """Return how neighbours are weighed; ``None`` takes the nearest."""
    mode = ctx.attrs.text("mode", "nearest")
    if mode not in _MODES:
        ctx.unsupported(f"mode {mode[:20]}")
    return _MODES[mode]


def _choice(ctx: Context, name: str, choices: Mapping[str, T], default: str) -> T:
    text = ctx.attrs.text(name, default)
    if text not in choices:
        ctx.unsupported(f"{name} {text[:30]}")
    return choices[text]


def _scales(ctx: Context, i: int) -> tuple[float, ...]:
    """Return an input of constant scales."""
    found = ctx.value(i)
    ctx.require_float(found)
    ctx.require_rank(found, 1)
    if found.array is not None:
        return tuple(float(v) for v in found.array.tolist())
    numbers = symbolic.constants(found.sym) if found.sym is not None else None
    if numbers is None:
        ctx.unsupported("the scales must be constant: export sizes, or fix the size of the image")
    return tuple(float(v) for v in numbers)


def _by_scales(ctx: Context, x: Value, scales: Sequence[float], axes: Sequence[int]) -> list[Extent]:
    if len(scales) != len(axes):
        ctx.invalid(f"{len(scales)} scales for {len(axes)} axes")
    extents = [Extent(size, size) for size in x.type.shape]
    for axis, scale in zip(axes, scales, strict=True):
        if not 0 < scale <= MAX_SCALE:
            ctx.invalid(f"the scale {scale:g}")
        before = x.type.shape[axis]
        extents[axis] = Extent(before, _scaled(ctx, before, scale), scale)
    return extents


def _scaled(ctx: Context, size: Size, scale: float) -> Size:
    """Return a size times a scale, rounded down; computed in float32, as the runtimes do."""
    if isinstance(size, int):
        return int(np.float32(size) * np.float32(scale))
    factor = Fraction(scale)
    if factor.denominator > _MAX_DENOMINATOR:
        ctx.unsupported(f"the scale {scale:g} of a size that depends on the image: export it with constant sizes")
    return dims.floor(symbolic.multiply(size, dims.rational(factor)))


def _by_sizes(ctx: Context, x: Value, axes: Sequence[int], policy: str) -> list[Extent]:
    sizes = ctx.sizes(3, "the sizes")
    if len(sizes) != len(axes):
        ctx.invalid(f"{len(sizes)} sizes for {len(axes)} axes")
    extents = [Extent(size, size) for size in x.type.shape]
    if policy == "stretch":
        for axis, size in zip(axes, sizes, strict=True):
            extents[axis] = Extent(x.type.shape[axis], size)
        return extents
    known: list[tuple[int, int, Fraction]] = []
    for axis, size in zip(axes, sizes, strict=True):
        before = x.type.shape[axis]
        if not (isinstance(before, int) and isinstance(size, int)):
            ctx.unsupported(f"keep_aspect_ratio_policy {policy} of a size that depends on the image")
        if before < 1 or size < 1:
            ctx.invalid(f"{before} elements become {size}")
        known.append((axis, before, Fraction(size, before)))
    pick = min if policy == "not_larger" else max
    scale = pick((quotient for _, _, quotient in known), default=Fraction(1))
    for axis, before, _ in known:
        extents[axis] = Extent(before, floor(before * scale + Fraction(1, 2)), float(scale))
    return extents
