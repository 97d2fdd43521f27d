"""Small ONNX models of one node for tests, and what ONNX's own reference makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from smalti.frontend.importing.importer import Imported, ImportOptions, import_with
from smalti.frontend.onnx.reader import read_model
from smalti.ir.graph import Level
from smalti.ir.reference import run
from smalti.ir.verify import verify

Array = NDArray[Any]
DOMAIN = "com.microsoft"


def one_node(
    op: str,
    operands: Sequence[Array | None],
    *,
    opset: int = 22,
    outputs: int = 1,
    stored: Sequence[int] = (),
    sizes: Mapping[int, Sequence[int | str]] | None = None,
    domain: str = "",
    **attributes: Any,
) -> bytes:
    """Return a model of one node.

    Args:
        op: its operation.
        operands: ``None`` for one that is left out; each becomes the input ``x0``, ``x1``, ...
        opset: version of ONNX's operators.
        outputs: how many results are asked for: ``y0``, ``y1``, ...
        stored: numbers of the operands that are stored in the model.
        sizes: shapes to state for some operands, with names for open sizes.
        domain: whose operation it is.
        attributes: of the node.
    """
    names = ["" if operand is None else f"x{i}" for i, operand in enumerate(operands)]
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op, names, results, "node", domain=domain, **attributes)
    inputs, initialisers = [], []
    for i, operand in enumerate(operands):
        if operand is None:
            continue
        if i in stored:
            initialisers.append(numpy_helper.from_array(operand, names[i]))
            continue
        kind = helper.np_dtype_to_tensor_dtype(operand.dtype)
        inputs.append(helper.make_tensor_value_info(names[i], kind, (sizes or {}).get(i, operand.shape)))
    graph = helper.make_graph([node], "g", inputs, [onnx.ValueInfoProto(name=n) for n in results], initialisers)
    versions = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=versions, ir_version=8).SerializeToString()


def imported(data: bytes) -> Imported:
    """Import a model."""
    found = import_with(partial(read_model, data), ImportOptions())
    verify(found.graph, Level.IMPORTED)
    return found


def feeds(operands: Sequence[Array | None], stored: Sequence[int] = ()) -> dict[str, Array]:
    """Return the inputs of a model of :func:`one_node` by name."""
    return {f"x{i}": v for i, v in enumerate(operands) if v is not None and i not in stored}


def meaning(data: bytes, values: Mapping[str, Array]) -> list[Array]:
    """Return the results by the numpy meaning of the imported graph."""
    graph = imported(data).graph
    found = run(graph, {node.name: values[node.name] for node in graph.inputs})
    return [found[name] for name in graph.output_names]


def wanted(data: bytes, values: Mapping[str, Array]) -> list[Array]:
    """Return the results by ONNX's own reference."""
    with np.errstate(all="ignore"):
        found = ReferenceEvaluator(onnx.load_from_string(data)).run(None, dict(values))
    return [np.asarray(value) for value in found]
