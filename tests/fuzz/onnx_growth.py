"""Small ONNX graphs that ask for much at the import or in a pass: each ends soon and in little memory.

Constants are the dangerous ones: what is computed of them is computed at build, so a node of 50 bytes can ask for 2^40
numbers, a power of 10^19 digits, or a table of 2^60 copies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import onnx_wire as w
from fuzz.onnx_graphs import F32, floats, graph, ints
from smalti.frontend.onnx.wire.types import AttrKind

HUGE, MAX, LAST = 1 << 40, 2**31 - 1, 2**63 - 1
IMAGE = (1, 4, 6, 8)


def one(op: str, reads: Sequence[str], opset: int = 17, more: Sequence[str] = (), **held: Any) -> bytes:
    """Return a graph of one node; what is no array is an attribute of it."""
    arrays = {name: value for name, value in held.items() if isinstance(value, np.ndarray | np.generic)}
    settings = {name: value for name, value in held.items() if name not in arrays}
    return graph(w.node(op, reads, ["y", *more], "bomb", **settings), sizes=IMAGE, opset=opset, **arrays)


def folded(*nodes: bytes, opset: int = 17, **held: Any) -> bytes:
    """Return a graph that adds a computed constant ``k`` to ``x``."""
    last = w.node("Add", ["x", "k"], ["y"], "last")
    return graph(*nodes, last, sizes=[1], opset=opset, **held)


def chain(op: str, count: int, *more: str, **held: Any) -> bytes:
    """Return a constant that goes through the same node many times, reading itself twice where there is no more."""
    settings = {"axis": 0} if op == "Concat" else {}
    nodes = [
        w.node(op, [f"k{i}", *(more or [f"k{i}"])], [f"k{i + 1}" if i < count - 1 else "k"], f"n{i}", **settings)
        for i in range(count)
    ]
    return folded(*nodes, **held)


def sizes(op: str, count: int) -> bytes:
    """Return a reshape to a size that is computed of the picture's by the same node many times."""
    nodes = [w.node("Size", ["x"], ["k0"])]
    nodes += [w.node(op, [f"k{i}", f"k{i}"], [f"k{i + 1}"], f"n{i}") for i in range(count)]
    nodes += [w.node("Unsqueeze", [f"k{count}", "zero"], ["shape"]), w.node("Expand", ["one", "shape"], ["e"])]
    return graph(*nodes, w.node("Add", ["x", "e"], ["y"]), zero=ints(0), one=floats(1), sizes=(1, 1, "h", "w"))


def branched(depth: int) -> bytes:
    """Return an ``If`` with an ``If`` in both branches, and so on: 2^depth graphs."""
    leaf = w.graph([w.node("Neg", ["x"], ["t"])], outputs=[w.value("t")])
    for _ in range(depth):
        both = [w.attribute(name, leaf, AttrKind.GRAPH) for name in ("then_branch", "else_branch")]
        leaf = w.graph([w.node("If", ["c"], ["t"], "if", fields=both)], outputs=[w.value("t")])
    both = [w.attribute(name, leaf, AttrKind.GRAPH) for name in ("then_branch", "else_branch")]
    return graph(w.node("If", ["c"], ["y"], "if", fields=both), sizes=[1], c=np.array(True))


def mutual() -> bytes:
    """Return two functions that call each other."""
    pair = [
        w.function(a, ["i"], ["o"], [w.node(b, ["i"], ["o"], domain="l")], domain="l")
        for a, b in (("F", "G"), ("G", "F"))
    ]
    nodes = [w.node("F", ["x"], ["y"], "n", "l")]
    return w.model(w.graph(nodes, [w.value("x", w.FLOAT, [1])], [w.value("y")]), {"": 17, "l": 1}, pair)


def negated(count: int) -> bytes:
    """Return a long chain of nodes that are computed at build."""
    nodes = [w.node("Neg", [f"k{i}"], [f"k{i + 1}" if i < count - 1 else "k"], f"n{i}") for i in range(count)]
    return folded(*nodes, k0=floats(1))


