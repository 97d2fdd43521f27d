"""The attribute that says again how many inputs a node has."""

from __future__ import annotations

from smalti.frontend.tensorflow.registry import Context


def check_number(ctx: Context, count: int) -> None:
    """Refuse a node whose attribute ``N`` states another number of inputs."""
    if ctx.attrs.integer("N", count) != count:
        ctx.invalid(f"attribute N does not match {count} inputs")
