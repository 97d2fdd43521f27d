"""Transposed convolution, written as one ordinary convolution whose channels are the phases of the result.

With stride ``s`` every input pixel adds a window of ``k`` to the result, ``s`` apart.  Pixels of one phase (their
position modulo ``s``) read the same taps ``r, r + s, ...`` of the window, so all phases are one convolution with
``ceil(k / s)`` taps and ``s * s`` times the channels, and the phases are the blocks of a depth to space.  Every
precision and kernel of ordinary convolutions serves it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smalti.frontend.context import Lowering
from smalti.frontend.lower.checks import Size
from smalti.frontend.lower.window import MAX_WINDOW
from smalti.frontend.values import Value
from smalti.ir import ops
from smalti.ir.dims import Dim, ceil_div
from smalti.ir.graph import Node
from smalti.ir.ops import Layout
from smalti.ir.shapes import spatial_axes, window_result
from smalti.numerics import DType

MAX_WEIGHTS = 1 << 26
"""Elements of the weights of the ordinary convolution: those of 64 MB in half precision."""
_TYPES = (DType.FLOAT32, DType.FLOAT16, DType.FLOAT64)
_TO_NHWC, _TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)


@dataclass(frozen=True, slots=True)
class Transposed:
    """A transposed convolution but for its operands: height first in all pairs.

    Attributes:
        stride: how far apart the windows of two input pixels are.
        dilation: how far apart the taps of a window are.
        before: pixels that the result leaves out above and at the left.
        size: height and width of the result.
        layout: of the images.
    """

    stride: tuple[int, int]
    dilation: tuple[int, int]
    before: tuple[int, int]
    size: tuple[Size, Size]
    layout: Layout


def transposed_convolution(
    ctx: Lowering, x: Value, weights: Value, how: Transposed, order: str, bias: Value | None = None, groups: int = 1
) -> Value:
    """The gradient of a convolution with respect to its input, which upsamples.

    Args:
        ctx: the node.
        x: float images.
        weights: a constant.
        how: strides, sizes, layout.
        order: what the dimensions of the weights are: ``"hwoi"`` (TensorFlow) or ``"iohw"`` (ONNX); ``i`` are the
            channels of ``x`` and ``o`` those of one group of the result.
        bias: one number for each channel of the result.
        groups: of the channels.
    """
    ctx.require_float(x)
    ctx.require_rank(x, 4)
    ctx.require_rank(weights, 4)
    if weights.array is None or weights.type.dtype is not x.type.dtype or x.type.dtype not in _TYPES:
        ctx.unsupported("a transposed convolution whose weights are not a constant of the type of the images")
    filters = np.transpose(weights.array, [order.index(axis) for axis in "hwio"])
    filters = _spread(_dense(ctx, filters, groups), how.dilation)
    _check(ctx, x, filters, how)
    taps = [-(-k // s) for k, s in zip(filters.shape[:2], how.stride, strict=True)]
    skipped = [min(p // s, j - 1) for p, s, j in zip(how.before, how.stride, taps, strict=True)]
    h, w, _ = spatial_axes(how.layout)
    behind = [
        _behind(x.type.shape[a], p, size, s, j)
        for a, p, size, s, j in zip((h, w), how.before, how.size, how.stride, taps, strict=True)
    ]
    pads = (taps[0] - 1 - skipped[0], behind[0], taps[1] - 1 - skipped[1], behind[1])
    image = ctx.node_of(x)
    if how.layout is Layout.NCHW:
        image = ctx.part(ops.Transpose(_TO_NHWC), (image,), "nhwc")
    operands = [image, _constant(ctx, _phases(filters, how.stride))]
    if bias is not None:
        if bias.array is None:
            ctx.unsupported("a bias of a transposed convolution that is not constant")
        operands.append(_constant(ctx, np.tile(bias.array, how.stride[0] * how.stride[1])))
    phases = ctx.part(ops.Conv2d(pads=pads, bias=bias is not None), operands, "phases")
    begin = [p - q * s for p, q, s in zip(how.before, skipped, how.stride, strict=True)]
    return _result(ctx, _interleave(ctx, phases, how.stride), begin, how)


def _dense(ctx: Lowering, filters: NDArray[np.generic], groups: int) -> NDArray[np.generic]:
    """Return weights ``[h, w, in, out]`` of one group that do what those of many do: zero between groups."""
    if groups == 1:
        return filters
    kh, kw, cin, cout = filters.shape
    if groups < 1 or cin % groups:
        ctx.invalid(f"{cin} channels do not split into {groups} groups")
    if filters.size * groups > MAX_WEIGHTS:
        ctx.unsupported(f"a transposed convolution in {groups} groups with {filters.size} weights")
    found = np.zeros((kh, kw, cin, cout * groups), filters.dtype)
    part = cin // groups
    for g in range(groups):
        rows = slice(g * part, (g + 1) * part)
        found[:, :, rows, g * cout : (g + 1) * cout] = filters[:, :, rows]
    return found


def _spread(filters: NDArray[np.generic], dilation: tuple[int, int]) -> NDArray[np.generic]:
    """Return weights whose taps are ``dilation`` apart, zero between."""
    if dilation == (1, 1):
        return filters
    kh, kw = ((k - 1) * d + 1 for k, d in zip(filters.shape[:2], dilation, strict=True))
    found = np.zeros((kh, kw, *filters.shape[2:]), filters.dtype)
    found[:: dilation[0], :: dilation[1]] = filters
    return found


def _check(ctx: Lowering, x: Value, filters: NDArray[np.generic], how: Transposed) -> None:
    """Refuse sizes that the convolution, of which this is the gradient, does not bring back to those of ``x``."""
    if min(filters.shape) == 0 or max(*filters.shape[:2], *how.stride) > MAX_WINDOW:
        ctx.invalid(f"empty or huge weights {list(filters.shape)}")
    h, w, c = spatial_axes(how.layout)
    if x.type.shape[c] != filters.shape[2]:
        ctx.invalid(f"images {x.type} for weights of {filters.shape[2]} channels")
    phases = filters.size // (filters.shape[0] * filters.shape[1])
    needed = phases * int(np.prod([-(-k // s) * s for k, s in zip(filters.shape[:2], how.stride, strict=True)]))
    if needed > MAX_WEIGHTS:
        ctx.unsupported(f"a transposed convolution with {needed} weights; the limit is {MAX_WEIGHTS}")
    for axis, kernel, stride, before, size in zip(
        (h, w), filters.shape[:2], how.stride, how.before, how.size, strict=True
    ):
        if not (0 <= before < kernel):
            ctx.unsupported(f"a transposed convolution that leaves {before} of a window of {kernel} out")
        # Both sizes that a stride allows are right: the last window may reach past the result by less than a stride.
        reach = (x.type.shape[axis] - 1) * stride + kernel - before
        missing = reach - size
        if isinstance(missing, int) and not (-stride < missing < kernel):
            ctx.invalid(f"{x.type} does not become {[str(s) for s in how.size]} with strides {list(how.stride)}")
        if isinstance(missing, Dim) and window_result(size, kernel, stride, 1, before + missing) != x.type.shape[axis]:
            ctx.unsupported(f"a result of {size} pixels for {x.type.shape[axis]}")


def _behind(extent: Size, before: int, size: Size, stride: int, taps: int) -> int:
    """Return how many pixels of padding the phases need below or at the right."""
    needed = ceil_div(size + before, stride) - extent
    return max(needed, 0) if isinstance(needed, int) else taps


def _phases(filters: NDArray[np.generic], stride: tuple[int, int]) -> NDArray[np.generic]:
    """Return weights ``[taps, taps, in, phases * out]``: tap ``u`` of phase ``r`` is ``r + s * (taps - 1 - u)``."""
    kh, kw, cin, cout = filters.shape
    (sy, sx), (jy, jx) = stride, (-(-kh // stride[0]), -(-kw // stride[1]))
    whole = np.zeros((jy * sy, jx * sx, cin, cout), filters.dtype)
    whole[:kh, :kw] = filters
    split = whole.reshape(jy, sy, jx, sx, cin, cout)[::-1, :, ::-1]
    return np.ascontiguousarray(split.transpose(0, 2, 4, 1, 3, 5).reshape(jy, jx, cin, sy * sx * cout))


def _interleave(ctx: Lowering, phases: Node, stride: tuple[int, int]) -> Node:
    """Return the image whose phases the channels are."""
    sy, sx = stride
    if sy == sx:
        return phases if sy == 1 else ctx.part(ops.DepthToSpace(sy), (phases,), "interleaved")
    n, rows, columns, channels = phases.type.shape
    if not isinstance(channels, int):
        ctx.unsupported("weights whose size depends on the image")
    cout = channels // (sy * sx)
    split = ctx.part(ops.Reshape((n, rows, columns, sy, sx, cout)), (phases,), "split")
    moved = ctx.part(ops.Transpose((0, 1, 3, 2, 4, 5)), (split,), "moved")
    return ctx.part(ops.Reshape((n, rows * sy, columns * sx, cout)), (moved,), "interleaved")


def _result(ctx: Lowering, image: Node, begin: list[int], how: Transposed) -> Value:
    n, height, width, channels = image.type.shape
    cut = ops.Slice((0, begin[0], begin[1], 0), (n, *how.size, channels), (1, 1, 1, 1))
    if how.layout is Layout.NHWC:
        return ctx.emit(cut, (image,))
    if begin != [0, 0] or (height, width) != how.size:
        image = ctx.part(cut, (image,), "cut")
    return ctx.emit(ops.Transpose(_TO_NCHW), (image,))


def _constant(ctx: Lowering, array: NDArray[np.generic]) -> Node:
    return ctx.node_of(ctx.constant(array))
