"""Imports every handler file, so that the table of operations is complete."""

from __future__ import annotations

from smalti.frontend.tensorflow import (
    ops_control,
    ops_conv,
    ops_fakequant,
    ops_functions,
    ops_math,
    ops_picking,
    ops_quant,
    ops_reduce,
    ops_resize,
    ops_shape,
    ops_slice,
)
from smalti.frontend.tensorflow.registry import TABLE

HANDLER_FILES = (
    ops_control,
    ops_conv,
    ops_fakequant,
    ops_functions,
    ops_math,
    ops_picking,
    ops_quant,
    ops_reduce,
    ops_resize,
    ops_shape,
    ops_slice,
)

__all__ = ["HANDLER_FILES", "TABLE"]
