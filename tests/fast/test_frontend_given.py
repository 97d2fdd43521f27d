"""Shapes and values that a user gives to tensors by name, and what is said where they do not fit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph_builder import GraphBuilder
from smalti.cli.options.inputs import parse_binds, parse_names, parse_shapes
from smalti.compiler import CompileOptions
from smalti.compiling.sizes import import_shaped
from smalti.errors import UnsupportedGraphError, UsageError
from smalti.frontend.given import MAX_BOUND, elements, plain_shapes, plain_values, shape_text, value_text
from smalti.frontend.importing.naming import nearest
from smalti.frontend.tensorflow.handlers import TABLE
from smalti.frontend.tensorflow.importer import ImportOptions, import_graph
from smalti.frontend.tensorflow.rawgraph import read_graph
from smalti.ir.reference import run
from smalti.target.host import resolve_targets
from switched_graphs import switched_network

TARGETS = resolve_targets("generic")


def _types(data: bytes, **options: object) -> list[str]:
    return [str(node.type) for node in import_graph(data, ImportOptions(**options)).graph.inputs]  # type: ignore[arg-type]


def test_a_bound_flag_decides_every_branch() -> None:
    data = switched_network(layers=49)
    with pytest.raises(UnsupportedGraphError) as caught:
        import_graph(data)
    for part in ("--bind is_training=false", "--input-shape", "x float32[1, ?, ?, 3]", "is_training bool[]"):
        assert part in str(caught.value)
    imported = import_graph(data, ImportOptions(binds={"is_training": False}))
    assert [node.name for node in imported.graph.inputs] == ["x:0"]
    assert "is_training:0 is bound to false" in imported.report.notes
    assert not {"Switch", "Merge"} & {type(node.op).__name__ for node in imported.graph.nodes()}


def test_what_is_left_computes_what_a_graph_for_inference_does() -> None:
    picture = {"x:0": np.random.default_rng(4).standard_normal((1, 6, 7, 3)).astype(np.float32)}
    found = []
    for data, binds in ((switched_network(), {"is_training": False}), (switched_network(switches=False), {})):
        options = ImportOptions(outputs=("bn1/merge", "labels"), binds=binds)
        found.append(run(import_graph(data, options).graph, picture))
    assert len(np.unique(found[0]["labels:0"])) > 1
    for name in ("bn1/merge:0", "labels:0"):
        np.testing.assert_array_equal(found[0][name], found[1][name])


def test_the_other_branch_is_taken_when_the_flag_is_true() -> None:
    with pytest.raises(UnsupportedGraphError, match="is_training=true"):
        import_graph(switched_network(), ImportOptions(binds={"is_training": True}))


def test_an_input_that_only_the_other_branch_reads_is_none() -> None:
    made = GraphBuilder().placeholder("x", np.float32, [1, None, 2]).placeholder("train", np.bool_, [])
    made.placeholder("rate", np.float32, []).node("Switch", "s", ["x", "train"], T=np.float32)
    made.node("Mul", "dropped", ["s:1", "rate"], T=np.float32).node("Identity", "kept", ["s"], T=np.float32)
    made.node("Merge", "m", ["kept", "dropped"], N=2, T=np.float32).node("Relu", "y", ["m"], T=np.float32)
    imported = import_graph(made.bytes(), ImportOptions(binds={"train": False}))
    assert [node.name for node in imported.graph.inputs] == ["x:0"]
    assert [info.name for info in imported.report.inputs] == ["x:0"]
    assert "not read, so no input: rate:0" in imported.report.notes
    whole = import_graph(made.bytes(), ImportOptions(binds={"train": True}))
    assert [node.name for node in whole.graph.inputs] == ["x:0", "rate:0"]


@pytest.mark.parametrize("name", ["x", "x:0"])
def test_an_input_of_unknown_rank_takes_the_given_shape(name: str) -> None:
    data = GraphBuilder().placeholder("x", np.float32, None).node("Relu", "y", ["x"], T=np.float32).bytes()
    with pytest.raises(UnsupportedGraphError, match="--input-shape") as caught:
        import_graph(data)
    assert "x float32 of unknown rank" in str(caught.value)
    assert _types(data, input_shapes={name: (1, 720, 1280, 3)}) == ["float32[1, 720, 1280, 3]"]
    assert _types(data, input_shapes={name: (1, None, 1280, 3)}) == ["float32[1, H, 1280, 3]"]
    assert _types(data, input_shapes={name: ()}) == ["float32[]"]
    assert _types(data, input_shapes={name: (2, 3, 4, 5, 6)}) == ["float32[2, 3, 4, 5, 6]"]


def test_an_open_size_stays_what_the_graph_says() -> None:
    data = GraphBuilder().placeholder("x", np.float32, [None, 8, None, 3]).node("Relu", "y", ["x"]).bytes()
    assert _types(data, input_shapes={"x": (None, None, 9, None)}) == ["float32[1, 8, 9, 3]"]
    for wrong in ((1, 7, 9, 3), (1, 8, 9), ()):
        with pytest.raises(UsageError, match="does not fit the graph, where it is [?]x8x[?]x3"):
            import_graph(data, ImportOptions(input_shapes={"x": wrong}))


def test_a_shape_for_what_is_no_input_is_refused() -> None:
    data = switched_network()
    with pytest.raises(UsageError, match="'conv1:0' is not among the inputs") as caught:
        import_graph(data, ImportOptions(binds={"is_training": False}, input_shapes={"conv1": (1, 8, 8, 3)}))
    assert "is_training bool[]" in str(caught.value)
    cut = ImportOptions(inputs=("bn1/merge",), input_shapes={"bn1/merge": (1, 5, 6, 3)})
    assert [str(node.type) for node in import_graph(data, cut).graph.inputs] == ["float32[1, 5, 6, 3]"]


@pytest.mark.parametrize(
    ("shape", "dtype", "value", "stored"),
    [
        ([], np.float32, 2, np.float32(2)),
        ([], np.float32, 0.1, np.float32(0.1)),
        ([3], np.float32, (104, 117, 123), np.array([104, 117, 123], np.float32)),
        ([None], np.float32, 7, np.array([7], np.float32)),
        ([1, 1, 3], np.float32, (1.5, 2, 3), np.array([[[1.5, 2, 3]]], np.float32)),
        ([None, 2], np.float32, (1, 2, 3, 4), np.array([[1, 2], [3, 4]], np.float32)),
        (None, np.float32, (1, 2), np.array([1, 2], np.float32)),
        ([2], np.float16, [0.5, 1], np.array([0.5, 1], np.float16)),
        ([2], np.int32, np.array([-1, 2]), np.array([-1, 2], np.int32)),
        ([1, 2], np.uint8, [[0, 255]], np.array([[0, 255]], np.uint8)),
        ([2], np.bool_, [True, False], np.array([True, False])),
    ],
)
def test_bound_values_are_the_numbers_of_the_tensor(
    shape: list[int | None] | None, dtype: type, value: object, stored: np.ndarray
) -> None:
    data = (
        GraphBuilder()
        .placeholder("x", dtype, [])
        .placeholder("v", dtype, shape)
        .node("Identity", "same", ["v"], T=dtype)
        .node("Select" if dtype is np.bool_ else "Add", "y", _operands(dtype), T=dtype)
        .bytes()
    )
    graph = import_graph(data, ImportOptions(outputs=("same",), binds={"v": value})).graph
    assert not graph.inputs
    result = run(graph, {})["same:0"]
    assert result.dtype == stored.dtype and result.shape == stored.shape
    np.testing.assert_array_equal(result, stored)


def _operands(dtype: type) -> list[str]:
    return ["x", "v", "v"] if dtype is np.bool_ else ["x", "v"]


@pytest.mark.parametrize(
    ("shape", "dtype", "value", "said"),
    [
        ([], np.bool_, 0, "takes true or false"),
        ([], np.bool_, 1.0, "takes true or false"),
        ([], np.float32, True, "takes numbers"),
        ([], np.int32, 1.0, "whole numbers from -2147483648 to 2147483647"),
        ([], np.uint8, 256, "whole numbers from 0 to 255"),
        ([], np.int8, -129, "whole numbers from -128"),
        ([], np.float16, 65520.0, "too large for float16"),
        ([], np.float32, 10**400, "too large for float32"),
        ([3], np.float32, (1, 2), "has the shape 3, not 2"),
        ([3], np.float32, 1, "has the shape 3, not scalar"),
        ([], np.float32, (1, 2), "has the shape scalar, not 2"),
        ([None, None], np.float32, (1, 2), "has the shape [?]x[?], not 2"),
        ([2, 2], np.float32, ((1, 2, 3),), "has the shape 2x2, not 1x3"),
        ([], np.complex64, 1, "type complex64 is not supported"),
    ],
)
def test_values_that_do_not_fit(shape: list[int | None], dtype: type, value: object, said: str) -> None:
    made = GraphBuilder().placeholder("v", dtype, shape).placeholder("x", np.float32, [2])
    data = made.node("Identity", "y", ["v"]).node("Relu", "z", ["x"]).bytes()
    with pytest.raises(UsageError, match=said):
        import_graph(data, ImportOptions(outputs=("y",), binds={"v": value}))


def test_defaults_and_computed_tensors_can_be_bound() -> None:
    data = (
        GraphBuilder()
        .placeholder("x", np.float32, [2])
        .const("half", np.float32(0.5))
        .node("PlaceholderWithDefault", "rate", ["half"], dtype=np.float32)
        .node("Mul", "y", ["x", "rate"], T=np.float32)
        .node("Add", "z", ["y", "y"], T=np.float32)
        .bytes()
    )
    x = {"x:0": np.array([2, 4], np.float32)}
    for binds, wanted in (({}, [2, 4]), ({"rate": 3}, [12, 24])):
        np.testing.assert_array_equal(run(import_graph(data, ImportOptions(binds=binds)).graph, x)["z:0"], wanted)
    # y is float32[2] by what stands before it.
    with pytest.raises(UsageError, match="has the shape 2, not 3"):
        import_graph(data, ImportOptions(binds={"y": (1, 2, 3)}))
    graph = import_graph(data, ImportOptions(outputs=("z",), binds={"y": (1, 2)})).graph
    np.testing.assert_array_equal(run(graph, {})["z:0"], [2, 4])


def test_binds_that_decide_nothing_or_twice_are_refused() -> None:
    data = switched_network()
    with pytest.raises(UsageError, match="do not depend on 'is_training:0'"):
        import_graph(data, ImportOptions(outputs=("conv0",), binds={"is_training": False}))
    with pytest.raises(UsageError, match="--inputs and by --bind"):
        import_graph(data, ImportOptions(inputs=("x", "is_training"), binds={"is_training": False}))
    with pytest.raises(UsageError, match="is_training has no output 1"):
        import_graph(data, ImportOptions(binds={"is_training:1": False}))
    with pytest.raises(UsageError, match="is_training:0 is named twice"):
        CompileOptions(TARGETS, binds={"is_training": False, "is_training:0": True})


@pytest.mark.parametrize(
    ("option", "choice"),
    [
        ("--inputs", ImportOptions(inputs=("bn1/swich",))),
        ("--outputs", ImportOptions(outputs=("bn1/swich:0",))),
        ("--bind", ImportOptions(binds={"bn1/swich": 1})),
        ("--input-shape", ImportOptions(input_shapes={"bn1/swich": (1,)})),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(option: str, choice: ImportOptions) -> None:
    with pytest.raises(UsageError) as caught:
        import_graph(switched_network(), choice)
    said = str(caught.value)
    assert said.startswith(f"{option}: the graph has no node for the tensor 'bn1/swich")
    for part in ("the nearest names are 'bn1/switch'", "x float32[1, ?, ?, 3]", "is_training bool[]", "labels"):
        assert part in said


def test_the_search_for_names_is_bounded() -> None:
    made = GraphBuilder()
    for index in range(20_000):
        made.node("NoOp", f"tower_{index:05d}/{'x' * (index % 150)}/switch")
    raw = read_graph(made.bytes(), TABLE)
    assert len(nearest(raw, "tower_00007/xxxxxxx/swich")) == 3
    assert nearest(raw, "tower_00007/xxxxxxx/swich")[0] == "'tower_00007/xxxxxxx/switch'"
    assert nearest(raw, "q" * 4000) == []


# ---- how sizes combine ----------------------------------------------------------------------------------------------

OPEN = GraphBuilder().placeholder("x", np.uint8, [1, None, None, 3]).node("Cast", "y", ["x"], DstT=np.float32).bytes()


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, "uint8[1, H, W, 3]"),
        ({"input_shapes": {"x": (1, 720, 1280, 3)}}, "uint8[1, 720, 1280, 3]"),
        ({"input_shapes": {"x": (1, 720, 1280, 3)}, "shape_mutable": False}, "uint8[1, 720, 1280, 3]"),
        ({"input_shapes": {"x": (1, 65, 65, 3)}, "input_size": 65}, "uint8[1, 65, 65, 3]"),
        ({"input_shapes": {"x": (1, None, None, 3)}, "input_size": 65}, "uint8[1, H, W, 3]"),
        ({"input_shapes": {"x": (1, 720, None, 3)}}, "uint8[1, 720, W, 3]"),
        ({"shape_mutable": False, "input_size": 65}, "uint8[1, 65, 65, 3]"),
    ],
)
def test_shapes_beside_other_options(options: dict[str, object], wanted: str) -> None:
    imported = import_shaped(OPEN, CompileOptions(TARGETS, **options))  # type: ignore[arg-type]
    assert str(imported.graph.inputs[0].type) == wanted


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"input_shapes": {"x": (1, 720, None, 3)}, "shape_mutable": False}, "--shape-mutable false"),
        ({"input_shapes": {"x": (1, 720, 1280, 3)}, "input_size": 513}, "--input-size 513"),
        ({"input_shapes": {"x": (1, 720, None, 3)}, "input_size": 513}, "--input-size 513"),
        ({"input_shapes": {"x": (1, 720, 1280, 4)}}, "does not fit the graph"),
    ],
)
def test_contradictions_are_said(options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        import_shaped(OPEN, CompileOptions(TARGETS, **options))  # type: ignore[arg-type]
    assert "--input-shape x:0=1x720x" in str(caught.value)


def test_a_batch_that_contradicts_the_shape() -> None:
    data = GraphBuilder().placeholder("x", np.uint8, None).node("Cast", "y", ["x"], DstT=np.float32).bytes()
    with pytest.raises(UsageError, match="4 images in one call, but --batch-size is 2"):
        import_shaped(data, CompileOptions(TARGETS, input_shapes={"x": (4, 8, 8, 3)}, batch_size=2))


# ---- what is written on the command line ----------------------------------------------------------------------------


def test_shapes_as_text() -> None:
    found = parse_shapes(["x=1x720x1280x3", "a/b:1=?x2", "s=scalar", "t=", "u=5", "v=1X2"])
    assert found == {"x": (1, 720, 1280, 3), "a/b:1": (None, 2), "s": (), "t": (), "u": (5,), "v": (1, 2)}
    assert parse_shapes(None) == {}


def test_values_as_text() -> None:
    found = parse_binds(["a=True", "b=false", "c=1", "d=-1.5e3", "e=1, 2,3", "f=true,false", "g:0=.5", "h=+7"])
    assert found == {
        "a": True,
        "b": False,
        "c": 1,
        "d": -1500.0,
        "e": (1, 2, 3),
        "f": (True, False),
        "g:0": 0.5,
        "h": 7,
    }
    assert type(found["c"]) is int and type(found["a"]) is bool


@pytest.mark.parametrize("text", ["x", "=1", "x=1x0x3", "x=1xx3", "x=-1x3", "x=1,2", "x=axb", "x=1x99999999999"])
def test_texts_that_are_no_shape(text: str) -> None:
    with pytest.raises(UsageError, match="--input-shape"):
        parse_shapes([text])


@pytest.mark.parametrize("text", ["x", "=1", "x=", "x=yes", "x=1,,2", "x=nan", "x=inf", "x=0x10", "x=1_0", "x=1 2"])
def test_texts_that_are_no_value(text: str) -> None:
    with pytest.raises(UsageError, match="--bind"):
        parse_binds([text])


def test_names_as_text() -> None:
    assert parse_names("a:0, b", "--inputs") == ("a:0", "b") and parse_names(None, "--inputs") is None
    with pytest.raises(UsageError, match="--outputs takes"):
        parse_names(" , ", "--outputs")
    for parse, texts in ((parse_shapes, ["x=1", "x=2"]), (parse_binds, ["x=1", "x=2"])):
        with pytest.raises(UsageError, match="names x twice"):
            parse(texts)


SIZES = st.lists(st.one_of(st.none(), st.integers(1, 2**31 - 1)), max_size=8).map(tuple)


@given(SIZES)
def test_a_shape_is_read_as_it_is_written(shape: tuple[int | None, ...]) -> None:
    assert parse_shapes([f"x={shape_text(shape)}"]) == {"x": shape}


@given(
    st.lists(
        st.one_of(st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False)),
        min_size=2,
        max_size=50,
    ).map(tuple)
)
@settings(max_examples=50)
def test_a_value_is_read_as_it_is_written(value: tuple[bool | int | float, ...]) -> None:
    assert parse_binds([f"x={value_text(value)}"]) == {"x": value}


@pytest.mark.parametrize("shape", [(0,), (-1, 3), (1.0,), (True,), (2**31,), (1,) * 9, ("1",)])
def test_shapes_that_no_tensor_has(shape: tuple[object, ...]) -> None:
    with pytest.raises(UsageError, match="the shape of x"):
        plain_shapes({"x": shape})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "value",
    [[], [[1], [1, 2]], [1, [2]], float("nan"), float("inf"), None, "1", [None], np.zeros(MAX_BOUND + 1), [0] * 5000,
     [[0] * 64] * 65, np.zeros((1,) * 9), np.array([1j])],
    ids=lambda value: f"{type(value).__name__} {str(value)[:16]}",
)  # fmt: skip
def test_values_that_no_tensor_takes(value: object) -> None:
    with pytest.raises(UsageError, match="the value of x"):
        plain_values({"x": value})


def test_plain_values_do_not_follow_the_array() -> None:
    array = np.ones((2, 2), np.float32)
    options = CompileOptions(TARGETS, binds={"x": array})
    array[0, 0] = 5
    assert options.binds == {"x:0": ((1.0, 1.0), (1.0, 1.0))}
    assert elements(options.binds["x:0"]) == ((2, 2), [1.0] * 4)
    assert hash(options) == hash(CompileOptions(TARGETS))
