"""Data movement: concatenation, padding, slices, transpositions, broadcasts, gathers, blocks, sizes."""

from __future__ import annotations

from smalti.kernels.data.around import PadAroundKernel
from smalti.kernels.data.concat import ConcatKernel
from smalti.kernels.data.gather import GatherKernel, SizeTensorKernel
from smalti.kernels.data.iota import IotaKernel
from smalti.kernels.data.pad import PadKernel
from smalti.kernels.data.strided import StridedKernel
from smalti.kernels.kernel import Kernel

KERNELS: tuple[Kernel, ...] = (
    ConcatKernel(),
    PadKernel(),
    PadAroundKernel(),
    StridedKernel(),
    GatherKernel(),
    SizeTensorKernel(),
    IotaKernel(),
)

__all__ = [
    "KERNELS",
    "ConcatKernel",
    "GatherKernel",
    "IotaKernel",
    "PadAroundKernel",
    "PadKernel",
    "SizeTensorKernel",
    "StridedKernel",
]
