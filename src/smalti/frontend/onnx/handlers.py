"""Imports every handler file, so that the table of operations is complete."""

from __future__ import annotations

from smalti.frontend.onnx.ops import (
    activation,
    blocks,
    conv,
    fill,
    gather,
    graph,
    legacy,
    logic,
    math,
    matrix,
    norm,
    pad,
    pool,
    reduce,
    refused,
    resize,
    scatter,
    shape,
    slice,
)
from smalti.frontend.onnx.registry import TABLE

HANDLER_FILES = (
    activation,
    blocks,
    conv,
    fill,
    gather,
    graph,
    legacy,
    logic,
    math,
    matrix,
    norm,
    pad,
    pool,
    reduce,
    refused,
    resize,
    scatter,
    shape,
    slice,
)

__all__ = ["HANDLER_FILES", "TABLE"]
