"""Resizes along any axes, in either layout: by the record of the IR where it means the same, else axis by axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from smalti.frontend import symbolic
from smalti.frontend.context import Lowering
from smalti.frontend.lower.checks import Size
from smalti.frontend.lower.fill import kept
from smalti.frontend.lower.resampling import Axis, Kernel, Position, Rounding, Weighing, weights
from smalti.frontend.lower.resampling import nearest as nearest_of
from smalti.frontend.lower.steps import Steps
from smalti.frontend.symbolic import sign_is_known
from smalti.frontend.values import Value
from smalti.ir import dims, ops
from smalti.ir.dims import product
from smalti.ir.graph import Node
from smalti.ir.ops import ResizeFn
from smalti.ir.ops.resize import nearest_axis
from smalti.numerics import DType

MAX_SIZE = 1 << 24
"""Elements along one axis of a result."""
MAX_TIMES = 1 << 12
"""Whole factors of a nearest that are looked at for sizes that are not known."""
_TO_NHWC, _TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)
Flags = tuple[bool, bool]
"""``align_corners`` and ``half_pixel_centers`` of the record."""
_PLAIN, _ALIGNED, _HALVES = (False, False), (True, False), (False, True)
_CENTRED = (Position.HALF_PIXEL, Position.HALF_PIXEL_OF_SEVERAL, Position.HALF_PIXEL_CENTRED)
_OPEN = "of a size that depends on the image: export it with constant sizes"


@dataclass(frozen=True, slots=True)
class Extent:
    """One axis of a resize.

    Attributes:
        before: its size.
        after: its size in the result.
        scale: as given; ``None`` where it is their quotient.
    """

    before: Size
    after: Size
    scale: float | None = None

    @property
    def is_quotient(self) -> bool:
        """Whether the scale is the quotient of the sizes, or what float32 keeps of it."""
        if self.scale is None or symbolic.multiply(self.before, dims.rational(Fraction(self.scale))) == self.after:
            return True
        if not (isinstance(self.before, int) and isinstance(self.after, int)):
            return False
        return bool(np.float32(self.scale) == np.float32(self.after) / np.float32(self.before))

    @property
    def is_kept(self) -> bool:
        """Whether nothing changes."""
        return self.before == self.after and self.is_quotient

    def known(self) -> Axis | None:
        """Return the axis if its sizes are known."""
        if not (isinstance(self.before, int) and isinstance(self.after, int)):
            return None
        return Axis(self.before, self.after, self.after / self.before if self.scale is None else self.scale)


def nearest(
    ctx: Lowering, x: Value, extents: Sequence[Extent], position: Position, roundings: Sequence[Rounding]
) -> Value:
    """The nearest elements along each axis, of any type."""
    s = Steps(ctx, x.type.dtype, exact=True)
    _check(ctx, x, extents)
    moved = [a for a, e in enumerate(extents) if not e.is_kept]
    choices = {a: _nearest_flags(extents[a], position, roundings[a]) for a in moved}
    node = s.take(x)
    for a in [a for a in moved if not choices[a]]:
        axis = extents[a].known()
        if axis is None:
            ctx.unsupported(f"nearest by {position.value} and {roundings[a].value} {_OPEN}")
        numbers = kept(ctx, nearest_of(axis, position, roundings[a]), f"numbers_{a}")
        node = s.op(ops.Gather(a), node, ctx.node_of(numbers))
    rest = {a: found for a, found in choices.items() if found}
    return s.result(_by_record(s, node, extents, rest, ResizeFn.NEAREST))


def weighed(ctx: Lowering, x: Value, extents: Sequence[Extent], position: Position, how: Weighing) -> Value:
    """Sums of the elements around, along each axis; of floats, and half precision is rounded once."""
    if not x.type.dtype.is_float:
        ctx.unsupported(f"{how.kernel.value} interpolation of element type {x.type.dtype.value}")
    s = Steps(ctx, x.type.dtype)
    _check(ctx, x, extents)
    moved = [a for a, e in enumerate(extents) if not e.is_kept]
    node = s.take(x)
    choices = {a: _linear_flags(extents[a], position, how) for a in moved if node.type.dtype is DType.FLOAT32}
    for a in [a for a, found in choices.items() if not found and extents[a].known() is None]:
        if position is Position.HALF_PIXEL_OF_SEVERAL and _linear_flags(extents[a], Position.HALF_PIXEL, how):
            node = _first_for_one(s, node, extents[a], a)
            choices[a] = (_HALVES,)
    for a in [a for a in moved if not choices.get(a)]:
        axis = extents[a].known()
        if axis is None:
            ctx.unsupported(f"{how.kernel.value} interpolation by {position.value}, {x.type.dtype.value}, {_OPEN}")
        nbytes = axis.before * axis.after * node.type.dtype.itemsize
        if nbytes > min(ctx.host.constant_budget()):
            ctx.unsupported(f"weights of {axis.before} elements that become {axis.after}: they take {nbytes} bytes")
        matrix = kept(ctx, weights(axis, position, how).astype(node.type.dtype.numpy), f"weights_{a}")
        node = _product(s, node, ctx.node_of(matrix), a)
    return s.result(_by_record(s, node, extents, {a: f for a, f in choices.items() if f}, ResizeFn.BILINEAR))


def weighed_by(ctx: Lowering, x: Value, matrices: Mapping[int, NDArray[np.float32]]) -> Value:
    """Sums of the elements along some axes by matrices ``[after, before]``, in float32."""
    s = Steps(ctx, DType.FLOAT32)
    node = s.take(x)
    for axis, matrix in matrices.items():
        node = _product(s, node, ctx.node_of(kept(ctx, matrix, f"weights_{axis}")), axis)
    return s.result(node)


def _check(ctx: Lowering, x: Value, extents: Sequence[Extent]) -> None:
    if len(extents) != x.type.rank:
        ctx.invalid(f"{len(extents)} sizes or scales for {x.type}")
    for e in extents:
        if not e.is_kept and (sign_is_known(e.after - 1) is False or sign_is_known(e.before - 1) is False):
            ctx.invalid(f"{e.before} elements become {e.after}")
        if isinstance(e.after, int) and e.after > MAX_SIZE:
            ctx.unsupported(f"{e.before} elements become {e.after}; the limit is {MAX_SIZE}")


def _nearest_flags(extent: Extent, position: Position, rounding: Rounding) -> tuple[Flags, ...]:
    """Return the flags with which the record picks the same elements, the best first."""
    axis = extent.known()
    if axis is not None:
        want = nearest_of(axis, position, rounding)
        found = (_PLAIN, _HALVES, _ALIGNED)
        return tuple(f for f in found if np.array_equal(nearest_axis(axis.before, axis.after, *f), want))
    if not extent.is_quotient:
        return ()
    times = extent.scale if extent.scale is not None and extent.scale.is_integer() else None
    if times is None:
        times = next((float(k) for k in range(2, 33) if extent.before * k == extent.after), None)
    if times is not None and position is not Position.CORNERS and times <= MAX_TIMES:
        few = Axis(5, 5 * int(times), times)
        if np.array_equal(nearest_of(few, position, rounding), np.arange(few.after) // int(times)):
            # A half between two whole numbers is never rounded across one, whatever the factor.
            return (_PLAIN, _HALVES) if int(times) & (int(times) - 1) == 0 else (_HALVES,)
    if position is Position.ASYMMETRIC and rounding is Rounding.DOWN:
        return (_PLAIN,)
    if position is Position.CORNERS and rounding is Rounding.HALF_UP:
        return (_ALIGNED,)
    return (_HALVES,) if _is_centred(extent, position) and rounding is Rounding.HALF_UP else ()


def _linear_flags(extent: Extent, position: Position, how: Weighing) -> tuple[Flags, ...]:
    """Return the flags with which the bilinear record means the same."""
    if how.kernel is not Kernel.LINEAR or not extent.is_quotient:
        return ()
    if how.wide and sign_is_known(extent.after - extent.before) is not True:
        return ()
    if position is Position.CORNERS:
        return (_ALIGNED,)
    if position is Position.ASYMMETRIC:
        return (_PLAIN,)
    return (_HALVES,) if _is_centred(extent, position) else ()


def _is_centred(extent: Extent, position: Position) -> bool:
    """Whether positions are those of half pixels: a single element may stand elsewhere."""
    if position is not Position.HALF_PIXEL_OF_SEVERAL:
        return position in _CENTRED
    return sign_is_known(extent.after - 2) is True or sign_is_known(extent.after - extent.before) is True


def _first_for_one(s: Steps, node: Node, extent: Extent, axis: int) -> Node:
    """Return the first element along an axis for images that have one element in the result, else all."""
    kept_of = dims.minimum(extent.before, symbolic.multiply(extent.after, extent.before) - extent.before + 1)
    sizes = tuple(kept_of if a == axis else size for a, size in enumerate(node.type.shape))
    return s.op(ops.Slice((0,) * len(sizes), sizes, (1,) * len(sizes)), node)


def _by_record(
    s: Steps, node: Node, extents: Sequence[Extent], choices: dict[int, tuple[Flags, ...]], fn: ResizeFn
) -> Node:
    """Resize along axes whose flags are given: two at once where they lie side by side."""
    left = sorted(choices)
    while left:
        first, second = left[0], left[1] if len(left) > 1 else -1
        common = [f for f in choices[first] if second == first + 1 and f in choices[second]]
        if common:
            node = _pair(s, node, extents, (first, second), fn, common[0])
            left = left[2:]
        else:
            node = _pair(s, node, extents, (first, first), fn, choices[first][0])
            left = left[1:]
    return node


def _pair(s: Steps, node: Node, extents: Sequence[Extent], axes: tuple[int, int], fn: ResizeFn, flags: Flags) -> Node:
    """Resize along one axis or two side by side.  Images NCHW pass through NHWC, where layouts are looked for."""
    shape = node.type.shape
    first, last = axes
    goal = tuple(extents[a].after if first <= a <= last else size for a, size in enumerate(shape))
    if len(shape) == 4 and first >= 2:
        image = s.op(ops.Transpose(_TO_NHWC), node)
        image = s.op(ops.Resize(fn, (goal[2], goal[3]), *flags), image)
        return s.op(ops.Transpose(_TO_NCHW), image)
    if len(shape) == 4 and first >= 1 and last <= 2:
        return s.op(ops.Resize(fn, (goal[1], goal[2]), *flags), node)
    width = (shape[last], goal[last]) if last > first else (1, 1)
    rest = product(shape[last + 1 :])
    image = s.op(ops.Reshape((product(shape[:first]), shape[first], width[0], rest)), node)
    image = s.op(ops.Resize(fn, (goal[first], width[1]), *flags), image)
    return s.op(ops.Reshape(goal), image)


def _product(s: Steps, node: Node, matrix: Node, axis: int) -> Node:
    """Multiply ``[after, before]`` with the elements along an axis."""
    shape = node.type.shape
    if axis == len(shape) - 1:
        if len(shape) > 1:
            return s.op(ops.MatMul(transpose_b=True), node, matrix)
        row = s.op(ops.MatMul(transpose_b=True), s.op(ops.Reshape((1, *shape)), node), matrix)
        return s.op(ops.Reshape(row.type.shape[1:]), row)
    if axis == len(shape) - 2:
        return s.op(ops.MatMul(), matrix, node)
    goal = (*shape[:axis], matrix.type.shape[0], *shape[axis + 1 :])
    rows = s.op(ops.Reshape((product(shape[:axis]), shape[axis], product(shape[axis + 1 :]))), node)
    return s.op(ops.Reshape(goal), s.op(ops.MatMul(), matrix, rows))
