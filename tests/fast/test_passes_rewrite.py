"""The rewriter: order, single use, limits, and errors that name the rule and the node."""

from __future__ import annotations

import pytest

from passes_kit import Maker, graph_of, ops_of
from smalti.errors import CompilerError, GraphError
from smalti.ir import ops
from smalti.ir.graph import Node
from smalti.ir.infer import make_node
from smalti.ir.ops import BinaryFn, UnaryFn
from smalti.passes.rewrite import Context, Rule, rewrite

NEG = ops.Unary(UnaryFn.NEG)
UNARY = (ops.Unary,)


def double_neg(node: Node, context: Context) -> Node | None:
    (x,) = node.inputs
    return x.inputs[0] if node.op == x.op == NEG else None


DOUBLE_NEG = Rule("-(-x) = x", UNARY, double_neg)


def chain(length: int) -> Node:
    m = Maker()
    x = m.input(2, 3)
    for _ in range(length):
        x = m.op(NEG, x)
    return x


@pytest.mark.parametrize(("length", "left"), [(1, 1), (2, 0), (7, 1), (2000, 0)])
def test_rewrites_until_nothing_fires(length: int, left: int) -> None:
    graph, stats = rewrite(graph_of(chain(length)), [DOUBLE_NEG], limit=10**6)
    assert len(ops_of(graph, ops.Unary)) == left
    assert stats.total == sum(stats.hits.values())
    assert bool(stats.hits) == (length > 1)


def test_nodes_are_shared_with_the_old_graph_where_nothing_changed() -> None:
    m = Maker()
    same = m.op(ops.Unary(UnaryFn.EXP), m.input(2))
    old = graph_of(same, m.op(NEG, m.op(NEG, same)))
    new, _ = rewrite(old, [DOUBLE_NEG])
    assert new.outputs == (same, same)
    assert old.outputs[1] is not same


@pytest.mark.parametrize("wanted", [0, 1, 3])
def test_stop_after_counts_rewrites(wanted: int) -> None:
    m = Maker()
    x = m.input(2)
    outputs = [m.op(NEG, m.op(NEG, m.op(ops.Unary(UnaryFn.EXP), x))) for _ in range(5)]
    graph, stats = rewrite(graph_of(*outputs), [DOUBLE_NEG], stop_after=wanted)
    assert stats.total == wanted
    assert len(ops_of(graph, ops.Unary)) == 15 - 2 * wanted


def test_the_first_rule_that_fires_wins() -> None:
    never = Rule("never", UNARY, lambda node, context: None)
    first = Rule("first", UNARY, double_neg)
    _, stats = rewrite(graph_of(chain(2)), [never, first, DOUBLE_NEG])
    assert stats.hits == {"first": 1}


def test_single_use_counts_reads_and_results() -> None:
    m = Maker()
    x = m.input(2)
    once, twice, result = (m.op(NEG, x) for _ in range(3))
    outputs = (m.op(NEG, once), m.binary(BinaryFn.ADD, twice, twice), result, m.op(NEG, result))
    context = Context(graph_of(*outputs))
    assert context.single_use(once)
    assert not context.single_use(twice)
    assert not context.single_use(result)
    assert context.is_output(result)
    assert not context.single_use(m.op(NEG, x))
    assert context.position(x) < context.position(once) < context.position(outputs[0])


def test_endless_rules_are_named_with_their_counts() -> None:
    def turn(node: Node, context: Context) -> Node:
        return make_node(ops.Unary(UnaryFn.EXP if node.op == NEG else UnaryFn.NEG), node.inputs, node.name)

    with pytest.raises(CompilerError, match=r"does not end.*'turn' x\d+"):
        rewrite(graph_of(chain(1)), [Rule("turn", UNARY, turn)])


