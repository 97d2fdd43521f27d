"""Runs a graph by the numpy meaning of its operations: what all generated code is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import is_dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.errors import CompilerError, InputError, UsageError
from smalti.ir import ops
from smalti.ir.dims import Dim, Symbol
from smalti.ir.graph import Graph, Node, TensorType
from smalti.ir.schema import eval_op
from smalti.ir.sizes import evaluate, symbols_of
from smalti.numerics import DType

Array = NDArray[Any]
Env = Mapping[str, int]


def run(graph: Graph, inputs: Mapping[str, Array], taps: Iterable[str] = ()) -> dict[str, Array]:
    """Return what ``graph`` computes from ``inputs``.

    Args:
        graph: a graph of any level.
        inputs: one array for each graph input, by node name (``ImageTensor:0``).
        taps: names of nodes whose results are wanted too.

    Returns:
        The outputs by the graph's output names, then the taps by node name.

    Raises:
        InputError: an input is missing, unknown, or of the wrong dtype or shape; or a gather index is out of range.
        UsageError: a tap is not the name of a node.
        CompilerError: an operation's result is not of the type that the graph states.
    """
    order = graph.nodes()
    wanted = set(taps)
    unknown = wanted - {node.name for node in order}
    if unknown:
        raise UsageError(f"the graph has no node named {', '.join(sorted(unknown))}")
    values, env = _bind(graph, inputs)
    uses = {node: len(users) for node, users in graph.users().items()}
    for node in graph.outputs:
        uses[node] += 1
    tapped: dict[str, Array] = {}
    for node in order:
        if not isinstance(node.op, ops.Input):
            values[node] = eval_node(node, [values[operand] for operand in node.inputs], env)
        if node.name in wanted:
            tapped[node.name] = values[node]
        for operand in node.inputs:
            uses[operand] -= 1
            if not uses[operand]:
                values.pop(operand, None)
    results = {name: values[node] for name, node in zip(graph.output_names, graph.outputs, strict=True)}
    return {**results, **tapped}


def bind_sizes(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, int]:
    """Return the value of every size symbol of ``graph`` for the given inputs.

    Raises:
        InputError: an input is missing, unknown, or of the wrong dtype or shape.
    """
    return _bind(graph, inputs)[1]


def _bind(graph: Graph, inputs: Mapping[str, Array]) -> tuple[dict[Node, Array], dict[str, int]]:
    names = [node.name for node in graph.inputs]
    if set(inputs) != set(names):
        raise InputError(f"the graph takes the inputs {sorted(names)}, not {sorted(inputs)}")
    values = {node: np.asarray(inputs[node.name]) for node in graph.inputs}
    env: dict[str, int] = {}
    for node, value in values.items():
        if value.dtype != node.type.dtype.numpy or value.ndim != node.type.rank:
            raise InputError(f"input {node.name} must be {node.type}, not {value.dtype}{list(value.shape)}")
        for size, actual in zip(node.type.shape, value.shape, strict=True):
            bare = _bare_symbol(size)
            if bare is not None:
                env.setdefault(bare.name, actual)
    for node, value in values.items():
        for size, actual in zip(node.type.shape, value.shape, strict=True):
            if evaluate(size, env) != actual:
                raise InputError(f"input {node.name} must be {node.type}, not {value.dtype}{list(value.shape)}")
            for symbol in symbols_of(size):
                if env[symbol.name] % symbol.multiple:
                    raise InputError(
                        f"input {node.name}: {symbol.name} must be a multiple of {symbol.multiple}, "
                        f"not {env[symbol.name]}"
                    )
                if env[symbol.name] < symbol.low or (symbol.high is not None and env[symbol.name] > symbol.high):
                    raise InputError(
                        f"input {node.name}: {symbol.name} is {env[symbol.name]}, the graph takes "
                        f"{symbol.low} to {symbol.high if symbol.high is not None else 'any size'}"
                    )
    return values, env


def _bare_symbol(size: int | Dim) -> Symbol | None:
    if isinstance(size, Dim) and len(size.terms) == 1:
        mono, coef = size.terms[0]
        if coef == 1 and len(mono) == 1 and isinstance(mono[0], Symbol):
            return mono[0]
    return None


def eval_node(node: Node, operands: Sequence[Array], env: Env) -> Array:
    """Return the result of ``node``; its dtype and shape are those of ``node.type``.

    Tensors of type bfloat16 are arrays of uint16 bits; such an operation is computed in float32 and rounded to nearest
    even.

    Raises:
        CompilerError: the result is not of the type that the node states.
    """
    op = node.op
    if isinstance(op, ops.Constant):
        return op.value
    narrow = node.type.dtype is DType.BFLOAT16
    arrays = [
        bfloat16_to_float32(value) if operand.type.dtype is DType.BFLOAT16 else value
        for operand, value in zip(node.inputs, operands, strict=True)
    ]
    if narrow and getattr(op, "dtype", None) is DType.BFLOAT16 and is_dataclass(op):
        op = replace(op, dtype=DType.FLOAT32)
    result = eval_op(op, arrays, env)
    if narrow and result.dtype != np.uint16:
        result = float32_to_bfloat16(result)
    _check_result(node.type, result, node, env)
    return result


def _check_result(expected: TensorType, result: Array, node: Node, env: Env) -> None:
    sizes = tuple(evaluate(size, env) for size in expected.shape)
    if result.shape != sizes or result.dtype != expected.dtype.numpy:
        raise CompilerError(
            f"node {node.name!r} ({type(node.op).__name__}) gives {result.dtype}{list(result.shape)} "
            f"where the graph states {expected} = {list(sizes)}"
        )


def bfloat16_to_float32(bits: Array) -> Array:
    """Return the float32 array of bfloat16 ``bits`` (uint16)."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def float32_to_bfloat16(values: Array) -> Array:
    """Return the bits (uint16) of float32 ``values`` rounded to nearest even; NaN stays a quiet NaN."""
    bits = np.ascontiguousarray(values, np.float32).reshape(np.shape(values)).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(values), np.uint32(0x7FC0), rounded).astype(np.uint16)
