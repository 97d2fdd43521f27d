"""Operations of the unified graph: one frozen record of typed attributes each.

Every operation has one result.  Its numpy meaning is in ``smalti.ir.reference`` and the rule for its result type in
``smalti.ir.infer``.  Sizes are ``int`` or :class:`smalti.ir.dims.Dim`.  Image tensors are NHWC unless ``layout`` says
otherwise; weights are ``[kh, kw, in, out]`` and for depthwise convolutions ``[kh, kw, channels, multiplier]``, as in
TensorFlow.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from smalti.ir.dims import Dim
from smalti.numerics import DType


class Layout(Enum):
    """Order of the dimensions of an image tensor."""

    NHWC = "NHWC"
    NCHW = "NCHW"


class UnaryFn(Enum):
    """Elementwise function of one operand."""

    NEG = "neg"
    ABS = "abs"
    SQUARE = "square"
    SQRT = "sqrt"
    RSQRT = "rsqrt"
    EXP = "exp"
    LOG = "log"
    FLOOR = "floor"
    CEIL = "ceil"
    ROUND = "round"
    RELU = "relu"
    RELU6 = "relu6"
    LEAKY_RELU = "leaky_relu"
    ELU = "elu"
    SIGMOID = "sigmoid"
    TANH = "tanh"
    LOGICAL_NOT = "logical_not"


class BinaryFn(Enum):
    """Elementwise function of two operands with numpy broadcasting."""

    ADD = "add"
    SUB = "sub"
    MUL = "mul"
    DIV = "div"
    FLOOR_DIV = "floor_div"
    FLOOR_MOD = "floor_mod"
    MAXIMUM = "maximum"
    MINIMUM = "minimum"
    SQUARED_DIFFERENCE = "squared_difference"
    EQUAL = "equal"
    NOT_EQUAL = "not_equal"
    LESS = "less"
    LESS_EQUAL = "less_equal"
    GREATER = "greater"
    GREATER_EQUAL = "greater_equal"
    LOGICAL_AND = "logical_and"
    LOGICAL_OR = "logical_or"

    @property
    def is_comparison(self) -> bool:
        """Whether the result is bool although the operands are numbers."""
        return self in _COMPARISONS


_COMPARISONS = frozenset(
    (
        BinaryFn.EQUAL,
        BinaryFn.NOT_EQUAL,
        BinaryFn.LESS,
        BinaryFn.LESS_EQUAL,
        BinaryFn.GREATER,
        BinaryFn.GREATER_EQUAL,
    )
)


class ReduceFn(Enum):
    """Reduction over axes."""

    SUM = "sum"
    MEAN = "mean"
    MAX = "max"
    MIN = "min"
    PROD = "prod"


class PoolFn(Enum):
    """Pooling function; padded positions do not count in the average."""

    AVG = "avg"
    MAX = "max"


class PadMode(Enum):
    """What stands in the padding."""

    CONSTANT = "constant"
    REFLECT = "reflect"
    SYMMETRIC = "symmetric"


class ResizeFn(Enum):
    """Interpolation of a resize."""

    BILINEAR = "bilinear"
    NEAREST = "nearest"


class Activation(Enum):
    """Function fused behind a convolution."""

    NONE = "none"
    RELU = "relu"
    RELU6 = "relu6"


Pads = tuple[int | Dim, int | Dim, int | Dim, int | Dim]
"""top, bottom, left, right"""
Shape = tuple[int | Dim, ...]


class Op:
    """Base of all operation records."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Input(Op):
    """A graph input; the node's name is TensorFlow's tensor name (``ImageTensor:0``)."""


@dataclass(frozen=True, slots=True, eq=False)
class Constant(Op):
    """A constant array (never written to); ``bfloat16`` says that its uint16 elements are bits of bfloat16."""

    value: NDArray[np.generic]
    bfloat16: bool = False


@dataclass(frozen=True, slots=True)
class SizeTensor(Op):
    """An integer tensor whose elements are sizes, in C order; ``shape`` is its own (constant) shape."""

    values: Shape
    shape: tuple[int, ...]
    dtype: DType


@dataclass(frozen=True, slots=True)
class Unary(Op):
    """``fn(x)``; ``alpha`` is the slope of LEAKY_RELU."""

    fn: UnaryFn
    alpha: float = 0.0


@dataclass(frozen=True, slots=True)
class Binary(Op):
    """``fn(a, b)`` with broadcasting; both operands have one dtype."""

    fn: BinaryFn


@dataclass(frozen=True, slots=True)
class Select(Op):
    """``a`` where the condition holds, else ``b`` (inputs: condition, a, b; broadcasting)."""


@dataclass(frozen=True, slots=True)
class Cast(Op):
    """Conversion as C does it (float to integer truncates)."""

    dtype: DType


