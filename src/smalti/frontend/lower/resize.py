"""Resizes of images."""

from __future__ import annotations

from smalti.frontend.context import Lowering
from smalti.frontend.lower.checks import Size
from smalti.frontend.symbolic import sign_is_known
from smalti.frontend.values import Value
from smalti.ir import ops
from smalti.ir.graph import Node
from smalti.ir.ops import ResizeFn
from smalti.numerics import DType


def resize(
    ctx: Lowering, x: Value, fn: ResizeFn, size: tuple[Size, ...], align_corners: bool, half_pixel: bool
) -> Value:
    """Resize of NHWC images to ``(height, width)``; bilinear gives float32, nearest keeps the type."""
    ctx.require_rank(x, 4)
    if len(size) != 2:
        ctx.invalid(f"the size must be two numbers, not {len(size)}")
    for extent in size:
        if sign_is_known(extent - 1) is False:
            ctx.invalid(f"the size {extent} is not positive")
    image: Value | Node = x
    if fn is ResizeFn.BILINEAR and x.type.dtype is not DType.FLOAT32:
        image = ctx.part(ops.Cast(DType.FLOAT32), (x,), "cast")
    return ctx.emit(ops.Resize(fn, (size[0], size[1]), align_corners, half_pixel), (image,))
