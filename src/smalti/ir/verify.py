"""The rules that a graph of each level keeps; passes are checked against them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from smalti.errors import CompilerError, GraphError
from smalti.ir import ops
from smalti.ir.dims import Dim, Symbol, symbols_of
from smalti.ir.graph import Graph, Level, Node
from smalti.ir.infer import QUANTISED_TYPES, infer_type
from smalti.ir.ops import Layout, Op, Shape
from smalti.numerics import DType

LARGEST_DOUBLE_OFFSET = 510
"""Twice the largest pixel."""


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
        else:
            if inferred != node.type:
                yield f"its type is {node.type}, inferred is {inferred}"
    elif node.inputs:
        yield "an input has operands"
    yield from _size_problems("its type", node.type.shape, known)
    if not isinstance(op, ops.Input):
        # A size tensor may hold any integers, and an empty slice may begin at -1 (``x[::-1]`` of nothing).
        any_sign = isinstance(op, (ops.SizeTensor, ops.Slice))
        yield from _size_problems("an attribute", size_attributes(op), known, any_sign)
    yield from _level_problems(op, graph.level)
    yield from _attribute_problems(op)


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


def size_attributes(op: Op) -> Shape:
    """Return every size attribute of an operation."""
    if isinstance(op, (ops.Conv2d, ops.DepthwiseConv2d, ops.Pool, ops.SpaceToBatch)):
        return op.pads
    if isinstance(op, (ops.QuantisedConv2d, ops.ImageConv2d, ops.QuantisedDepthwiseConv2d)):
        return op.pads
    if isinstance(op, ops.BatchToSpace):
        return op.crops
    if isinstance(op, ops.Resize):
        return op.size
    if isinstance(op, ops.ResizeArgMax):
        return (*op.crop, *(size for stage in op.stages for size in stage.size))
    if isinstance(op, ops.Pad):
        return tuple(size for pair in op.amounts for size in pair)
    if isinstance(op, ops.Slice):
        return (*op.begin, *op.size)
    if isinstance(op, ops.SizeTensor):
        return op.values
    if isinstance(op, (ops.Reshape, ops.BroadcastTo)):
        return op.shape
    return ()


def _level_problems(op: Op, level: Level) -> Iterator[str]:
    if level is not Level.QUANTISED and type(op) in ops.QUANTISED_ONLY:
        yield "only quantised graphs have this operation"
    if level is Level.IMPORTED:
        if type(op) in ops.CANONICAL_ONLY:
            yield "only passes make this operation"
        return
    if type(op) in ops.IMPORTED_ONLY:
        yield f"this operation must be gone at level {level.value}"
    if layout_of(op) is Layout.NCHW:
        yield f"layout NCHW must be gone at level {level.value}"


def layout_of(op: Op) -> Layout:
    """Return the layout attribute of an operation (NHWC if it has none)."""
    if isinstance(op, (ops.Conv2d, ops.DepthwiseConv2d, ops.BatchNorm, ops.Pool, ops.SpaceToDepth, ops.DepthToSpace)):
        return op.layout
    return Layout.NHWC


def _attribute_problems(op: Op) -> Iterator[str]:
    if isinstance(op, ops.Constant):
        if op.value.flags.writeable:
            yield "its array is writable"
        if not op.value.flags.c_contiguous:
            yield "its array is not in C order"
    elif isinstance(op, ops.Reduce):
        if list(op.axes) != sorted(set(op.axes)):
            yield f"axes {op.axes} are not sorted or not distinct"
    elif isinstance(op, ops.BatchNorm):
        if not (np.isfinite(op.epsilon) and op.epsilon >= 0):
            yield f"epsilon is {op.epsilon}"
    elif isinstance(op, (ops.SpaceToBatch, ops.BatchToSpace)):
        if min(op.block) <= 0:
            yield f"block is {op.block}"
    elif isinstance(op, (ops.Conv2d, ops.DepthwiseConv2d)):
        if min(*op.stride, *op.dilation) <= 0:
            yield f"stride {op.stride} and dilation {op.dilation} must be positive"
        if isinstance(op, ops.Conv2d) and not np.isfinite(op.input_offset):
            yield f"input_offset is {op.input_offset}"
    elif isinstance(op, (ops.Quantise, ops.Dequantise)):
        yield from _step_problems(op.scale, op.zero_point, op.dtype if isinstance(op, ops.Quantise) else None)
    elif isinstance(op, (ops.QuantisedConv2d, ops.QuantisedDepthwiseConv2d)):
        yield from _quantised_problems(op)
    elif isinstance(op, ops.ImageConv2d):
        yield from _image_problems(op)
    elif isinstance(op, ops.QuantisedMean):
        yield from _mean_problems(op)
    elif isinstance(op, ops.Pool) and min(*op.size, *op.stride) <= 0:
        yield f"size {op.size} and stride {op.stride} must be positive"


def _step_problems(scale: float, zero_point: int, dtype: DType | None) -> Iterator[str]:
    if not (np.isfinite(scale) and scale > 0 and float(np.float32(scale)) == scale):
        yield f"scale is {scale}, not a positive float32 value"
    if dtype is not None and dtype in QUANTISED_TYPES:
        low, high = dtype.limits
        if not low <= zero_point <= high:
            yield f"zero point {zero_point} is outside {dtype.value}"


def _quantised_problems(op: ops.QuantisedConv2d | ops.QuantisedDepthwiseConv2d) -> Iterator[str]:
    if min(*op.stride, *op.dilation) <= 0:
        yield f"stride {op.stride} and dilation {op.dilation} must be positive"
    if op.dtype.is_float:
        return
    yield from _step_problems(op.scale, op.result_zero_point, op.dtype)
    low, high = op.dtype.limits
    if not low <= op.low <= op.high <= high:
        yield f"results in [{op.low}, {op.high}] are outside {op.dtype.value}"
    if op.activation is not ops.Activation.NONE:
        yield "an integer result has limits, no activation"


def _image_problems(op: ops.ImageConv2d) -> Iterator[str]:
    if min(op.stride) <= 0:
        yield f"stride {op.stride} must be positive"
    if not 0 <= op.double_offset <= LARGEST_DOUBLE_OFFSET:
        yield f"double_offset is {op.double_offset}, not in 0..{LARGEST_DOUBLE_OFFSET}"
    yield from _step_problems(op.scale, op.result_zero_point, DType.UINT8)
    if not 0 <= op.low <= op.high <= 255:
        yield f"results in [{op.low}, {op.high}] are outside uint8"


def _mean_problems(op: ops.QuantisedMean) -> Iterator[str]:
    if list(op.axes) != sorted(set(op.axes)):
        yield f"axes {op.axes} are not sorted or not distinct"
    yield from _step_problems(op.scale, op.result_zero_point, None)
    if not (np.isfinite(op.multiplier) and float(np.float32(op.multiplier)) == op.multiplier):
        yield f"multiplier is {op.multiplier}, not a float32 value"
