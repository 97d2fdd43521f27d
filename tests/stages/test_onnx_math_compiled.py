"""ONNX's elementwise operations, reductions and products through passes, plan and machine code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
RNG = np.random.default_rng(11)
IMAGE = (RNG.standard_normal((1, 6, 7, 9)) * 4).astype(np.float32)
INTS = RNG.integers(-9, 9, (1, 6, 7, 9))
Node = tuple[str, list[str], dict[str, Any]]


def model(nodes: list[Node], values: Mapping[str, Array], held: Mapping[str, Array], opset: int = 22) -> bytes:
    """Return a model whose results are ``y0, y1, ...``, one for each node; operands may name earlier results."""
    made = [helper.make_node(op, names, [f"y{i}"], **settings) for i, (op, names, settings) in enumerate(nodes)]
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in values.items()
    ]
    outputs = [onnx.ValueInfoProto(name=f"y{i}") for i in range(len(nodes))]
    stored = [onnx.numpy_helper.from_array(value, name) for name, value in held.items()]
    graph = helper.make_graph(made, "g", inputs, outputs, stored)
    versions = [helper.make_opsetid("", opset)]
    data: bytes = helper.make_model(graph, opset_imports=versions, ir_version=8).SerializeToString()
    return data


def check(
    nodes: list[Node],
    values: Mapping[str, Array],
    held: Mapping[str, Array],
    tol: Callable[[int], Tol],
    opset: int = 22,
) -> None:
    """Compare the machine code of a model with the numpy meaning of its import, and that with ONNX's reference."""
    data = model(nodes, values, held, opset)
    graph = onnx_kit.imported(data).graph
    meant = run(graph, values)
    optimised = run_pipeline(graph, check=True).graph
    compiled = compile_graph(optimised, resolve_target("native"), KERNELS, fused=FUSED)
    alone, together = (run_compiled(compiled, values, threads) for threads in (1, 3))
    theirs = onnx_kit.wanted(data, values)
    for i, (name, got, again, want) in enumerate(zip(graph.output_names, alone, together, theirs, strict=True)):
        what = f"{name} of {nodes[i][0]}"
        assert got.tobytes() == again.tobytes(), f"{what} depends on the number of threads"
        assert_close(got, meant[name], tol(i), what)
        assert_close(meant[name], want, tol(i), f"the meaning of {what}")


def test_functions_and_activations() -> None:
    plain = "Abs Neg Erf Sin Cos Sign Floor Ceil Round Sigmoid Tanh Relu Softplus Softsign HardSwish Mish Elu Selu Celu"
    nodes: list[Node] = [(op, ["x"], {}) for op in plain.split()]
    nodes += [
        ("Gelu", ["x"], {}),
        ("Gelu", ["x"], {"approximate": "tanh"}),
        ("HardSigmoid", ["x"], {"alpha": 0.3, "beta": 0.4}),
        ("LeakyRelu", ["x"], {"alpha": 0.3}),
        ("Elu", ["x"], {"alpha": 0.3}),
        ("ThresholdedRelu", ["x"], {"alpha": 0.3}),
        ("Shrink", ["x"], {"bias": 0.1}),
        ("PRelu", ["x", "slope"], {}),
        ("Clip", ["x", "low"], {}),
        ("Clip", ["x", "", "high"], {}),
        ("Clip", ["x", "low", "high"], {}),
        ("Reciprocal", ["x"], {}),
        ("Swish", ["x"], {"alpha": 0.7}),
        ("Swish", ["x"], {}),
    ]
    held = {
        "slope": RNG.random((6, 1, 1)).astype(np.float32),
        "low": np.array(-1.0, np.float32),
        "high": np.array(2.0, np.float32),
    }
    check(nodes, {"x": IMAGE}, held, lambda i: Tol.FLOAT(9), opset=24)


