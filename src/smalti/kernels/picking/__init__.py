"""Elements read and written at positions that are data of a run."""

from __future__ import annotations

from smalti.kernels.kernel import Kernel
from smalti.kernels.picking.gather import GatherElementsKernel, GatherNdKernel
from smalti.kernels.picking.sample import GridSampleKernel
from smalti.kernels.picking.scatter import ScatterElementsKernel, ScatterNdKernel
from smalti.kernels.picking.topk import TopKKernel

KERNELS: tuple[Kernel, ...] = (
    GatherNdKernel(),
    GatherElementsKernel(),
    ScatterNdKernel(),
    ScatterElementsKernel(),
    TopKKernel(),
    GridSampleKernel(),
)

__all__ = ["KERNELS"]
