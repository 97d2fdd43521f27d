"""Elementwise functions, selection and conversion."""

from __future__ import annotations

from smalti.kernels.elementwise.kernel import ElementwiseKernel

KERNELS = (ElementwiseKernel(),)

__all__ = ["KERNELS", "ElementwiseKernel"]
