"""Kernels of integer convolutions and what belongs to them, in order of preference."""

from smalti.kernels.kernel import FusedKernel, Kernel
from smalti.kernels.quantised.depthwise import DepthwiseKernel
from smalti.kernels.quantised.expand_depthwise import ExpandDepthwiseKernel
from smalti.kernels.quantised.general import GeneralConvKernel
from smalti.kernels.quantised.image import ImageConvKernel
from smalti.kernels.quantised.mean import QuantisedMeanKernel
from smalti.kernels.quantised.pointwise import PointwiseKernel
from smalti.kernels.quantised.quantise import QuantiseKernel
from smalti.kernels.quantised.stem import StemKernel

KERNELS: tuple[Kernel, ...] = (
    PointwiseKernel(),
    GeneralConvKernel(),
    DepthwiseKernel(),
    ImageConvKernel(),
    QuantiseKernel(),
    QuantisedMeanKernel(),
)
FUSED: tuple[FusedKernel, ...] = (StemKernel(), ExpandDepthwiseKernel())
