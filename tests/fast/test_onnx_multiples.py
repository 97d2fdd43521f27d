"""Networks that halve a picture and meet it again: what sizes they take is said, and those they take are right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import onnx_wire as w
import smalti
from smalti.artifact.writer import model_chunks
from smalti.compiler import CompileOptions, compile_graph
from smalti.compiling.pictures import PictureOptions, Preset
from smalti.compiling.sizes import import_shaped
from smalti.errors import GraphError, InputError, UsageError
from smalti.frontend.importing.steps import STEPS
from smalti.ir import dims
from smalti.ir import text as ir_text
from smalti.ir.dims import symbol
from smalti.ir.graph import Graph
from smalti.ir.reference import run
from smalti.ir.sizes import evaluate
from smalti.target.host import resolve_targets
from tolerance import Tol, assert_close

onnx_kit = pytest.importorskip("onnx_kit", reason="the onnx package is not installed")
OPTIONS = CompileOptions(resolve_targets("native"))


def weights(out: int, into: int, side: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).uniform(-0.3, 0.3, (out, into, side, side)).astype(np.float32)


def pooled(factors: tuple[int, ...], join: str = "Concat", height: w.Size = "h") -> bytes:
    """Return a U-Net of pools by these factors, transposed convolutions back, and skips that are joined."""
    nodes, held = [], []
    for level, factor in enumerate(factors):
        source = f"d{level}" if level else "x"
        nodes.append(
            w.node(
                "AveragePool",
                [source],
                [f"d{level + 1}"],
                f"down{level}",
                kernel_shape=[factor] * 2,
                strides=[factor] * 2,
            )
        )
    up, channels = f"d{len(factors)}", 3
    for level, factor in reversed(list(enumerate(factors))):
        held.append(w.array(f"w{level}", weights(channels, 3, factor, level)))
        nodes.append(w.node("ConvTranspose", [up, f"w{level}"], [f"u{level}"], f"up{level}", strides=[factor] * 2))
        skip = f"d{level}" if level else "x"
        more = {"axis": 1} if join == "Concat" else {}
        nodes.append(w.node(join, [f"u{level}", skip], [f"j{level}"], f"join{level}", **more))
        up, channels = f"j{level}", 6 if join == "Concat" else 3
    nodes.append(w.node("Relu", [up], ["y"]))
    return w.model(w.graph(nodes, [w.value("x", w.FLOAT, [1, 3, height, "w"])], [w.value("y")], held))


def steps(graph: Graph) -> dict[str, int]:
    return {s.name: s.multiple for s in graph.symbols()}


@pytest.mark.parametrize("join", ["Concat", "Add"])
@pytest.mark.parametrize(
    ("factors", "wanted"), [((2,), 2), ((2, 2), 4), ((2, 2, 2, 2), 16), ((3,), 3), ((2, 3), 6), ((4, 7), 28)]
)
def test_the_multiple_is_found(factors: tuple[int, ...], wanted: int, join: str) -> None:
    data = pooled(factors, join)
    graph: Graph = onnx_kit.imported(data).graph
    assert steps(graph) == {"H": wanted, "W": wanted}
    for shape in ((1, 3, wanted, wanted), (1, 3, 2 * wanted, 3 * wanted)):
        x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
        (want,) = onnx_kit.wanted(data, {"x": x})
        assert_close(run(graph, {"x": x})["y"], want, Tol.FLOAT(reduction=48), str(shape))
    with pytest.raises(InputError, match=f"H must be a multiple of {wanted}, not {wanted + 1}"):
        run(graph, {"x": np.zeros((1, 3, wanted + 1, wanted), np.float32)})


def test_only_the_open_size_is_a_multiple() -> None:
    assert steps(onnx_kit.imported(pooled((2, 2), height=12)).graph) == {"W": 4}


def test_a_network_that_fits_at_every_size_is_left_alone() -> None:
    nodes = [
        w.node("AveragePool", ["x"], ["a"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        w.node("Shape", ["x"], ["s"]),
        w.node("Resize", ["a", "", "", "s"], ["b"], mode="linear"),
        w.node("Add", ["b", "x"], ["y"]),
    ]
    data = w.model(w.graph(nodes, [w.value("x", w.FLOAT, [1, 3, "h", "w"])], [w.value("y")]))
    assert steps(onnx_kit.imported(data).graph) == {"H": 1, "W": 1}


def test_every_other_row_and_column() -> None:
    """Pixels of even and odd places beside each other, as detectors begin: there are as many only of even sizes."""
    nodes, parts = [], []
    for number, (y, x) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        parts.append(f"p{number}")
        nodes.append(w.node("Slice", ["x", f"s{y}{x}", "end", "axes", "two"], [parts[-1]]))
    nodes.append(w.node("Concat", parts, ["y"], axis=1))
    held = [w.array(f"s{y}{x}", np.array([y, x])) for y in (0, 1) for x in (0, 1)]
    held += [w.array("end", np.array([2**31 - 1] * 2)), w.array("axes", np.array([2, 3]))]
    held.append(w.array("two", np.array([2, 2])))
    data = w.model(w.graph(nodes, [w.value("x", w.FLOAT, [1, 3, "h", "w"])], [w.value("y")], held))
    graph = onnx_kit.imported(data).graph
    assert steps(graph) == {"H": 2, "W": 2}
    assert str(graph.outputs[0].type) == "float32[1, 12, 1/2*H, 1/2*W]"


def test_sizes_that_no_multiple_brings_together_stay_refused() -> None:
    nodes = [
        w.node("AveragePool", ["x"], ["a"], kernel_shape=[2, 2], strides=[2, 2]),
        w.node("Add", ["a", "x"], ["y"], "n"),
    ]
    data = w.model(w.graph(nodes, [w.value("x", w.FLOAT, [1, 3, "h", "w"])], [w.value("y")]))
    with pytest.raises(GraphError, match=r"node 'n' .*do not broadcast"):
        onnx_kit.imported(data)


def test_one_file_serves_its_sizes_and_says_which(tmp_path: Any) -> None:
    data = pooled((2, 2))
    model = compile_graph(data, OPTIONS)
    assert any("H must be a multiple of 4" in note for note in model.report.notes)
    assert "in multiples of 4" in model.report.to_text()
    path = tmp_path / "m.smalti"
    path.write_bytes(b"".join(model_chunks(model.manifest, model.constants, model.code)))
    with smalti.load(path, threads=1) as engine:
        assert engine.output_shapes({"x": (1, 3, 8, 20)}) == {"y": (1, 6, 8, 20)}
        with pytest.raises(InputError, match=r"dimension 2 \(H\) must be a multiple of 4, got 9"):
            engine.output_shapes({"x": (1, 3, 9, 20)})
        for shape in ((1, 3, 4, 4), (1, 3, 20, 12), (1, 3, 96, 132)):
            x = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
            (want,) = onnx_kit.wanted(data, {"x": x})
            assert_close(engine.run({"x": x})["y"], want, Tol.FLOAT(reduction=48), str(shape))


def test_pictures_are_padded_to_it_or_it_is_said() -> None:
    data = pooled((2, 2, 2))
    with pytest.raises(UsageError, match="multiples of 8: give --pad-to-multiple 8"):
        import_shaped(data, CompileOptions(OPTIONS.targets, pictures=PictureOptions(Preset.TF)))
    with pytest.raises(UsageError, match="multiples of 8: give --pad-to-multiple 8"):
        import_shaped(data, CompileOptions(OPTIONS.targets, pictures=PictureOptions(Preset.TF, pad_to_multiple=4)))
    made = import_shaped(data, CompileOptions(OPTIONS.targets, pictures=PictureOptions(Preset.TF, pad_to_multiple=8)))
    assert steps(made.graph) == {"H": 1, "W": 1}


def test_fixed_sizes_are_such_multiples() -> None:
    data = pooled((2, 2))
    fixed = import_shaped(data, CompileOptions(OPTIONS.targets, shape_mutable=False)).graph
    assert fixed.inputs[0].type.shape == (1, 3, 516, 516)
    chosen = CompileOptions(OPTIONS.targets, shape_mutable=False, input_size=96)
    assert import_shaped(data, chosen).graph.inputs[0].type.shape == (1, 3, 96, 96)
    with pytest.raises(UsageError, match="--input-size 98 is no multiple of 4"):
        import_shaped(data, CompileOptions(OPTIONS.targets, shape_mutable=False, input_size=98))


def test_the_text_of_a_graph_says_it() -> None:
    graph: Graph = onnx_kit.imported(pooled((2,))).graph
    text, table = ir_text.to_text(graph), ir_text.constants(graph)
    assert "symbol H 2 * 2" in text
    assert steps(ir_text.parse(text, table)) == {"H": 2, "W": 2}
    with pytest.raises(GraphError, match="above zero"):
        ir_text.parse(text.replace("symbol H 2 * 2", "symbol H 2 * 0"), table)


@settings(max_examples=60, deadline=None)
@given(
    step=st.sampled_from(STEPS),
    factor=st.integers(1, 64),
    numerator=st.integers(-40, 40),
    denominator=st.sampled_from((1, 2, 3, 4, 6, 8, 16, 48)),
    extra=st.integers(-9, 9),
)
def test_sizes_of_multiples_are_what_their_numbers_are(
    step: int, factor: int, numerator: int, denominator: int, extra: int
) -> None:
    size = symbol("H", step, None, step)
    value = dims.floor_div(size * numerator + extra, denominator)
    number = step * factor
    assert evaluate(value, {"H": number}) == (number * numerator + extra) // denominator
    if (step * numerator) % denominator == 0 and isinstance(value, dims.Dim):
        assert "floor" not in str(value), "what a multiple shows to be whole needs no rounding"
