"""Data movement: concatenation, padding, slices, transpositions, broadcasts, gathers, blocks, sizes."""

from __future__ import annotations

from smalti.kernels.data.concat import ConcatKernel
from smalti.kernels.data.gather import GatherKernel, SizeTensorKernel
from smalti.kernels.data.pad import PadKernel
from smalti.kernels.data.strided import StridedKernel
from smalti.kernels.kernel import Kernel

KERNELS: tuple[Kernel, ...] = (ConcatKernel(), PadKernel(), StridedKernel(), GatherKernel(), SizeTensorKernel())

__all__ = ["KERNELS", "ConcatKernel", "GatherKernel", "PadKernel", "SizeTensorKernel", "StridedKernel"]
