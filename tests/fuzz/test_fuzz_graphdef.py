"""Mutated graphs: every outcome is a graph or an error of our own tree, soon and in bounded memory."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import numpy as np
import pytest

from graph_builder import GraphBuilder
from smalti.errors import DataError, UsageError
from smalti.frontend.graphdef import GraphDef
from smalti.frontend.importer import ImportOptions, import_graph
from smalti.ir.graph import Level
from smalti.ir.verify import verify
from tf_vectors import vectors

SECONDS_EACH = 5.0
OPTIONS = ImportOptions(max_constant_bytes=1 << 24)
NASTY = (0, 1, -1, 2, 3, 7, 255, 256, 65535, 65536, 2**31 - 1, 2**31, -(2**31), 2**32, 2**62, 2**63 - 1, -(2**63))
NAMES = (b"", b"x", b"x:1", b"x:9", b"^x", b"y", b"missing", b"missing:0", b"\xff", b":", b"x:", b"a" * 5000)
OPS = (b"", b"Relu", b"Const", b"Merge", b"Switch", b"Placeholder", b"StridedSlice", b"Reshape", b"Conv2D", b"Mystery")


def deeplab_like() -> bytes:
    """A small graph with the shape arithmetic of a DeepLab export."""
    i32 = np.int32
    b = GraphBuilder().placeholder("x", np.uint8, [1, None, None, 3]).node("Cast", "f", ["x"], DstT=np.float32)
    b.node("Shape", "s", ["f"], T=np.float32, out_type=i32).const("c", [1, 33, 33, 3], i32).const("zero", 0, i32)
    b.node("Sub", "d", ["c", "s"], T=i32).node("Maximum", "m", ["d", "zero"], T=i32).const("z", [0] * 4, i32)
    b.node("Pack", "p", ["z", "m"], T=i32, N=2, axis=1).node("Pad", "padded", ["f", "p"], T=np.float32, Tpaddings=i32)
    b.const("w", np.ones((3, 3, 3, 4), np.float32)).const("d1", np.ones((3, 3, 4, 1), np.float32))
    b.node("Conv2D", "conv", ["padded", "w"], T=np.float32, strides=[1, 2, 2, 1], padding="SAME")
    for name, value in (("block", [2, 2]), ("pads", [[2, 3], [2, 3]]), ("crops", [[0, 1], [0, 1]]), ("axis", 3)):
        b.const(name, value, i32)
    b.node("SpaceToBatchND", "s2b", ["conv", "block", "pads"])
    b.node("DepthwiseConv2dNative", "dw", ["s2b", "d1"], strides=[1] * 4, padding="VALID")
    b.node("BatchToSpaceND", "b2s", ["dw", "block", "crops"]).const("size", [33, 33], i32)
    b.node("ResizeBilinear", "resized", ["b2s", "size"], align_corners=True)
    b.node("ArgMax", "labels", ["resized", "axis"], output_type=np.int64)
    for name, value in (("one", [1]), ("three", [3]), ("b3", [0, 0, 0])):
        b.const(name, value, i32)
    b.node("StridedSlice", "hw", ["s", "one", "three", "one"], begin_mask=0, end_mask=0, shrink_axis_mask=0)
    b.node("Concat", "cut", ["zero", "one", "hw"], N=2).node("Slice", "y", ["labels", "b3", "cut"])
    return b.bytes()


def seeds() -> list[bytes]:
    """Return the seeds: the graph above and one recorded graph of every family."""
    families: dict[str, bytes] = {}
    for vector in vectors():
        families.setdefault(vector.name.split("/")[0], vector.graph)
    return [deeplab_like(), *(families[name] for name in sorted(families))]


def flip(rng: random.Random, data: bytearray, pool: list[bytes]) -> bytes:
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def cut(rng: random.Random, data: bytearray, pool: list[bytes]) -> bytes:
    return bytes(data[: rng.randrange(len(data))])


def splice(rng: random.Random, data: bytearray, pool: list[bytes]) -> bytes:
    other = rng.choice(pool)
    start, end = sorted(rng.randrange(len(other)) for _ in range(2))
    at = rng.randrange(len(data))
    return bytes(data[:at]) + other[start:end] + bytes(data[at:])


def blow_up(rng: random.Random, data: bytearray, pool: list[bytes]) -> bytes:
    at = rng.randrange(len(data))
    data[at : at + 1] = b"\xff" * rng.randint(1, 9) + b"\x01"
    return bytes(data)


def restructure(rng: random.Random, data: bytearray, pool: list[bytes]) -> bytes:
    """Replace one field of the parsed graph by a nasty value."""
    graph = GraphDef()
    graph.ParseFromString(bytes(data))
    for _ in range(rng.randint(1, 3)):
        node = rng.choice(graph.node)
        choice = rng.randrange(6)
        if choice == 0 and node.input:
            names = (*NAMES, *(n.name for n in graph.node))
            node.input[rng.randrange(len(node.input))] = rng.choice(names)
        elif choice == 1:
            node.op = rng.choice((*OPS, *(n.op for n in graph.node)))
        elif choice == 2 and node.input:
            del node.input[rng.randrange(len(node.input))]
        elif choice == 3 and node.attr:
            del node.attr[rng.randrange(len(node.attr))]
        elif node.attr:
            _spoil(rng, rng.choice(node.attr).value)
    return bytes(graph.SerializeToString())


def _spoil(rng: random.Random, value: object) -> None:
    number = rng.choice(NASTY)
    for name in ("tensor", "shape", "list", "i", "type", "s", "b", "f"):
        if not value.HasField(name):  # type: ignore[attr-defined]
            continue
        field = getattr(value, name)
        if name == "tensor":
            sizes = field.tensor_shape.dim
            kind = rng.randrange(4)
            if kind == 0 and sizes:
                rng.choice(sizes).size = number
            elif kind == 1:
                field.dtype = rng.randrange(30)
            elif kind == 2:
                field.tensor_content = bytes(rng.randrange(256) for _ in range(len(field.tensor_content)))
            else:
                field.tensor_content = np.array([number], np.int64).tobytes()[: rng.choice((4, 8))]
        elif name == "shape" and field.dim:
            rng.choice(field.dim).size = number
        elif name == "list" and field.i:
            field.i[rng.randrange(len(field.i))] = number
        elif name == "i":
            value.i = number  # type: ignore[attr-defined]
        elif name == "type":
            value.type = rng.randrange(30)  # type: ignore[attr-defined]
        elif name == "s":
            value.s = rng.choice((b"", b"SAME", b"VALID", b"EXPLICIT", b"NCHW", b"\xff"))  # type: ignore[attr-defined]
        elif name == "f":
            value.f = rng.choice((0.0, -1.0, float("nan"), float("inf"), 1e30))  # type: ignore[attr-defined]
        return


Mutation = Callable[[random.Random, bytearray, list[bytes]], bytes]
MUTATIONS: tuple[Mutation, ...] = (flip, cut, splice, blow_up, restructure)


def attempt(data: bytes, label: str) -> str:
    """Import; return how it ended.  Anything but our own errors goes up with the label."""
    begin = time.process_time()
    try:
        verify(import_graph(data, OPTIONS).graph, Level.IMPORTED)
        outcome = "imported"
    except (DataError, UsageError) as error:
        outcome = type(error).__name__
    except BaseException as error:
        error.add_note(label) if hasattr(error, "add_note") else None
        raise
    assert time.process_time() - begin < SECONDS_EACH, label
    return outcome


def run_fuzz(count: int, seed: int) -> dict[str, int]:
    """Import ``count`` mutants; return how many ended in which way."""
    pool = seeds()
    outcomes: dict[str, int] = {}
    for i in range(count):
        rng = random.Random(seed * 1_000_003 + i)
        mutation = MUTATIONS[i % len(MUTATIONS)]
        data = mutation(rng, bytearray(pool[0] if i % 4 == 0 else rng.choice(pool)), pool)
        outcome = attempt(data, f"repeat with run_fuzz seed={seed} i={i} ({mutation.__name__})")
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    return outcomes


def test_the_seeds_import() -> None:
    assert [attempt(data, str(i)) for i, data in enumerate(seeds())].count("imported") >= len(seeds()) - 2


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_mutated_graphs(seed: int) -> None:
    outcomes = run_fuzz(500, seed)
    assert outcomes.get("GraphError", 0) > 50, outcomes
    assert outcomes.get("imported", 0) > 10, outcomes
