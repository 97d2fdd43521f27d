"""Operations of the unified graph: a file for each family, a frozen record for each operation.

Every operation has one result.  A record holds all that is known of the operation: attributes, named operands, the rule
for its result type, its numpy meaning, its work (:mod:`smalti.ir.schema`).  The meaning is that of TensorFlow on the
CPU.  Data movement, integer arithmetic, comparisons, resizes and batch norm use the same operations in the same order
as TensorFlow, so they agree to the last bit where TensorFlow itself is exact; sums and transcendental functions agree
within their rounding.

Sizes are ``int`` or :class:`smalti.ir.dims.Dim`.  Image tensors are NHWC unless ``layout`` says otherwise; weights are
``[kh, kw, in / groups, out]``, those of depthwise convolutions with a group for each channel.
"""

# Each family says in ``__all__`` what it declares, so a new record needs no line here.
from smalti.ir.ops.blocks import *
from smalti.ir.ops.constants import *
from smalti.ir.ops.convolution import *
from smalti.ir.ops.elementwise import *
from smalti.ir.ops.matrix import *
from smalti.ir.ops.picking import *
from smalti.ir.ops.pooling import *
from smalti.ir.ops.quantised import *
from smalti.ir.ops.reduction import *
from smalti.ir.ops.resize import *
from smalti.ir.ops.sampling import *
from smalti.ir.ops.shape import *
from smalti.ir.schema import Op as Op
from smalti.ir.types import Layout as Layout
from smalti.ir.types import Pads as Pads
from smalti.ir.types import Shape as Shape

ALL_OPS: tuple[type[Op], ...] = tuple(
    found for _, found in sorted(vars().items()) if isinstance(found, type) and "schema" in vars(found)
)
"""Every declared operation, by name."""
