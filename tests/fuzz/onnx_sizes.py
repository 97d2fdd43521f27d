"""ONNX models of great depth and size, each in a process of its own: what happens, how long it takes, how much memory.

``PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python python -m fuzz.onnx_sizes NAME...`` prints a JSON object for each.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from google.protobuf.internal import api_implementation

import onnx_wire as w
from fuzz.sizes import resident
from smalti.errors import DataError
from smalti.frontend.onnx.constants import constant_value
from smalti.frontend.onnx.reader import read_model

CHAIN, MANY = 100_000, 1_000_000
X, Y = w.body(11, w.value("x", w.FLOAT, [1])), w.body(12, w.value("y"))


def wrapped(*parts: bytes) -> bytes:
    """Return a model of a graph that is made of parts."""
    return w.model(b"".join((*parts, X, Y)))


def nested_graphs() -> bytes:
    """Return 10,000 graphs, each in an attribute of a node of the one before."""
    data = b""
    for _ in range(10_000):
        data = w.body(1, w.body(4, "If") + w.body(5, w.body(1, "a") + w.body(6, data) + w.number(20, 5)))
    return wrapped(data)


def nested_types() -> bytes:
    """Return an input that is a sequence of sequences..., 10,000 deep."""
    data = w.body(1, w.number(1, 1))
    for _ in range(10_000):
        data = w.body(4, w.body(1, data))
    return w.model(w.graph([w.node("Relu", ["x"], ["y"])], [w.value("x", other=data)], [w.value("y")]))


def nested_unknown() -> bytes:
    """Return fields that nobody knows, 10,000 deep."""
    data = b""
    for _ in range(10_000):
        data = w.body(99, data)
    return w.network(w.node("Relu", ["x"], ["y"])) + data


def nested_groups() -> bytes:
    """Return groups in groups, an old form of messages."""
    return w.network(w.node("Relu", ["x"], ["y"])) + b"\x9b\x06" * 10_000 + b"\x9c\x06" * 10_000


def chain() -> bytes:
    """Return 100,000 nodes, each reading the one before."""
    nodes = [w.body(1, w.node("Relu", [f"t{i}" if i else "x"], [f"t{i + 1}"])) for i in range(CHAIN)]
    return w.model(b"".join((*nodes, X, w.body(12, w.value(f"t{CHAIN}")))))


def backwards() -> bytes:
    """Return the same from the last to the first."""
    nodes = [w.body(1, w.node("Relu", [f"t{i}" if i else "x"], [f"t{i + 1}"])) for i in reversed(range(CHAIN))]
    return w.model(b"".join((*nodes, X, w.body(12, w.value(f"t{CHAIN}")))))


def many() -> bytes:
    """Return a million nodes without edges."""
    return wrapped(w.body(1, w.node("Relu", ["x"], [""])) * MANY, w.body(1, w.node("Relu", ["x"], ["y"])))


def many_tensors() -> bytes:
    """Return a million initialisers."""
    return wrapped(w.body(5, w.tensor("k", w.FLOAT, (1,), w.raw(bytes(4)))) * MANY)


def many_inputs() -> bytes:
    """Return a million inputs."""
    return wrapped(w.body(11, w.value("q", w.FLOAT, [1])) * MANY)


def many_empty() -> bytes:
    """Return sixteen million empty messages of two bytes each: a parser makes fifty times as much of them."""
    return wrapped(w.body(5, b"") * 16 * MANY)


def many_ints() -> bytes:
    """Return an attribute that lists sixteen million numbers of a byte each."""
    held = w.body(1, "a") + w.body(8, b"\1" * 16 * MANY) + w.number(20, 7)
    return w.network(w.node("Relu", ["x"], ["y"], "n", fields=[held]))


def many_dims() -> bytes:
    """Return a tensor with sixteen million dimensions."""
    return w.network(
        w.node("Relu", ["x"], ["y"]), initialisers=[w.body(1, b"\1" * 16 * MANY) + w.number(2, 1) + w.body(8, "k")]
    )


def long_list() -> bytes:
    """Return a tensor of sixteen million numbers that are packed into a byte each."""
    return w.network(
        w.node("Relu", ["x"], ["y"]),
        initialisers=[w.tensor("k", w.INT64, (16 * MANY,), w.body(7, b"\1" * 16 * MANY))],
    )


def long_name() -> bytes:
    """Return a node that makes a tensor with a name of 1 MB."""
    return w.network(w.node("Relu", ["x"], ["n" * (1 << 20)], "n"))


def long_documentation() -> bytes:
    """Return 64 MB of documentation, which is nobody's business."""
    return w.network(w.node("Relu", ["x"], ["y"])) + w.body(6, b"w" * (64 << 20))


def unknown_fields() -> bytes:
    """Return sixteen million fields that nobody knows."""
    return w.network(w.node("Relu", ["x"], ["y"])) + w.number(15, 1) * 16 * MANY


def tower() -> bytes:
    """Return 3,000 functions that call each other."""
    made = [
        w.function(f"F{i}", ["a"], ["b"], [w.node(f"F{i + 1}", ["a"], ["b"], domain="l")], domain="l")
        for i in range(3000)
    ]
    made.append(w.function("F3000", ["a"], ["b"], [w.node("Neg", ["a"], ["b"])], domain="l"))
    nodes = [w.node("F0", ["x"], ["y"], "n", "l")]
    return w.model(w.graph(nodes, [w.value("x", w.FLOAT, [1])], [w.value("y")]), {"": 17, "l": 1}, made)


CASES: dict[str, Callable[[], bytes]] = {
    f.__name__: f
    for f in (
        nested_graphs,
        nested_types,
        nested_unknown,
        nested_groups,
        chain,
        backwards,
        many,
        many_tensors,
        many_inputs,
        many_empty,
        many_ints,
        many_dims,
        long_list,
        long_name,
        long_documentation,
        unknown_fields,
        tower,
    )
}


def measure(path: Path) -> dict[str, object]:
    """Read a model and its constants; ``grown_mb`` is the largest resident size above that before."""
    before = resident()
    begin = time.process_time()
    try:
        graph = read_model(path)
        constants = [n for n in graph.nodes if n.op == "Constant"]
        values = sum(constant_value(graph.attributes(n), 1 << 30, 1 << 20).array.nbytes for n in constants)
        outcome = f"read {len(graph.nodes)} nodes and {values} bytes"
    except DataError as error:
        outcome = f"{type(error).__name__}: {str(error)[:300]}"
    return {
        "backend": api_implementation.Type(),
        "outcome": outcome,
        "seconds": round(time.process_time() - begin, 2),
        "file_mb": round(path.stat().st_size / 1e6, 1),
        "grown_mb": round((resident() - before) / 1e3, 1),
    }


def main(names: list[str]) -> None:
    """Print the figures of a case, a JSON object; one case for each process, for a file is made in it as well."""
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            path = Path(folder) / "net.onnx"
            path.write_bytes(CASES[name]())
            sys.stdout.write(json.dumps(measure(path)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
