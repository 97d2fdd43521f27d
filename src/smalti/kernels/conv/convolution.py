"""What the fast kernels need to know of a convolution, whatever its element types."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.graph import Node
from smalti.ir.ops import Pads
from smalti.ir.ops.convolution import depthwise
from smalti.ir.reference import bfloat16_to_float32
from smalti.ir.schema import operand_index
from smalti.kernels.epilogue.steps import ACTIVATIONS, Begin, Epilogue, ScaleAdd, of_floats, of_integers
from smalti.kernels.matrix.floats import FloatDot, FloatingDot, PairDot, element_lanes
from smalti.kernels.nodes import array_of
from smalti.kernels.takes import FLOATS, takes
from smalti.kernels.values import native_half
from smalti.numerics import DType
from smalti.target.target import Target

PREFIXES = {DType.FLOAT32: "f32", DType.FLOAT16: "f16", DType.BFLOAT16: "bf16", DType.INT16: "i16"}
"""Element types of weights, and what the names of their kernels begin with."""

_WINDOW = ("stride", "dilation", "pads")
_QUANTISED = (*_WINDOW, "zero_point", "bias", "addend", "scale", "result_zero_point", "low", "high", "table")
_RESIDUAL = ("residual", "residual_zero_point", "residual_scale")
_RESULTS = FLOATS | {DType.INT16, DType.UINT8}
FLOAT_CONV = takes(ops.Conv2d, *_WINDOW, "bias", "residual", "input_offset", activation=ACTIVATIONS)
FLOAT_DEPTHWISE = takes(ops.Conv2d, *_WINDOW, "bias", "groups", activation=ACTIVATIONS)
INTEGER_CONV = takes(ops.QuantisedConv2d, *_QUANTISED, *_RESIDUAL, dtype=_RESULTS, activation=ACTIVATIONS)
INTEGER_DEPTHWISE = INTEGER_CONV.also("groups")
CONVOLUTIONS, DEPTHWISE = (FLOAT_CONV, INTEGER_CONV), (FLOAT_DEPTHWISE, INTEGER_DEPTHWISE)
Convolutions = ops.Conv2d | ops.QuantisedConv2d


class Arithmetic(Enum):
    """How products are computed."""

    PLAIN = "plain"
    """float32 from memory"""
    WIDENED = "widened"
    """elements of x are copied as float32 before, weights are widened as they are loaded"""
    COPIED = "copied"
    """both are copied as float32 before"""
    PAIRS = "pairs"
    """the CPU multiplies and adds pairs of bfloat16"""


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution that the fast kernels can compute.

    Attributes:
        x, weights: element types.
        offset: what is subtracted from elements of x inside the image.
        parameters: operands that hold a float32 (or half) number for each channel, a row of zeros for ``None``.
    """

    x: DType
    weights: DType
    arithmetic: Arithmetic
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pads: Pads
    offset: float
    epilogue: Epilogue
    parameters: tuple[int | None, ...]
    residual: bool

    @property
    def pairs(self) -> bool:
        """Whether products are computed in pairs."""
        return self.arithmetic is Arithmetic.PAIRS

    @property
    def widened(self) -> bool:
        """Whether elements of x are copied as float32 before."""
        return self.arithmetic in (Arithmetic.WIDENED, Arithmetic.COPIED)

    @property
    def panel_type(self) -> DType:
        """Element type of the weights that the matrix kernel loads."""
        return self.weights if self.arithmetic is Arithmetic.WIDENED else DType.FLOAT32

    @property
    def itemsize(self) -> int:
        """Bytes of an element where products are computed."""
        return 2 if self.pairs else 4


def read_convolution(node: Node, target: Target) -> Convolution | None:
    """Return the description of a convolution with constant weights, ``None`` where it is out of the ordinary."""
    op = node.op
    if not isinstance(op, Convolutions) or array_of(node.weights) is None:
        return None
    x, weights, residual = node.x.type.dtype, node.weights.type.dtype, node.residual is not None
    native = target.has("avx512bf16") or target.has("bf16")
    if isinstance(op, ops.QuantisedConv2d):
        if x is not DType.INT16 or op.bias or not (op.dtype.is_float or op.activation is ops.Activation.NONE):
            return None
        offset = float(op.zero_point)
        epilogue = Epilogue((ScaleAdd(), *of_integers(op)), op.dtype, native)
        parameters: tuple[int | None, ...] = (operand_index(op, "multiplier"), operand_index(op, "addend"))
    else:
        if weights not in FLOATS or op.layout is not ops.Layout.NHWC:
            return None
        offset = op.input_offset
        steps = of_floats(op.activation, node.type.dtype, residual)
        epilogue = Epilogue((Begin(), *steps), node.type.dtype, native)
        parameters = (operand_index(op, "bias"),)
    if weights is DType.FLOAT32:
        arithmetic = Arithmetic.PLAIN
    elif native and x is weights is DType.BFLOAT16 and not is_depthwise(node) and not offset:
        arithmetic = Arithmetic.PAIRS
    else:
        # Families without these instructions also have short vectors: too few products for each widened weight.
        arithmetic = Arithmetic.WIDENED if native_half(target) else Arithmetic.COPIED
    return Convolution(x, weights, arithmetic, op.stride, op.dilation, op.pads, offset, epilogue, parameters, residual)


def convolution(node: Node, target: Target) -> Convolution:
    """Return the description of a convolution that a kernel has accepted.

    Raises:
        CompilerError: it is out of the ordinary.
    """
    found = read_convolution(node, target)
    if found is None:
        raise CompilerError(f"{node!r} is not a convolution for this kernel")
    return found


def dot_of(c: Convolution, target: Target) -> FloatingDot:
    """Return the dot product of a convolution."""
    return PairDot() if c.pairs else FloatDot(c.panel_type, element_lanes(target))


def is_depthwise(node: Node) -> bool:
    """Whether the node is a convolution that takes each channel to a result of its own."""
    return isinstance(node.op, Convolutions) and depthwise(node.weights.type, node.op.groups)


def wide_constant(node: Node) -> NDArray[np.float32] | None:
    """Return the value of a constant of a float type or of int16 as float32, else ``None``."""
    value = array_of(node)
    if value is None:
        return None
    if node.type.dtype is DType.BFLOAT16:
        value = bfloat16_to_float32(value)
    return value.astype(np.float32)
