"""Expansion and depthwise convolution of half precision in one step, against float32 arithmetic."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kernels.half_types import check_results, different_code, fixed, narrow, random_numbers, usable_targets, wide
from kernels.harness import compile_graph
from smalti.ir import ops, reference
from smalti.ir.dims import symbol
from smalti.ir.graph import Graph, Level, TensorType
from smalti.ir.infer import make_node
from smalti.ir.ops import Activation
from smalti.kernels.conv import FUSED, KERNELS
from smalti.numerics import DType
from smalti.target.target import Caches, Target

# A small second cache makes small tensors too wide for it, and bands short.
SMALL = Caches(4096, 8192, 65536)
TARGETS = [replace(t, caches=SMALL) for t in usable_targets()]
PREFIX = {DType.FLOAT16: "f16", DType.BFLOAT16: "bf16"}
GEOMETRIES = [
    ops.Conv2d((1, 1), (1, 1), (1, 1, 1, 1)),
    ops.Conv2d((2, 2), (1, 1), (0, 1, 0, 1)),
    ops.Conv2d((1, 1), (2, 2), (2, 2, 2, 2)),
    ops.Conv2d((1, 1), (4, 4), (3, 6, 2, 5)),
    ops.Conv2d((3, 2), (1, 1), (0, 0, 1, 1)),
]
either = pytest.mark.parametrize("dtype", PREFIX, ids=lambda d: d.value)


def _block(dtype: DType, size: tuple[int, int], depth: int, channels: int, op: ops.Conv2d, of: DType) -> Graph:
    """Return the two convolutions with the numbers of type ``of`` and tensors of type ``dtype``."""
    x = make_node(ops.Input(), (), "x", TensorType(dtype, (2, *size, depth)))

    def constant(shape: tuple[int, ...], seed: int) -> object:
        numbers = random_numbers(shape, seed)
        return fixed(wide(narrow(numbers, of), of), dtype)

    expand = ops.Conv2d(bias=True, activation=Activation.RELU6)
    weights = (constant((1, 1, depth, channels), 1), fixed(random_numbers((channels,), 2)))
    inner = make_node(expand, (x, *weights), "wide")  # type: ignore[arg-type]
    filters = (constant((3, 3, 1, channels), 3), fixed(random_numbers((channels,), 4)))
    outer = replace(op, bias=True, activation=Activation.RELU6, groups=channels)
    node = make_node(outer, (inner, *filters), "y")  # type: ignore[arg-type]
    return Graph((x,), (node,), ("y",), Level.CANONICAL)


def _check(dtype: DType, target: Target, size: tuple[int, int], depth: int, channels: int, op: ops.Conv2d) -> None:
    graph = _block(dtype, size, depth, channels, op, dtype)
    compiled = compile_graph(graph, target, KERNELS, fused=FUSED)
    assert [s.kernel.name for s in compiled.plan.steps] == [f"{PREFIX[dtype]}_expand_depthwise"]
    values = narrow(random_numbers((2, *size, depth), 5), dtype)
    same = _block(DType.FLOAT32, size, depth, channels, op, dtype)
    want = reference.run(same, {"x": wide(values, dtype)})["y"]
    # Six times the largest weight bounds a term of the second sum.
    check_results(compiled, {"x": values}, want, dtype, 9 * depth, 6.0 * 9**0.5 * 4.0)


@either
@pytest.mark.parametrize("op", GEOMETRIES, ids=lambda o: f"s{o.stride}d{o.dilation}p{o.pads}")
@pytest.mark.parametrize("depth", [11, 12])
def test_geometry(dtype: DType, op: ops.Conv2d, depth: int) -> None:
    _check(dtype, TARGETS[-1], (13, 17), depth, 48, op)


@pytest.mark.parametrize(
    ("dtype", "target"), different_code(tuple(PREFIX)), ids=lambda v: v.value if isinstance(v, DType) else str(v)
)
@pytest.mark.parametrize("channels", [24, 40, 160])
def test_channels(dtype: DType, target: Target, channels: int) -> None:
    _check(dtype, replace(target, caches=SMALL), (11, 14), 12, channels, GEOMETRIES[0])


@either
def test_sizes_known_at_run_time(dtype: DType) -> None:
    graph = _block(dtype, (13, 17), 12, 48, GEOMETRIES[0], dtype)
    x = make_node(ops.Input(), (), "x", TensorType(dtype, (2, symbol("H"), symbol("W"), 12)))
    nodes = {graph.inputs[0]: x}
    inner = graph.outputs[0].inputs[0]
    moved = make_node(inner.op, [nodes.get(n, n) for n in inner.inputs], "wide")
    node = make_node(graph.outputs[0].op, [moved, *graph.outputs[0].inputs[1:]], "y")
    compiled = compile_graph(Graph((x,), (node,), ("y",), Level.CANONICAL), TARGETS[-1], KERNELS, fused=FUSED)
    assert [s.kernel.name for s in compiled.plan.steps] == [f"{PREFIX[dtype]}_expand_depthwise"]
    for size in ((6, 40), (29, 9)):
        values = narrow(random_numbers((2, *size, 12), 5), dtype)
        same = _block(DType.FLOAT32, size, 12, 48, GEOMETRIES[0], dtype)
        want = reference.run(same, {"x": wide(values, dtype)})["y"]
        check_results(compiled, {"x": values}, want, dtype, 9 * 12, 6.0 * 9**0.5 * 4.0)


def test_tensors_of_two_types_are_not_fused() -> None:
    graph = _block(DType.FLOAT16, (13, 17), 12, 48, GEOMETRIES[0], DType.FLOAT16)
    node = graph.outputs[0]
    widened = make_node(ops.Cast(DType.FLOAT32), (node.inputs[0],), "cast")
    filters = fixed(random_numbers((3, 3, 1, 48), 3))
    outer = make_node(node.op, (widened, filters, node.inputs[2]), "y")
    assert not any(f.matches(outer, TARGETS[-1], {widened: 1, node.inputs[0]: 1}) for f in FUSED)
    assert np.all([n.type.dtype is DType.FLOAT32 for n in (widened, outer)])
