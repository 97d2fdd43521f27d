"""Pooling."""

from __future__ import annotations

from smalti.kernels.pool.kernel import PoolKernel

KERNELS = (PoolKernel(),)

__all__ = ["KERNELS", "PoolKernel"]
