"""Imports every handler file, so that the table of operations is complete."""

from __future__ import annotations

from smalti.frontend.onnx import ops_graph
from smalti.frontend.onnx.registry import TABLE

HANDLER_FILES = (ops_graph,)

__all__ = ["HANDLER_FILES", "TABLE"]
