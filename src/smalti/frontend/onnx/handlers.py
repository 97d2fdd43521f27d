"""Imports every handler file, so that the table of operations is complete."""

from __future__ import annotations

from smalti.frontend.onnx import (
    ops_activation,
    ops_graph,
    ops_logic,
    ops_math,
    ops_matrix,
    ops_reduce,
)
from smalti.frontend.onnx.registry import TABLE

HANDLER_FILES = (
    ops_graph,
    ops_activation,
    ops_logic,
    ops_math,
    ops_matrix,
    ops_reduce,
)

__all__ = ["HANDLER_FILES", "TABLE"]