ACCEPTED = frozenset(
    (
        "gather a table by a table",
        "integers squared 60 times",
        "2^63 to the power of 2^63",
        "least number by -1",
        "outer product of 2^20",
        "table of 2^40 by broadcasting",
        "slice in steps of -2^63",
        "triangle of 2^63",
        "sampled at 2^30 places",
    )
)
"""Those that have a meaning, however large: what they compute is not kept in the file, but made when it runs."""
SMALL = ("integers squared 60 times", "2^63 to the power of 2^63", "least number by -1", "slice in steps of -2^63")
"""Accepted ones with results that fit into memory, so that they can be run."""
GROWTH: dict[str, Callable[[], bytes]] = {
    "expand a constant to 2^40": lambda: folded(w.node("Expand", ["c", "s"], ["k"], "b"), c=floats(1), s=ints(HUGE)),
    "expand to eight largest sizes": lambda: one("Expand", ["x", "s"], s=ints(*(MAX,) * 8)),
    "expand to a negative size": lambda: one("Expand", ["x", "s"], s=ints(-1, 4, 6, 8)),
    "tile a constant 2^40 times": lambda: folded(w.node("Tile", ["c", "s"], ["k"], "b"), c=floats(4), s=ints(HUGE)),
    "tile 2^62 times": lambda: one("Tile", ["x", "s"], s=ints(LAST, LAST, 1, 1)),
    "tile -1 times": lambda: one("Tile", ["x", "s"], s=ints(1, -1, 1, 1)),
    "zeros of 2^40": lambda: folded(w.node("ConstantOfShape", ["s"], ["k"], "b"), s=ints(HUGE)),
    "zeros of eight largest sizes": lambda: folded(w.node("ConstantOfShape", ["s"], ["k"], "b"), s=ints(*(MAX,) * 8)),
    "zeros of a negative size": lambda: folded(w.node("ConstantOfShape", ["s"], ["k"], "b"), s=ints(-4)),
    "zeros of rank 5000": lambda: folded(w.node("ConstantOfShape", ["s"], ["k"], "b"), s=np.ones(5000, np.int64)),
    "range to 2^62": lambda: folded(
        w.node("Range", ["a", "e", "d"], ["r"], "b"),
        w.node("Cast", ["r"], ["k"], to=1),
        a=np.int64(0),
        e=np.int64(1 << 62),
        d=np.int64(1),
    ),
    "range in steps of 0": lambda: folded(w.node("Range", ["a", "e", "a"], ["k"], "b"), a=F32(0), e=F32(9)),
    "range in the smallest steps": lambda: folded(
        w.node("Range", ["a", "e", "d"], ["k"], "b"), a=F32(0), e=F32(1e30), d=F32(1e-40)
    ),
    "range of NaN": lambda: folded(w.node("Range", ["a", "e", "d"], ["k"], "b"), a=F32(0), e=F32("nan"), d=F32(1)),
    "pad a constant by 2^40": lambda: folded(w.node("Pad", ["c", "s"], ["k"], "b"), c=floats(1), s=ints(0, HUGE)),
    "pad by the largest number": lambda: one("Pad", ["x", "s"], s=ints(0, 0, LAST, 0, 0, 0, LAST, 0)),
    "cut more than there is": lambda: one("Pad", ["x", "s"], s=ints(0, 0, -9, 0, 0, 0, -9, 0)),
    "reflect more than there is": lambda: one("Pad", ["x", "s"], s=ints(0, 0, HUGE, 0, 0, 0, 0, 0), mode="reflect"),
    "wrap 2^40 times": lambda: one("Pad", ["x", "s"], 19, s=ints(0, 0, HUGE, 0, 0, 0, 0, 0), mode="wrap"),
    "resize by 10^30": lambda: one("Resize", ["x", "", "s"], s=np.array([1, 1, 1e30, 1], F32), mode="linear"),
    "resize by 10^-30": lambda: one("Resize", ["x", "", "s"], s=np.array([1, 1, 1e-30, 1], F32), mode="linear"),
    "resize by NaN": lambda: one("Resize", ["x", "", "s"], s=np.array([1, 1, np.nan, np.inf], F32), mode="cubic"),
    "resize by a negative number": lambda: one("Resize", ["x", "", "s"], s=np.array([1, 1, -2, 1], F32)),
    "resize to 2^40": lambda: one("Resize", ["x", "", "", "s"], s=ints(1, 4, HUGE, HUGE), mode="cubic"),
    "resize to nothing": lambda: one("Resize", ["x", "", "", "s"], s=ints(1, 4, 0, 8)),
    "smooth by 2^30": lambda: one("Resize", ["x", "", "", "s"], 18, s=ints(1, 4, MAX, 1), mode="linear", antialias=1),
    "upsample by 10^12": lambda: one("Upsample", ["x", "s"], 9, s=np.array([1, 1, 1e12, 1e12], F32), mode="nearest"),
    "one hot of 2^40": lambda: folded(
        w.node("OneHot", ["i", "d", "v"], ["h"], "b"),
        w.node("ReduceSum", ["h"], ["k"]),
        i=ints(1, 2),
        d=np.int64(HUGE),
        v=floats(2),
    ),
    "one hot of -1": lambda: folded(
        w.node("OneHot", ["i", "d", "v"], ["k"], "b"), i=ints(1), d=np.int64(-1), v=floats(2)
    ),
    "top 2^40": lambda: one("TopK", ["x", "k"], more=["i"], k=ints(HUGE)),
    "top -1": lambda: one("TopK", ["x", "k"], more=["i"], k=ints(-1)),
    "gather number 2^62": lambda: one("Gather", ["x", "i"], i=ints(1 << 62), axis=1),
    "gather a table by a table": lambda: folded(
        w.node("Expand", ["z", "s"], ["i"]),
        w.node("Gather", ["t", "i"], ["k"], "b"),
        z=ints(0),
        s=ints(4096, 4096),
        t=floats(4096, 8),
    ),
    "gather that grows": lambda: chain("Gather", 30, "i", k0=floats(2, 2), i=np.zeros((2, 2), np.int64)),
    "concat doubled 60 times": lambda: chain("Concat", 60, k0=floats(4)),
    "tile doubled 60 times": lambda: chain("Tile", 60, "two", k0=floats(4), two=ints(2)),
    "integers squared 60 times": lambda: folded(
        *(w.node("Mul", [f"k{i}", f"k{i}"], [f"k{i + 1}"], f"n{i}") for i in range(60)),
        w.node("Cast", ["k60"], ["k"], to=1),
        k0=ints(3),
    ),
    "2^63 to the power of 2^63": lambda: folded(
        w.node("Pow", ["a", "a"], ["p"], "b"), w.node("Cast", ["p"], ["k"], to=1), a=ints(LAST)
    ),
    "shifted by 2^40": lambda: folded(
        w.node("BitShift", ["a", "b"], ["p"], "b", direction="LEFT"),
        w.node("Cast", ["p"], ["k"], to=1),
        a=np.array([1], np.uint32),
        b=np.array([MAX], np.uint32),
    ),
    "size squared 40 times": lambda: sizes("Mul", 40),
    "size added 70 times": lambda: sizes("Add", 70),
    "size to the power of itself": lambda: sizes("Pow", 4),
    "divided by zero": lambda: folded(
        w.node("Div", ["a", "z"], ["p"]), w.node("Cast", ["p"], ["k"], to=1), a=ints(9), z=ints(0)
    ),
    "remainder of zero": lambda: folded(
        w.node("Mod", ["a", "z"], ["p"]), w.node("Cast", ["p"], ["k"], to=1), a=ints(9), z=ints(0)
    ),
    "least number by -1": lambda: folded(
        w.node("Div", ["a", "z"], ["p"]), w.node("Cast", ["p"], ["k"], to=1), a=ints(-(2**63)), z=ints(-1)
    ),
    "outer product of 2^20": lambda: folded(
        w.node("Expand", ["o", "s"], ["c"]),
        w.node("MatMul", ["c", "c"], ["k"], "b"),
        o=floats(1, 1),
        s=ints(1 << 20, 1 << 20),
    ),
    "table of 2^40 by broadcasting": lambda: folded(
        w.node("Expand", ["o", "s"], ["c"]),
        w.node("Transpose", ["c"], ["t"]),
        w.node("Where", ["f", "c", "t"], ["k"], "b"),
        o=floats(1, 1),
        s=ints(1 << 20, 1),
        f=np.array(True),
    ),
    "identity of 2^20": lambda: folded(
        w.node("ConstantOfShape", ["s"], ["z"]), w.node("EyeLike", ["z"], ["k"], "b", dtype=1), s=ints(1 << 20, 1 << 20)
    ),
    "einsum of 26 letters": lambda: folded(
        w.node("Einsum", ["a"] * 26, ["k"], "b", equation=",".join("abcdefghijklmnopqrstuvwxyz") + "->abcdefgh"),
        a=floats(64),
    ),
    "reshape to 2^62": lambda: one("Reshape", ["x", "s"], s=ints(1 << 62, -1)),
    "reshape to rank 5000": lambda: one("Reshape", ["x", "s"], s=np.ones(5000, np.int64)),
    "5000 new axes": lambda: one("Unsqueeze", ["x", "a"], a=np.arange(5000)),
    "order of 5000 axes": lambda: one("Transpose", ["x"], perm=list(range(5000))),
    "sum over axis 2^62": lambda: one("ReduceSum", ["x", "a"], a=ints(1 << 62)),
    "slice in steps of 0": lambda: one("Slice", ["x", "a", "b", "c", "d"], a=ints(0), b=ints(4), c=ints(1), d=ints(0)),
    "slice in steps of -2^63": lambda: one(
        "Slice", ["x", "a", "b", "c", "d"], a=ints(LAST), b=ints(-LAST), c=ints(1), d=ints(-(2**63))
    ),
    "split into 2^31": lambda: one("Split", ["x"], 18, num_outputs=MAX),
    "split into 6000": lambda: one("Split", ["x"], 18, [f"p{i}" for i in range(6_000)], axis=3),
    "window of 2^31": lambda: one("MaxPool", ["x"], kernel_shape=[MAX, MAX], pads=[MAX] * 4),
    "pads of 2^62": lambda: one("AveragePool", ["x"], kernel_shape=[2, 2], pads=[1 << 62] * 4, count_include_pad=1),
    "dilation of 2^62": lambda: one("Conv", ["x", "k"], k=floats(4, 4, 2, 2), dilations=[1 << 62] * 2),
    "stride of 0": lambda: one("Conv", ["x", "k"], k=floats(4, 4, 2, 2), strides=[0, 0]),
    "group of 0": lambda: one("Conv", ["x", "k"], k=floats(4, 4, 2, 2), group=0),
    "transposed in strides of 2^40": lambda: one("ConvTranspose", ["x", "k"], k=floats(4, 4, 2, 2), strides=[HUGE] * 2),
    "transposed to 2^31": lambda: one("ConvTranspose", ["x", "k"], k=floats(4, 4, 2, 2), output_shape=[MAX, MAX]),
    "blocks of 2^31": lambda: one("DepthToSpace", ["x"], blocksize=MAX),
    "blocks of 0": lambda: one("SpaceToDepth", ["x"], blocksize=0),
    "centre of 2^40": lambda: one("CenterCropPad", ["x", "s"], 18, s=ints(HUGE, HUGE), axes=[2, 3]),
    "norm of 2^31 channels": lambda: one("LRN", ["x"], size=MAX),
    "power mean of 2^31": lambda: one("LpPool", ["x"], kernel_shape=[2, 2], p=MAX),
    "0 groups": lambda: one("GroupNormalization", ["x", "g", "g"], 18, g=floats(1), num_groups=0),
    "triangle of 2^63": lambda: one("Trilu", ["x", "k"], k=np.int64(LAST)),
    "sampled at 2^30 places": lambda: graph(
        w.node("Expand", ["o", "s"], ["g"]),
        w.node("GridSample", ["x", "g"], ["y"], "b"),
        sizes=IMAGE,
        o=floats(1, 1, 1, 2),
        s=ints(1, 32768, 32768, 2),
    ),
    "scattered into 2^40": lambda: folded(
        w.node("ConstantOfShape", ["s"], ["z"]),
        w.node("ScatterND", ["z", "i", "v"], ["k"], "b"),
        s=ints(HUGE),
        i=ints(0).reshape(1, 1),
        v=floats(1),
    ),
    "branches in branches": lambda: branched(12),
    "functions that call each other": mutual,
    "6000 constants of each other": lambda: negated(6_000),
}
