"""Resizes, and the fused resize and arg-max."""

from __future__ import annotations

from smalti.kernels.kernel import Kernel
from smalti.kernels.resize.kernel import BilinearKernel, NearestKernel
from smalti.kernels.resize.labels import ResizeArgMaxKernel

KERNELS: tuple[Kernel, ...] = (ResizeArgMaxKernel(), BilinearKernel(), NearestKernel())

__all__ = ["KERNELS", "BilinearKernel", "NearestKernel", "ResizeArgMaxKernel"]