def test_powers_remainders_and_bits() -> None:
    nodes: list[Node] = [("Pow", ["p", name], {}) for name in ("half", "two", "three", "other", "row", "whole")]
    nodes += [
        ("Pow", ["i", "small"], {}),
        ("Mod", ["x", "p"], {"fmod": 1}),
        ("Mod", ["i", "j"], {}),
        ("Mod", ["i", "j"], {"fmod": 1}),
        ("Div", ["i", "j"], {}),
        ("BitwiseAnd", ["i", "j"], {}),
        ("BitwiseOr", ["i", "j"], {}),
        ("BitwiseXor", ["i", "j"], {}),
        ("BitwiseNot", ["i"], {}),
        ("IsNaN", ["x"], {}),
        ("IsInf", ["x"], {}),
    ]
    numbers = {"half": 0.5, "two": 2.0, "three": 3.0, "other": -1.7}
    held = {name: np.array(value, np.float32) for name, value in numbers.items()}
    held |= {"row": np.linspace(-2, 2, 9, dtype=np.float32), "whole": np.array(3, np.int64), "small": np.array(3)}
    values = {"x": IMAGE, "p": np.abs(IMAGE) + np.float32(0.1), "i": INTS, "j": np.where(INTS > 0, 3, -2)}
    check(nodes, values, held, lambda i: Tol.ULP(2))


def test_reductions_and_softmax() -> None:
    names = ["Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSumExp"]
    nodes: list[Node] = [(f"Reduce{name}", ["x", axes], {"keepdims": 0}) for name in names for axes in ("a", "b")]
    nodes += [("ReduceLogSum", ["p", "a"], {})]
    nodes += [(op, ["x"], {"axis": axis}) for op in ("Softmax", "LogSoftmax", "Hardmax") for axis in (1, 3)]
    nodes += [
        (op, ["x"], {"axis": axis, "select_last_index": last, "keepdims": last})
        for op in ("ArgMax", "ArgMin")
        for axis in (1, 3)
        for last in (0, 1)
    ]
    nodes += [("CumSum", ["x", "first"], {"exclusive": 1}), ("CumSum", ["x", "last"], {"reverse": 1})]
    held = {"a": np.array([1]), "b": np.array([2, 3]), "first": np.array(1), "last": np.array(3)}
    small = (IMAGE / 4).astype(np.float32)
    check(nodes, {"x": small, "p": np.abs(small)}, held, lambda i: Tol.FLOAT(200))


def test_matrix_products() -> None:
    a, b = (RNG.standard_normal(s).astype(np.float32) for s in ((2, 3, 5, 7), (2, 3, 7, 9)))
    nodes: list[Node] = [
        ("MatMul", ["a", "b"], {}),
        ("MatMul", ["a", "one"], {}),
        ("MatMul", ["row", "b"], {}),
        ("MatMul", ["a", "held"], {}),
        ("MatMul", ["a", "batch"], {}),
        ("MatMul", ["a", "column"], {}),
        ("MatMul", ["i", "i"], {}),
        ("Einsum", ["a", "b"], {"equation": "bhij,bhjk->bihk"}),
        ("Einsum", ["a", "a"], {"equation": "bhij,bhkj->bhik"}),
        ("Einsum", ["a", "row"], {"equation": "bhij,kj->bhik"}),
        ("Gemm", ["row", "held", "bias"], {"alpha": 0.5, "beta": 2.0}),
        ("Gemm", ["row", "row", "square"], {"transB": 1}),
        ("Gemm", ["row", "row"], {"transA": 1}),
    ]
    values = {
        "a": a,
        "b": b,
        "one": b[:1, :1].copy(),
        "row": a[0, 0].copy(),
        "i": RNG.integers(-9, 9, (2, 4, 4)),
        "square": np.ones((5, 5), np.float32),
    }
    held = {
        "held": b[0, 0].copy(),
        "batch": b[1].copy(),
        "column": b[0, 0, :, 0].copy(),
        "bias": np.arange(9, dtype=np.float32),
    }
    check(nodes, values, held, lambda i: Tol.FLOAT(40))


def test_logic_and_choices() -> None:
    nodes: list[Node] = [(op, ["x", "z"], {}) for op in ("Less", "Greater", "Equal", "LessOrEqual", "GreaterOrEqual")]
    nodes += [(op, ["y0", "y1"], {}) for op in ("And", "Or", "Xor")]
    nodes += [("Not", ["y0"], {}), ("Where", ["y0", "x", "z"], {}), ("Max", ["x", "z", "x"], {})]
    nodes += [("Sum", ["x", "z", "x"], {}), ("Mean", ["x", "z", "x"], {}), ("Cast", ["y0"], {"to": 1})]
    check(nodes, {"x": IMAGE, "z": IMAGE[:, :1].copy()}, {}, lambda i: Tol.FLOAT(3))
