"""Reductions over axes."""

from __future__ import annotations

from smalti.kernels.reduce.kernel import KERNELS, ReduceKernel

__all__ = ["KERNELS", "ReduceKernel"]
