"""Float convolutions and what TensorFlow writes behind them: batch normalisation, activations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np

from smalti.errors import CompilerError, GraphError
from smalti.ir.arrays import Array, Numbers, from_nhwc, padded, taps, to_nhwc, widened
from smalti.ir.dims import Dim, product
from smalti.ir.ops.blocks import LAYOUTS
from smalti.ir.ops.elementwise import UNARY, UnaryFn
from smalti.ir.schema import IMPORTED, Op, operation
from smalti.ir.shapes import image_shape, require, spatial_axes, windows
from smalti.ir.types import Layout, Pads, TensorType
from smalti.numerics import DType

__all__ = ["Activation", "BatchNorm", "Conv2d"]

HALVES = (DType.FLOAT16, DType.BFLOAT16)


class Activation(Enum):
    """Function fused behind a convolution; its value is that of the :class:`UnaryFn`."""

    NONE = "none"
    RELU = "relu"
    RELU6 = "relu6"
    SILU = "silu"


FUSED = frozenset((Activation.NONE, Activation.RELU, Activation.RELU6, Activation.SILU))
"""The activations that a convolution may have."""


def activate(x: Array, activation: Activation) -> Array:
    """Return the activation of ``x``: what the function of the same name computes."""
    return x if activation is Activation.NONE else UNARY[UnaryFn(activation.value)].of(x, 0.0)


def weight_sizes(x: TensorType, w: TensorType, layout: Layout, what: str, groups: int = 1) -> tuple[int, int, int, int]:
    """Return the sizes of weights ``[kh, kw, in, out]`` that fit ``x``, whose channels are ``in * groups``.

    Raises:
        GraphError: they do not.
    """
    require(groups > 0, f"{what} of {groups} groups")
    require(x.rank == 4, f"{what} needs a 4-D input, not {x}")
    require(w.rank == 4, f"{what} needs 4-D weights, not {w}")
    kh, kw, cin, cout = w.shape
    if not (isinstance(kh, int) and isinstance(kw, int) and isinstance(cin, int) and isinstance(cout, int)):
        raise GraphError(f"{what} needs weights of constant shape, not {w}")
    require(min(kh, kw, cin, cout) > 0, f"{what} has empty weights {w}")
    require(cout % groups == 0, f"{what}: {cout} results do not split into {groups} groups")
    channels = cin * groups
    require(x.shape[spatial_axes(layout)[2]] == channels, f"{what}: the input {x} does not have {channels} channels")
    return kh, kw, cin, cout


def depthwise(weights: TensorType, groups: int) -> bool:
    """Whether weights are ``[kh, kw, 1, groups]``: each channel goes to a result of its own."""
    return weights.shape[2:] == (1, groups)


def bias_types(weights: DType, channels: int | Dim) -> tuple[TensorType, ...]:
    """Return the types a bias may have: that of the weights, or float32 beside weights of half precision."""
    own = TensorType(weights, (channels,))
    return (own, TensorType(DType.FLOAT32, (channels,))) if weights in HALVES else (own,)


def sum_of_taps(
    x: Array, w: Array, stride: tuple[int, int], dilation: tuple[int, int], pads: Numbers, groups: int = 1
) -> Array:
    """Return the plain convolution of NHWC ``x``: one matrix product per tap and group, taps in C order."""
    kh, kw, cin, cout = w.shape

    def part(view: Array, tap: Array) -> Array:
        if groups == 1:
            return np.ascontiguousarray(view).reshape(-1, cin) @ tap
        if cin == 1:
            return np.asarray((view if cout == groups else np.repeat(view, cout // groups, axis=3)) * tap)
        split = np.ascontiguousarray(view).reshape(-1, groups, cin)
        return np.asarray(np.einsum("pgc,cgo->pgo", split, tap.reshape(cin, groups, cout // groups)))

    views = taps(padded(x, pads), (kh, kw), stride, dilation)
    return _summed(part(view, w[ky, kx]).reshape(*view.shape[:3], cout) for ky, kx, view in views)


def _summed(parts: Iterable[Array]) -> Array:
    total: Array | None = None
    for part in parts:
        total = part if total is None else np.add(total, part, out=total)
    if total is None:
        raise CompilerError("a convolution without taps")
    return total


def positive(stride: tuple[int, int], dilation: tuple[int, int] = (1, 1)) -> Iterator[str]:
    """Yield what is wrong with strides and dilations."""
    if min(*stride, *dilation) <= 0:
        yield f"stride {stride} and dilation {dilation} must be positive"


@operation("x", "weights", "bias?", "residual?", half=True, values={"layout": LAYOUTS, "activation": FUSED})
@dataclass(frozen=True, slots=True)
class Conv2d(Op):
    """2-D convolution: ``activation(conv(x - input_offset, w) + bias + residual)``.

    Weights are ``[kh, kw, in / groups, out]``; group ``g`` takes its ``in / groups`` channels to results
    ``g * out / groups`` on.  A depthwise convolution has as many groups as channels.  The bias is ``[out]``, the
    residual shaped as the result.  The result has the type of the weights; with weights of half precision sums are
    float32, and the bias may be.  Padded positions count as zero *after* the offset is taken off, so a uint8 image with
    ``input_offset=127.5`` pads with mid grey.
    """

    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    layout: Layout = Layout.NHWC
    bias: bool = False
    residual: bool = False
    activation: Activation = Activation.NONE
    input_offset: float = 0.0
    groups: int = 1

    def result(
        self, x: TensorType, weights: TensorType, bias: TensorType | None = None, residual: TensorType | None = None
    ) -> TensorType:
        """An image of ``out`` channels, of the type of the weights."""
        kh, kw, _, cout = weight_sizes(x, weights, self.layout, "Conv2d", self.groups)
        if x.dtype is DType.UINT8:
            fits = weights.dtype.is_float and weights.dtype is not DType.FLOAT64
            require(fits, "a convolution of a uint8 image has float32 weights")
        else:
            fits = x.dtype is weights.dtype and x.dtype.is_float
            require(fits, f"Conv2d of {x.dtype.value} with {weights.dtype.value} weights")
        size = windows(x.shape, self.layout, (kh, kw), self.stride, self.dilation, self.pads)
        result = TensorType(weights.dtype, image_shape(x.shape[0], size, cout, self.layout))
        require(bias is None or bias in bias_types(weights.dtype, cout), f"Conv2d: the bias is {bias}")
        require(residual in (None, result), f"Conv2d: the residual is {residual}, the result {result}")
        return result

    @staticmethod
    def meaning(
        x: Array,
        weights: Array,
        bias: Array | None = None,
        residual: Array | None = None,
        *,
        stride: tuple[int, int],
        dilation: tuple[int, int],
        pads: Numbers,
        layout: Layout,
        activation: Activation,
        input_offset: float,
        groups: int,
    ) -> Array:
        """Sums in the precision of the weights (half precision: in float32), taps in C order."""
        w = widened(weights)
        x = to_nhwc(x, layout).astype(w.dtype)
        if input_offset:
            x = x - w.dtype.type(input_offset)
        total = sum_of_taps(x, w, stride, dilation, pads, groups)
        if bias is not None:
            total = total + widened(bias)
        if residual is not None:
            total = total + widened(to_nhwc(residual, layout))
        return from_nhwc(activate(total, activation).astype(weights.dtype), layout)

    def multiply_adds(self, result: TensorType, weights: TensorType) -> int | Dim:
        """Taps and input channels for each result."""
        return result.elements * product(weights.shape[:3])

    def problems(self) -> Iterator[str]:
        """Strides and dilations are positive, the offset is a number."""
        yield from positive(self.stride, self.dilation)
        if not np.isfinite(self.input_offset):
            yield f"input_offset is {self.input_offset}"


@operation("x", "gamma", "beta", "mean", "variance", levels=IMPORTED, values={"layout": LAYOUTS})
@dataclass(frozen=True, slots=True)
class BatchNorm(Op):
    """``(x - mean) / sqrt(variance + epsilon) * gamma + beta`` per channel."""

    epsilon: float
    layout: Layout = Layout.NHWC

    def result(
        self, x: TensorType, gamma: TensorType, beta: TensorType, mean: TensorType, variance: TensorType
    ) -> TensorType:
        """The type of ``x``."""
        require(x.rank == 4, f"BatchNorm needs a 4-D input, not {x}")
        channels = x.shape[spatial_axes(self.layout)[2]]
        for t in (gamma, beta, mean, variance):
            require(t.shape == (channels,), f"BatchNorm: a parameter is {t}, the input has {channels} channels")
        return x

    @staticmethod
    def meaning(
        x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, *, epsilon: float, layout: Layout
    ) -> Array:
        """TensorFlow's order in float32: ``(x - mean) * (rsqrt(variance + epsilon) * gamma) + beta``."""
        x = to_nhwc(x, layout)
        gamma, beta, mean, variance = (widened(p) for p in (gamma, beta, mean, variance))
        one, small = variance.dtype.type(1), variance.dtype.type(epsilon)
        scale = one / np.sqrt(variance + small) * gamma
        return from_nhwc(((widened(x) - mean) * scale + beta).astype(x.dtype), layout)

    def problems(self) -> Iterator[str]:
        """Epsilon is a number, not negative."""
        if not (np.isfinite(self.epsilon) and self.epsilon >= 0):
            yield f"epsilon is {self.epsilon}"
