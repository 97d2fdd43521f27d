"""Axes, which old versions of an operation state as an attribute and new ones as an input."""

from __future__ import annotations

from smalti.frontend.context import NodeContext
from smalti.frontend.onnx.attrs import AttrReader


def read_axes(ctx: NodeContext[AttrReader], i: int) -> tuple[int, ...] | None:
    """Return the axes of the attribute or of input ``i``; ``None`` where both are left out."""
    if "axes" in ctx.attrs:
        return ctx.attrs.ints("axes")
    return ctx.ints(i, "the axes") if ctx.has(i) else None
