"""Convolution kernels with sums in float32, in order of preference."""

from smalti.kernels.conv.convolution import PREFIXES
from smalti.kernels.conv.depthwise import DepthwiseKernel
from smalti.kernels.conv.expand_depthwise import ExpandDepthwiseKernel
from smalti.kernels.conv.general import GeneralConvKernel
from smalti.kernels.conv.pointwise import PointwiseKernel
from smalti.kernels.kernel import FusedKernel, Kernel

KERNELS: tuple[Kernel, ...] = tuple(
    kernel(dtype) for dtype in PREFIXES for kernel in (PointwiseKernel, GeneralConvKernel, DepthwiseKernel)
)
FUSED: tuple[FusedKernel, ...] = tuple(ExpandDepthwiseKernel(dtype) for dtype in PREFIXES)
