"""Reads the recorded TensorFlow answers (``tools/record_vectors`` writes them)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tolerance import Tol

Array = NDArray[Any]

VECTORS = Path(__file__).parent / "golden" / "tf_vectors.npz"


@dataclass(frozen=True, slots=True)
class Run:
    """One feed of a graph and TensorFlow's answers, by tensor name."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Vector:
    """A recorded graph (GraphDef bytes) with its runs; ``name`` is ``family/variant``."""

    name: str
    graph: bytes
    tolerance: Tol
    runs: tuple[Run, ...]

    def __str__(self) -> str:
        return self.name


def parse_tolerance(text: str) -> Tol:
    """Return the tolerance written ``exact``, ``ulp:N`` or ``float:TERMS``."""
    kind, _, number = text.partition(":")
    if kind == "exact":
        return Tol.EXACT
    return {"ulp": Tol.ULP, "float": Tol.FLOAT}[kind](int(number))


@lru_cache(maxsize=1)
def vectors() -> tuple[Vector, ...]:
    """Return all recorded vectors."""
    with np.load(VECTORS) as archive:
        index = json.loads(archive["index"].tobytes())
        graphs, tensors = archive["graphs"].tobytes(), archive["tensors"].tobytes()

    def array(entry: dict[str, Any]) -> Array:
        start, length = entry["at"]
        return np.frombuffer(tensors[start : start + length], entry["dtype"]).reshape(entry["shape"])

    def arrays(entries: dict[str, dict[str, Any]]) -> dict[str, Array]:
        return {name: array(entry) for name, entry in entries.items()}

    return tuple(
        Vector(
            case["name"],
            graphs[case["graph"][0] : sum(case["graph"])],
            parse_tolerance(case["tolerance"]),
            tuple(Run(arrays(run["inputs"]), arrays(run["outputs"])) for run in case["runs"]),
        )
        for case in index["cases"]
    )
