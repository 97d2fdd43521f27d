"""Resizes, and the fused resize and arg-max."""

from __future__ import annotations

from smalti.kernels.kernel import Kernel

KERNELS: tuple[Kernel, ...] = ()
