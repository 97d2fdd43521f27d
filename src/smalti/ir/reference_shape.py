"""Numpy meaning of constants, sizes and data movement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from smalti.errors import CompilerError, InputError
from smalti.ir import ops
from smalti.ir.dims import evaluate
from smalti.ir.ops import Layout, PadMode

Array = NDArray[Any]
Env = Mapping[str, int]

_PAD_MODES: dict[PadMode, Literal["reflect", "symmetric"]] = {
    PadMode.REFLECT: "reflect",
    PadMode.SYMMETRIC: "symmetric",
}


def sizes(values: Sequence[Any], env: Env) -> tuple[int, ...]:
    """Return size expressions as numbers."""
    return tuple(evaluate(value, env) for value in values)


def constant(op: ops.Constant, operands: Sequence[Array], env: Env) -> Array:
    """The value itself (not a copy)."""
    return op.value


def size_tensor(op: ops.SizeTensor, operands: Sequence[Array], env: Env) -> Array:
    """The sizes as an integer tensor."""
    return np.array(sizes(op.values, env), np.int64).astype(op.dtype.numpy).reshape(op.shape)


def concat(op: ops.Concat, operands: Sequence[Array], env: Env) -> Array:
    """Concatenation along an axis."""
    return np.concatenate(operands, axis=op.axis)


def pad(op: ops.Pad, operands: Sequence[Array], env: Env) -> Array:
    """Padding; REFLECT leaves the border element out, SYMMETRIC repeats it."""
    (x,) = operands
    amounts = [sizes(pair, env) for pair in op.amounts]
    if any(v < 0 for pair in amounts for v in pair):
        raise CompilerError(f"negative padding {amounts}")
    if op.mode is PadMode.CONSTANT:
        return np.pad(x, amounts, constant_values=np.asarray(op.value).astype(x.dtype))
    short = 1 if op.mode is PadMode.REFLECT else 0
    for extent, pair in zip(x.shape, amounts, strict=True):
        if max(pair) > max(extent - short, 0):
            raise InputError(f"a {op.mode.value} padding of {pair} does not fit {extent} elements")
    return np.pad(x, amounts, mode=_PAD_MODES[op.mode])


def take_slice(op: ops.Slice, operands: Sequence[Array], env: Env) -> Array:
    """``x[begin : begin + size*stride : stride]`` per dimension.

    Raises:
        InputError: an element lies outside the operand at these image sizes.
    """
    (x,) = operands
    index: list[slice] = []
    bounds = zip(x.shape, sizes(op.begin, env), sizes(op.size, env), op.stride, strict=True)
    for extent, begin, size, stride in bounds:
        last = begin + (size - 1) * stride
        if size < 0 or (size > 0 and not (0 <= begin < extent and 0 <= last < extent)):
            raise InputError(f"a slice takes elements {begin}..{last} of {extent}")
        stop = begin + size * stride
        index.append(slice(0, 0) if size == 0 else slice(begin, stop if stop >= 0 else None, stride))
    return x[tuple(index)]


def reshape(op: ops.Reshape, operands: Sequence[Array], env: Env) -> Array:
    """The same elements in C order."""
    return operands[0].reshape(sizes(op.shape, env))


def transpose(op: ops.Transpose, operands: Sequence[Array], env: Env) -> Array:
    """Permutation of the dimensions."""
    return np.transpose(operands[0], op.perm)


def broadcast_to(op: ops.BroadcastTo, operands: Sequence[Array], env: Env) -> Array:
    """Broadcasting to a shape."""
    return np.broadcast_to(operands[0], sizes(op.shape, env))


def gather(op: ops.Gather, operands: Sequence[Array], env: Env) -> Array:
    """``take(x, indices, axis)``.

    Raises:
        InputError: an index is negative or too large (TensorFlow's CPU kernel reports the same).
    """
    x, indices = operands
    if indices.size and not (0 <= indices.min() and indices.max() < x.shape[op.axis]):
        raise InputError(f"a gather index is outside [0, {x.shape[op.axis]})")
    return np.take(x, indices, axis=op.axis)


def space_to_batch(op: ops.SpaceToBatch, operands: Sequence[Array], env: Env) -> Array:
    """Pad with zeros, then move the blocks to the batch: result image ``(by * bw + bx) * n + i`` is phase (by, bx)."""
    (x,) = operands
    top, bottom, left, right = sizes(op.pads, env)
    bh, bw = op.block
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    n, h, w, c = padded.shape
    if h % bh or w % bw:
        raise InputError(f"SpaceToBatch: the padded size {h} x {w} is not a multiple of {bh} x {bw}")
    blocks = padded.reshape(n, h // bh, bh, w // bw, bw, c)
    return blocks.transpose(2, 4, 0, 1, 3, 5).reshape(n * bh * bw, h // bh, w // bw, c)


def batch_to_space(op: ops.BatchToSpace, operands: Sequence[Array], env: Env) -> Array:
    """The inverse of :func:`space_to_batch`: blocks back into the image, then the crops."""
    (x,) = operands
    bh, bw = op.block
    n, h, w, c = x.shape[0] // (bh * bw), x.shape[1], x.shape[2], x.shape[3]
    whole = x.reshape(bh, bw, n, h, w, c).transpose(2, 3, 0, 4, 1, 5).reshape(n, h * bh, w * bw, c)
    top, bottom, left, right = sizes(op.crops, env)
    if min(top, bottom, left, right) < 0 or top + bottom > h * bh or left + right > w * bw:
        raise InputError(f"BatchToSpace: crops {(top, bottom, left, right)} do not fit {h * bh} x {w * bw}")
    return whole[:, top : h * bh - bottom, left : w * bw - right]


def to_nhwc(x: Array, layout: Layout) -> Array:
    """Return an image tensor as NHWC."""
    return x if layout is Layout.NHWC else x.transpose(0, 2, 3, 1)


def from_nhwc(x: Array, layout: Layout) -> Array:
    """Return an NHWC image tensor in ``layout``."""
    return x if layout is Layout.NHWC else x.transpose(0, 3, 1, 2)


def space_to_depth(op: ops.SpaceToDepth, operands: Sequence[Array], env: Env) -> Array:
    """Result channel ``(by * block + bx) * c + i`` is pixel (by, bx) of the block."""
    x, b = to_nhwc(operands[0], op.layout), op.block
    n, h, w, c = x.shape
    if h % b or w % b:
        raise InputError(f"SpaceToDepth: {h} x {w} is not a multiple of {b}")
    blocks = x.reshape(n, h // b, b, w // b, b, c).transpose(0, 1, 3, 2, 4, 5)
    return from_nhwc(blocks.reshape(n, h // b, w // b, b * b * c), op.layout)


def depth_to_space(op: ops.DepthToSpace, operands: Sequence[Array], env: Env) -> Array:
    """The inverse of :func:`space_to_depth`."""
    x, b = to_nhwc(operands[0], op.layout), op.block
    n, h, w, c = x.shape
    blocks = x.reshape(n, h, w, b, b, c // (b * b)).transpose(0, 1, 3, 2, 4, 5)
    return from_nhwc(blocks.reshape(n, h * b, w * b, c // (b * b)), op.layout)
