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
from smalti.ir.ops import Pads
from smalti.ir.shapes import same_pads

LINE, PLANE, VOLUME = 3, 4, 5
"""Dimensions of images with one, two and three spatial ones."""
_AUTO = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")


@dataclass(frozen=True, slots=True)
class Window:
    """A window: a number for each spatial axis, of which there are at least two.

    Attributes:
        size: elements of the window along each axis.
        stride: how far apart windows are.
        dilation: how far apart the elements of a window are.
        auto: how paddings follow from sizes; ``NOTSET``: they do not.
        pads: (before, after) for each axis, where they are stated.
        ceil: whether a last window that is not full counts.
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    auto: str
    pads: tuple[tuple[int, int], ...]
    ceil: bool = False

    @property
    def extent(self) -> tuple[int, ...]:
        """Pixels from the first to the last element of a window."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.size, self.dilation, strict=True))

    @property
    def is_spread(self) -> bool:
        """Whether elements of a window lie apart."""
        return any(d > 1 and k > 1 for d, k in zip(self.dilation, self.size, strict=True))

    def pads_for(self, sizes: tuple[Size, ...]) -> tuple[tuple[Size, Size], ...]:
        """Return the paddings (before, after) of each axis of an image of a size."""
        found: list[tuple[Size, Size]] = []
        for axis, size in enumerate(sizes):
            if self.auto in ("SAME_UPPER", "SAME_LOWER"):
                pair = same_pads(size, self.size[axis], self.stride[axis], self.dilation[axis])
                found.append(pair if self.auto == "SAME_UPPER" else (pair[1], pair[0]))
                continue
            before, after = self.pads[axis]
            found.append((before, self._last(axis, size, before, after) if self.ceil else after))
        return tuple(found)

    def _last(self, axis: int, size: Size, before: int, after: int) -> Size:
        """Return the padding behind the image that makes room for a last window, which must begin inside."""
        stride, extent = self.stride[axis], self.extent[axis]
        count = ceil_div(size + before + after - extent, stride) + 1
        count = minimum(count, floor_div(size + before - 1, stride) + 1)
        return maximum((count - 1) * stride + extent - size - before, 0)


def read_window(ctx: Context, rank: int, size: tuple[int, ...] | None = None, most: int = PLANE) -> Window:
    """Read the attributes of a window for tensors of ``rank`` dimensions, of which there are at most ``most``.

    ``size`` is that of the weights, if there are any.
    """
    if not LINE <= rank <= most:
        known = "one and two" if most == PLANE else "one to three"
        ctx.unsupported(f"images of {rank - 2} spatial dimensions; {known} are known")
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
    return Window(
        _sides(ctx, stated, "kernel_shape", flat),
        _sides(ctx, strides, "strides", flat),
        _sides(ctx, dilations, "dilations", flat),
        auto,
        ((0, 0),) * (2 - flat) + tuple(zip(pads[:flat], pads[flat:], strict=True)),
    )


def two(values: tuple[int, ...]) -> tuple[int, int]:
    """Return the numbers of height and width of a window of images."""
    height, width = values
    return height, width


def flat_pads(pads: tuple[tuple[Size, Size], ...]) -> Pads:
    """Return paddings of height and width as (top, bottom, left, right)."""
    (top, bottom), (left, right) = pads
    return top, bottom, left, right


def _sides(ctx: Context, values: tuple[int, ...], what: str, flat: int) -> tuple[int, ...]:
    if len(values) != flat or not all(0 < value <= MAX_WINDOW for value in values):
        ctx.invalid(f"attribute {what} {list(values)} must be {flat} numbers from 1 to {MAX_WINDOW}")
    return (1,) * (2 - flat) + values


def plane(s: Steps, x: Value) -> Node:
    """Return images of at least two spatial dimensions."""
    node = s.take(x)
    return s.op(ops.Reshape((*x.type.shape[:2], 1, x.type.shape[2])), node) if x.type.rank == LINE else node


def unplane(s: Steps, node: Node, rank: int) -> Node:
    """Return images of the spatial dimensions that they had."""
    if rank != LINE:
        return node
    n, channels, _, width = node.type.shape
    return s.op(ops.Reshape((n, channels, width)), node)
