"""ONNX's data movement through passes, plan and machine code, of fixed and of open sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.harness import compile_graph, run_compiled
from smalti.ir.reference import run
from smalti.kernels.registry import FUSED, KERNELS
from smalti.passes.pipeline import run_pipeline
from smalti.target.host import resolve_target
from tolerance import Tol, assert_close

onnx = pytest.importorskip("onnx", reason="the onnx package is not installed")
onnx_kit = pytest.importorskip("onnx_kit", reason="the onnx package is not installed")

Array = NDArray[Any]
helper = onnx.helper
Node = tuple[str, list[str], dict[str, Any]]
RNG = np.random.default_rng(21)
INTS = np.int64


def model(nodes: list[Node], values: Mapping[str, Array], held: Mapping[str, Any], is_open: bool) -> bytes:
    """Return a model whose results are ``y0, y1, ...``: the first of each node.  Sizes of ``x`` may be open."""
    made = [
        helper.make_node(op, reads, [f"y{i}", *(["", f"z{i}"][: settings.pop("more", 0)])], **settings)
        for i, (op, reads, settings) in enumerate([(o, r, dict(s)) for o, r, s in nodes])
    ]
    inputs = []
    for name, value in values.items():
        shape: list[int | str] = [*value.shape]
        if is_open and name == "x":
            shape[-2:] = ["height", "width"]
        inputs.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), shape))
    stored = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()]
    outputs = [onnx.ValueInfoProto(name=f"y{i}") for i in range(len(nodes))]
    graph = helper.make_graph(made, "g", inputs, outputs, stored)
    data: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)]).SerializeToString()
    return data


def check(
    nodes: list[Node], values: Mapping[str, Array], held: Mapping[str, Any], tol: Tol = Tol.EXACT, is_open: bool = True
) -> None:
    """Compare the machine code with the numpy meaning of the import, and that with ONNX's reference."""
    data = model(nodes, values, held, is_open)
    graph = onnx_kit.imported(data).graph
    meant = run(graph, values)
    compiled = compile_graph(run_pipeline(graph, check=True).graph, resolve_target("native"), KERNELS, fused=FUSED)
    alone, together = (run_compiled(compiled, values, threads) for threads in (1, 3))
    theirs = onnx_kit.wanted(data, values)
    for i, (name, got, again, want) in enumerate(zip(graph.output_names, alone, together, theirs, strict=True)):
        what = f"{name} of {nodes[i][0]}"
        assert got.tobytes() == again.tobytes(), f"{what} depends on the number of threads"
        assert_close(got, meant[name], tol, what)
        assert_close(meant[name], want, tol, f"the meaning of {what}")


IMAGE = RNG.standard_normal((2, 12, 6, 7)).astype(np.float32)


def test_slices_paddings_and_blocks() -> None:
    nodes: list[Node] = [
        ("Slice", ["x", "begin", "end", "axes", "steps"], {}),
        ("Pad", ["x", "edges"], {"mode": "edge"}),
        ("Pad", ["x", "edges"], {"mode": "wrap"}),
        ("Pad", ["x", "edges"], {"mode": "reflect"}),
        ("Pad", ["x", "around", "number"], {}),
        ("DepthToSpace", ["x"], {"blocksize": 2, "mode": "CRD"}),
        ("DepthToSpace", ["x"], {"blocksize": 2}),
        ("Trilu", ["x"], {"upper": 0}),
        ("Tile", ["x", "repeats"], {}),
    ]
    held = {
        "begin": np.array([1, -1], INTS),
        "end": np.array([99, -99], INTS),
        "axes": np.array([2, 3], INTS),
        "steps": np.array([2, -1], INTS),
        "edges": np.array([0, 0, 1, 2, 0, 0, 2, 0], INTS),
        "around": np.array([0, 3, 1, 0, 1, 0, 0, 2], INTS),
        "number": np.float32(2.5),
        "repeats": np.array([1, 2, 1, 3], INTS),
    }
    # A mirror of two rows needs three of them for every image, so these sizes stay as they are.
    check(nodes, {"x": IMAGE}, held, is_open=False)
    check([node for node in nodes if node[1][1:2] not in (["edges"], ["begin"])], {"x": IMAGE}, held)


