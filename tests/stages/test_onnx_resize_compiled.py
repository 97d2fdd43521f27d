"""ONNX's normalisations and resizes through passes, plan and machine code, of fixed and of open sizes."""

from __future__ import annotations

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
RNG = np.random.default_rng(13)
NEAR = Tol.FLOAT(64, 6.0)


def data(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def check(op: str, x: Array, held: list[Array | None], tol: Tol = NEAR, is_open: bool = True, **settings: Any) -> None:
    """Compare the machine code with the numpy meaning of the import, and that with ONNX's reference."""
    operands = [x, *held]
    stored = [i for i, value in enumerate(operands) if i and value is not None]
    sizes = {0: [*x.shape[:2], "height", "width"]} if is_open else None
    found = onnx_kit.one_node(op, operands, stored=stored, sizes=sizes, **settings)
    graph = onnx_kit.imported(found).graph
    values = {"x0": x}
    (meant,) = run(graph, values).values()
    compiled = compile_graph(run_pipeline(graph, check=True).graph, resolve_target("native"), KERNELS, fused=FUSED)
    (alone,), (together,) = (run_compiled(compiled, values, threads) for threads in (1, 3))
    assert alone.tobytes() == together.tobytes(), f"{op} depends on the number of threads"
    assert_close(alone, meant, tol, op)
    assert_close(meant, onnx_kit.wanted(found, values)[0].astype(x.dtype), tol, f"the meaning of {op}")


@pytest.mark.parametrize("is_open", [False, True])
def test_normalisations(is_open: bool) -> None:
    x, c = data(2, 4, 7, 9), data(4)
    spread: list[Array | None] = [data(4), c, data(4), np.abs(data(4)) + np.float32(0.5)]
    check("BatchNormalization", x, spread, is_open=is_open, opset=15)
    check("InstanceNormalization", x, [c, data(4)], is_open=is_open)
    check("GroupNormalization", x, [c, data(4)], is_open=is_open, num_groups=2)
    check("LayerNormalization", x, [data(4, 1, 1), data(4, 1, 1)], is_open=is_open, axis=1)
    check("RMSNormalization", x, [data(4, 1, 1)], is_open=is_open, opset=23, axis=1)
    check("MeanVarianceNormalization", x, [], is_open=is_open)
    check("LpNormalization", x, [], is_open=is_open, axis=1)
    square = data(4, 4, 5, 6)
    check("LRN", square, [], is_open=is_open, size=3, alpha=0.5)


DOUBLE = np.array([1, 1, 2, 2], np.float32)


@pytest.mark.parametrize("coords", ["half_pixel", "align_corners", "asymmetric"])
def test_linear_resizes_of_open_sizes(coords: str) -> None:
    check("Resize", data(1, 3, 5, 7), [None, DOUBLE], mode="linear", coordinate_transformation_mode=coords)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8, np.int8, np.int32, np.int64, np.float64])
def test_nearest_resizes_of_open_sizes(dtype: Any) -> None:
    x = (data(1, 3, 5, 7) * 9).astype(dtype)
    how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    check("Resize", x, [None, DOUBLE], Tol.EXACT, mode="nearest", **how)
    check("Resize", x, [None, np.array([1, 1, 3, 5], np.float32)], Tol.EXACT, mode="nearest")


@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_resizes_by_matrices(mode: str) -> None:
    x = data(1, 3, 9, 11)
    odd = np.array([1, 1, 1.3, 2.4], np.float32)
    check("Resize", x, [None, odd], is_open=False, mode=mode)
    check("Resize", x, [None, odd], is_open=False, mode=mode, coordinate_transformation_mode="asymmetric")
    check("Resize", x, [None, np.array([1, 1, 0.4, 0.7], np.float32)], is_open=False, mode=mode, antialias=1)
    check("Resize", x, [None, None, np.array([1, 3, 20, 5])], is_open=False, mode=mode, exclude_outside=1)
    check("Resize", x, [None, None, np.array([2, 7, 9, 11])], is_open=False, mode=mode)


@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
def test_nearest_resizes_by_tables(rounding: str) -> None:
    x = data(1, 3, 9, 11)
    for sizes in ((1, 3, 14, 26), (1, 3, 4, 5), (2, 5, 9, 3)):
        check("Resize", x, [None, None, np.array(sizes)], Tol.EXACT, False, mode="nearest", nearest_mode=rounding)


@pytest.mark.parametrize("size", [(16, 22), (7, 1), (1, 1), (2, 33)])
def test_a_network_that_comes_back_to_the_size_of_its_image(size: tuple[int, int]) -> None:
    helper, how = onnx.helper, {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("BatchNormalization", ["c", "one", "zero", "zero", "one"], ["n"]),
        helper.make_node("Resize", ["n", "", "twice"], ["u"], mode="nearest"),
        helper.make_node("Shape", ["x"], ["sizes"]),
        helper.make_node("Resize", ["u", "", "", "sizes"], ["y"], **how),
    ]
    held = {"w": data(3, 3, 3, 3), "one": np.ones(3, np.float32), "zero": np.zeros(3, np.float32), "twice": DOUBLE}
    stored = [onnx.numpy_helper.from_array(value, name) for name, value in held.items()]
    inputs = [helper.make_tensor_value_info("x", 1, [1, 3, "height", "width"])]
    graph = helper.make_graph(nodes, "g", inputs, [onnx.ValueInfoProto(name="y")], stored)
    found = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    canonical = run_pipeline(onnx_kit.imported(found).graph, check=True).graph
    compiled = compile_graph(canonical, resolve_target("native"), KERNELS, fused=FUSED)
    values = {"x": data(1, 3, *size)}
    (got,) = run_compiled(compiled, values, 2)
    assert_close(got, onnx_kit.wanted(found, values)[0], Tol.FLOAT(64, 12.0))
