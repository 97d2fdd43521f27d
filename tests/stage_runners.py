"""The ways in which one and the same graph is run by the tests, from just imported to the finished model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from smalti.frontend.importer import ImportOptions, import_graph
from smalti.ir.graph import Level
from smalti.ir.reference import run
from smalti.ir.verify import verify
from smalti.passes.pipeline import run_pipeline

Array = NDArray[Any]
Runner = Callable[[bytes, Mapping[str, Array], tuple[str, ...]], Mapping[str, Array]]


def run_imported(graph_def: bytes, inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> Mapping[str, Array]:
    """Import and run the numpy meaning of the imported graph."""
    graph = import_graph(graph_def, ImportOptions(outputs=outputs)).graph
    verify(graph, Level.IMPORTED)
    return run(graph, inputs)


def run_canonical(graph_def: bytes, inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> Mapping[str, Array]:
    """Import, run all passes, and run the numpy meaning of the result."""
    graph = run_pipeline(import_graph(graph_def, ImportOptions(outputs=outputs)).graph, check=True).graph
    verify(graph, Level.CANONICAL)
    return run(graph, inputs)


STAGES: dict[str, Runner] = {"imported": run_imported, "canonical": run_canonical}
"""Stage name -> function of GraphDef bytes, inputs by tensor name and output names, giving outputs by tensor name."""

_NEVER = {
    "range/from_shape": "a range whose limit depends on the image size has no static number of elements",
    "gather/fed_indices": "only constant indices are accepted: run-time ones could lie outside the tensor",
}

EXCLUDED: dict[str, dict[str, str]] = {"imported": _NEVER, "canonical": _NEVER}
"""Stage -> vector name -> reason why it is expected to fail there (a pass is then an error)."""
