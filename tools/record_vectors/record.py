"""Record TensorFlow's answers to small graphs of every supported operation.

Needs ``tensorflow-cpu``; writes ``tests/golden/tf_vectors.npz`` (or the path given), which the tests read without it:
``index`` (JSON), ``graphs`` and ``tensors`` (bytes that the index points into).

    python tools/record_vectors/record.py [OUTPUT]
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import cases_conv
import cases_functions
import cases_image
import cases_math
import cases_picking
import cases_shape
import cases_transposed
import numpy as np
import tensorflow as tf
from case import Build, Case, v1

OUTPUT = Path(__file__).resolve().parents[2] / "tests" / "golden" / "tf_vectors.npz"
LIMIT = 3_000_000


class Blob:
    """Bytes that grow; gives out (offset, length)."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._length = 0

    def add(self, data: bytes) -> list[int]:
        """Append ``data`` and return where it is."""
        start = self._length
        self._parts.append(data)
        self._length += len(data)
        return [start, len(data)]

    def array(self) -> np.ndarray:
        """Return all bytes."""
        return np.frombuffer(b"".join(self._parts), np.uint8)


def all_cases() -> Iterator[Case]:
    """Return every case, in order."""
    for module in (cases_conv, cases_functions, cases_image, cases_math, cases_picking, cases_shape, cases_transposed):
        yield from module.cases()


def make_graph(build: Build) -> tuple[tf.Graph, list[str]]:
    """Return a graph with its results behind identities named ``out0``, ``out1``, ..."""
    graph = tf.Graph()
    with graph.as_default():
        names = [tf.identity(result, name=f"out{i}").name for i, result in enumerate(build())]
    return graph, names


def answers(build: Build, names: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Return what TensorFlow computes, without its graph optimiser."""
    graph, _ = make_graph(build)
    config = v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = -1
    with v1.Session(graph=graph, config=config) as session:
        return session.run(names, {f"{name}:0": value for name, value in feeds.items()})


def describe(array: np.ndarray, blob: Blob) -> dict[str, object]:
    """Return the index entry of an array."""
    data = np.asarray(array, order="C")
    return {"dtype": data.dtype.name, "shape": list(data.shape), "at": blob.add(data.tobytes())}


def record(case: Case, graphs: Blob, tensors: Blob) -> dict[str, object]:
    """Return the index entry of a case."""
    graph, names = make_graph(case.build)
    graph_def = graph.as_graph_def()
    if case.edit is not None:
        case.edit(graph_def)
    runs = []
    for feeds in case.feeds:
        results = answers(case.answer or case.build, names, feeds)
        runs.append(
            {
                "inputs": {f"{name}:0": describe(value, tensors) for name, value in feeds.items()},
                "outputs": {name: describe(value, tensors) for name, value in zip(names, results, strict=True)},
            }
        )
    return {
        "name": case.name,
        "graph": graphs.add(graph_def.SerializeToString(deterministic=True)),
        "tolerance": case.tolerance,
        "runs": runs,
    }


def main() -> None:
    """Record all cases."""
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else OUTPUT
    graphs, tensors = Blob(), Blob()
    entries: list[dict[str, object]] = []
    names: set[str] = set()
    for case in all_cases():
        if case.name in names:
            raise SystemExit(f"two cases are named {case.name}")
        names.add(case.name)
        try:
            entries.append(record(case, graphs, tensors))
        except (tf.errors.OpError, ValueError, TypeError) as error:
            raise SystemExit(f"case {case.name}: {error}") from error
    index = json.dumps({"tensorflow": tf.__version__, "cases": entries}, separators=(",", ":")).encode()
    output.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(output, index=np.frombuffer(index, np.uint8), graphs=graphs.array(), tensors=tensors.array())
    size = output.stat().st_size
    print(f"{len(entries)} cases of TensorFlow {tf.__version__}: {size / 1e6:.2f} MB")
    if size > LIMIT:
        raise SystemExit(f"more than {LIMIT / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
