"""The text form of a graph is read back without loss, and bad text is refused with the line number."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantised_graphs import graph_of_quantised_operations, picture
from random_graphs import MAKERS, GraphMaker, graph_of_everything, random_inputs
from smalti.errors import CompilerError, GraphError
from smalti.ir import dims, ops
from smalti.ir.graph import Graph, Level, TensorType
from smalti.ir.infer import make_node
from smalti.ir.ops import ALL_OPS
from smalti.ir.reference import run
from smalti.ir.text import constants, parse, to_text
from smalti.ir.text_values import TokenReader, parse_size
from smalti.numerics import DType
from tolerance import Tol, assert_close

SYMBOLS = {"H": dims.Symbol("H", 1, 513), "W": dims.Symbol("W")}
H, W = dims.symbol("H", 1, 513), dims.symbol("W")


def sizes() -> st.SearchStrategy[int | dims.Dim]:
    def grow(inner: st.SearchStrategy[int | dims.Dim]) -> st.SearchStrategy[int | dims.Dim]:
        pair = st.tuples(inner, inner)
        fraction = st.builds(Fraction, st.integers(-7, 7), st.integers(1, 9))
        return st.one_of(
            pair.map(lambda p: p[0] + p[1]),
            pair.map(lambda p: p[0] - p[1]),
            st.tuples(inner, st.integers(-4, 4)).map(lambda p: p[0] * p[1]),
            st.tuples(inner, st.integers(2, 9)).map(lambda p: dims.floor_div(p[0], p[1])),
            pair.map(lambda p: dims.maximum(*p)),
            pair.map(lambda p: dims.minimum(*p)),
            st.tuples(inner, fraction).map(lambda p: p[0] + dims.rational(p[1])),
        )

    return st.recursive(st.one_of(st.integers(-600, 600), st.just(H), st.just(W)), grow, max_leaves=6)


@settings(max_examples=150, deadline=None)
@given(sizes())
def test_sizes_are_read_back(size: int | dims.Dim) -> None:
    reader = TokenReader(str(size))
    assert parse_size(reader, SYMBOLS) == size
    assert reader.peek() == ""


def test_every_operation_is_covered() -> None:
    graphs = [graph_of_everything(level) for level in (Level.IMPORTED, Level.CANONICAL)]
    graphs.append(graph_of_quantised_operations())
    made = {type(node.op).__name__ for graph in graphs for node in graph.nodes()}
    assert made == {op.__name__ for op in ALL_OPS}


@pytest.mark.parametrize("level", [Level.IMPORTED, Level.CANONICAL])
def test_a_graph_of_everything_is_read_back(level: Level) -> None:
    graph = graph_of_everything(level)
    text = to_text(graph)
    again = parse(text, constants(graph))
    assert to_text(again) == text
    assert (again.name, again.level, again.output_names) == (graph.name, graph.level, graph.output_names)
    inputs = random_inputs(7, 9, graph)
    for want, got in zip(run(graph, inputs).values(), run(again, inputs).values(), strict=True):
        assert_close(got, want, Tol.EXACT)


def test_a_quantised_graph_is_read_back() -> None:
    graph = graph_of_quantised_operations()
    text = to_text(graph)
    again = parse(text, constants(graph))
    assert to_text(again) == text
    assert [node.type for node in again.nodes()] == [node.type for node in graph.nodes()]
    kept = [node.op.bfloat16 for node in again.nodes() if isinstance(node.op, ops.Constant)]
    assert kept.count(True) == 2
    names = {"thin:0", "last:0"}
    want, got = run(graph, picture()), run(again, picture())
    assert want.keys() == got.keys() == names
    for name in names:
        assert len(np.unique(want[name])) > 10
        assert_close(got[name], want[name], Tol.EXACT)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 30), st.sampled_from([Level.IMPORTED, Level.CANONICAL]), st.integers(1, 12))
def test_random_graphs_are_read_back(seed: int, level: Level, operations: int) -> None:
    graph = GraphMaker(seed, level).graph(operations)
    text = to_text(graph)
    assert to_text(parse(text, constants(graph))) == text


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_lines_hold_one_node_each(name: str) -> None:
    maker = GraphMaker(1)
    maker.add(MAKERS[name])
    graph = maker.finish()
    lines = to_text(graph).splitlines()
    assert sum(line.startswith("%") for line in lines) == len(graph.nodes())


GOLDEN = """graph "tiny" canonical
symbol H 1 513
symbol W 1 *
%0 = input() {} : float32[1, H, W, 1]  # x:0
%1 = constant() {value=[0.1, -2.0]} : float32[1, 1, 1, 2]  # w
%2 = conv2d(%0, %1) {activation=relu6} : float32[1, H, W, 2]  # conv/Conv2D:0
%3 = resize(%2) {fn=bilinear, size=[floor(1/2*H), 3], align_corners=true} : float32[1, floor(1/2*H), 3, 2]
output "y:0" = %3
"""


def test_golden_text() -> None:
    x = make_node(ops.Input(), (), "x:0", TensorType(DType.FLOAT32, (1, H, W, 1)))
    w = make_node(ops.Constant(np.array([0.1, -2], np.float32).reshape(1, 1, 1, 2)), (), "w")
    conv = make_node(ops.Conv2d(activation=ops.Activation.RELU6), (x, w), "conv/Conv2D:0")
    y = make_node(ops.Resize(ops.ResizeFn.BILINEAR, (dims.floor_div(H, 2), 3), True), (conv,))
    assert to_text(Graph((x,), (y,), ("y:0",), Level.CANONICAL, "tiny")) == GOLDEN
    assert to_text(parse(GOLDEN)) == GOLDEN


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('graph "tiny" canonical', 'graph "tiny" perfect', "line 1: .* graph line"),
        ("symbol W 1 *", "symbol W one *", "line 3: the range"),
        ("symbol W 1 *", "symbol H 1 *", "line 3: a symbol line"),
        ("%0 = input() {} : float32[1, H", "%0 = input() {} : float32[1, K", "line 4: 'K' is not a declared symbol"),
        ("float32[1, 1, 1, 2]", "float31[1, 1, 1, 2]", "line 5: 'float31'"),
        ("float32[1, 1, 1, 2]", "float32[1, 1, 1, 3]", "line 5: the constant does not hold"),
        ("[0.1, -2.0]", "[0.1, x]", "line 5"),
        ("[0.1, -2.0]", "sha256:0123", "line 5: the table has no constant"),
        ("conv2d(%0, %1)", "conv2d(%0, %7)", "line 6: %7 is used before"),
        ("conv2d(%0, %1)", "conv2d(%0)", "line 6: .*operands"),
        ("conv2d(%0, %1)", "convolve(%0, %1)", "line 6: cannot read"),
        ("%2 = conv2d", "%5 = conv2d", "line 6: the node must be numbered"),
        ("activation=relu6", "activation=relu7", "line 6: 'relu7' is not a Activation"),
        ("activation=relu6", "activity=relu6", "line 6: conv2d has no attribute"),
        ("activation=relu6", "stride=[1, 1, 1]", "line 6: ']' is missing"),
        ("activation=relu6", "bias=yes", "line 6: 'yes' is neither"),
        (": float32[1, H, W, 2]  # conv", ": float32[1, H, W, 3]  # conv", "line 6: the node is"),
        ("fn=bilinear, ", "", "line 7: resize"),
        ("floor(1/2*H), 3]", "floor(1/0*H), 3]", "line 7: 1/0"),
        ("floor(1/2*H), 3]", f"{'floor(' * 500}H, 3]", "line 7: .*nested too deeply"),
        ("floor(1/2*H), 3]", f"{'9' * 5000}, 3]", "line 7: a number is too long"),
        ('output "y:0" = %3', 'output "y:0" = %4', "line 8: %4"),
        ('output "y:0" = %3', "return %3", "line 8: cannot read"),
    ],
)
def test_bad_text_is_refused(old: str, new: str, message: str) -> None:
    assert old in GOLDEN
    with pytest.raises(GraphError, match=message):
        parse(GOLDEN.replace(old, new, 1))


def test_a_wrong_table_is_noticed() -> None:
    graph = graph_of_everything(Level.CANONICAL)
    table = constants(graph)
    name = next(iter(table))
    with pytest.raises(GraphError, match="is not the array"):
        parse(to_text(graph), {**table, name: table[name] + table[name].dtype.type(1)})


def test_graphs_without_text_are_refused() -> None:
    x = make_node(ops.Input(), (), "x", TensorType(DType.FLOAT32, (H,)))
    other = make_node(ops.Input(), (), "y", TensorType(DType.FLOAT32, (dims.symbol("H", 2),)))
    with pytest.raises(CompilerError, match="two ranges"):
        to_text(Graph((x, other), (x,), ("x",), Level.IMPORTED))
    with pytest.raises(CompilerError, match="not listed"):
        to_text(Graph((x,), (other,), ("x",), Level.IMPORTED))