def test_picked_and_written() -> None:
    nodes: list[Node] = [
        ("Gather", ["x", "rows"], {"axis": 1}),
        ("Gather", ["x", "computed"], {"axis": 3}),
        ("GatherND", ["x", "pairs"], {}),
        ("GatherElements", ["x", "elements"], {"axis": 1}),
        ("ScatterND", ["x", "pairs", "updates"], {"reduction": "add"}),
        ("ScatterElements", ["line", "places", "numbers"], {"reduction": "max"}),
        ("OneHot", ["computed", "depth", "choices"], {"axis": 0}),
    ]
    values = {
        "x": IMAGE,
        "computed": np.array([[0, -1], [3, -7]], INTS),
        "pairs": np.array([[0, -1], [1, 3], [0, 11]], INTS),
        "elements": RNG.integers(-12, 12, (2, 3, 6, 7)),
        "updates": RNG.standard_normal((3, 6, 7)).astype(np.float32),
        "line": RNG.standard_normal(9).astype(np.float32),
        "places": np.array([1, -1, 1], INTS),
        "numbers": np.array([3, -1, 2], np.float32),
    }
    held = {"rows": np.array([5, -1], INTS), "depth": np.array(4, INTS), "choices": np.array([0, 1], np.float32)}
    check(nodes, values, held, is_open=False)
    some = [node for node in nodes if node[0] not in ("GatherElements", "ScatterND")]
    used = {name for _, reads, _ in some for name in reads}
    check(some, {k: v for k, v in values.items() if k in used}, held)


def test_the_best_and_where() -> None:
    nodes: list[Node] = [("TopK", ["x", "k"], {"axis": 1}), ("TopK", ["x", "k"], {"axis": 1, "largest": 0})]
    nodes = [(op, reads, {**settings, "more": 2}) for op, reads, settings in nodes]
    check(nodes, {"x": np.round(IMAGE)}, {"k": np.array([5], INTS)})


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_positions(mode: str) -> None:
    grid = (RNG.random((2, 5, 4, 2)) * 4 - 2).astype(np.float32)
    nodes: list[Node] = [
        ("GridSample", ["x", "grid"], {"mode": mode, "padding_mode": edge, "align_corners": align})
        for edge in ("zeros", "border", "reflection")
        for align in (0, 1)
    ]
    check(nodes, {"x": IMAGE, "grid": grid}, {}, Tol.FLOAT(40))


def test_ranges_and_triangles_as_long_as_the_image() -> None:
    nodes: list[Node] = [
        ("Shape", ["x"], {}),
        ("Gather", ["y0", "three"], {}),
        ("Range", ["zero", "y1", "two"], {}),
        ("Range", ["y1", "zero", "minus"], {}),
        ("Trilu", ["x", "two"], {}),
        ("ConstantOfShape", ["y0"], {"value": onnx.numpy_helper.from_array(np.array([2.5], np.float32))}),
        ("Slice", ["x", "last", "first", "axis", "back"], {}),
        ("Flatten", ["x"], {"axis": 2}),
    ]
    vectors = {"last": [-1], "first": [-(1 << 63)], "axis": [3], "back": [-1]}
    numbers = {"zero": 0, "two": 2, "three": 3, "minus": -2}
    check(nodes, {"x": IMAGE}, {name: np.array(value, INTS) for name, value in {**vectors, **numbers}.items()})
    long = RNG.standard_normal((1, 1, 1, 9001)).astype(np.float32)
    check(nodes[:4], {"x": long}, {name: np.array(value, INTS) for name, value in numbers.items()})
