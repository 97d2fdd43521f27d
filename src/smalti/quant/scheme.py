"""From a canonical graph to a quantised one: which layers compute in integers, and in which steps.

Every tensor can have two forms, integers with their scale and floats; each reader takes the form it computes with, and
a form that does not exist yet is made from the other one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smalti.errors import CompilerError, UsageError
from smalti.ir import ops
from smalti.ir.graph import Graph, Level, Node
from smalti.ir.infer import constant, make_node
from smalti.ir.ops.convolution import depthwise
from smalti.ir.schema import is_weighted, operand_index, schema_of
from smalti.ir.verify import verify
from smalti.numerics import DType
from smalti.quant.half import half_constant, to_half
from smalti.quant.image import image_convolution, reads_image
from smalti.quant.modes import QuantMode, QuantOptions
from smalti.quant.params import CLIPS, QParams, activation_params
from smalti.quant.record import CalibrationRecord, TensorStats
from smalti.quant.tables import ending
from smalti.quant.tail import tail_of
from smalti.quant.weights import integer_bias, layer_weights

SAME_STEPS = (ops.Reshape, ops.Concat, ops.Slice, ops.Transpose, ops.SpaceToDepth, ops.DepthToSpace)
"""Operations that move values and keep their scale (a maximum pool and a zero padding do, too)."""


@dataclass(frozen=True, slots=True)
class LayerPrecision:
    """The number types that a layer really computes in: of activations, of weights, and why if not the mode's own."""

    name: str
    activations: DType
    weights: DType
    why: str = ""


@dataclass(frozen=True, slots=True)
class Quantised:
    """A graph in a precision mode.

    Attributes:
        graph: level quantised (or canonical, for ``force_float32``).
        notes: what a user should know, in words.
        layers: precision of every convolution, in order.
        params: scale and zero point of every quantised tensor, by name.
    """

    graph: Graph
    notes: tuple[str, ...]
    layers: tuple[LayerPrecision, ...]
    params: dict[str, QParams]


def quantise(graph: Graph, options: QuantOptions, record: CalibrationRecord | None = None) -> Quantised:
    """Bring a canonical graph into a precision mode.

    Args:
        graph: level canonical.
        options: the mode and its choices.
        record: ranges of the activations; needed by the modes that quantise.

    Raises:
        UsageError: the mode needs ranges and there are none, or a name in ``options.keep`` is no layer.
    """
    layers = {node.name for node in graph.nodes() if isinstance(node.op, ops.Conv2d)}
    unknown = sorted(set(options.keep) - layers)
    if unknown:
        raise UsageError(
            f"there is no convolution named {', '.join(unknown)} to keep in float: give names of `smalti "
            "inspect --layers`"
        )
    mode = options.mode
    if mode is QuantMode.FORCE_FLOAT32:
        return Quantised(graph, (), _precisions(graph, options, tail_of(graph)), {})
    if mode.quantised is None:
        half, notes = to_half(graph, mode.float_type, options.keep)
        verify(half, Level.QUANTISED)
        return Quantised(half, notes, _precisions(half, options, tail_of(graph)), {})
    if record is None:
        raise UsageError(
            f"{mode.value} needs to see images: give a folder with --image-dir (and --file-list), or ranges of an "
            "earlier build with --ranges"
        )
    return _Scheme(graph, options, mode.quantised, record).rewrite()


def quantisable(node: Node) -> bool:
    """Whether a convolution can compute in integers: constant finite weights, float32 input, one filter a channel."""
    op = node.op
    if not isinstance(op, ops.Conv2d) or op.layout is not ops.Layout.NHWC:
        return False
    x, w = node.inputs[:2]
    if x.type.dtype is not DType.FLOAT32 or not isinstance(w.op, ops.Constant):
        return False
    if op.groups > 1 and w.type.shape[2] == 1 and not (depthwise(w.type, op.groups) and _is_constant(node.bias)):
        return False
    return not op.input_offset and bool(np.isfinite(w.op.value).all())


def _is_constant(node: Node | None) -> bool:
    return node is None or isinstance(node.op, ops.Constant)


def _is_half(node: Node) -> bool:
    return schema_of(node.op).half and not isinstance(node.op, ops.Reshape)


