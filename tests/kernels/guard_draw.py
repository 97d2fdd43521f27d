"""Random shapes and operands, edges of vectors and tiles above all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.half_types import narrow
from smalti.ir import ops
from smalti.ir.dims import Dim, symbol
from smalti.ir.graph import Node, TensorType
from smalti.ir.infer import constant, make_node
from smalti.numerics import DType
from smalti.target.target import Caches

Array = NDArray[Any]
EDGES = (1, 7, 15, 16, 17, 33, 65, 513)
"""Sizes around which vectors, tiles and bands end."""
SMALL = Caches(1024, 4096, 65536)
"""Caches for which small tensors are large, so that they are fused and cut into bands."""
LOW, HIGH = 5, 40
"""Range of height and width where they are known at run time only."""
FLOATS = (DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16)
NUMBERS = (*FLOATS, DType.FLOAT64, DType.UINT8, DType.INT8, DType.INT16, DType.INT32, DType.INT64)


@dataclass
class Draw:
    """Random choices for one case; ``terms`` and ``scale`` say how exact its result can be."""

    rng: np.random.Generator
    symbolic: bool
    terms: int = 1
    scale: float = 1.0
    inputs: list[Node] = field(default_factory=list)

    def one(self, *choices: Any) -> Any:
        """Return one of the choices."""
        return choices[int(self.rng.integers(len(choices)))]

    def flag(self) -> bool:
        """Return whether or not."""
        return bool(self.rng.integers(2))

    def size(self, most: int = 600) -> int:
        """Return a size: an edge, or any small one."""
        edges = [edge for edge in EDGES if edge <= most]
        return int(self.one(*edges)) if self.flag() else int(self.rng.integers(1, min(most, 48) + 1))

    def sizes(self, count: int, most: int = 60_000) -> list[int]:
        """Return sizes with a bounded product, in any order."""
        result: list[int] = []
        for _ in range(count):
            result.append(self.size(max(1, most // math.prod(result))))
        return [result[i] for i in self.rng.permutation(count)]

    def image(self, channels: int, low: int = 1, batch: int = 2) -> tuple[int | Dim, ...]:
        """Return the shape of an image tensor of at least ``low`` x ``low``."""
        n = self.one(1, 1, batch)
        if self.symbolic:
            return (n, symbol("H", max(low, LOW), HIGH), symbol("W", max(low, LOW), HIGH), channels)
        height, width = self.sizes(2, max(60_000 // channels, 4))
        return (n, max(height, low), max(width, low), channels)

    def input(self, dtype: DType, shape: Sequence[int | Dim]) -> Node:
        """Return a graph input."""
        node = make_node(ops.Input(), (), f"x{len(self.inputs)}", TensorType(dtype, tuple(shape)))
        self.inputs.append(node)
        return node

    def fixed(self, dtype: DType, *shape: int, size: float = 1.0) -> Node:
        """Return a constant operand."""
        value = numbers(self.rng, dtype, shape, size)
        return constant(value, bfloat16=dtype is DType.BFLOAT16)

    def taps(self, most: int = 5) -> tuple[int, int]:
        """Return height and width of a window."""
        return int(self.rng.integers(1, most + 1)), int(self.rng.integers(1, most + 1))

    def window(self, kernel: tuple[int, int], dilated: bool = True) -> tuple[Any, Any, ops.Pads, int]:
        """Return stride, dilation, pads and the least size of an image for which there is a result."""
        strides = (self.one(1, 1, 2, 3), self.one(1, 1, 2, 3))
        dilations = (self.one(1, 1, 2, 4), self.one(1, 1, 2, 4)) if dilated else (1, 1)
        spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        pads = tuple(int(self.rng.integers(0, span + 1)) for span in spans for _ in range(2))
        least = max(1, spans[0] - pads[0] - pads[1], spans[1] - pads[2] - pads[3])
        return strides, dilations, (pads[0], pads[1], pads[2], pads[3]), least


def numbers(rng: np.random.Generator, dtype: DType, shape: Sequence[int], size: float = 1.0) -> Array:
    """Return random elements of a type, as arrays of that type are carried."""
    if dtype is DType.BOOL:
        return rng.integers(0, 2, shape).astype(np.bool_)
    if dtype.is_float:
        values = rng.standard_normal(shape).astype(np.float32) * np.float32(size)
        return narrow(np.asarray(values), dtype)
    low, high = dtype.limits
    limit = min(high, int(size * 127)) if dtype.itemsize > 1 and size > 1 else high
    return np.asarray(rng.integers(max(low, -limit), limit + 1, shape)).astype(dtype.numpy)


Maker = Callable[[Draw], Node]
"""Makes a node for one kernel."""
