"""Text form of graphs: one line for each node, read back without loss.

::

    graph "deeplab" canonical
    symbol H 1 513
    %0 = input() {} : uint8[1, H, 513, 3]  # ImageTensor:0
    %1 = constant() {value=sha256:9f86d081884c7d65} : float32[3, 3, 3, 32]  # Conv/weights
    %2 = conv2d(%0, %1) {stride=[2, 2], pads=[1, 1, 1, 1]} : float32[1, floor(1/2*H + 1/2), 257, 32]  # Conv/Conv2D:0
    output "Conv:0" = %2

Attributes that have their default value are left out.  Constants of more than a few elements are named by the digest of
their dtype, shape and bytes; their arrays stand in a table beside the text.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.errors import CompilerError, GraphError
from smalti.ir import ops
from smalti.ir.dims import Symbol
from smalti.ir.graph import Graph, Level, Node, TensorType
from smalti.ir.infer import make_node
from smalti.ir.ops import ALL_OPS, Op
from smalti.ir.schema import size_attributes
from smalti.ir.sizes import symbols_of
from smalti.ir.text_values import (
    TokenReader,
    build_op,
    format_attributes,
    format_value,
    parse_attributes,
    parse_size,
    snake,
)
from smalti.numerics import DType

INLINE_ELEMENTS = 8
DIGEST_DIGITS = 16

Array = NDArray[Any]
Constants = Mapping[str, Array]

_OPS: dict[str, type[Op]] = {snake(op.__name__): op for op in ALL_OPS}
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.:/^-]+", re.ASCII)
_SYMBOL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*", re.ASCII)
_NODE_LINE = re.compile(r"%(\d+) = ([a-z0-9_]+)(\(.*)", re.ASCII)
_OUTPUT_LINE = re.compile(r'output (".*") = %(\d+)')
_GRAPH_LINE = re.compile(r'graph (".*") ([a-z]+)')


def to_text(graph: Graph) -> str:
    """Return the text form of a graph.

    Raises:
        CompilerError: the graph has no text form (an input it does not list, a symbol with two ranges).
    """
    order = graph.nodes()
    if any(isinstance(node.op, ops.Input) for node in order[len(graph.inputs) :]):
        raise CompilerError("an input node is not listed as an input of the graph")
    number = {node: i for i, node in enumerate(order)}
    lines = [f"graph {json.dumps(graph.name)} {graph.level.value}"]
    for symbol in _symbols(order):
        high = "*" if symbol.high is None else symbol.high
        step = "" if symbol.multiple == 1 else f" {symbol.multiple}"
        lines.append(f"symbol {symbol.name} {symbol.low} {high}{step}")
    lines += (node_text(node, number) for node in order)
    for name, node in zip(graph.output_names, graph.outputs, strict=True):
        lines.append(f"output {json.dumps(name)} = %{number[node]}")
    return "\n".join(lines) + "\n"


def node_text(node: Node, number: Mapping[Node, int]) -> str:
    """Return the line of one node, given the numbers of all nodes."""
    op = node.op
    operands = ", ".join(f"%{number[operand]}" for operand in node.inputs)
    attributes = f"value={_constant_text(op.value)}" if isinstance(op, ops.Constant) else format_attributes(op)
    name = node.name if _PLAIN_NAME.fullmatch(node.name) else json.dumps(node.name)
    comment = f"  # {name}" if node.name else ""
    return f"%{number[node]} = {snake(type(op).__name__)}({operands}) {{{attributes}}} : {node.type}{comment}"


def constants(graph: Graph) -> dict[str, Array]:
    """Return the table of arrays that :func:`parse` needs beside the text."""
    return {
        digest(node.op.value): node.op.value
        for node in graph.nodes()
        if isinstance(node.op, ops.Constant) and not _is_inline(node.op.value)
    }


def digest(value: Array) -> str:
    """Return the name of a constant in the text: the start of the SHA-256 of its dtype, shape and bytes."""
    state = hashlib.sha256(f"{value.dtype.name}{list(value.shape)}".encode())
    state.update(np.ascontiguousarray(value).tobytes())
    return state.hexdigest()[:DIGEST_DIGITS]


def _is_inline(value: Array) -> bool:
    return value.size <= INLINE_ELEMENTS and not (value.dtype.kind == "f" and bool(np.isnan(value).any()))


def _constant_text(value: Array) -> str:
    if not _is_inline(value):
        return f"sha256:{digest(value)}"
    return f"[{', '.join(_element_text(v) for v in value.ravel())}]"


def _element_text(value: Any) -> str:
    if isinstance(value, np.floating):
        short = str(value.item() if value.dtype == np.float64 else value)
        return short if type(value)(float(short)) == value else repr(float(value))
    return format_value(value.item())


def _symbols(order: tuple[Node, ...]) -> list[Symbol]:
    found: dict[str, Symbol] = {}
    for node in order:
        for size in (*node.type.shape, *size_attributes(node.op)):
            for symbol in symbols_of(size):
                if found.setdefault(symbol.name, symbol) != symbol:
                    raise CompilerError(f"symbol {symbol.name} has two ranges")
                if not _SYMBOL_NAME.fullmatch(symbol.name):
                    raise CompilerError(f"{symbol.name!r} is not a name for a symbol")
    return [found[name] for name in sorted(found)]


def parse(text: str, table: Constants | None = None) -> Graph:
    """Return the graph of a text form.

    Args:
        text: what :func:`to_text` gave (or the like written by hand).
        table: the arrays of the constants that the text names by digest.

    Raises:
        GraphError: the text is not a graph; the message has the line number.
    """
    parser = _Parser(table or {})
    for index, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                parser.read(line)
            except GraphError as error:
                raise GraphError(f"line {index}: {error}") from error
    return parser.graph()


class _Parser:
    def __init__(self, table: Constants) -> None:
        self._table = table
        self._symbols: dict[str, Symbol] = {}
        self._nodes: list[Node] = []
        self._outputs: list[tuple[str, Node]] = []
        self._header: tuple[str, Level] | None = None

    def graph(self) -> Graph:
        if self._header is None:
            raise GraphError("the text does not begin with a graph line")
        inputs = tuple(node for node in self._nodes if isinstance(node.op, ops.Input))
        names, nodes = tuple(n for n, _ in self._outputs), tuple(n for _, n in self._outputs)
        return Graph(inputs, nodes, names, self._header[1], self._header[0])

    def read(self, line: str) -> None:
        if self._header is None:
            match = _GRAPH_LINE.fullmatch(line)
            if match is None or match.group(2) not in {level.value for level in Level}:
                raise GraphError("the text does not begin with a graph line")
            self._header = _quoted(match.group(1)), Level(match.group(2))
        elif line.startswith("symbol "):
            self._symbol(line)
        elif line.startswith("%"):
            self._node(line)
        else:
            match = _OUTPUT_LINE.fullmatch(line)
            if match is None:
                raise GraphError(f"cannot read {line[:40]!r}")
            self._outputs.append((_quoted(match.group(1)), self._node_numbered(int(match.group(2)))))

    def _symbol(self, line: str) -> None:
        words = line.split()
        if len(words) not in (4, 5) or not _SYMBOL_NAME.fullmatch(words[1]) or words[1] in self._symbols:
            raise GraphError("a symbol line is: symbol NAME LOW HIGH, and perhaps what it is a multiple of")
        low, high = words[2], words[3]
        if not (low.isdecimal() and (high == "*" or high.isdecimal())):
            raise GraphError("the range of a symbol is two numbers, or a number and *")
        multiple = words[4] if len(words) == 5 else "1"
        if not multiple.isdecimal() or int(multiple) < 1:
            raise GraphError("what a symbol is a multiple of is a number above zero")
        self._symbols[words[1]] = Symbol(words[1], int(low), None if high == "*" else int(high), int(multiple))

    def _node_numbered(self, number: int) -> Node:
        if number >= len(self._nodes):
            raise GraphError(f"%{number} is used before it is defined")
        return self._nodes[number]

    def _node(self, line: str) -> None:
        body, _, comment = line.partition("  # ")
        match = _NODE_LINE.fullmatch(body)
        if match is None or match.group(2) not in _OPS:
            raise GraphError(f"cannot read {line[:60]!r}")
        if int(match.group(1)) != len(self._nodes):
            raise GraphError(f"the node must be numbered %{len(self._nodes)}")
        op_type = _OPS[match.group(2)]
        reader = TokenReader(match.group(3))
        reader.expect("(")
        inputs = [self._node_numbered(int(word[1:])) for word in reader.items(")", reader.next) if word[:1] == "%"]
        reader.expect("{")
        if op_type is ops.Constant:
            content = self._constant(reader)
            type_ = self._type(reader)
            op: Op = ops.Constant(_array(content, type_), type_.dtype is DType.BFLOAT16)
        else:
            op = build_op(op_type, parse_attributes(reader, op_type, "}", self._symbols))
            type_ = self._type(reader)
        if reader.peek():
            raise GraphError(f"{reader.peek()!r} follows the type")
        name = _quoted(comment) if comment.startswith('"') else comment
        node = make_node(op, inputs, name, type_ if op_type is ops.Input else None)
        if node.type != type_:
            raise GraphError(f"the node is {node.type}, not {type_}")
        self._nodes.append(node)

    def _constant(self, reader: TokenReader) -> Array | list[str]:
        for token in ("value", "="):
            reader.expect(token)
        if reader.accept("["):
            content: Array | list[str] = [str(v) for v in reader.items("]", lambda: _element(reader))]
        else:
            name = reader.next().removeprefix("sha256:")
            if name not in self._table:
                raise GraphError(f"the table has no constant {name}")
            content = self._table[name]
            if digest(content) != name:
                raise GraphError(f"constant {name} is not the array that the text was made with")
        reader.expect("}")
        return content

    def _type(self, reader: TokenReader) -> TensorType:
        reader.expect(":")
        word = reader.next()
        if word not in {dtype.value for dtype in DType}:
            raise GraphError(f"{word!r} is not an element type")
        reader.expect("[")
        return TensorType(DType(word), tuple(reader.items("]", lambda: parse_size(reader, self._symbols))))


def _element(reader: TokenReader) -> str:
    if reader.peek() in ("true", "false"):
        return "1" if reader.next() == "true" else "0"
    sign = "-" if reader.accept("-") else ""
    return sign + reader.next()


def _array(content: Array | list[str], type_: TensorType) -> Array:
    """Return the read-only array of a constant, checked against its type."""
    if isinstance(content, list):
        is_float = type_.dtype.is_float and type_.dtype is not DType.BFLOAT16
        kind: type[int] | type[float] = float if is_float else int
        sizes = [size for size in type_.shape if isinstance(size, int)]
        try:
            value = np.array([kind(v) for v in content]).astype(type_.dtype.numpy).reshape(sizes)
        except (ValueError, OverflowError) as error:
            raise GraphError(f"the constant does not hold {type_}: {error}") from error
    else:
        value = content.view()
    value.flags.writeable = False
    return value


def _quoted(text: str) -> str:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise GraphError(f"{text[:40]!r} is not a quoted name") from error
    if not isinstance(value, str):
        raise GraphError(f"{text[:40]!r} is not a quoted name")
    return value
