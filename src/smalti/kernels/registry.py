"""Every kernel, in order of preference; the planner takes the first that accepts a node."""

from __future__ import annotations

from smalti.kernels import (
    argmax,
    conv,
    convgeneric,
    copy,
    data,
    elementwise,
    matmul,
    picking,
    pool,
    quantised,
    reduce,
    resize,
    softmax,
)
from smalti.kernels.kernel import FusedKernel, Kernel

KERNELS: tuple[Kernel, ...] = (
    *conv.KERNELS,
    *quantised.KERNELS,
    *convgeneric.KERNELS,
    *elementwise.KERNELS,
    *reduce.KERNELS,
    *pool.KERNELS,
    *resize.KERNELS,
    *softmax.KERNELS,
    *argmax.KERNELS,
    *matmul.KERNELS,
    *data.KERNELS,
    *picking.KERNELS,
    *copy.KERNELS,
)

FUSED: tuple[FusedKernel, ...] = (*conv.FUSED, *quantised.FUSED)
