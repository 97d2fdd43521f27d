"""ONNX graphs whose operations a stranger changed: valid bytes, so that it is handlers and passes that meet the lies.

``fuzz.onnx_models`` changes any field, and most of its mutants end in the reader.  Here attributes, sizes, stored
values, types, inputs and operations are changed and nothing else, and the seeds have operations of every family.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

import onnx_wire as w
from fuzz.onnx_models import Item, Mutant, Spot, encoded, network, parsed, spots
from smalti.frontend.onnx.wire.messages import BYTES, MESSAGES, VARINT
from smalti.frontend.onnx.wire.types import AttrKind, OnnxType

GOLDEN = Path(__file__).parents[1] / "golden" / "onnx_node_cases.txt"
NUMBERS = (0, 1, -1, 2, -2, 3, 4, 5, 7, 8, 16, 31, 64, 255, 4096, 65536, 2**31 - 1, -(2**31), 2**31, 2**40, 2**63 - 1)
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 1e-40, 1e30, -1e30, float("nan"), float("inf"), -float("inf"))
TEXTS = ("linear", "cubic", "nearest", "SAME_UPPER", "SAME_LOWER", "VALID", "reflect", "edge", "wrap", "CRD", "mul", "")
EQUATIONS = ("ij,jk->ik", "...i,i->...", "ii->i", "i,i", "->", "ij", "ab,ab->", "...", "i" * 60)
F32 = np.float32


# -- seeds ------------------------------------------------------------------------------------------------------------


def graph(*nodes: bytes, sizes: Sequence[w.Size] = (1, 4, "h", "w"), opset: int = 17, **held: Any) -> bytes:
    """Return a model that makes ``y`` of ``x`` with stored arrays."""
    kept = [w.array(name, value) for name, value in held.items()]
    return w.model(w.graph(nodes, [w.value("x", w.FLOAT, sizes)], [w.value("y")], kept), {"": opset})


def called() -> bytes:
    """Return a model that calls a local function twice."""
    leaky = w.node("LeakyRelu", ["a"], ["b"], fields=[w.reference("alpha", "s", AttrKind.FLOAT)])
    made = w.function("F", ["a"], ["c"], [leaky, w.node("Add", ["a", "b"], ["c"])], ["s"])
    calls = [w.node("F", ["x"], ["m"], "one", "local", s=0.5), w.node("F", ["m"], ["y"], "two", "local", s=0.25)]
    return w.model(w.graph(calls, [w.value("x", w.FLOAT, [2, 3])], [w.value("y")]), {"": 17, "local": 1}, [made])


def ints(*values: int) -> Any:
    """Return an array of int64."""
    return np.array(values, np.int64)


def floats(*shape: int) -> Any:
    """Return weights."""
    return np.linspace(-1, 1, int(np.prod(shape)), dtype=F32).reshape(shape)


@lru_cache(maxsize=1)
def small_seeds() -> tuple[bytes, ...]:
    """Return a few small networks that have the operations of every family, made without the package onnx."""
    n, fixed = w.node, (1, 4, 6, 8)
    shaped = [n("Shape", ["x"], ["s"]), n("Slice", ["s", "two", "four"], ["hw"])]
    window = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    return (
        network(),
        called(),
        graph(
            n("Conv", ["x", "k", "b"], ["c"], "c", kernel_shape=[3, 3], dilations=[2, 2], pads=[2] * 4, group=2),
            n("PRelu", ["c", "slope"], ["p"]),
            n("MaxPool", ["p"], ["m"], "m", ceil_mode=1, **window),
            n("ConvTranspose", ["m", "t"], ["y"], "t", strides=[2, 2], output_padding=[1, 1], pads=[1, 1, 1, 1]),
            k=floats(6, 2, 3, 3),
            b=floats(6),
            slope=floats(6, 1, 1),
            t=floats(6, 2, 3, 3),
        ),
        graph(
            n("AveragePool", ["x"], ["a"], "a", count_include_pad=1, **window),
            n("LpPool", ["x"], ["l"], "l", p=2, **window),
            n("Add", ["a", "l"], ["s"]),
            n("GlobalAveragePool", ["s"], ["g"]),
            n("Mul", ["s", "g"], ["y"]),
        ),
        graph(
            *shaped,
            n("Resize", ["x", "", "scales"], ["r"], "r", mode="nearest"),
            n("Concat", ["b", "hw"], ["all"], axis=0),
            n(
                "Resize",
                ["r", "", "", "all"],
                ["y"],
                "back",
                mode="linear",
                coordinate_transformation_mode="asymmetric",
            ),
            two=ints(2),
            four=ints(4),
            b=ints(1, 4),
            scales=np.array([1, 1, 2, 2], F32),
        ),
        graph(
            n("Resize", ["x", "", "scales"], ["r"], "r", mode="cubic", cubic_coeff_a=-0.5),
            n("Resize", ["r", "", "", "all"], ["y"], "back", mode="linear", antialias=1),
            sizes=fixed,
            opset=18,
            all=ints(1, 4, 3, 5),
            scales=np.array([1, 1, 2, 0.5], F32),
        ),
        graph(
            n("Pad", ["x", "pads", "v"], ["p"], "p", mode="constant"),
            n("Pad", ["p", "more"], ["q"], "q", mode="reflect"),
            n("Slice", ["q", "from", "to", "axes", "steps"], ["s"], "s"),
            n("Transpose", ["s"], ["y"], perm=[0, 2, 3, 1]),
            pads=ints(0, 0, 1, 2, 0, 0, 3, 4),
            more=ints(0, 0, 1, 1, 0, 0, 1, 1),
            v=F32(0),
            to=ints(-1, 2**31 - 1),
            axes=ints(2, 3),
            steps=ints(2, 1),
            **{"from": ints(1, 0)},
        ),
        graph(
            n("Reshape", ["x", "shape"], ["r"], "r", allowzero=0),
            n("MatMul", ["r", "k"], ["m"], "m"),
            n("Gemm", ["flat", "k", "b"], ["g"], "g", alpha=0.5, transB=1),
            n("Flatten", ["m"], ["f"], axis=2),
            n("Squeeze", ["m", "zero"], ["flat"]),
            n("Einsum", ["m", "k"], ["e"], "e", equation="bij,jk->bik"),
            n("Softmax", ["e"], ["s"], axis=-1),
            n("Concat", ["s", "m"], ["y"], axis=1),
            n("Add", ["g", "f"], ["unread"]),
            sizes=fixed,
            shape=ints(0, 24, -1),
            k=floats(8, 8),
            b=floats(8),
            zero=ints(0),
        ),
        graph(
            n("Gather", ["x", "at"], ["g"], "g", axis=1),
            n("GatherElements", ["x", "each"], ["e"], "e", axis=3),
            n("GatherND", ["x", "nd"], ["d"], "d", batch_dims=1),
            n("ScatterND", ["x", "where", "new"], ["s"], "s", reduction="add"),
            n("ReduceMax", ["d"], ["top"], keepdims=0),
            n("Add", ["g", "s"], ["t"]),
            n("Add", ["t", "top"], ["u"]),
            n("ReduceSum", ["e", "axes"], ["v"], keepdims=1),
            n("Add", ["u", "v"], ["y"]),
            sizes=fixed,
            at=ints(0, 3, -1, 1),
            each=np.zeros((1, 4, 6, 2), np.int64),
            nd=ints(0, 1).reshape(1, 2),
            where=ints(0, 1, 2, 3).reshape(1, 4),
            new=floats(1),
            axes=ints(-1),
        ),
        graph(
            n("Split", ["x", "parts"], ["a", "b"], "split", axis=1),
            n("Tile", ["a", "times"], ["t"], "tile"),
            n("Expand", ["b", "big"], ["e"], "expand"),
            n("Concat", ["t", "e"], ["c"], axis=1),
            n("TopK", ["c", "k"], ["v", "i"], "top", axis=1, largest=1, sorted=1),
            n("OneHot", ["i", "depth", "onoff"], ["o"], "hot", axis=1),
            n("ReduceMean", ["o"], ["y"], "mean", axes=[1], keepdims=0),
            sizes=fixed,
            parts=ints(1, 3),
            times=ints(1, 3, 1, 1),
            big=ints(1, 1, 6, 8),
            k=ints(2),
            depth=np.int64(5),
            onoff=floats(2),
        ),
        graph(
            n("Range", ["zero", "end", "one"], ["r"], "range"),
            n("ConstantOfShape", ["cs"], ["z"], "fill", value=w.array("", [3], np.int64)),
            n("Add", ["r", "z"], ["a"]),
            n("Cast", ["a"], ["f"], to=1),
            n("CumSum", ["x", "axis"], ["c"], exclusive=1, reverse=1),
            n("Trilu", ["c"], ["tri"], upper=0),
            n("Mul", ["tri", "f"], ["y"]),
            sizes=fixed,
            zero=np.int64(0),
            end=np.int64(8),
            one=np.int64(1),
            cs=ints(8),
            axis=np.int64(3),
        ),
        graph(
            n("InstanceNormalization", ["x", "g", "g"], ["i"], epsilon=1e-5),
            n("LRN", ["i"], ["l"], size=3, alpha=1e-4),
            n("GroupNormalization", ["l", "h", "h"], ["gn"], num_groups=2),
            n("LayerNormalization", ["i", "last"], ["y"], axis=-1),
            sizes=fixed,
            g=floats(4),
            h=floats(2),
            last=floats(8),
        ),
        graph(
            n("DepthToSpace", ["x"], ["d"], "d", blocksize=2, mode="CRD"),
            n("SpaceToDepth", ["d"], ["s"], "s", blocksize=2),
            n("HardSigmoid", ["s"], ["h"], alpha=0.2),
            n("Clip", ["h", "lo", "hi"], ["c"]),
            n("Greater", ["c", "lo"], ["gt"]),
            n("Where", ["gt", "s", "c"], ["w"]),
            n("GridSample", ["w", "grid"], ["gs"], "grid", mode="bilinear", align_corners=1),
            n("ArgMax", ["gs"], ["a"], "a", axis=1, keepdims=0),
            n("Mod", ["a", "three"], ["y"]),
            sizes=fixed,
            lo=F32(0),
            hi=F32(6),
            grid=floats(1, 3, 3, 2),
            three=np.int64(3),
        ),
        graph(
            n("MaxUnpool", ["x", "i"], ["u"], "u", kernel_shape=[2, 2], strides=[2, 2]),
            n("Unsqueeze", ["u", "front"], ["f"]),
            n("Squeeze", ["f", "front"], ["q"]),
            n("CenterCropPad", ["q", "crop"], ["y"], "crop", axes=[2, 3]),
            sizes=fixed,
            opset=18,
            i=np.arange(0, 768, 4, dtype=np.int64).reshape(fixed),
            front=ints(0),
            crop=ints(4, 9),
        ),
        graph(
            n("Upsample", ["x", "scales"], ["y"], "up", mode="nearest"),
            opset=9,
            scales=np.array([1, 1, 2, 2], F32),
        ),
    )


@lru_cache(maxsize=1)
def suite_seeds() -> tuple[bytes, ...]:
    """Return the models of ONNX's own cases that this compiler takes, with all but the first operand stored."""
    from onnx_suite import node_cases  # noqa: PLC0415 - the cases take a while, and the package onnx

    forms = dict(line.partition(" ")[::2] for line in GOLDEN.read_text(encoding="utf-8").splitlines())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ONNX's own code divides by zero and overflows on purpose
        taken = [case for case in node_cases() if case.name in forms]
        return tuple(
            case.model("stored" if "stored" in forms[case.name] else "fed").SerializeToString() for case in taken
        )


