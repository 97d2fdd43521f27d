"""Graphs as a stranger might send them: seeds, mutations of their bytes and of their structure.

Every mutant is a function of two numbers, so one line repeats it: ``byte_mutant(seed, number)``.
"""

from __future__ import annotations

import math
import random
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

import small_segmenter
import smalti
from graph_builder import GraphBuilder
from smalti.artifact.writer import model_chunks
from smalti.compiler import CompileOptions, compile_graph
from smalti.compiling.source import graph_file, import_file
from smalti.demo import dataset
from smalti.errors import GraphError
from smalti.frontend.importing.importer import ImportOptions
from smalti.frontend.tensorflow.graphdef import GraphDef
from smalti.ir import ops
from smalti.ir.graph import Graph
from smalti.ir.sizes import evaluate, symbols_of
from smalti.numerics import DType
from smalti.quant.modes import QuantMode, QuantOptions
from smalti.target.host import resolve_targets
from tf_vectors import vectors

NUMBERS = (0, 1, -1, 2, 3, 7, 255, 256, 65535, 65536, 2**31 - 1, 2**31, -(2**31), 2**32, 2**62, 2**63 - 1, -(2**63))
NAMES = (b"", b"x", b"x:1", b"x:9", b"^x", b"y", b"missing", b"missing:0", b"\xff", b":", b"x:", b"a" * 5000)
OPS = (b"", b"Relu", b"Const", b"Merge", b"Switch", b"Placeholder", b"StridedSlice", b"Reshape", b"Conv2D", b"Mystery")
TEXTS = (b"", b"SAME", b"VALID", b"EXPLICIT", b"NCHW", b"NHWC", b"\xff", b"x" * 3000)
SIDE, MAX_WORK = 9, 1 << 24
WEIGHTED = (ops.Conv2d, ops.MatMul)
FLOATS = (0.0, -0.0, -1.0, float("nan"), float("inf"), -float("inf"), 1e30, 1e-40)


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


@lru_cache(maxsize=1)
def seeds() -> tuple[bytes, ...]:
    """Return the seeds that compile in a moment: three networks and one recorded graph of every family."""
    families: dict[str, bytes] = {}
    for vector in vectors():
        families.setdefault(vector.name.split("/")[0], vector.graph)
    networks = (deeplab_like(), small_segmenter.network(), dataset.graph_bytes())
    return (*networks, *(families[name] for name in sorted(families)))


# -- mutations of bytes ------------------------------------------------------------------------------------------------


def flip(rng: random.Random, data: bytearray, pool: Sequence[bytes]) -> bytes:
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def cut(rng: random.Random, data: bytearray, pool: Sequence[bytes]) -> bytes:
    return bytes(data[: rng.randrange(len(data))])


def splice(rng: random.Random, data: bytearray, pool: Sequence[bytes]) -> bytes:
    other = rng.choice(pool)
    start, end = sorted(rng.randrange(len(other)) for _ in range(2))
    at = rng.randrange(len(data))
    return bytes(data[:at]) + other[start:end] + bytes(data[at:])


def blow_up(rng: random.Random, data: bytearray, pool: Sequence[bytes]) -> bytes:
    at = rng.randrange(len(data))
    data[at : at + 1] = b"\xff" * rng.randint(1, 9) + b"\x01"
    return bytes(data)


BYTES: tuple[Callable[[random.Random, bytearray, Sequence[bytes]], bytes], ...] = (flip, cut, splice, blow_up)