@dataclass(frozen=True, slots=True)
class Conv2d(Op):
    """2-D convolution: ``activation(conv(x - input_offset, w) + bias + residual)``.

    Inputs: x, w, then bias ``[out]`` if ``bias``, then residual (shaped as the result) if ``residual``.  The result
    has the type of the weights; with weights of half precision sums are float32, and the bias may be.  Padded
    positions count as zero *after* the offset is taken off, so a uint8 image with
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


@dataclass(frozen=True, slots=True)
class DepthwiseConv2d(Op):
    """Depthwise 2-D convolution: ``activation(conv(x, w) + bias)``; result channel ``c * multiplier + m``."""

    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    layout: Layout = Layout.NHWC
    bias: bool = False
    activation: Activation = Activation.NONE


@dataclass(frozen=True, slots=True)
class BatchNorm(Op):
    """``(x - mean) / sqrt(variance + epsilon) * gamma + beta`` per channel; inputs x, gamma, beta, mean, variance."""

    epsilon: float
    layout: Layout = Layout.NHWC


@dataclass(frozen=True, slots=True)
class Pool(Op):
    """Average or maximum over windows."""

    fn: PoolFn
    size: tuple[int, int]
    stride: tuple[int, int]
    pads: Pads = (0, 0, 0, 0)
    layout: Layout = Layout.NHWC


@dataclass(frozen=True, slots=True)
class Reduce(Op):
    """Reduction over ``axes`` (non-negative, sorted)."""

    fn: ReduceFn
    axes: tuple[int, ...]
    keep_dims: bool


@dataclass(frozen=True, slots=True)
class MatMul(Op):
    """Matrix product of two 2-D tensors."""

    transpose_a: bool = False
    transpose_b: bool = False


@dataclass(frozen=True, slots=True)
class Softmax(Op):
    """Softmax over the last axis."""


@dataclass(frozen=True, slots=True)
class ArgMax(Op):
    """Index of the first largest element along ``axis``."""

    axis: int
    dtype: DType


@dataclass(frozen=True, slots=True)
class Resize(Op):
    """Resize of an NHWC tensor to ``size`` (height, width); bilinear gives float32, nearest keeps the dtype."""

    fn: ResizeFn
    size: tuple[int | Dim, int | Dim]
    align_corners: bool = False
    half_pixel_centers: bool = False


@dataclass(frozen=True, slots=True)
class ResizeArgMax(Op):
    """``argmax`` over channels of one or two bilinear resizes, cut to the top left ``crop``; result ``[N, h, w]``.

    ``stages`` are the resizes in order; ``crop`` is the (height, width) kept of the last stage's label map.
    """

    stages: tuple[Resize, ...]
    crop: tuple[int | Dim, int | Dim]
    dtype: DType


@dataclass(frozen=True, slots=True)
class Concat(Op):
    """Concatenation along ``axis`` (non-negative)."""

    axis: int


@dataclass(frozen=True, slots=True)
class Pad(Op):
    """Padding by ``(before, after)`` per dimension."""

    amounts: tuple[tuple[int | Dim, int | Dim], ...]
    mode: PadMode = PadMode.CONSTANT
    value: float = 0.0


@dataclass(frozen=True, slots=True)
class Slice(Op):
    """``x[begin : begin + size*stride : stride]`` per dimension.

    ``size`` counts result elements; strides may be negative.
    """

    begin: Shape
    size: Shape
    stride: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reshape(Op):
    """The same elements in C order with another shape."""

    shape: Shape


@dataclass(frozen=True, slots=True)
class Transpose(Op):
    """Permutation of the dimensions."""

    perm: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BroadcastTo(Op):
    """Numpy broadcasting to ``shape``."""

    shape: Shape


@dataclass(frozen=True, slots=True)
class Gather(Op):
    """``take(x, indices, axis)``; inputs x, indices (int32 or int64)."""

    axis: int


@dataclass(frozen=True, slots=True)
class SpaceToBatch(Op):
    """TensorFlow SpaceToBatchND over height and width of an NHWC tensor."""

    block: tuple[int, int]
    pads: Pads


@dataclass(frozen=True, slots=True)
class BatchToSpace(Op):
    """TensorFlow BatchToSpaceND over height and width of an NHWC tensor; ``crops`` as top, bottom, left, right."""

    block: tuple[int, int]
    crops: Pads


@dataclass(frozen=True, slots=True)
class SpaceToDepth(Op):
    """Blocks of ``block`` x ``block`` pixels become channels."""

    block: int
    layout: Layout = Layout.NHWC


@dataclass(frozen=True, slots=True)
class DepthToSpace(Op):
    """Channels become blocks of ``block`` x ``block`` pixels (the inverse of SpaceToDepth)."""

    block: int
    layout: Layout = Layout.NHWC


@dataclass(frozen=True, slots=True)
class Quantise(Op):
    """The integers that stand for a float tensor (see :func:`smalti.numerics.quantise`).

    ``scale`` (a float32 value) is what one step stands for; results lie in the range of ``dtype``.
    """

    scale: float
    zero_point: int = 0
    dtype: DType = DType.UINT8


@dataclass(frozen=True, slots=True)
class Dequantise(Op):
    """``(x - zero_point) * scale`` in float32, rounded to ``dtype``."""

    scale: float
    zero_point: int = 0
    dtype: DType = DType.FLOAT32


@dataclass(frozen=True, slots=True)
class QuantisedConv2d(Op):
    """2-D convolution of integers, NHWC.

    Inputs: x (uint8, or int16), weights (int8, or int16) ``[kh, kw, in, out]``, multiplier float32 ``[out]``, then bias
    int32 ``[out]`` if ``bias``, then addend float32 ``[out]`` if ``addend`` (it may be computed at run time), then the
    residual (type and shape of the result) if ``residual``.

    ``sum = conv(x - zero_point, w) + bias``; padded positions count as zero.  Then, in float32 with one rounding for
    each operation, ``t = sum * multiplier + addend + (residual - residual_zero_point) * residual_scale``.  A result of
    type uint8 or int16 is ``clip(rint(t) + result_zero_point, low, high)``; a float result is ``activation(t)``.

    With int16 weights sums are float32 (``x * w`` needs 32 bits alone), so the last step may differ between CPUs; with
    int8 weights sums are int32 and results are the same everywhere.

    ``scale`` is what one step of the result stands for; the arithmetic does not use it.
    """

    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    zero_point: int = 0
    bias: bool = False
    addend: bool = False
    residual: bool = False
    residual_zero_point: int = 0
    residual_scale: float = 0.0
    dtype: DType = DType.UINT8
    scale: float = 1.0
    result_zero_point: int = 0
    low: int = 0
    high: int = 255
    activation: Activation = Activation.NONE


@dataclass(frozen=True, slots=True)
class ImageConv2d(Op):
    """The first convolution of a picture, exact in integers, NHWC.

    Inputs: x uint8, weights int16 ``[kh, kw, in, out]``, multiplier float32 ``[out]``, then bias int32 ``[out]`` if
    ``bias``.  ``sum = conv(2 * x - double_offset, w) + bias`` in int32 (whoever chooses the weights sees to it that it
    fits); padded positions count as zero.  The result is uint8:
    ``clip(rint(float32(sum) * multiplier) + result_zero_point, low, high)``, each operation rounded to float32.

    ``double_offset=255`` stands for pixels less 127.5, which no integer zero point can say.  ``scale`` is what one
    step of the result stands for; the arithmetic does not use it.
    """

    stride: tuple[int, int] = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    double_offset: int = 0
    bias: bool = False
    scale: float = 1.0
    result_zero_point: int = 0
    low: int = 0
    high: int = 255


@dataclass(frozen=True, slots=True)
class QuantisedDepthwiseConv2d(Op):
    """Depthwise 2-D convolution of integers, NHWC, multiplier 1.

    Inputs: x, weights ``[kh, kw, channels, 1]``, multiplier float32 ``[channels]``, then bias int32 if ``bias``, then
    addend float32 if ``addend``.  The arithmetic is that of :class:`QuantisedConv2d`.
    """

    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    zero_point: int = 0
    bias: bool = False
    addend: bool = False
    dtype: DType = DType.UINT8
    scale: float = 1.0
    result_zero_point: int = 0
    low: int = 0
    high: int = 255
    activation: Activation = Activation.NONE


@dataclass(frozen=True, slots=True)
class QuantisedMean(Op):
    """Mean over ``axes`` of integers, in steps of its own.

    ``t = (float32(sum) / float32(count) - zero_point) * multiplier``, each operation rounded to float32; the result is
    ``clip(rint(t) + result_zero_point)``.  The sum is exact.  ``multiplier`` (a float32 value) is the operand's step
    over the result's, which is ``scale``.  ``axes`` are sorted and non-negative; they stay with size 1 if
    ``keep_dims``.
    """

    axes: tuple[int, ...]
    keep_dims: bool
    zero_point: int = 0
    multiplier: float = 1.0
    scale: float = 1.0
    result_zero_point: int = 0


def _class_name(op: type[Op]) -> str:
    return op.__name__


IMPORTED_ONLY: frozenset[type[Op]] = frozenset((BatchNorm, SpaceToBatch, BatchToSpace))
"""Operations that must be gone at level canonical (and no operation may have ``layout=NCHW`` there)."""

CANONICAL_ONLY: frozenset[type[Op]] = frozenset((ResizeArgMax,))
"""Operations that only passes make."""

QUANTISED_ONLY: frozenset[type[Op]] = frozenset(
    (Quantise, Dequantise, QuantisedConv2d, ImageConv2d, QuantisedDepthwiseConv2d, QuantisedMean)
)
"""Operations of level quantised."""

# A dataclass with slots is a second class of the same name; the last one is the one in use.
ALL_OPS: tuple[type[Op], ...] = tuple({op.__name__: op for op in sorted(Op.__subclasses__(), key=_class_name)}.values())
