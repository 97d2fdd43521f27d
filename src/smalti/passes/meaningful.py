"""What no graph that is worth running has: nothing to compute, or weights that are not finite."""

from __future__ import annotations

from typing import Final

import numpy as np

from smalti.errors import GraphError
from smalti.ir import ops
from smalti.ir.graph import Graph, Node
from smalti.ir.schema import is_weighted

_LISTED: Final = 5


def check_meaningful(graph: Graph) -> None:
    """Check an optimised graph.

    Weights times the zeros of a padding tell NaN and infinity apart from what TensorFlow computes, which leaves those
    products out, so labels would differ; and a training that ended in them has failed.

    Raises:
        GraphError: no output depends on an input, or weights (with the batch normalisation that was folded into them)
            are NaN or infinite; the nodes are named.
    """
    if not graph.inputs or all(isinstance(node.op, ops.Constant) for node in graph.outputs):
        raise GraphError(
            f"the outputs ({', '.join(graph.output_names[:_LISTED])}) depend on no input: there is nothing to compute; "
            "name other inputs and outputs"
        )
    found = [(node, bad) for node in graph.nodes() if (bad := _not_finite(node))]
    if found:
        listed = "; ".join(f"{node.name}: {bad} of {node.weights.type.shape}" for node, bad in found[:_LISTED])
        more = f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        raise GraphError(
            f"weights are NaN or infinite, as they are or with the batch normalisation behind them: {listed}{more}"
        )


def _not_finite(node: Node) -> int:
    """Return how many of a node's constant weights are NaN or infinite."""
    weights = node.weights.op if is_weighted(node.op) else None
    if not isinstance(weights, ops.Constant) or weights.value.dtype.kind != "f":
        return 0
    return weights.value.size - int(np.count_nonzero(np.isfinite(weights.value)))
