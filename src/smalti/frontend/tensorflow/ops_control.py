"""Inputs, constants, transparent nodes, assertions and control flow with a constant predicate."""

from __future__ import annotations

import numpy as np

from smalti.errors import GraphError
from smalti.frontend.signals import UnknownInput
from smalti.frontend.tensorflow.registry import Context, Handled, tf_op
from smalti.frontend.tensorflow.tensors import decode_tensor
from smalti.frontend.values import Result, Special, Value


@tf_op("Placeholder", inputs=0)
def placeholder(ctx: Context) -> Handled:
    """A graph input."""
    kind = ctx.attrs.kind("dtype")
    return ctx.host.placeholder(ctx.raw, kind, ctx.attrs.shape("shape"), "attribute dtype: an input")


@tf_op("Const", inputs=0, note="every encoding; not strings")
def const(ctx: Context) -> Handled:
    """A constant tensor."""
    declared = ctx.attrs.kind("dtype")
    message = ctx.attrs.tensor("value")
    try:
        kind, array, splat = decode_tensor(message, *ctx.host.constant_budget())
    except ValueError as error:
        ctx.unsupported(f"attribute value: {error}")
    except GraphError as error:
        raise GraphError(f"attribute value: {error}") from error
    if kind is not declared:
        ctx.invalid(f"attribute dtype is {declared.label}, attribute value is {kind.label}")
    return ctx.stored(array, kind, splat)


@tf_op("Identity", "StopGradient", "PreventGradient", "Snapshot", inputs=1, ignore=("message", "T"))
@tf_op("CheckNumerics", inputs=1, ignore=("message", "T"), note="the check is dropped")
@tf_op("PlaceholderWithDefault", inputs=1, ignore=("shape", "dtype"), note="the default, unless bound")
def transparent(ctx: Context) -> Handled:
    """The input itself."""
    return ctx.inputs[0]


@tf_op("EnsureShape", inputs=1, types={"T": 0})
def ensure_shape(ctx: Context) -> Handled:
    """The input itself, of which the shape is stated."""
    x, stated = ctx.value(0), ctx.attrs.shape("shape")
    known = x.type.shape
    if stated is not None:
        pairs = list(zip(stated, known, strict=False))
        if len(stated) != len(known) or any(s != -1 and isinstance(k, int) and s != k for s, k in pairs):
            ctx.invalid(f"{x.type} where {list(stated)} is stated")
        for size, extent in pairs:
            if size != -1 and not isinstance(extent, int):
                ctx.unsupported(
                    f"a size of {size} stated for {extent}, which depends on the image: give it with --input-shape"
                )
    return x


@tf_op("IdentityN", inputs=(1, 4096), ignore=("T",))
def identity_n(ctx: Context) -> Handled:
    """The inputs themselves."""
    return ctx.inputs


@tf_op("NoOp", inputs=0)
def no_op(ctx: Context) -> Handled:
    """Nothing: orders other nodes."""
    return ()


@tf_op(
    "Assert", inputs=(1, 4096), ignore=("T", "summarize"), note="dropped; checked now if it can be", sees_special=True
)
def assertion(ctx: Context) -> Handled:
    """A check of the graph's own; it does not change the result."""
    condition = ctx.inputs[0]
    outcome: bool | None = None
    if isinstance(condition, Value) and condition.sym is not None and condition.sym.size:
        outcome = all(condition.sym.ravel().tolist())
    ctx.host.note_assert(ctx.raw.name, outcome)
    return ()


@tf_op("Switch", inputs=2, types={"T": 0}, note="constant predicate")
def switch(ctx: Context) -> Handled:
    """Sends the input to output 0 (false) or 1 (true)."""
    predicate = ctx.value(1).sym
    if predicate is None or ctx.type_of(1).rank != 0:
        ctx.unsupported("a predicate that is not constant")
    data = ctx.inputs[0]
    return (Special.DEAD, data) if predicate.item() else (data, Special.DEAD)


@tf_op("Merge", inputs=(1, 4096), ignore=("T",), note="of branches whose predicate is constant", sees_special=True)
def merge(ctx: Context) -> Handled:
    """The one input that is alive, and its number."""
    if ctx.attrs.integer("N", len(ctx.inputs)) != len(ctx.inputs):
        ctx.invalid(f"attribute N does not match {len(ctx.inputs)} inputs")
    if any(i is Special.UNKNOWN for i in ctx.inputs):
        raise UnknownInput
    alive = [i for i, item in enumerate(ctx.inputs) if item is not Special.DEAD]
    if not alive:
        return Special.DEAD
    if len(alive) > 1:
        ctx.unsupported("more than one input is alive")
    chosen: Result = ctx.inputs[alive[0]]
    return chosen, ctx.constant(np.array(alive[0], np.int32), 1)
