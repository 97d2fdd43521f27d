"""ONNX graphs of half, bfloat16 and unsigned numbers, through the backend interface and the model file."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from smalti import onnx_backend as backend
from smalti.errors import InputError, UnsupportedGraphError
from smalti.ir.reference import bfloat16_to_float32, float32_to_bfloat16, run
from tolerance import Tol, assert_close

onnx = pytest.importorskip("onnx", reason="the onnx package is not installed")
onnx_kit = pytest.importorskip("onnx_kit", reason="the onnx package is not installed")

Array = NDArray[Any]
helper, T = onnx.helper, onnx.TensorProto
RNG = np.random.default_rng(16)
STEPS = {T.FLOAT16: 2.0**-9, T.BFLOAT16: 2.0**-6}
"""Two steps of the numbers of each type: layers between results may round differently."""
VALUES = {
    "x": RNG.standard_normal((1, 4, 6, 7)),
    "filters": RNG.standard_normal((4, 2, 3, 3)) / 4,
    "up": RNG.standard_normal((4, 3, 2, 2)) / 4,
    "bias": RNG.standard_normal(4),
    "scale": RNG.uniform(0.5, 1.5, 4),
    "variance": RNG.uniform(0.5, 1.5, 4),
    "row": RNG.uniform(0.5, 1.5, 7),
    "matrix": RNG.standard_normal((7, 5)) / 3,
    "grid": RNG.uniform(-1, 1, (1, 3, 3, 2)),
    "number": RNG.uniform(0.5, 1.5, ()),
    "updates": RNG.standard_normal((2, 4, 6, 7)) / 4,
}
HELD = {
    "place": np.array([[0], [0]]),
    "two": np.array([2]),
    "axis": np.array(2),
    "around": np.array([0, 0, 1, 2, 0, 0, 1, 0]),
    "sizes": np.array([1, 4, 9, 13]),
}
NODES: list[tuple[str, list[str], dict[str, Any]]] = [
    ("Softmax", ["x"], {"axis": 1}),
    ("LogSoftmax", ["x"], {}),
    ("Hardmax", ["x"], {}),
    ("Conv", ["x", "filters", "bias"], {"group": 2, "pads": [1, 1, 1, 1]}),
    ("ConvTranspose", ["x", "up"], {"strides": [2, 2]}),
    ("BatchNormalization", ["x", "scale", "bias", "bias", "variance"], {}),
    ("LayerNormalization", ["x", "row"], {}),
    ("MaxPool", ["x"], {"kernel_shape": [3, 3]}),
    ("AveragePool", ["x"], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
    ("AveragePool", ["x"], {"kernel_shape": [2, 2], "dilations": [2, 2]}),
    ("LpPool", ["x"], {"kernel_shape": [2, 2], "p": 3}),
    ("MatMul", ["x", "matrix"], {}),
    ("ReduceSum", ["x", "two"], {}),
    ("CumSum", ["x", "axis"], {}),
    ("Resize", ["x", "", "", "sizes"], {"mode": "linear"}),
    ("GridSample", ["x", "grid"], {}),
    ("ScatterND", ["x", "place", "updates"], {"reduction": "add"}),
    ("Pad", ["x", "around", "number"], {}),
    ("PRelu", ["x", "number"], {}),
    ("Greater", ["x", "number"], {}),
]


def typed(value: Array, kind: int, name: str) -> Any:
    """Return a tensor of the file, of some float type."""
    tensor = T(name=name, data_type=kind, dims=value.shape)
    tensor.raw_data = numbers(value, kind).tobytes()
    return tensor


def numbers(value: Array, kind: int) -> Array:
    """Return numbers of a float type; those of bfloat16 as their bits."""
    if kind == T.BFLOAT16:
        return float32_to_bfloat16(value.astype(np.float32))
    return value.astype(np.float16)


def plain(value: Array, kind: int) -> Array:
    return bfloat16_to_float32(value) if kind == T.BFLOAT16 and value.dtype == np.uint16 else value


@pytest.mark.parametrize("kind", STEPS, ids=T.DataType.Name)
def test_graphs_of_one_float_type(kind: int) -> None:
    made = [helper.make_node(op, names, [f"y{i}"], **how) for i, (op, names, how) in enumerate(NODES)]
    stored = [typed(value, kind, name) for name, value in VALUES.items() if name != "x"]
    stored += [onnx.numpy_helper.from_array(value, name) for name, value in HELD.items()]
    inputs = [helper.make_tensor_value_info("x", kind, VALUES["x"].shape)]
    outputs = [onnx.ValueInfoProto(name=f"y{i}") for i in range(len(NODES))]
    graph = helper.make_graph(made, "g", inputs, outputs, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]).SerializeToString()
    x = numbers(VALUES["x"], kind)
    meant = run(onnx_kit.imported(model).graph, {"x": x})
    found = backend.prepare(model, threads=2).run([x])
    for i, (got, (op, _, how)) in enumerate(zip(found, NODES, strict=True)):
        want, step = meant[f"y{i}"], STEPS[kind]
        tolerance = Tol.EXACT if want.dtype.kind in "ib" else Tol.ROUNDED(step, 4 * step, 1, 0.0)
        assert got.dtype == want.dtype
        assert_close(plain(got, kind), plain(want, kind), tolerance, f"{op} {how}")


@pytest.mark.parametrize("kind", [np.uint32, np.uint64])
def test_large_unsigned_numbers(kind: Any) -> None:
    top = int(np.iinfo(kind).max)
    a = np.array([[0, 1, 5, top, top - 1, top // 2 + 1]], kind)
    b = np.array([[1, top, 7, 2, top, 3]], kind)
    nodes = [
        *((op, ["a", "b"], {}) for op in ("Add", "Sub", "Mul", "Div", "Mod", "Min", "Max", "Greater", "BitwiseAnd")),
        ("BitShift", ["a", "b"], {"direction": "RIGHT"}),
        ("ReduceMax", ["a"], {}),
        ("ReduceSum", ["a"], {}),
        ("Cast", ["a"], {"to": T.FLOAT}),
        ("Cast", ["a"], {"to": T.DOUBLE}),
        ("Transpose", ["a"], {}),
        ("TopK", ["a", "k"], {}),
    ]
    made = [helper.make_node(op, names, [f"y{i}"], **how) for i, (op, names, how) in enumerate(nodes)]
    inputs = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n in "ab"]
    outputs = [onnx.ValueInfoProto(name=f"y{i}") for i in range(len(nodes))]
    stored = [onnx.numpy_helper.from_array(np.array([4]), "k")]
    model = helper.make_model(helper.make_graph(made, "g", inputs, outputs, stored)).SerializeToString()
    found = backend.prepare(model, threads=1).run([a, b])
    with np.errstate(over="ignore"):
        bits = 8 * a.itemsize
        want = [a + b, a - b, a * b, a // b, a % b, np.minimum(a, b), np.maximum(a, b), a > b, a & b]
        want += [np.where(b < bits, a >> np.minimum(b, kind(bits - 1)), kind(0))]
        want += [a.max(keepdims=True), a.sum(keepdims=True, dtype=kind), a.astype(np.float32), a.astype(np.float64)]
        want += [a.T, np.sort(a)[:, :1:-1]]
    for got, wanted, (op, _, _) in zip(found, want, nodes, strict=True):
        assert_close(got, wanted, Tol.EXACT, op)


def test_values_that_decide_sizes_are_bound_when_they_are_seen() -> None:
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    inputs = [
        helper.make_tensor_value_info("x", T.FLOAT, ["n", 6]),
        helper.make_tensor_value_info("shape", T.INT64, [2]),
    ]
    graph = helper.make_graph([node], "g", inputs, [onnx.ValueInfoProto(name="y")])
    ready = backend.prepare(helper.make_model(graph))
    x = RNG.standard_normal((2, 6)).astype(np.float32)
    for shape in ([3, 4], [4, 3], [3, 4], [-1, 2]):
        (y,) = ready.run({"x": x, "shape": np.array(shape)})
        assert_close(y, x.reshape(shape), Tol.EXACT)


def test_batches_of_any_size() -> None:
    inputs = [helper.make_tensor_value_info(name, T.FLOAT, ["n", 3]) for name in ("x", "unread")]
    graph = helper.make_graph([helper.make_node("Abs", ["x"], ["y"])], "g", inputs, [onnx.ValueInfoProto(name="y")])
    ready = backend.prepare(helper.make_model(graph))
    for batch in (1, 4, 2, 4):
        x = RNG.standard_normal((batch, 3)).astype(np.float32)
        (y,) = ready.run([x, x])
        assert_close(y, np.abs(x), Tol.EXACT)
    with pytest.raises(InputError, match="must have shape"):
        ready.run([np.zeros((2, 4), np.float32), x])


def test_results_that_depend_on_no_input() -> None:
    x = RNG.standard_normal((2, 3)).astype(np.float32)
    (shape,) = backend.run_node(helper.make_node("Shape", ["x"], ["y"]), [x])
    assert shape.tolist() == [2, 3]
    (ones,) = backend.run_node(helper.make_node("ConstantOfShape", ["x"], ["y"]), [np.array([2, 3])])
    assert ones.tolist() == [[0.0] * 3] * 2
    (filled,) = backend.run_node(helper.make_node("Range", ["a", "b", "c"], ["y"]), [np.float32(v) for v in (1, 3, 1)])
    assert filled.tolist() == [1.0, 2.0]


def test_empty_inputs() -> None:
    node = helper.make_node("ReduceMax", ["x"], ["y"], keepdims=0)
    (y,) = backend.run_node(node, [np.zeros((0, 3), np.float32)])
    assert y.tolist() == -np.inf


def test_what_no_value_of_an_input_helps_is_refused_at_once() -> None:
    model = onnx_kit.one_node("NonMaxSuppression", [np.zeros((1, 2, 4), np.float32)])
    with pytest.raises(UnsupportedGraphError, match="NonMaxSuppression"):
        backend.prepare(model)
    ready = backend.prepare(onnx_kit.one_node("Abs", [np.zeros((1, 2), np.float32)]))
    with pytest.raises(InputError, match="takes 1 inputs"):
        ready.run([])
