"""The rules that a graph of each level keeps; passes are checked against them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from smalti.errors import CompilerError, GraphError
from smalti.ir import ops
from smalti.ir.dims import Dim, Symbol
from smalti.ir.graph import Graph, Node
from smalti.ir.infer import infer_type
from smalti.ir.schema import Op, layout_of, schema_of, size_attributes
from smalti.ir.sizes import symbols_of
from smalti.ir.types import Layout, Level, Shape


def verify(graph: Graph, level: Level | None = None) -> None:
    """Check every rule of the graph's level.

    Rules of all levels: each node's type is the one its operation infers; inputs have their own distinct names and
    outputs theirs; sizes are integers and depend on the inputs' symbols only; a symbol has one range; constants are
    read-only; convolution and pooling attributes are positive, paddings not negative.  At level imported no operation
    that only passes make; from level canonical on no TensorFlow idioms and no NCHW.

    Args:
        graph: what to check.
        level: the level it must be of (default: the one it states).

    Raises:
        CompilerError: lists all violations.
    """
    problems = [] if level is None or graph.level is level else [f"the graph is {graph.level.value}, not {level.value}"]
    problems += _interface_problems(graph)
    known = {symbol.name: symbol for symbol in graph.symbols()}
    for node in graph.nodes():
        problems += (f"node {node.name!r} ({type(node.op).__name__}): {text}" for text in _problems(node, graph, known))
    if problems:
        listing = "\n".join(f"  {p}" for p in problems)
        raise CompilerError(
            f"graph {graph.name!r} breaks {len(problems)} rules of level {graph.level.value}:\n{listing}"
        )


def _interface_problems(graph: Graph) -> Iterator[str]:
    for what, names in (("input", [n.name for n in graph.inputs]), ("output", list(graph.output_names))):
        for name, count in Counter(names).items():
            if count > 1:
                yield f"{count} {what}s are named {name!r}"
            if not name:
                yield f"an {what} has no name"
    if not graph.outputs:
        yield "the graph has no outputs"
    declared = set(graph.inputs)
    for node in graph.inputs:
        if not isinstance(node.op, ops.Input):
            yield f"input {node.name!r} is a {type(node.op).__name__}"
    for node in graph.nodes():
        if isinstance(node.op, ops.Input) and node not in declared:
            yield f"node {node.name!r} is an input that the graph does not list"
    ranges: dict[str, Symbol] = {}
    for symbol in graph.symbols():
        if ranges.setdefault(symbol.name, symbol) != symbol:
            yield f"symbol {symbol.name} has two ranges"


def _problems(node: Node, graph: Graph, known: dict[str, Symbol]) -> Iterator[str]:
    op = node.op
    if not isinstance(op, ops.Input):
        try:
            inferred = infer_type(op, tuple(operand.type for operand in node.inputs))
        except GraphError as error:
            yield f"its operands do not fit: {error}"
        except CompilerError as error:
            yield str(error)
            return
        else:
            if inferred != node.type:
                yield f"its type is {node.type}, inferred is {inferred}"
    elif node.inputs:
        yield "an input has operands"
    yield from _size_problems("its type", node.type.shape, known)
    yield from _size_problems("an attribute", size_attributes(op), known, schema_of(op).signed_sizes)
    yield from _level_problems(op, graph.level)
    yield from op.problems()


def _size_problems(what: str, sizes: Shape, known: dict[str, Symbol], any_sign: bool = False) -> Iterator[str]:
    for size in sizes:
        if isinstance(size, Dim):
            if not size.is_integral:
                yield f"{what} has the size {size}, which need not be an integer"
            for symbol in sorted(symbols_of(size), key=str):
                if known.get(symbol.name) != symbol:
                    yield f"{what} depends on {symbol}, which is not a size of an input"
        elif size < 0 and not any_sign:
            yield f"{what} has the negative size {size}"


def _level_problems(op: Op, level: Level) -> Iterator[str]:
    schema = schema_of(op)
    if level not in schema.levels:
        where = ", ".join(known.value for known in Level if known in schema.levels)
        yield f"this operation stands in graphs of level {where} only"
    if level is not Level.IMPORTED and layout_of(op) is Layout.NCHW:
        yield f"layout NCHW must be gone at level {level.value}"
