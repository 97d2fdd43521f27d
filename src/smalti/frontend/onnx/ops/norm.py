"""Normalisations: of batches with given statistics, and with those of the tensor itself."""

from __future__ import annotations

from smalti.frontend.lower import dense, norms
from smalti.frontend.onnx.nodes import OnnxNode
from smalti.frontend.onnx.registry import Context, onnx_op
from smalti.frontend.table import Handled
from smalti.frontend.values import Value

_EPSILON = 1e-5
_TRAINING = "batch normalisation in training mode: export the network after model.eval()"


@onnx_op("BatchNormalization", inputs=5, since=(1, 6, 7), ignore=("consumed_inputs", "momentum"), note="spatial; not in training mode")
def batch_norm_of_old(ctx: Context) -> Handled:
    """Batch normalisation with fixed mean and variance of channels."""
    epsilon = ctx.attrs.number("epsilon", _EPSILON)
    test, spatial = ctx.attrs.flag("is_test", ctx.raw.version >= 7), ctx.attrs.flag("spatial", True)
    if not spatial and ctx.value(0).type.rank > 2:
        ctx.unsupported("spatial=0: statistics of every place instead of every channel")
    return _batch_norm(ctx, epsilon, not test or _results(ctx) > 1)


@onnx_op("BatchNormalization", inputs=5, since=(9, 14, 15), ignore=("momentum",), note="not in training mode")
def batch_norm(ctx: Context) -> Handled:
    """Batch normalisation with fixed mean and variance of channels."""
    epsilon = ctx.attrs.number("epsilon", _EPSILON)
    return _batch_norm(ctx, epsilon, ctx.attrs.flag("training_mode", False) or _results(ctx) > 1)


def _batch_norm(ctx: Context, epsilon: float, training: bool) -> Value:
    if training:
        ctx.unsupported(_TRAINING)
    x, scale, offset, mean, variance = ctx.floats(0, 1, 2, 3, 4)
    return dense.batch_norm_nchw(ctx, x, scale, offset, mean, variance, epsilon)


@onnx_op("InstanceNormalization", inputs=3, since=(1, 6, 22), ignore=("consumed_inputs",))
def instance_norm(ctx: Context) -> Handled:
    """Normalisation of each channel of each image by its own mean and variance."""
    epsilon = ctx.attrs.number("epsilon", _EPSILON)
    x, scale, offset = ctx.floats(0, 1, 2)
    return norms.instance_norm(ctx, x, scale, offset, epsilon)


@onnx_op("GroupNormalization", inputs=3, since=(18, 21))
def group_norm(ctx: Context) -> Handled:
    """Normalisation of groups of channels of each image; scale and offset are of groups (18) or channels (21)."""
    epsilon, groups = ctx.attrs.number("epsilon", _EPSILON), ctx.attrs.integer("num_groups")
    _check_stash(ctx)
    x, scale, offset = ctx.floats(0, 1, 2)
    return norms.group_norm(ctx, x, scale, offset, epsilon, groups, ctx.raw.version < 21)


@onnx_op("LayerNormalization", inputs=(2, 3), since=(17,), note="stash_type 1")
def layer_norm(ctx: Context) -> Handled:
    """Normalisation over all dimensions from an axis on."""
    epsilon, axis = ctx.attrs.number("epsilon", _EPSILON), ctx.attrs.integer("axis", -1)
    _check_stash(ctx)
    x, scale = ctx.floats(0, 1)
    offset = ctx.value(2) if ctx.has(2) else None
    return norms.layer_norm(ctx, x, scale, offset, epsilon, axis, _results(ctx))


@onnx_op("RMSNormalization", inputs=2, since=(23,), note="stash_type 1")
def rms_norm(ctx: Context) -> Handled:
    """Division by the root of the mean of the squares over all dimensions from an axis on."""
    epsilon, axis = ctx.attrs.number("epsilon", _EPSILON), ctx.attrs.integer("axis", -1)
    _check_stash(ctx)
    x, scale = ctx.floats(0, 1)
    return norms.rms_norm(ctx, x, scale, epsilon, axis)


@onnx_op("MeanVarianceNormalization", inputs=1, since=(9, 13))
def mean_variance_norm(ctx: Context) -> Handled:
    """Normalisation over axes, by default over all but the channels."""
    axes = ctx.attrs.ints("axes", (0, 2, 3))
    return norms.mean_variance_norm(ctx, ctx.value(0), axes)


@onnx_op("LpNormalization", inputs=1, since=(1, 22))
def lp_norm(ctx: Context) -> Handled:
    """Division by the sum of the magnitudes along an axis, or by the root of that of the squares."""
    axis, p = ctx.attrs.integer("axis", -1), ctx.attrs.integer("p", 2)
    if p not in (1, 2):
        ctx.invalid(f"attribute p is {p}; it must be 1 or 2")
    return norms.lp_norm(ctx, ctx.value(0), axis, p)


@onnx_op("LRN", inputs=1, since=(1, 13))
def local_response_norm(ctx: Context) -> Handled:
    """Division by a power of the sum of the squares of the channels around each."""
    size, alpha = ctx.attrs.integer("size"), ctx.attrs.number("alpha", 1e-4)
    beta, bias = ctx.attrs.number("beta", 0.75), ctx.attrs.number("bias", 1.0)
    return norms.local_response_norm(ctx, ctx.value(0), 1, size, alpha / size, beta, bias)


def _results(ctx: Context) -> int:
    """Return how many results the node gives, counted to the last that it names."""
    outputs = ctx.raw.outputs if isinstance(ctx.raw, OnnxNode) else ()
    return max((i + 1 for i, name in enumerate(outputs) if name), default=1)


def _check_stash(ctx: Context) -> None:
    stash = ctx.attrs.integer("stash_type", 1)
    if stash != 1:
        ctx.unsupported(f"stash_type {stash}: statistics of another type than float32")
