"""Each operation of a generated graph against the same operation in float64 on the very operands that it had."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.harness import compile_graph, run_compiled
from random_graphs import GraphMaker, random_inputs
from smalti.ir import ops, reference, schema
from smalti.ir.dims import product
from smalti.ir.graph import Graph, Level, Node
from smalti.ir.ops import Activation, BinaryFn, ReduceFn
from smalti.ir.sizes import evaluate
from smalti.kernels.registry import KERNELS
from smalti.numerics import DType
from smalti.target.target import Target
from tolerance import Tol, assert_close

Array = NDArray[Any]
_AS_IN_FLOAT32 = (ops.Resize, ops.ResizeArgMax, ops.ArgMax)
"""Operations whose meaning is their float32 arithmetic: positions and labels; they must be equal."""
_SUMS = (ops.Conv2d, ops.MatMul)
ROUNDINGS = 4
"""Terms of an operation that sums nothing."""


SAMPLED = 16
"""Terms of one sample."""


def check_graph(seed: int, operations: int, target: Target) -> list[str]:
    """Compile a generated graph with every node as an output; return the name of every operation compared.

    Raises:
        AssertionError: an operation's error is over 4 x float32 epsilon x sqrt(terms) x scale.
    """
    made = GraphMaker(seed, Level.CANONICAL).graph(operations)
    nodes = [n for n in made.nodes() if not isinstance(n.op, (ops.Input, ops.Constant))]
    graph = Graph(made.inputs, tuple(nodes), tuple(f"n{i}:0" for i in range(len(nodes))), Level.CANONICAL)
    rng = np.random.default_rng(seed)
    values = random_inputs(int(rng.integers(3, 24)), int(rng.integers(3, 24)), graph, seed)
    sizes = reference.bind_sizes(graph, values)
    results = run_compiled(compile_graph(graph, target, KERNELS), values, threads=int(rng.integers(1, 4)))
    known: dict[Node, Array] = dict(zip(nodes, results, strict=True))
    known |= {n: values[n.name] for n in made.inputs}
    for node in nodes:
        operands = [known[n] if n in known else np.asarray(_constant(n)) for n in node.inputs]
        _check_node(node, operands, known[node], sizes, f"seed {seed}: {node!r}")
    return [type(node.op).__name__ for node in nodes]


def _constant(node: Node) -> Array:
    if not isinstance(node.op, ops.Constant):
        raise TypeError(f"{node!r} has no value")
    return np.asarray(node.op.value)


def _check_node(node: Node, operands: list[Array], got: Array, sizes: dict[str, int], what: str) -> None:
    op = node.op
    exact = isinstance(op, _AS_IN_FLOAT32) or (isinstance(op, ops.Binary) and op.fn is BinaryFn.FLOOR_DIV)
    exact |= any(n.type.dtype is DType.BFLOAT16 for n in node.inputs)
    if exact or node.type.dtype is not DType.FLOAT32:
        assert_close(got, _run(node, operands, sizes, wide=False), Tol.EXACT, what)
        return
    if isinstance(op, ops.GridSample):
        # Positions are float32 arithmetic, so only the sums of what stands there have an error.
        scale = float(np.max(np.abs(operands[0]), initial=0, where=np.isfinite(operands[0])))
        assert_close(got, _run(node, operands, sizes, wide=False), Tol.FLOAT(SAMPLED, scale), what)
        return
    want = _run(node, operands, sizes, wide=True)
    terms = max(_terms(node, sizes), ROUNDINGS)
    scale = float(np.max(np.abs(want), initial=0, where=np.isfinite(want)))
    if isinstance(op, (*_SUMS, ops.Binary)) or (isinstance(op, ops.Reduce) and op.fn in (ReduceFn.SUM, ReduceFn.MEAN)):
        # Where terms cancel, the result says nothing of their size.
        sizes_of_terms = _term_sizes(op, operands, sizes)
        finite = np.isfinite(sizes_of_terms)
        scale = max(scale, float(np.max(sizes_of_terms, initial=0, where=finite)) / terms**0.5)
    with np.errstate(over="ignore"):
        narrow = want.astype(np.float32)
    assert_close(got, narrow, Tol.FLOAT(terms, scale), what)


def _term_sizes(op: ops.Op, operands: list[Array], sizes: dict[str, int]) -> Array:
    """Return the sums of the terms' sizes."""
    if isinstance(op, ops.Conv2d):
        op = replace(op, activation=Activation.NONE)
    with np.errstate(all="ignore"):
        magnitudes = [np.abs(o).astype(np.float64) if o.dtype.kind == "f" else o for o in operands]
        return np.abs(np.asarray(schema.eval_op(op, magnitudes, sizes)))


def _run(node: Node, operands: list[Array], sizes: dict[str, int], wide: bool) -> Array:
    """Return the numpy meaning of one node, with float64 in place of float32 (``wide``)."""
    with np.errstate(all="ignore"):
        if not wide:
            return reference.eval_node(node, operands, sizes)
        doubled = [o.astype(np.float64) if o.dtype == np.float32 else o for o in operands]
        return np.asarray(schema.eval_op(node.op, doubled, sizes))


def _terms(node: Node, sizes: dict[str, int]) -> int:
    """Return how many products or elements one result sums, and the operations behind."""
    op = node.op
    if isinstance(op, ops.Reduce):
        x = node.inputs[0].type.shape
        return int(evaluate(product(x[a] for a in op.axes), sizes))
    if isinstance(op, ops.Softmax):
        return int(evaluate(node.type.shape[-1], sizes)) + ROUNDINGS
    if isinstance(op, ops.Pool):
        return op.size[0] * op.size[1]
    if isinstance(op, ops.MatMul):
        return int(evaluate(node.inputs[0].type.shape[-2 if op.transpose_a else -1], sizes))
    if isinstance(op, ops.Conv2d):
        kh, kw, cin, _ = node.inputs[1].type.shape
        return int(evaluate(product((kh, kw, cin)), sizes)) + 2
    return ROUNDINGS