def test_a_replacement_must_keep_the_type() -> None:
    wrong = Rule("wrong", UNARY, lambda node, context: make_node(ops.Reshape((6,)), node.inputs, node.name))
    with pytest.raises(CompilerError, match=r"rule 'wrong'.*unary_1.*another type"):
        rewrite(graph_of(chain(1)), [wrong])


def test_a_failing_rule_is_named_with_its_node() -> None:
    def fail(node: Node, context: Context) -> Node:
        return make_node(ops.Transpose((0, 0)), node.inputs, node.name)

    with pytest.raises(CompilerError, match=r"rule 'fail' failed on <Unary unary_1"):
        rewrite(graph_of(chain(1)), [Rule("fail", UNARY, fail)])


def test_a_replacement_may_not_be_the_node_itself() -> None:
    with pytest.raises(CompilerError, match="by itself"):
        rewrite(graph_of(chain(1)), [Rule("same", UNARY, lambda node, context: node)])
    around = Rule("around", UNARY, lambda node, context: make_node(NEG, (node,), node.name))
    with pytest.raises(CompilerError, match="does not end"):
        rewrite(graph_of(chain(1)), [around])


def test_a_sweep_goes_through_a_whole_chain() -> None:
    def hoist(node: Node, context: Context) -> Node | None:
        (x,) = node.inputs
        if node.op != NEG or not isinstance(x.op, ops.Unary) or x.op == NEG:
            return None
        return make_node(x.op, (make_node(NEG, x.inputs, node.name),), node.name) if context.single_use(x) else None

    m = Maker()
    x = m.op(ops.Unary(UnaryFn.ABS), m.input(2))
    for _ in range(3000):
        x = m.op(NEG, x)
    graph, stats = rewrite(graph_of(x), [Rule("-|x| = |-x|", UNARY, hoist)])
    assert stats.hits == {"-|x| = |-x|": 3000}
    assert stats.sweeps <= 3
    assert graph.outputs[0].op == ops.Unary(UnaryFn.ABS)


def test_new_readers_are_not_overlooked_within_a_sweep() -> None:
    """Bypassing a node that others read too gives its operand a second reader."""

    def bypass(node: Node, context: Context) -> Node | None:
        (x,) = node.inputs
        return make_node(NEG, x.inputs, node.name) if node.op == NEG and x.op == ops.Unary(UnaryFn.FLOOR) else None

    def fuse(node: Node, context: Context) -> Node | None:
        (x,) = node.inputs
        if node.op != ops.Unary(UnaryFn.CEIL) or not context.single_use(x.inputs[0]):
            return None
        return make_node(ops.Unary(UnaryFn.ROUND), x.inputs, node.name)

    m = Maker()
    source = m.op(ops.Unary(UnaryFn.EXP), m.input(2))
    middle = m.op(ops.Unary(UnaryFn.FLOOR), source)
    outputs = (m.op(NEG, middle), m.op(ops.Unary(UnaryFn.CEIL), middle))
    _, stats = rewrite(graph_of(*outputs), [Rule("bypass", UNARY, bypass), Rule("fuse", UNARY, fuse)])
    assert stats.hits == {"bypass": 1}


def test_a_result_of_the_graph_stays_one_when_another_node_takes_its_place() -> None:
    m = Maker()
    kept = m.op(ops.Unary(UnaryFn.EXP), m.input(2))
    asked: list[bool] = []

    def look(node: Node, context: Context) -> Node | None:
        if node.op == ops.Unary(UnaryFn.ABS):
            asked.append(context.single_use(node.inputs[0]) or not context.is_output(node.inputs[0]))
        return double_neg(node, context)

    graph = graph_of(m.op(NEG, m.op(NEG, kept)), m.op(ops.Unary(UnaryFn.ABS), kept))
    rewrite(graph, [Rule("look", UNARY, look)])
    assert asked == [False, False]


def test_a_graph_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smalti.passes.rewrite.MAX_VISITS", 100)
    with pytest.raises(GraphError, match="takes too long"):
        rewrite(graph_of(chain(120)), [DOUBLE_NEG])