def is_mean(node: Node) -> bool:
    """Whether the node averages."""
    return isinstance(node.op, ops.Reduce) and node.op.fn is ops.ReduceFn.MEAN


def has_residual(node: Node) -> bool:
    """Whether another tensor is added to a convolution's sums."""
    return isinstance(node.op, ops.Conv2d) and node.op.residual


def keeps_steps(node: Node) -> bool:
    """Whether an operation's result has the scale of its operands."""
    if isinstance(node.op, ops.Pool):
        return node.op.fn is ops.PoolFn.MAX
    return isinstance(node.op, SAME_STEPS)


class _Scheme:
    def __init__(self, graph: Graph, options: QuantOptions, dtype: DType, record: CalibrationRecord) -> None:
        self.graph = graph
        self.options = options
        self.dtype = dtype
        self.weight_type = DType.INT8 if dtype is DType.UINT8 else DType.INT16
        self.float_type = options.mode.float_type
        self.record = record
        self.tail = tail_of(graph)
        self.users = graph.users()
        self.outputs = set(graph.outputs)
        self.quantised_layers = {n for n in graph.nodes() if n.name not in options.keep and self._quantisable(n)}
        self.params: dict[Node, QParams] = {}
        self.integers: dict[Node, Node] = {}
        self.floats: dict[tuple[Node, DType], Node] = {}

    def rewrite(self) -> Quantised:
        self._choose_params()
        inputs = {node: node for node in self.graph.inputs}
        for node in self.graph.nodes():
            if isinstance(node.op, (ops.Input, ops.Constant)):
                self.floats[node, node.type.dtype] = inputs.get(node, node)
            elif node in self.quantised_layers:
                self._convolution(node)
            elif self._is_integer_stem(node):
                self.integers[node] = image_convolution(node, self.params[node])
            elif node in self.params and keeps_steps(node):
                self._same_steps(node)
            elif node in self.params and is_mean(node) and node.inputs[0] in self.params:
                self._mean(node)
            else:
                self._float_node(node)
        outputs = tuple(self._float(node, node.type.dtype) for node in self.graph.outputs)
        graph = Graph(self.graph.inputs, outputs, self.graph.output_names, Level.QUANTISED, self.graph.name)
        verify(graph, Level.QUANTISED)
        return Quantised(
            graph,
            (),
            _precisions(graph, self.options, self.tail),
            {node.name: params for node, params in self.params.items() if node in self.integers},
        )

    # ---- which tensors are integers, and their steps ----------------------------------------------------------------

    def _stats(self, node: Node) -> TensorStats | None:
        return self.record.tensors.get(node.name)

    def _has_range(self, node: Node) -> bool:
        """Whether the range of a tensor is known (that of a moved tensor is the range of what is moved)."""
        if node.name in self.record.tensors:
            return True
        return keeps_steps(node) and all(self._has_range(i) for i in node.inputs)

    def _quantisable(self, node: Node) -> bool:
        """Whether a layer can be quantised and the ranges of what it reads (and adds up) are known."""
        if not quantisable(node) or not self._has_range(node.inputs[0]):
            return False
        op = node.op
        if isinstance(op, ops.Conv2d) and op.residual and self.dtype is DType.INT16 and op.activation not in CLIPS:
            return False
        return not has_residual(node) or (self._has_range(node) and self._has_range(node.inputs[-1]))

    def _choose_params(self) -> None:
        """Choose the steps of every tensor that a quantised layer reads; tensors that are only moved share them."""
        wanted: set[Node] = set()
        stack = [n.inputs[0] for n in self.quantised_layers]
        for node in self.quantised_layers:
            if has_residual(node):
                stack += [node, node.inputs[-1]]
        while stack:
            node = stack.pop()
            if node in wanted or not self._has_range(node):
                continue
            wanted.add(node)
            if keeps_steps(node) or is_mean(node):
                stack.extend(node.inputs)
        for group in self._groups(wanted):
            stats = [s for s in map(self._stats, group) if s is not None]
            low, high = min(s.low for s in stats), max(s.high for s in stats)
            params = activation_params(low, high, self.dtype, self.options.activation)
            self.params |= dict.fromkeys(group, params)

    def _groups(self, wanted: set[Node]) -> list[list[Node]]:
        """Return the tensors that must have one scale: those joined by operations that keep steps."""
        parent = {node: node for node in wanted}

        def root(node: Node) -> Node:
            while parent[node] is not node:
                node = parent[node]
            return node

        order = [node for node in self.graph.nodes() if node in wanted]
        for node in order:
            if keeps_steps(node):
                for operand in node.inputs:
                    if operand in wanted:
                        parent[root(operand)] = root(node)
        groups: dict[Node, list[Node]] = {}
        for node in order:
            groups.setdefault(root(node), []).append(node)
        return [g for g in groups.values() if any(self._stats(n) is not None for n in g)]

    # ---- the two forms of a tensor ----------------------------------------------------------------------------------

    def _integer(self, node: Node) -> Node:
        """Return a tensor as integers."""
        if node not in self.integers:
            params = self.params[node]
            source = self._any_float(node)
            op = ops.Quantise(params.scale, params.zero_point, params.dtype)
            self.integers[node] = make_node(op, (source,), f"{node.name} ({params.dtype.value})")
        return self.integers[node]

    def _any_float(self, node: Node) -> Node:
        for dtype in (DType.FLOAT32, self.float_type):
            if (node, dtype) in self.floats:
                return self.floats[node, dtype]
        return self._float(node, DType.FLOAT32)

    def _float(self, node: Node, dtype: DType) -> Node:
        """Return a tensor in a float type (or, for what was never float32, as it is)."""
        if node.type.dtype is not DType.FLOAT32:
            return self.floats[node, node.type.dtype]
        key = node, dtype
        if key in self.floats:
            return self.floats[key]
        other = next((d for d in (DType.FLOAT32, self.float_type) if (node, d) in self.floats), None)
        if other is not None:
            source = self.floats[node, other]
            if isinstance(source.op, ops.Constant):
                made = half_constant(np.asarray(source.op.value, np.float32), dtype, node.name)
            else:
                made = make_node(ops.Cast(dtype), (source,), f"{node.name} ({dtype.value})")
        else:
            params = self.params[node]
            op = ops.Dequantise(params.scale, params.zero_point, dtype)
            made = make_node(op, (self.integers[node],), f"{node.name} ({dtype.value})")
        self.floats[key] = made
        return made

    def _takes_integers(self, user: Node, node: Node) -> bool:
        """Whether a reader takes this tensor as integers."""
        if user in self.quantised_layers:
            return user.inputs[0] is node or (has_residual(user) and user.inputs[-1] is node)
        return user in self.params and (keeps_steps(user) or is_mean(user))

    # ---- nodes ------------------------------------------------------------------------------------------------------

    def _is_integer_stem(self, node: Node) -> bool:
        """Whether a convolution of the picture can be exact in integers and a reader wants integers of it."""
        if self.dtype is not DType.UINT8 or node.name in self.options.keep or node not in self.params:
            return False
        return reads_image(node) and any(self._takes_integers(user, node) for user in self.users[node])

    def _float_node(self, node: Node) -> None:
        half = (
            self.float_type is not DType.FLOAT32
            and node.type.dtype is DType.FLOAT32
            and node not in self.tail
            and schema_of(node.op).half
        )
        # The first layer sees eight bits of a picture; a vector that is only moved stays as precise as it is.
        image = any(operand.type.dtype is DType.UINT8 for operand in node.inputs)
        moved = isinstance(node.op, ops.Reshape) and (node.inputs[0], DType.FLOAT32) in self.floats
        dtype = self.float_type if half and not image and not moved else DType.FLOAT32
        operands: list[Node] = []
        bias = operand_index(node.op, "bias")
        for position, operand in enumerate(node.inputs):
            operands.append(self._float(operand, DType.FLOAT32 if position == bias else dtype))
        kept = dtype if node.type.dtype is DType.FLOAT32 else node.type.dtype
        self.floats[node, kept] = make_node(node.op, operands, node.name)

    def _same_steps(self, node: Node) -> None:
        self.integers[node] = make_node(node.op, [self._integer(operand) for operand in node.inputs], node.name)

    def _mean(self, node: Node) -> None:
        op, x, own = node.op, node.inputs[0], self.params[node]
        if not isinstance(op, ops.Reduce):
            raise CompilerError(f"{node!r} is no mean")
        steps = self.params[x]
        made = ops.QuantisedMean(
            op.axes,
            op.keep_dims,
            steps.zero_point,
            float(np.float32(steps.scale / own.scale)),
            own.scale,
            own.zero_point,
        )
        self.integers[node] = make_node(made, (self._integer(x),), node.name)

    def _convolution(self, node: Node) -> None:
        op = node.op
        if not isinstance(op, ops.Conv2d):
            raise CompilerError(f"{node!r} is not a convolution")
        x, source = node.inputs[0], self._integer(node.inputs[0])
        own = self.params.get(node)
        users = self.users[node]
        end = None
        if own is not None and (has_residual(node) or any(self._takes_integers(u, node) for u in users)):
            end = ending(own, op.activation)
        steps = self.params[x]
        stats = self._stats(x)
        means = () if stats is None else stats.channel_mean
        weights, bias = layer_weights(node, steps, self.weight_type, self.options.weight_granularity, means)
        step_in = steps.scale * weights.scales
        step_out = 1.0 if end is None else end.steps.scale
        multiplier = (step_in / step_out).astype(np.float32)
        operands = [source, constant(weights.values, f"{node.name}/weights"), constant(multiplier)]
        fields: dict[str, object] = {}
        if self.dtype is DType.UINT8:
            operands.append(constant(integer_bias(bias, step_in), f"{node.name}/bias"))
            fields["bias"] = True
        addend = self._addend(node, bias, step_out)
        if addend is not None:
            operands.append(addend)
            fields["addend"] = True
        if own is not None and end is not None:
            fields |= {"dtype": self.dtype, "scale": own.scale, "result_zero_point": end.steps.zero_point}
            fields |= {"low": end.low, "high": end.high, "table": end.table}
        else:
            fields |= {"dtype": self._float_result(node), "activation": op.activation}
        if has_residual(node):
            residual = node.inputs[-1]
            other = self.params[residual]
            fields |= {"residual": True, "residual_zero_point": other.zero_point}
            fields["residual_scale"] = float(np.float32(other.scale / step_out))
            operands.append(self._integer(residual))
        common = {"stride": op.stride, "dilation": op.dilation, "pads": op.pads, "zero_point": steps.zero_point}
        made = make_node(ops.QuantisedConv2d(**common, groups=op.groups, **fields), operands, node.name)  # type: ignore[arg-type]
        if end is not None:
            self.integers[node] = made
        else:
            self.floats[node, made.type.dtype] = made

    def _float_result(self, node: Node) -> DType:
        """Return the type of a quantised layer's result that no layer reads as integers."""
        readers = self.users[node]
        narrow = all(_is_half(u) and u not in self.tail for u in readers)
        return self.float_type if narrow and readers and node not in self.tail else DType.FLOAT32

    def _addend(self, node: Node, bias: NDArray[np.float64], step_out: float) -> Node | None:
        """Return what is added to a layer's sums in float32: a bias computed at run time, or any beside int16."""
        if node.bias is not None and not isinstance(node.bias.op, ops.Constant):
            value = self._float(node.bias, DType.FLOAT32)
            factor = constant(np.float32(1.0 / step_out))
            return make_node(ops.Binary(ops.BinaryFn.MUL), (value, factor), f"{node.bias.name} (steps)")
        if self.dtype is DType.UINT8:
            return None
        return constant((bias / step_out).astype(np.float32), f"{node.name}/bias")


def _precisions(graph: Graph, options: QuantOptions, tail: frozenset[Node]) -> tuple[LayerPrecision, ...]:
    """Return the precision of every layer; ``tail`` is that of the canonical graph."""
    logits, found = {node.name for node in tail}, []
    for node in graph.nodes():
        if is_weighted(node.op) and not isinstance(node.op, ops.MatMul):
            why = "asked for" if node.name in options.keep else "logits" if node.name in logits else ""
            found.append(LayerPrecision(node.name, node.x.type.dtype, node.weights.type.dtype, why))
    return tuple(found)
