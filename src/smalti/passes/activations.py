"""Activations join the convolution before them; RELU6 and SILU in other spellings are recognised.

``min(max(x, 0), 6)``, ``min(relu(x), 6)`` and ``max(min(x, 6), 0)`` are RELU6 for every x, NaN included;
``x * sigmoid(x)`` is SILU, rounded once more.
"""

from __future__ import annotations

from dataclasses import replace

from smalti.ir import ops
from smalti.ir.graph import Graph, Node
from smalti.ir.infer import make_node
from smalti.ir.ops import Activation, BinaryFn, UnaryFn
from smalti.ir.ops.convolution import FUSED
from smalti.passes.match import count, split_constant, uniform_value
from smalti.passes.rewrite import Context, Rule, rewrite

_FUSED = "relu(conv(x)) = conv(x) with relu"


def fuse(graph: Graph) -> tuple[Graph, tuple[str, ...]]:
    """Fuse activations into convolutions."""
    graph, _ = rewrite(graph, SPELLINGS)
    graph, stats = rewrite(graph, FUSIONS)
    fused = stats.hits.get(_FUSED, 0)
    return graph, ((f"{count(fused, 'activation', 'activations')} fused into a convolution",) if fused else ())


def _limited(node: Node, fn: BinaryFn, limit: float) -> Node | None:
    """Return ``x`` of ``fn(x, limit)`` if the limit is one number and does not widen the shape, else ``None``."""
    if not isinstance(node.op, ops.Binary) or node.op.fn is not fn or not node.type.dtype.is_float:
        return None
    parts = split_constant(node)
    if parts is None or parts[0].type != node.type or uniform_value(parts[1]) != limit:
        return None
    return parts[0]


def _relu(node: Node, context: Context) -> Node | None:
    x = _limited(node, BinaryFn.MAXIMUM, 0.0)
    return None if x is None else make_node(ops.Unary(UnaryFn.RELU), (x,), node.name)


def _relu6(node: Node, context: Context) -> Node | None:
    x = _limited(node, BinaryFn.MINIMUM, 6.0)
    if x is not None and isinstance(x.op, ops.Unary) and x.op.fn is UnaryFn.RELU:
        return make_node(ops.Unary(UnaryFn.RELU6), x.inputs, node.name)
    return None


def _relu_of_minimum(node: Node, context: Context) -> Node | None:
    if not isinstance(node.op, ops.Unary) or node.op.fn is not UnaryFn.RELU:
        return None
    x = _limited(node.inputs[0], BinaryFn.MINIMUM, 6.0)
    return None if x is None else make_node(ops.Unary(UnaryFn.RELU6), (x,), node.name)


def _silu(node: Node, context: Context) -> Node | None:
    if not isinstance(node.op, ops.Binary) or node.op.fn is not BinaryFn.MUL:
        return None
    for x, gate in (node.inputs, node.inputs[::-1]):
        if isinstance(gate.op, ops.Unary) and gate.op.fn is UnaryFn.SIGMOID and gate.x is x:
            return make_node(ops.Unary(UnaryFn.SILU), (x,), node.name)
    return None


_ACTIVATION = {UnaryFn(a.value): a for a in FUSED if a is not Activation.NONE}
_IN_TURN = {(Activation.NONE, a): a for a in FUSED} | {
    (Activation.RELU, Activation.RELU): Activation.RELU,
    (Activation.RELU, Activation.RELU6): Activation.RELU6,
    (Activation.RELU6, Activation.RELU): Activation.RELU6,
    (Activation.RELU6, Activation.RELU6): Activation.RELU6,
}
"""What two activations one behind the other are, where that is one."""


def _fuse(node: Node, context: Context) -> Node | None:
    (conv,) = node.inputs
    if not isinstance(node.op, ops.Unary) or not isinstance(conv.op, ops.Conv2d):
        return None
    fused = _ACTIVATION.get(node.op.fn)
    if fused is None or not context.single_use(conv):
        return None
    activation = _IN_TURN.get((conv.op.activation, fused))
    if activation is None:
        return None
    return make_node(replace(conv.op, activation=activation), conv.inputs, node.name)


SPELLINGS: tuple[Rule, ...] = (
    Rule("max(x, 0) = relu(x)", (ops.Binary,), _relu),
    Rule("min(relu(x), 6) = relu6(x)", (ops.Binary,), _relu6),
    Rule("relu(min(x, 6)) = relu6(x)", (ops.Unary,), _relu_of_minimum),
    Rule("x * sigmoid(x) = silu(x)", (ops.Binary,), _silu),
)

FUSIONS: tuple[Rule, ...] = (Rule(_FUSED, (ops.Unary,), _fuse),)
