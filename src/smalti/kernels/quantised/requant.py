"""The epilogues of integer convolutions: the float32 steps of :mod:`smalti.numerics`, each rounded once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.ops import Activation
from smalti.kernels.epilogue.steps import Add, Begin, Epilogue, Scale, of_integers
from smalti.numerics import DType

RESULT_TYPES = (DType.UINT8, DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16)
_SAFE_STEPS = float(1 << 30)


def has_epilogue(op: ops.QuantisedConv2d) -> bool:
    """Whether there is an epilogue for the operation (the limits of a byte say all that an activation could)."""
    if op.dtype not in RESULT_TYPES or (op.dtype is DType.UINT8 and op.activation is not Activation.NONE):
        return False
    return not (op.residual and op.dtype is not DType.UINT8)


def requantising(op: ops.QuantisedConv2d, bounded: bool) -> Epilogue:
    """Return the epilogue of an operation: bias, multiplier, addend, residual, then bytes or floats.

    See :func:`steps_fit` for ``bounded``.

    Raises:
        CompilerError: there is none.
    """
    if not has_epilogue(op):
        raise CompilerError(f"no integer epilogue for {op}")
    return Epilogue((Begin(), Scale(), *((Add(),) if op.addend else ()), *of_integers(op, bounded)), op.dtype)


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
