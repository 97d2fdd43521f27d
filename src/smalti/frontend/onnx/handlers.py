"""Imports every handler file, so that the table of operations is complete."""

from __future__ import annotations

from smalti.frontend.onnx import (
    ops_activation,
    ops_blocks,
    ops_fill,
    ops_gather,
    ops_graph,
    ops_logic,
    ops_math,
    ops_matrix,
    ops_norm,
    ops_pad,
    ops_reduce,
    ops_refused,
    ops_resize,
    ops_scatter,
    ops_shape,
    ops_slice,
)
from smalti.frontend.onnx.registry import TABLE

HANDLER_FILES = (
    ops_activation,
    ops_blocks,
    ops_fill,
    ops_gather,
    ops_graph,
    ops_logic,
    ops_math,
    ops_matrix,
    ops_norm,
    ops_pad,
    ops_reduce,
    ops_refused,
    ops_resize,
    ops_scatter,
    ops_shape,
    ops_slice,
)

__all__ = ["HANDLER_FILES", "TABLE"]
