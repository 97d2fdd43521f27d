"""Generated graphs against float64 arithmetic, operation by operation, and against TensorFlow where it is installed."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from kernels.float64_check import check_graph
from smalti.target.host import arch, missing_features, resolve_target
from smalti.target.target import levels_of
from stage_runners import STAGES
from tolerance import Tol, assert_close, float_limit

GRAPHS = 500
OPERATIONS = 8
OUTPUTS = ("out:0", "labels:0")


def main(seed: int, scale: float) -> dict[str, Any]:
    """Run the checks with counts multiplied by ``scale``; return the figures of each."""
    sys.stderr.write(f"seed {seed}\n")
    count = max(1, int(GRAPHS * scale))
    return {"19 operations in float64": operations(seed, count), "19 graphs in TensorFlow": graphs(seed, count)}


def operations(seed: int, count: int) -> dict[str, Any]:
    """Every operation of generated graphs within 4 x float32 epsilon x sqrt(terms) x scale of float64."""
    targets = [resolve_target("native"), *(t for t in levels_of(arch()) if not missing_features(t.features))]
    compared: Counter[str] = Counter()
    failures: list[str] = []
    begin = time.monotonic()
    for i in range(count):
        target = targets[i % len(targets)]
        with _listed(failures, f"check_graph({seed + i}, {OPERATIONS}, {target})"):
            compared.update(check_graph(seed + i, OPERATIONS, target))
    return {
        "pass": not failures,
        "graphs": count,
        "operations": sum(compared.values()),
        "kinds of operation": len(compared),
        "failures": failures[:20],
        "seconds": round(time.monotonic() - begin),
    }


def graphs(seed: int, count: int) -> dict[str, Any]:
    """Whole graphs, imported, optimised and compiled, against TensorFlow's answers."""
    if importlib.util.find_spec("tensorflow") is None:
        return {"pass": True, "skipped": "tensorflow is not installed"}
    chains = importlib.import_module("models.tf_chains")
    failures: list[str] = []
    worst = 0.0
    begin = time.monotonic()
    for i in range(count):
        with _listed(failures, f"answers({seed + i})"):
            worst = max(worst, _compare(*chains.answers(seed + i)))
    return {
        "pass": not failures,
        "graphs": count,
        "largest error, part of the limit": round(worst, 3),
        "tensorflow": chains.tf.__version__,
        "failures": failures[:20],
        "seconds": round(time.monotonic() - begin),
    }


@contextmanager
def _listed(failures: list[str], repeat: str) -> Iterator[None]:
    """List what goes wrong with one graph; the others shall still be compared."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever it is, the graph is wrong
        failures.append(f"{repeat}: {type(error).__name__}: {error}"[:900])
        sys.stderr.write(f"FAILED {failures[-1]}\n")


def _compare(graph: bytes, feed: dict[str, Any], want: dict[str, Any], terms: int) -> float:
    """Compare the compiled graph; return the largest error as a part of what is allowed."""
    tolerance = Tol.FLOAT(reduction=terms)
    got = STAGES["compiled"](graph, feed, OUTPUTS)
    scores, labels = want["out:0"], got["labels:0"]
    assert_close(got["out:0"], scores, tolerance)
    if (labels.dtype, labels.shape) != (want["labels:0"].dtype, want["labels:0"].shape):
        raise AssertionError(f"labels are {labels.dtype}{labels.shape}")
    limit = float_limit(scores, tolerance)
    chosen = np.take_along_axis(scores, labels.astype(np.int64)[..., None], 3)[..., 0]
    if (scores.max(axis=3) - chosen > 2 * limit).any():
        raise AssertionError("a label that is not the largest")
    return float(np.abs(got["out:0"].astype(np.float64) - scores).max(initial=0) / limit) if limit else 0.0
