"""Dropout that an export left active: named where it is refused, taken out with its scale where asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph_builder import GraphBuilder
from onnx_wire import FLOAT, graph, model, node, value
from smalti.compiling.source import graph_file, import_file
from smalti.errors import UnsupportedGraphError, UsageError
from smalti.frontend.tensorflow.importer import Imported, ImportOptions, import_graph
from smalti.ir.reference import run

F32 = np.float32
X = np.float32([[1, -2, 3, 0.5]])
Form = Callable[[GraphBuilder, float], GraphBuilder]


def start() -> GraphBuilder:
    return GraphBuilder().placeholder("x", F32, (1, 4))


def random(builder: GraphBuilder) -> GraphBuilder:
    """Random numbers as TensorFlow 1 writes them, moved to a range."""
    builder.node("Shape", "d/shape", ["x"], T=F32).node("RandomUniform", "d/u", ["d/shape"], T=np.int32, dtype=F32)
    builder.const("d/min", F32(0)).const("d/max", F32(1)).node("Sub", "d/sub", ["d/max", "d/min"])
    return builder.node("Mul", "d/mul", ["d/u", "d/sub"]).node("Add", "d/random", ["d/mul", "d/min"])


def floored(builder: GraphBuilder, rate: float) -> GraphBuilder:
    """TensorFlow up to 1.12: ``x / keep * floor(keep + u)``."""
    random(builder).const("keep", F32(1 - rate)).node("Add", "d/add", ["keep", "d/random"])
    builder.node("Floor", "d/floor", ["d/add"]).node("RealDiv", "d/div", ["x", "keep"])
    return builder.node("Mul", "d/out", ["d/div", "d/floor"])


def cast(builder: GraphBuilder, rate: float) -> GraphBuilder:
    """TensorFlow 1.13 to 2.4: ``x * scale * cast(u >= rate)``."""
    random(builder).const("rate", F32(rate)).node("GreaterEqual", "d/ge", ["d/random", "rate"])
    builder.node("Cast", "d/cast", ["d/ge"], SrcT=bool, DstT=F32).const("scale", F32(1 / (1 - rate)))
    return builder.node("Mul", "d/scaled", ["x", "scale"]).node("Mul", "d/out", ["d/scaled", "d/cast"])


def selected(builder: GraphBuilder, rate: float) -> GraphBuilder:
    """Later ones: ``select(u >= rate, x * scale, 0)``."""
    builder.node("Shape", "d/shape", ["x"]).node("RandomUniform", "d/u", ["d/shape"], dtype=F32)
    builder.const("rate", F32(rate)).node("GreaterEqual", "d/ge", ["d/u", "rate"]).const("zero", F32(0))
    builder.const("scale", F32(1 / (1 - rate))).node("Mul", "d/scaled", ["scale", "x"])
    return builder.node("SelectV2", "d/out", ["d/ge", "d/scaled", "zero"])


def open_rate(builder: GraphBuilder, rate: float) -> GraphBuilder:
    """The rate comes from outside, so the scale is computed."""
    builder.const("rate/input", F32(rate)).node("PlaceholderWithDefault", "rate", ["rate/input"], dtype=F32)
    builder.const("one", F32(1)).node("Sub", "keep", ["one", "rate"]).node("RealDiv", "d/scaled", ["x", "keep"])
    builder.node("Shape", "d/shape", ["x"]).node("RandomUniform", "d/u", ["d/shape"], dtype=F32)
    builder.node("GreaterEqual", "d/ge", ["d/u", "rate"]).const("zero", F32(0))
    return builder.node("SelectV2", "d/out", ["d/ge", "d/scaled", "zero"])


def unscaled(builder: GraphBuilder, rate: float) -> GraphBuilder:
    """A mask whose scale makes up for nothing."""
    random(builder).const("rate", F32(rate)).node("GreaterEqual", "d/ge", ["d/random", "rate"])
    builder.node("Cast", "d/cast", ["d/ge"], SrcT=bool, DstT=F32).const("scale", F32(1))
    return builder.node("Mul", "d/scaled", ["x", "scale"]).node("Mul", "d/out", ["d/scaled", "d/cast"])


def noise(builder: GraphBuilder, rate: float) -> GraphBuilder:
    """No mask at all: random numbers times the image."""
    builder = random(builder).const("scale", F32(1 / (1 - rate))).node("Mul", "d/scaled", ["x", "scale"])
    return builder.node("Mul", "d/out", ["d/scaled", "d/random"])


FORMS = (floored, cast, selected, open_rate)


def imported(builder: GraphBuilder, drop: bool) -> Imported:
    return import_graph(builder.bytes(), ImportOptions(outputs=("y",), drop_dropout=drop))


@pytest.mark.parametrize("form", FORMS)
@given(rate=st.floats(0.02, 0.9))
def test_dropout_is_taken_out_with_its_scale(form: Form, rate: float) -> None:
    result = imported(form(start(), rate).node("Neg", "y", ["d/out"]), True)
    assert run(result.graph, {"x:0": X})["y:0"].tobytes() == (-X).tobytes()
    assert result.report.notes[0] == "1 dropout taken out, with the scale: d/out"
    assert [n.name for n in result.graph.nodes()] == ["x:0", "y:0"]


@pytest.mark.parametrize("form", FORMS)
def test_what_a_dropout_leaves_behind_is_no_output(form: Form) -> None:
    builder = form(start(), 0.3).node("Neg", "y", ["d/out"])
    assert import_graph(builder.bytes(), ImportOptions(drop_dropout=True)).graph.output_names == ("y:0",)


@pytest.mark.parametrize("form", FORMS)
def test_dropout_is_refused_as_what_it_is(form: Form) -> None:
    with pytest.raises(UnsupportedGraphError) as raised:
        imported(form(start(), 0.3).node("Neg", "y", ["d/out"]), False)
    (problem,) = raised.value.problems
    assert (problem.op, problem.count, problem.first_node) == ("dropout.RandomUniform", 1, "d/u")
    assert "--drop-dropout takes it out" in problem.reason


@pytest.mark.parametrize("form", (unscaled, noise))
def test_what_is_no_dropout_is_refused_either_way(form: Form) -> None:
    builder = form(start(), 0.3).node("Neg", "y", ["d/out"])
    with pytest.raises(UnsupportedGraphError) as raised:
        imported(builder, False)
    assert raised.value.problems[0].op == "RandomUniform"
    assert "other ones in every run" in raised.value.problems[0].reason
    with pytest.raises(UsageError, match="no dropout that this compiler knows"):
        imported(builder, True)


def test_every_dropout_is_named_up_to_a_number() -> None:
    builder = GraphBuilder().placeholder("x0", F32, (1, 4))
    for i in range(10):
        builder.node("Shape", f"s{i}", [f"x{i}"]).node("RandomUniform", f"u{i}", [f"s{i}"], dtype=F32)
        builder.const(f"rate{i}", F32(0.5)).node("Less", f"m{i}", [f"u{i}", f"rate{i}"])
        builder.node("Cast", f"c{i}", [f"m{i}"], SrcT=bool, DstT=F32).const(f"scale{i}", F32(2))
        builder.node("Mul", f"k{i}", [f"x{i}", f"scale{i}"]).node("Mul", f"x{i + 1}", [f"c{i}", f"k{i}"])
    result = imported(builder.node("Neg", "y", ["x10"]), True)
    assert run(result.graph, {"x0:0": X})["y:0"].tolist() == (-X).tolist()
    assert result.report.notes[0].startswith("10 dropouts taken out, with the scale: x1, x2, ")
    assert result.report.notes[0].endswith("x8, ...")


def test_numbers_that_depend_on_each_other_many_times_are_no_dropout() -> None:
    """A chain of sums of one number with itself: 2^200 paths."""
    builder = random(start()).node("Identity", "n0", ["d/random"])
    for i in range(200):
        builder.node("Add", f"n{i + 1}", [f"n{i}", f"n{i}"])
    builder.const("two", F32(2)).node("Mul", "s", ["x", "two"]).node("Mul", "y", ["n200", "s"])
    with pytest.raises(UnsupportedGraphError, match="RandomUniform"):
        imported(builder, False)


def test_graphs_without_dropout_say_that_the_option_is_for_nothing() -> None:
    with pytest.raises(UsageError, match="leave the option out"):
        imported(start().node("Neg", "y", ["x"]), True)


def test_the_option_is_not_for_onnx() -> None:
    onnx = model(graph([node("Relu", ["x"], ["y"])], [value("x", FLOAT, [1, 4])], [value("y", FLOAT, [1, 4])]))
    with pytest.raises(UsageError, match="--drop-dropout is for TensorFlow graphs"):
        import_file(graph_file(onnx), ImportOptions(drop_dropout=True))
