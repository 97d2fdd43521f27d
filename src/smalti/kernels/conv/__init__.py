"""Convolution kernels, in order of preference."""

from smalti.kernels.conv.depthwise import DepthwiseKernel
from smalti.kernels.conv.expand_depthwise import ExpandDepthwiseKernel
from smalti.kernels.conv.general import GeneralConvKernel
from smalti.kernels.conv.pointwise import PointwiseKernel
from smalti.kernels.kernel import FusedKernel, Kernel

KERNELS: tuple[Kernel, ...] = (PointwiseKernel(), GeneralConvKernel(), DepthwiseKernel())
FUSED: tuple[FusedKernel, ...] = (ExpandDepthwiseKernel(),)