def all_seeds() -> tuple[bytes, ...]:
    """Return the small networks and ONNX's cases."""
    return small_seeds() + suite_seeds()


# -- mutations --------------------------------------------------------------------------------------------------------


def mutant(seed: int, number: int, pool: Sequence[bytes]) -> Mutant:
    """Return a seed with one to three of its attributes, sizes, values, types, edges or operations changed."""
    rng = random.Random(f"onnx graph {seed} {number}")
    items = parsed(pool[number % len(pool)], "Model")
    what = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = spots(items, "Model")
        groups = [(change, found) for rule, change in CHANGES if (found := [p for p in places if rule(p)])]
        change, found = rng.choice(groups)
        what.append(change(rng, rng.choice(found), places))
    return Mutant(encoded(items), ", ".join(what))


Change = Callable[[random.Random, Spot, Sequence[Spot]], str]


def _field(spot: Spot) -> tuple[str, str]:
    number = spot.items[spot.index].number
    return spot.message, next((r.name for r in MESSAGES[spot.message] if r.number == number), "")


def _item(spot: Spot) -> Item:
    return spot.items[spot.index]


def _number(rng: random.Random, spot: Spot, places: Sequence[Spot]) -> str:
    """Change a number, or one of a packed list."""
    item = _item(spot)
    said = ".".join(_field(spot))
    if item.wire == VARINT:
        item.value = rng.choice((*NUMBERS, *range(12), int(item.value) + 1))
        return f"{said} = {item.value}"
    if not isinstance(item.value, bytes) or item.wire != BYTES:
        item.value = np.array([rng.choice(FLOATS)], F32).tobytes()
        return f"{said} = a float"
    numbers = [rng.choice(NUMBERS) for _ in range(rng.choice((0, 1, 2, 4, 9)))]
    item.value = b"".join(map(w.varint, numbers))
    return f"{said} = {numbers}"


