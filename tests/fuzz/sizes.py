"""Graphs of great depth and size, each in a process of its own: what happens, how long it takes, how much memory.

``PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python python -m fuzz.sizes NAME...`` prints a JSON object for each.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from google.protobuf.internal import api_implementation

from smalti.compiling.source import read_graph
from smalti.errors import DataError
from smalti.frontend.tensorflow.importer import import_graph

CHAIN, MANY = 100_000, 1_000_000


def field(number: int, body: bytes) -> bytes:
    """Return a protobuf field of bytes."""
    length, size = len(body), b""
    while True:
        size += bytes([length & 127 | (128 if length > 127 else 0)])
        length >>= 7
        if not length:
            return bytes([number << 3 | 2]) + size + body


def relu(name: bytes, source: bytes) -> bytes:
    """Return a node as it stands in a GraphDef."""
    return field(1, field(1, name) + field(2, b"Relu") + field(3, source))


def image() -> bytes:
    """Return a placeholder called ``n0``."""
    shape = b"".join(field(2, b"\x08" + size) for size in (b"\1", b"\x10", b"\x10", b"\3"))
    attrs = field(5, field(1, b"dtype") + field(2, b"\x30\1")) + field(
        5, field(1, b"shape") + field(2, field(7, shape))
    )
    return field(1, field(1, b"n0") + field(2, b"Placeholder") + attrs)


def nested() -> bytes:
    """Return 10,000 messages, one in another."""
    data = b""
    for _ in range(10_000):
        data = field(1, data)
    return data


def nested_lists() -> bytes:
    """Return a node whose attribute is a list of tensors... of fields that nobody knows, 10,000 deep."""
    data = b""
    for _ in range(10_000):
        data = field(2, field(1, data))
    return field(1, field(1, b"n") + field(2, b"Relu") + field(5, field(1, b"T") + data))


def chain() -> bytes:
    """Return 100,000 nodes, each reading the one before."""
    return image() + b"".join(relu(b"n%d" % (i + 1), b"n%d" % i) for i in range(CHAIN))


def many() -> bytes:
    """Return a million nodes without edges."""
    return image() + b"".join(relu(b"n%d" % (i + 1), b"n0") for i in range(MANY))


def long_name() -> bytes:
    """Return a node with a name of 1 MB."""
    return image() + relu(b"a" * (1 << 20), b"n0")


def long_input() -> bytes:
    """Return a node that reads a tensor with a name of 1 MB."""
    return image() + relu(b"a", b"n" * (1 << 20))


CASES: dict[str, Callable[[], bytes]] = {
    f.__name__: f for f in (nested, nested_lists, chain, many, long_name, long_input)
}


def sparse(folder: Path, size: int) -> Path:
    """Return a file of zeros that takes no room on disk."""
    path = folder / "large.pb"
    with path.open("wb") as file:
        file.truncate(size)
    return path


def measure(path: Path, backend: str) -> dict[str, object]:
    """Read and import a graph file; ``grown_mb`` is the largest resident size above that before."""
    before = resident()
    begin = time.process_time()
    try:
        outcome = f"imported {len(import_graph(read_graph(path).data).graph.nodes())} nodes"
    except DataError as error:
        outcome = f"{type(error).__name__}: {str(error)[:300]}"
    return {
        "backend": backend,
        "outcome": outcome,
        "seconds": round(time.process_time() - begin, 2),
        "file_mb": round(path.stat().st_size / 1e6, 1),
        "grown_mb": round((resident() - before) / 1e3, 1),
    }


def resident() -> int:
    """Return the largest resident size of this process so far, in kB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(names: list[str]) -> None:
    """Print the figures of each case, a JSON object a line."""
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            path = Path(folder) / "graph.pb"
            path.write_bytes(CASES[name]())
            sys.stdout.write(json.dumps(measure(path, api_implementation.Type())) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
