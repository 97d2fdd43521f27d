"""The epilogues of integer convolutions: the float32 steps of :mod:`smalti.numerics`, each rounded once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.ops import Activation
from smalti.kernels.epilogue.steps import (
    ACTIVATIONS,
    Add,
    Begin,
    Epilogue,
    Requantise,
    Residual,
    Scale,
    Step,
    activation,
)
from smalti.kernels.takes import takes
from smalti.numerics import DType

QuantisedConvolution = ops.QuantisedConv2d | ops.QuantisedDepthwiseConv2d
RESULT_TYPES = (DType.UINT8, DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16)
_BOTH = ("stride", "dilation", "pads", "zero_point", "bias", "addend", "scale", "result_zero_point", "low", "high")
_RESIDUAL = ("residual", "residual_zero_point", "residual_scale")
BYTE_CONV = takes(ops.QuantisedConv2d, *_BOTH, *_RESIDUAL, dtype=frozenset(RESULT_TYPES), activation=ACTIVATIONS)
BYTE_DEPTHWISE = takes(ops.QuantisedDepthwiseConv2d, *_BOTH, dtype=frozenset(RESULT_TYPES), activation=ACTIVATIONS)
_SAFE_STEPS = float(1 << 30)


def has_epilogue(op: QuantisedConvolution) -> bool:
    """Whether there is an epilogue for the operation (the limits of a byte say all that an activation could)."""
    if op.dtype not in RESULT_TYPES or (op.dtype is DType.UINT8 and op.activation is not Activation.NONE):
        return False
    return not (isinstance(op, ops.QuantisedConv2d) and op.residual and op.dtype is not DType.UINT8)


def requantising(op: QuantisedConvolution, bounded: bool) -> Epilogue:
    """Return the epilogue of an operation: bias, multiplier, addend, residual, then bytes or floats.

    See :func:`steps_fit` for ``bounded``.

    Raises:
        CompilerError: there is none.
    """
    if not has_epilogue(op):
        raise CompilerError(f"no integer epilogue for {op}")
    steps: tuple[Step, ...] = (Begin(), Scale())
    if op.addend:
        steps += (Add(),)
    if isinstance(op, ops.QuantisedConv2d) and op.residual:
        steps += (Residual(op.dtype, op.residual_zero_point, float(np.float32(op.residual_scale))),)
    if op.dtype is DType.UINT8:
        steps += (Requantise(op.dtype, op.result_zero_point, op.low, op.high, bounded),)
    return Epilogue((*steps, *activation(op.activation)), op.dtype)


def steps_fit(
    weights: NDArray[np.int8],
    multiplier: NDArray[np.float32],
    bias: NDArray[np.int32] | None = None,
    addend: NDArray[np.float32] | None = None,
    residual_scale: float = 0.0,
) -> bool:
    """Return whether ``t`` of any uint8 input surely fits int32 (an addend computed at run time never does).

    ``weights`` are ``[..., channels]``; a zero point only makes products smaller.
    """
    sums = np.abs(weights.astype(np.float64)).reshape(-1, weights.shape[-1]).sum(axis=0) * 255.0
    if bias is not None:
        sums = sums + np.abs(bias.astype(np.float64))
    steps = sums * np.abs(multiplier.astype(np.float64)) + 255.0 * abs(residual_scale)
    if addend is not None:
        steps = steps + np.abs(addend.astype(np.float64))
    return bool((steps < _SAFE_STEPS).all())