def byte_mutant(seed: int, number: int, pool: Sequence[bytes] | None = None) -> bytes:
    """Return a seed with its bytes changed; the four kinds take turns."""
    pool = pool or seeds()
    rng = random.Random(f"bytes {seed} {number}")
    data = pool[number // 4 % min(3, len(pool))] if number % 8 < 4 else rng.choice(pool)
    return BYTES[number % 4](rng, bytearray(data), pool)


# -- mutations of the structure ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Structured:
    """A mutant, the node that was changed (its name in the mutant) and, if one was, the attribute."""

    data: bytes
    what: str
    node: str
    attribute: str | None = None


def structured_mutant(seed: int, number: int, pool: Sequence[bytes] | None = None) -> Structured:
    """Return a seed with one field of one node replaced by a nasty value."""
    pool = pool or seeds()
    rng = random.Random(f"structure {seed} {number}")
    graph = GraphDef()
    graph.ParseFromString(pool[0] if number % 3 == 0 else rng.choice(pool))
    while True:
        node = rng.choice(graph.node)
        change = rng.choice(CHANGES)
        found = change(rng, graph, node)
        if found is not None:
            what, attribute = found
            name = node.name.decode("utf-8", "replace")
            return Structured(bytes(graph.SerializeToString()), what, name, attribute)


Change = Callable[[random.Random, Any, Any], tuple[str, str | None] | None]


def _input(rng: random.Random, graph: Any, node: Any) -> tuple[str, str | None] | None:
    if not node.input:
        return None
    at = rng.randrange(len(node.input))
    node.input[at] = rng.choice((*NAMES, *(n.name for n in graph.node)))
    return f"input {at} = {bytes(node.input[at])[:40]!r}", None


def _dangling(rng: random.Random, graph: Any, node: Any) -> tuple[str, str | None] | None:
    if not node.input:
        return None
    at = rng.randrange(len(node.input))
    node.input[at] = node.input[at].split(b":")[0] + rng.choice((b":9", b":1", b":65535", b":65536", b":-1", b":00000"))
    return f"input {at} = {bytes(node.input[at])[:40]!r}", None


def _self_loop(rng: random.Random, graph: Any, node: Any) -> tuple[str, str | None] | None:
    if not node.input:
        return None
    node.input[rng.randrange(len(node.input))] = node.name
    return "self loop", None


def _cycle(rng: random.Random, graph: Any, node: Any) -> tuple[str, str | None] | None:
    readers = [n for n in graph.node if node.name in n.input]
    if not readers or not node.input:
        return None
    node.input[rng.randrange(len(node.input))] = rng.choice(readers).name
    return "cycle", None


def _control(rng: random.Random, graph: Any, node: Any) -> tuple[str, str | None] | None:
    node.input.append(b"^" + rng.choice((*NAMES, node.name, *(n.name for n in graph.node))))
    return f"control input {bytes(node.input[-1])[:40]!r}", None


def _duplicate(rng: random.Random, graph: Any, node: Any) -> tuple[str, str | None] | None:
    graph.node.add().CopyFrom(node)
    return "the node stands there twice", None


def _rename(rng: random.Random, graph: Any, node: Any) -> tuple[str, str | None] | None:
    node.name = rng.choice((b"", b"\xff\xfe", b"a\nb", b"n" * 5000, b"^c", b"a:0", rng.choice(graph.node).name))
    return f"name = {bytes(node.name)[:40]!r}", None


def _operation(rng: random.Random, graph: Any, node: Any) -> tuple[str, str | None] | None:
    node.op = rng.choice((*OPS, *(n.op for n in graph.node)))
    return f"operation = {bytes(node.op)[:40]!r}", None


def _without_input(rng: random.Random, graph: Any, node: Any) -> tuple[str, str | None] | None:
    if not node.input:
        return None
    del node.input[rng.randrange(len(node.input))]
    return "an input less", None


def _without_attribute(rng: random.Random, graph: Any, node: Any) -> tuple[str, str | None] | None:
    if not node.attr:
        return None
    at = rng.randrange(len(node.attr))
    key = bytes(node.attr[at].key).decode()
    del node.attr[at]
    return f"attribute {key} is missing", key


def _attribute(rng: random.Random, graph: Any, node: Any) -> tuple[str, str | None] | None:
    if not node.attr:
        return None
    entry = rng.choice(node.attr)
    key = bytes(entry.key).decode()
    return f"attribute {key}: {_spoil(rng, entry.value)}", key


def _other_kind(rng: random.Random, graph: Any, node: Any) -> tuple[str, str | None] | None:
    if not node.attr:
        return None
    entry = rng.choice(node.attr)
    entry.value.CopyFrom(rng.choice(rng.choice([n for n in graph.node if n.attr]).attr).value)
    key = bytes(entry.key).decode()
    return f"attribute {key} has another's value", key


CHANGES: tuple[Change, ...] = (
    *(_attribute,) * 6,
    *(_other_kind,) * 2,
    _without_attribute,
    _input,
    _dangling,
    _self_loop,
    _cycle,
    _control,
    _duplicate,
    _rename,
    _operation,
    _without_input,
)


def _spoil(rng: random.Random, value: Any) -> str:
    number = rng.choice(NUMBERS)
    name = next((n for n in ("tensor", "shape", "list", "i", "type", "s", "b", "f") if value.HasField(n)), None)
    if name == "tensor":
        return _spoil_tensor(rng, value.tensor, number)
    if name == "shape":
        return _spoil_shape(rng, value.shape, number)
    if name == "list":
        return _spoil_list(rng, value.list.i, number)
    if name == "i":
        value.i = number
    elif name == "type":
        value.type = number = rng.choice((*range(30), 101, 104, 2**31 - 1, -1))
    elif name == "s":
        value.s = rng.choice(TEXTS)
        return repr(bytes(value.s)[:20])
    elif name == "f":
        value.f = rng.choice(FLOATS)
        return str(value.f)
    else:
        value.b = not value.b
        return str(value.b)
    return str(number)


def _spoil_list(rng: random.Random, numbers: Any, number: int) -> str:
    kind = rng.randrange(4)
    if kind == 0 or not numbers:
        numbers.extend([number] * rng.choice((1, 4, 5000)))
    elif kind == 1:
        del numbers[rng.randrange(len(numbers)) :]
    else:
        numbers[rng.randrange(len(numbers))] = number
    return f"{list(numbers[:6])} ({len(numbers)})"


def _spoil_shape(rng: random.Random, shape: Any, number: int) -> str:
    kind = rng.randrange(4)
    if kind == 0:
        shape.unknown_rank = True
        return "no rank"
    if kind == 1:
        for _ in range(rng.choice((1, 9, 254))):
            shape.dim.add(size=number)
    elif kind == 2 and shape.dim:
        del shape.dim[rng.randrange(len(shape.dim)) :]
    elif shape.dim:
        rng.choice(shape.dim).size = number
    return f"shape {[d.size for d in shape.dim][:6]}"


def _spoil_tensor(rng: random.Random, tensor: Any, number: int) -> str:
    kind = rng.randrange(6)
    if kind == 0:
        return _spoil_shape(rng, tensor.tensor_shape, number)
    if kind == 1:
        tensor.dtype = rng.choice((*range(30), 101, -1))
        return f"dtype {tensor.dtype}"
    if kind == 2:
        tensor.tensor_content = rng.randbytes(len(tensor.tensor_content))
        return "random content"
    if kind == 3:
        width = rng.choice((4, 8))
        old = len(tensor.tensor_content)
        tensor.tensor_content = (np.array([number], np.int64).tobytes()[:width] * (old // width + 1))[:old]
        return f"content of {number}"
    if kind == 4:
        tensor.ClearField("tensor_content")
        return "no content"
    tensor.tensor_content += bytes(rng.choice((1, 4, 64)))
    return f"content of {len(tensor.tensor_content)} bytes"


def is_located(mutant: Structured, outcome: str) -> bool:
    """Whether a refusal names a node of the graph, and the attribute where the node is the one that was changed."""
    message = GraphDef()
    message.ParseFromString(mutant.data)
    names = {node.name.decode("utf-8", "replace") for node in message.node} - {""}
    if re.search(r"node number \d+", outcome):
        return True
    if not any(_names(name, outcome) for name in names):
        return False
    return mutant.attribute is None or not _names(mutant.node, outcome) or mutant.attribute in outcome


def _names(name: str, text: str) -> bool:
    return repr(name) in text or f" {name}: " in text


# -- compiling and running a mutant ------------------------------------------------------------------------------------


MODES = (QuantMode.FORCE_FLOAT32, QuantMode.FORCE_FLOAT16, QuantMode.FORCE_BFLOAT16)


def compile_and_run(data: bytes, mode: QuantMode = QuantMode.FORCE_FLOAT32) -> str:
    """Do all that ``build`` and ``infer`` do, with random pictures of a small size."""
    model = compile_graph(data, CompileOptions(targets=resolve_targets("native"), quant=QuantOptions(mode)))
    graph = import_file(graph_file(data), ImportOptions()).graph
    sizes = {
        s.name: max(s.low, min(s.high or SIDE, SIDE)) for n in graph.inputs for d in n.type.shape for s in symbols_of(d)
    }
    if work(graph, sizes) > MAX_WORK:
        return "compiled only"
    rng = np.random.default_rng(1)
    feed = {n.name: picture(rng, n.type.dtype, tuple(evaluate(d, sizes) for d in n.type.shape)) for n in graph.inputs}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.smalti"
        path.write_bytes(b"".join(model_chunks(model.manifest, model.constants, model.code)))
        with smalti.load(path, threads=1) as engine:
            found = engine.run(feed)
    return "ran: " + ", ".join(f"{v.dtype}{list(v.shape)}" for v in found.values())


def work(graph: Graph, sizes: Mapping[str, int]) -> int:
    """Return about how many elements are computed in one run, for a limit of what is worth running."""
    total = 0
    for node in graph.nodes():
        try:
            elements = math.prod(evaluate(size, sizes) for size in node.type.shape)
        except GraphError:  # a size with no meaning for these pictures: the engine refuses them
            return 0
        taps = math.prod(s for s in node.inputs[1].type.shape if isinstance(s, int)) if len(node.inputs) > 1 else 1
        total += elements * (taps if isinstance(node.op, WEIGHTED) else 1)
    return total


def picture(rng: np.random.Generator, dtype: DType, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Return random values of any type."""
    if dtype.is_float:
        return rng.normal(0, 100, shape).astype(dtype.numpy)
    return rng.integers(0, 2 if dtype is DType.BOOL else 100, shape).astype(dtype.numpy)