def _count(rng: random.Random, spot: Spot, places: Sequence[Spot]) -> str:
    """Take a field away, or have it more often."""
    said = ".".join(_field(spot))
    if rng.random() < 0.5:
        del spot.items[spot.index]
        return f"no {said}"
    times = rng.choice((1, 1, 2, 7, 300))
    spot.items[spot.index : spot.index] = [_item(spot)] * times
    return f"{times} more {said}"


def _values(rng: random.Random, spot: Spot, places: Sequence[Spot]) -> str:
    """Change stored values, the type or the shape of a tensor that stays whole."""
    item = _item(spot)
    kind = next((int(i.value) for i in spot.items if i.number == 2 and i.wire == VARINT), 0)
    form = "<i8" if kind == OnnxType.INT64.value else "<i4" if kind == OnnxType.INT32.value else "<f4"
    data = bytes(item.value)  # type: ignore[arg-type]
    numbers = np.frombuffer(data[: len(data) // int(form[2]) * int(form[2])], form).copy()
    if not len(numbers):
        return "nothing to change"
    for _ in range(rng.choice((1, 1, len(numbers)))):
        drawn = rng.choice(FLOATS) if form == "<f4" else rng.choice(NUMBERS)
        at = rng.randrange(len(numbers))
        numbers[at] = drawn if form == "<f4" else (drawn if form == "<i8" else drawn % 2**32 - 2**31)
    if rng.random() < 0.3:
        # More values, and as many said: a longer list of sizes, axes, scales.
        times = rng.choice((2, 3, 40))
        numbers = np.tile(numbers, times)
        spot.items[:] = [i for i in spot.items if i.number != 1] + [Item(1, VARINT, len(numbers))]
    elif rng.random() < 0.2:
        numbers = numbers[:1]
        spot.items[:] = [i for i in spot.items if i.number != 1]
    item.value = numbers.tobytes()
    return f"values {numbers[:6].tolist()}"


def _kind(rng: random.Random, spot: Spot, places: Sequence[Spot]) -> str:
    item = _item(spot)
    item.value = rng.choice((1, 2, 3, 6, 7, 9, 10, 11, 12, 16))
    return f"type {item.value}"


def _version(rng: random.Random, spot: Spot, places: Sequence[Spot]) -> str:
    """Be of another version of the operators, most often one that is read."""
    item = _item(spot)
    item.value = rng.choice((*range(6, 29), *NUMBERS))
    return f"opset {item.value}"


def _text(rng: random.Random, spot: Spot, places: Sequence[Spot]) -> str:
    item = _item(spot)
    item.value = rng.choice((*TEXTS, *EQUATIONS)).encode()
    return f"text {item.value!r}"


def _edge(rng: random.Random, spot: Spot, places: Sequence[Spot]) -> str:
    """Read another tensor, or none."""
    named = [("Node", "input"), ("Node", "output"), ("Tensor", "name"), ("Value", "name")]
    names = [bytes(_item(p).value) for p in places if _field(p) in named]  # type: ignore[arg-type]
    item = _item(spot)
    item.value = rng.choice((*names, b""))
    return f"reads {item.value!r}"


def _operation(rng: random.Random, spot: Spot, places: Sequence[Spot]) -> str:
    """Be another operation of any seed, with the operands and attributes of this one."""
    item = _item(spot)
    item.value = rng.choice(operations())
    return f"is {item.value!r}"


def _attribute(rng: random.Random, spot: Spot, places: Sequence[Spot]) -> str:
    """Have an attribute that is known somewhere."""
    number = rng.choice((*NUMBERS, *range(6)))
    made: Any = rng.choice((number, [number], [number] * 2, [number] * 4, rng.choice(TEXTS), rng.choice(FLOATS)))
    name = rng.choice(attributes())
    spot.items.append(Item(5, BYTES, b"", "Attribute", parsed(w.attribute(name.decode("latin-1"), made), "Attribute")))
    return f"{name!r} = {made!r}"


@lru_cache(maxsize=1)
def operations() -> tuple[bytes, ...]:
    """Return the operations of the small seeds."""
    return _all_of(("Node", "op_type"))


@lru_cache(maxsize=1)
def attributes() -> tuple[bytes, ...]:
    """Return the names of the attributes of the small seeds."""
    return _all_of(("Attribute", "name"))


def _all_of(field: tuple[str, str]) -> tuple[bytes, ...]:
    found = {
        bytes(_item(spot).value)  # type: ignore[arg-type]
        for data in small_seeds()
        for spot in spots(parsed(data, "Model"), "Model")
        if _field(spot) == field
    }
    return tuple(sorted(found))


def _is(*fields: str) -> Callable[[Spot], bool]:
    return lambda spot: ".".join(_field(spot)) in fields


CHANGES: tuple[tuple[Callable[[Spot], bool], Change], ...] = (
    (_is("Attribute.i", "Attribute.ints", "Attribute.f", "Attribute.floats"), _number),
    (_is("Attribute.i", "Attribute.ints", "Attribute.f"), _number),
    (_is("Attribute.s"), _text),
    (_is("Attribute.ints", "Attribute.floats", "Node.attribute", "Node.input", "Node.output"), _count),
    (_is("Tensor.raw_data"), _values),
    (_is("Tensor.raw_data"), _values),
    (_is("Tensor.dims", "Dim.dim_value", "Tensor.int64_data"), _number),
    (_is("Shape.dim", "Tensor.dims", "Dim.dim_value", "TensorType.shape"), _count),
    (_is("Tensor.data_type", "TensorType.elem_type"), _kind),
    (_is("Node.input"), _edge),
    (_is("Node.op_type"), _operation),
    (_is("Node.op_type"), _attribute),
    (_is("Opset.version"), _version),
)
