"""What is no computation: inputs, constants, and branches whose condition is known."""

from __future__ import annotations

from smalti.frontend.onnx.constants import constant_value
from smalti.frontend.onnx.nodes import IF, IF_FALSE, IF_TRUE, INPUT, OnnxNode
from smalti.frontend.onnx.opsets import OWN_DOMAIN
from smalti.frontend.onnx.registry import Context, onnx_op
from smalti.frontend.raw import StatedSize
from smalti.frontend.table import Handled
from smalti.frontend.values import Result, Special

_MANY = (0, 131072)


@onnx_op(INPUT, inputs=0, domain=OWN_DOMAIN)
def graph_input(ctx: Context) -> Handled:
    """An input of the model."""
    given = ctx.raw.given if isinstance(ctx.raw, OnnxNode) else None
    if given is None or (given.kind is None and not given.other):
        ctx.unsupported("an input whose element type the file does not say")
    if given.kind is None:
        ctx.unsupported(f"an input that is {given.other} and no tensor")
    return ctx.host.placeholder(ctx.raw, given.kind, stated(given.shape))


@onnx_op("Constant", inputs=0, since=(1, 9, 11, 12, 13, 19, 21, 23, 24, 25), note="every form; not strings")
def constant(ctx: Context) -> Handled:
    """A tensor of the file."""
    try:
        found = constant_value(ctx.attrs, *ctx.host.constant_budget())
    except ValueError as error:
        ctx.unsupported(str(error))
    return ctx.stored(found.array, found.kind, found.generated)


@onnx_op("Identity", inputs=1, since=(1, 13, 14, 16, 19, 21, 23, 24, 25))
def identity(ctx: Context) -> Handled:
    """The input itself; the reader makes such nodes too, where a function or a branch gives back what it was given."""
    return ctx.inputs[0]


@onnx_op(IF_TRUE, IF_FALSE, inputs=1, domain=OWN_DOMAIN)
def branch(ctx: Context) -> Handled:
    """The beginning of a branch: dead where the condition is known and wants the other.

    Nobody reads it, so nothing can be said of it: where the condition is not known, what reads the results says so.
    """
    condition = ctx.value(0)
    if condition.sym is None or condition.sym.size != 1:
        return Special.UNKNOWN
    taken = bool(condition.sym.ravel().tolist()[0])
    return () if taken == (ctx.op == IF_TRUE) else Special.DEAD


@onnx_op(IF, inputs=_MANY, domain=OWN_DOMAIN, sees_special=True, note="a condition known at build")
def branches(ctx: Context) -> Handled:
    """The results of the branch that is not dead."""
    half = len(ctx.inputs) // 2
    found: list[Result] = []
    for pair in zip(ctx.inputs[:half], ctx.inputs[half:], strict=True):
        alive = [item for item in pair if item is not Special.DEAD]
        if not alive:
            return Special.DEAD
        if len(alive) > 1:
            ctx.unsupported("a condition that is not known when the model is built")
        found.append(alive[0])
    return tuple(found)


def stated(shape: tuple[int | str | None, ...] | None) -> tuple[StatedSize, ...] | None:
    """Return a shape as all formats state it: -1 for an open size without a name."""
    return None if shape is None else tuple(-1 if size is None else size for size in shape)
