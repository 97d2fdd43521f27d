"""Blocks of pixels that become images of the batch, or channels, and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from smalti.errors import InputError
from smalti.ir.arrays import Array, Numbers, from_nhwc, to_nhwc
from smalti.ir.dims import floor_div
from smalti.ir.schema import IMPORTED, Op, operation
from smalti.ir.shapes import image_shape, image_sizes, require
from smalti.ir.types import Layout, Pads, TensorType

__all__ = ["BatchToSpace", "DepthToSpace", "SpaceToBatch", "SpaceToDepth"]

LAYOUTS = frozenset((Layout.NHWC, Layout.NCHW))


@operation("x", levels=IMPORTED, moves=True)
@dataclass(frozen=True, slots=True)
class SpaceToBatch(Op):
    """TensorFlow SpaceToBatchND over height and width of an NHWC tensor."""

    block: tuple[int, int]
    pads: Pads

    def result(self, x: TensorType) -> TensorType:
        """Height and width, padded, are divided by the block; the batch grows by it."""
        h, w, c = image_sizes(x, "SpaceToBatch")
        height, width = h + self.pads[0] + self.pads[1], w + self.pads[2] + self.pads[3]
        for size, block in zip((height, width), self.block, strict=True):
            require(block > 0 and size % block == 0, f"SpaceToBatch: padded size {size} is not a multiple of {block}")
        n = x.shape[0] * (self.block[0] * self.block[1])
        return TensorType(x.dtype, (n, floor_div(height, self.block[0]), floor_div(width, self.block[1]), c))

    @staticmethod
    def meaning(x: Array, *, block: tuple[int, int], pads: Numbers) -> Array:
        """Pad with zeros, then move blocks to the batch: result image ``(by * bw + bx) * n + i`` is phase (by, bx)."""
        top, bottom, left, right = pads
        bh, bw = block
        wide = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
        n, h, w, c = wide.shape
        if h % bh or w % bw:
            raise InputError(f"SpaceToBatch: the padded size {h} x {w} is not a multiple of {bh} x {bw}")
        blocks = wide.reshape(n, h // bh, bh, w // bw, bw, c)
        return blocks.transpose(2, 4, 0, 1, 3, 5).reshape(n * bh * bw, h // bh, w // bw, c)

    def problems(self) -> Iterator[str]:
        """Blocks are positive."""
        if min(self.block) <= 0:
            yield f"block is {self.block}"


@operation("x", levels=IMPORTED, moves=True)
@dataclass(frozen=True, slots=True)
class BatchToSpace(Op):
    """TensorFlow BatchToSpaceND over height and width of an NHWC tensor; ``crops`` as top, bottom, left, right."""

    block: tuple[int, int]
    crops: Pads

    def result(self, x: TensorType) -> TensorType:
        """Height and width are multiplied by the block and cropped; the batch is divided by it."""
        h, w, c = image_sizes(x, "BatchToSpace")
        require(min(self.block) > 0, "BatchToSpace: the block must be positive")
        blocks = self.block[0] * self.block[1]
        require(x.shape[0] % blocks == 0, f"BatchToSpace: batch {x.shape[0]} is not a multiple of {blocks}")
        height = h * self.block[0] - self.crops[0] - self.crops[1]
        width = w * self.block[1] - self.crops[2] - self.crops[3]
        return TensorType(x.dtype, (floor_div(x.shape[0], blocks), height, width, c))

    @staticmethod
    def meaning(x: Array, *, block: tuple[int, int], crops: Numbers) -> Array:
        """The inverse of :class:`SpaceToBatch`: blocks back into the image, then the crops."""
        bh, bw = block
        n, h, w, c = x.shape[0] // (bh * bw), x.shape[1], x.shape[2], x.shape[3]
        whole = x.reshape(bh, bw, n, h, w, c).transpose(2, 3, 0, 4, 1, 5).reshape(n, h * bh, w * bw, c)
        top, bottom, left, right = crops
        if min(crops) < 0 or top + bottom > h * bh or left + right > w * bw:
            raise InputError(f"BatchToSpace: crops {crops} do not fit {h * bh} x {w * bw}")
        return whole[:, top : h * bh - bottom, left : w * bw - right]

    def problems(self) -> Iterator[str]:
        """Blocks are positive."""
        if min(self.block) <= 0:
            yield f"block is {self.block}"


@operation("x", moves=True, half=True, values={"layout": LAYOUTS})
@dataclass(frozen=True, slots=True)
class SpaceToDepth(Op):
    """Blocks of ``block`` x ``block`` pixels become channels."""

    block: int
    layout: Layout = Layout.NHWC

    def result(self, x: TensorType) -> TensorType:
        """Height and width are divided by the block; channels grow by its square."""
        h, w, c = image_sizes(x, "SpaceToDepth", self.layout)
        require(self.block > 0, "the block must be positive")
        require(h % self.block == 0 and w % self.block == 0, f"SpaceToDepth: {x} is not a multiple of {self.block}")
        size = (floor_div(h, self.block), floor_div(w, self.block))
        return TensorType(x.dtype, image_shape(x.shape[0], size, c * (self.block * self.block), self.layout))

    @staticmethod
    def meaning(x: Array, *, block: int, layout: Layout) -> Array:
        """Result channel ``(by * block + bx) * c + i`` is pixel (by, bx) of the block."""
        x, b = to_nhwc(x, layout), block
        n, h, w, c = x.shape
        if h % b or w % b:
            raise InputError(f"SpaceToDepth: {h} x {w} is not a multiple of {b}")
        blocks = x.reshape(n, h // b, b, w // b, b, c).transpose(0, 1, 3, 2, 4, 5)
        return from_nhwc(blocks.reshape(n, h // b, w // b, b * b * c), layout)


@operation("x", moves=True, half=True, values={"layout": LAYOUTS})
@dataclass(frozen=True, slots=True)
class DepthToSpace(Op):
    """Channels become blocks of ``block`` x ``block`` pixels (the inverse of SpaceToDepth)."""

    block: int
    layout: Layout = Layout.NHWC

    def result(self, x: TensorType) -> TensorType:
        """Height and width are multiplied by the block; channels are divided by its square."""
        h, w, c = image_sizes(x, "DepthToSpace", self.layout)
        b = self.block
        require(b > 0, "the block must be positive")
        require(c % (b * b) == 0, f"DepthToSpace: channels of {x} are not a multiple of {b} squared")
        return TensorType(x.dtype, image_shape(x.shape[0], (h * b, w * b), floor_div(c, b * b), self.layout))

    @staticmethod
    def meaning(x: Array, *, block: int, layout: Layout) -> Array:
        """The inverse of :class:`SpaceToDepth`."""
        x, b = to_nhwc(x, layout), block
        n, h, w, c = x.shape
        blocks = x.reshape(n, h, w, b, b, c // (b * b)).transpose(0, 1, 3, 2, 4, 5)
        return from_nhwc(blocks.reshape(n, h * b, w * b, c // (b * b)), layout)
