"""What ONNX says of a window, and images of one spatial dimension as those of two whose height is 1."""

from __future__ import annotations

from dataclasses import dataclass

from smalti.frontend.lower.checks import Size
from smalti.frontend.lower.steps import Steps
from smalti.frontend.lower.window import MAX_WINDOW, check_paddings
from smalti.frontend.onnx.registry import Context
from smalti.frontend.values import Value
from smalti.ir import ops
from smalti.ir.dims import ceil_div, floor_div, maximum, minimum
from smalti.ir.graph import Node
from smalti.ir.shapes import same_pads

Pair = tuple[int, int]
LINE, PLANE = 3, 4
"""Dimensions of images with one and with two spatial ones."""
_AUTO = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")


@dataclass(frozen=True, slots=True)
class Window:
    """A window: pairs are of height and width.

    Attributes:
        size: elements of the window along each axis.
        stride: how far apart windows are.
        dilation: how far apart the elements of a window are.
        auto: how paddings follow from sizes; ``NOTSET``: they do not.
        pads: (top, bottom, left, right), where they are stated.
        ceil: whether a last window that is not full counts.
    """

    size: Pair
    stride: Pair
    dilation: Pair
    auto: str
    pads: tuple[int, int, int, int]
    ceil: bool = False

    @property
    def extent(self) -> Pair:
        """Pixels from the first to the last element of a window."""
        return (self.size[0] - 1) * self.dilation[0] + 1, (self.size[1] - 1) * self.dilation[1] + 1

    def pads_for(self, sizes: tuple[Size, Size]) -> tuple[Size, Size, Size, Size]:
        """Return the paddings (top, bottom, left, right) of an image of a size."""
        found: list[Size] = []
        for axis, size in enumerate(sizes):
            if self.auto in ("SAME_UPPER", "SAME_LOWER"):
                pair = same_pads(size, self.size[axis], self.stride[axis], self.dilation[axis])
                found += pair if self.auto == "SAME_UPPER" else pair[::-1]
                continue
            before, after = self.pads[2 * axis : 2 * axis + 2]
            found += (before, self._last(axis, size, before, after) if self.ceil else after)
        top, bottom, left, right = found
        return top, bottom, left, right

    def _last(self, axis: int, size: Size, before: int, after: int) -> Size:
        """Return the padding behind the image that makes room for a last window, which must begin inside."""
        stride, extent = self.stride[axis], self.extent[axis]
        count = ceil_div(size + before + after - extent, stride) + 1
        count = minimum(count, floor_div(size + before - 1, stride) + 1)
        return maximum((count - 1) * stride + extent - size - before, 0)


def read_window(ctx: Context, rank: int, size: tuple[int, ...] | None = None) -> Window:
    """Read the attributes of a window for tensors of ``rank`` dimensions; ``size`` of the weights, if there are any."""
    if rank not in (LINE, PLANE):
        ctx.unsupported(f"images of {rank - 2} spatial dimensions; one and two are known")
    flat = rank - 2
    ones = (1,) * flat
    stated = ctx.attrs.ints("kernel_shape", size or ())
    if size is not None and stated != size:
        ctx.invalid(f"attribute kernel_shape {list(stated)} for weights of {list(size)}")
    strides, dilations = ctx.attrs.ints("strides", ones), ctx.attrs.ints("dilations", ones)
    auto = ctx.attrs.text("auto_pad", "NOTSET")
    if auto not in _AUTO:
        ctx.invalid(f"attribute auto_pad is {auto[:20]}")
    pads = ctx.attrs.ints("pads", (0,) * 2 * flat)
    if len(pads) != 2 * flat:
        ctx.invalid(f"attribute pads lists {len(pads)} numbers for {flat} axes")
    check_paddings(ctx, pads, "attribute pads")
    if auto != "NOTSET":
        pads = (0,) * 2 * flat
    pairs = [_pair(ctx, v, what, flat) for v, what in ((stated, "kernel_shape"), (strides, "strides"))]
    before, after = (0,) * (2 - flat) + pads[:flat], (0,) * (2 - flat) + pads[flat:]
    around = (before[0], after[0], before[1], after[1])
    return Window(pairs[0], pairs[1], _pair(ctx, dilations, "dilations", flat), auto, around)


def _pair(ctx: Context, values: tuple[int, ...], what: str, flat: int) -> Pair:
    if len(values) != flat or not all(0 < value <= MAX_WINDOW for value in values):
        ctx.invalid(f"attribute {what} {list(values)} must be {flat} numbers from 1 to {MAX_WINDOW}")
    height, width = (1,) * (2 - flat) + values
    return height, width


def plane(s: Steps, x: Value) -> Node:
    """Return images of two spatial dimensions."""
    node = s.take(x)
    return node if x.type.rank == PLANE else s.op(ops.Reshape((*x.type.shape[:2], 1, x.type.shape[2])), node)


def unplane(s: Steps, node: Node, rank: int) -> Node:
    """Return images of the spatial dimensions that they had."""
    n, channels, _, width = node.type.shape
    return node if rank == PLANE else s.op(ops.Reshape((n, channels, width)), node)
