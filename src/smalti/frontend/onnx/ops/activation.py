"""Activations, and dropout as it is once a network is trained."""

from __future__ import annotations

from smalti.frontend.lower import activations, elementwise
from smalti.frontend.lower.fill import filled_like
from smalti.frontend.onnx.registry import Context, onnx_op
from smalti.frontend.table import Handled
from smalti.frontend.values import Special
from smalti.ir.graph import TensorType
from smalti.ir.ops import UnaryFn
from smalti.numerics import DType

_PLAIN = {
    "Relu": UnaryFn.RELU,
    "Sigmoid": UnaryFn.SIGMOID,
    "Tanh": UnaryFn.TANH,
    "Softplus": UnaryFn.SOFTPLUS,
}
_COMPOSED = {
    "HardSwish": activations.hard_swish,
    "Mish": activations.mish,
    "Softsign": activations.softsign,
}


@onnx_op("Relu", inputs=1, since=(6, 13, 14))
@onnx_op("Sigmoid", "Tanh", inputs=1, since=(6, 13))
@onnx_op("Softplus", inputs=1, since=(1, 22))
def plain(ctx: Context) -> Handled:
    """Activations without parameters, each one function."""
    return elementwise.unary(ctx, _PLAIN[ctx.op], ctx.value(0))


@onnx_op("HardSwish", inputs=1, since=(14, 22))
@onnx_op("Mish", inputs=1, since=(18, 22))
@onnx_op("Softsign", inputs=1, since=(1, 22))
def composed(ctx: Context) -> Handled:
    """Activations without parameters, of several functions."""
    return _COMPOSED[ctx.op](ctx, ctx.value(0))


@onnx_op("LeakyRelu", inputs=1, since=(6, 16))
def leaky_relu(ctx: Context) -> Handled:
    """``x`` where positive, else ``alpha * x``."""
    alpha = ctx.attrs.number("alpha", 0.01)
    return elementwise.unary(ctx, UnaryFn.LEAKY_RELU, ctx.value(0), alpha)


@onnx_op("PRelu", inputs=2, since=(7, 9, 16))
def prelu(ctx: Context) -> Handled:
    """``x`` where not negative, else ``x`` times a slope that is broadcast to it."""
    return activations.prelu(ctx, ctx.value(0), ctx.value(1))


@onnx_op("Elu", inputs=1, since=(6, 22))
def elu(ctx: Context) -> Handled:
    """``x`` where positive, else ``alpha * (e^x - 1)``."""
    alpha = ctx.attrs.number("alpha", 1.0)
    return activations.elu(ctx, ctx.value(0), alpha)


@onnx_op("Selu", inputs=1, since=(6, 22))
def selu(ctx: Context) -> Handled:
    """ELU with two parameters."""
    alpha = ctx.attrs.number("alpha", activations.SELU_ALPHA)
    gamma = ctx.attrs.number("gamma", activations.SELU_GAMMA)
    return activations.selu(ctx, ctx.value(0), alpha, gamma)


@onnx_op("Celu", inputs=1, since=(12, 28))
def celu(ctx: Context) -> Handled:
    """ELU whose slope has no jump."""
    alpha = ctx.attrs.number("alpha", 1.0)
    return activations.celu(ctx, ctx.value(0), alpha)


@onnx_op("HardSigmoid", inputs=1, since=(6, 22))
def hard_sigmoid(ctx: Context) -> Handled:
    """A line between 0 and 1."""
    alpha, beta = ctx.attrs.number("alpha", 0.2), ctx.attrs.number("beta", 0.5)
    return activations.hard_sigmoid(ctx, ctx.value(0), alpha, beta)


@onnx_op("Swish", inputs=1, since=(24,))
def swish(ctx: Context) -> Handled:
    """``x * sigmoid(alpha * x)``."""
    alpha = ctx.attrs.number("alpha", 1.0)
    return activations.swish(ctx, ctx.value(0), alpha)


@onnx_op("ThresholdedRelu", inputs=1, since=(10, 22))
def thresholded_relu(ctx: Context) -> Handled:
    """``x`` where above ``alpha``, else 0."""
    alpha = ctx.attrs.number("alpha", 1.0)
    return activations.thresholded_relu(ctx, ctx.value(0), alpha)


@onnx_op("Shrink", inputs=1, since=(9,), note="floating point")
def shrink(ctx: Context) -> Handled:
    """Values moved by ``bias`` towards 0, and 0 between ``-lambd`` and ``lambd``."""
    limit, bias = ctx.attrs.number("lambd", 0.5), ctx.attrs.number("bias", 0.0)
    return activations.shrink(ctx, ctx.value(0), limit, bias)


@onnx_op("Gelu", inputs=1, since=(20,))
def gelu(ctx: Context) -> Handled:
    """``x`` times the share of a normal distribution below it, exactly or by a hyperbolic tangent."""
    way = ctx.attrs.text("approximate", "none")
    if way not in ("none", "tanh"):
        ctx.invalid(f"attribute approximate is {way!r}")
    return (activations.gelu if way == "none" else activations.gelu_tanh)(ctx, ctx.value(0))


@onnx_op("Gelu", inputs=1, domain="com.microsoft")
def gelu_of_onnxruntime(ctx: Context) -> Handled:
    """``x`` times the share of a normal distribution below it."""
    return activations.gelu(ctx, ctx.value(0))


@onnx_op("Dropout", inputs=1, since=(7, 10), ignore=("ratio",))
@onnx_op("Dropout", inputs=(1, 3), since=(12, 13, 22), ignore=("seed",), note="drops nothing, as in inference")
def dropout(ctx: Context) -> Handled:
    """The input itself, and a mask that keeps everything."""
    x = ctx.value(0)
    if ctx.has(2):
        training = ctx.known(2, "training_mode")
        if training.size != 1:
            ctx.invalid(f"training_mode must be one truth value, not {ctx.type_of(2)}")
        if bool(training.item()) and not _drops_nothing(ctx):
            ctx.unsupported("dropout in training mode: export the network after model.eval()")
    if ctx.raw.version < 10:
        return x, Special.ABSENT
    return x, filled_like(ctx, 1, TensorType(DType.BOOL, x.type.shape))


def _drops_nothing(ctx: Context) -> bool:
    if not ctx.has(1):
        return False
    ratio = ctx.known(1, "the ratio")
    return bool(ratio.size == 1 and ratio.item() == 0)
