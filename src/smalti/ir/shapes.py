"""Arithmetic of shapes that the type rules share: windows, paddings, broadcasting.  Sizes may be symbolic."""

from __future__ import annotations

from smalti.errors import GraphError
from smalti.ir.dims import Dim, ceil_div, floor_div, maximum
from smalti.ir.types import Layout, Pads, Shape, TensorType


def require(condition: bool, text: str) -> None:
    """Raise GraphError with ``text`` unless the condition holds."""
    if not condition:
        raise GraphError(text)


def shape_text(shape: Shape) -> str:
    """Return ``[1, H, W, 3]``."""
    return f"[{', '.join(str(s) for s in shape)}]"


def spatial_axes(layout: Layout) -> tuple[int, int, int]:
    """Return the axes of height, width and channels."""
    return (1, 2, 3) if layout is Layout.NHWC else (2, 3, 1)


def image_shape(n: int | Dim, size: tuple[int | Dim, int | Dim], channels: int | Dim, layout: Layout) -> Shape:
    """Return the shape of an image tensor in ``layout``."""
    return (n, *size, channels) if layout is Layout.NHWC else (n, channels, *size)


def same_pads(size: int | Dim, kernel: int, stride: int, dilation: int = 1) -> tuple[int | Dim, int | Dim]:
    """Return TensorFlow's SAME padding (before, after) of one axis."""
    from_stride = (ceil_div(size, stride) - 1) * stride + ((kernel - 1) * dilation + 1) - size
    total = maximum(from_stride, 0)
    before = floor_div(total, 2)
    return before, total - before


def window_result(size: int | Dim, kernel: int, stride: int, dilation: int, pads: int | Dim) -> int | Dim:
    """Return the number of window positions along one axis; ``pads`` is the sum of both sides."""
    require(min(kernel, stride, dilation) > 0, "kernel size, stride and dilation must be positive")
    span = size + pads - ((kernel - 1) * dilation + 1)
    require(not (isinstance(span, int) and span < 0), "the window is larger than the padded image")
    return floor_div(span, stride) + 1


def windows(
    shape: Shape,
    layout: Layout,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    pads: Pads,
) -> tuple[int | Dim, int | Dim]:
    """Return the numbers of window positions along height and width of an image tensor."""
    require(len(shape) == 4, f"needs a 4-D image tensor, not {shape_text(shape)}")
    h, w, _ = spatial_axes(layout)
    return (
        window_result(shape[h], kernel[0], stride[0], dilation[0], pads[0] + pads[1]),
        window_result(shape[w], kernel[1], stride[1], dilation[1], pads[2] + pads[3]),
    )


def broadcast(a: Shape, b: Shape) -> Shape:
    """Return the numpy broadcast of two shapes.

    Raises:
        GraphError: they do not broadcast, or that depends on symbols.
    """
    rank = max(len(a), len(b))
    padded_a, padded_b = (1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b
    result: list[int | Dim] = []
    for x, y in zip(padded_a, padded_b, strict=True):
        if x == y or y == 1:
            result.append(x)
        elif x == 1:
            result.append(y)
        else:
            raise GraphError(f"shapes {shape_text(a)} and {shape_text(b)} do not broadcast")
    return tuple(result)


def image_sizes(x: TensorType, what: str, layout: Layout = Layout.NHWC) -> tuple[int | Dim, int | Dim, int | Dim]:
    """Return height, width and channels of an image tensor.

    Raises:
        GraphError: it is not 4-D.
    """
    require(x.rank == 4, f"{what} needs a 4-D image tensor, not {x}")
    h, w, c = spatial_axes(layout)
    return x.shape[h], x.shape[w], x.shape[c]
