"""What a handler sees of the node it imports."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from smalti.errors import GraphError
from smalti.frontend import symbolic
from smalti.frontend.symbolic import NotSymbolic, SymArray
from smalti.frontend.tensorflow.attrs import AttrReader
from smalti.frontend.tensorflow.rawgraph import RawNode
from smalti.frontend.tensorflow.tensors import MAX_DIM, MAX_ELEMENTS, MAX_RANK, TfType
from smalti.frontend.values import Result, Special, Value
from smalti.ir.dims import Dim, Symbol
from smalti.ir.graph import Node, TensorType
from smalti.ir.infer import make_node
from smalti.ir.ops import Op
from smalti.numerics import DType


class Unsupported(Exception):
    """A node uses something that this compiler does not have; the text says what."""


class UnknownInput(Exception):
    """A handler asked for an input that stands behind an unsupported node."""


class NeedsLimit(Exception):
    """The graph pads images to a crop size; ``symbol`` must not exceed ``high``."""

    def __init__(self, symbol: Symbol, high: int) -> None:
        super().__init__(symbol.name)
        self.symbol = symbol
        self.high = high


class Host(Protocol):
    """What the importer offers to handlers."""

    def node_of(self, value: Value) -> Node:
        """Return the IR node of a value, made once."""

    def constant_budget(self) -> tuple[int, int]:
        """Return how many bytes of constants are still allowed, in all and not standing in the file."""

    def spend(self, nbytes: int, generated: int = 0) -> None:
        """Count bytes of constants; ``generated`` of them do not stand in the file."""

    def allow(self, work: int) -> bool:
        """Count symbolic arithmetic; ``False`` when an import has done more than any real graph needs."""

    def placeholder(self, node: RawNode, kind: TfType, shape: tuple[int, ...] | None) -> Value:
        """Return the value of a graph input."""

    def note_assert(self, name: str, outcome: bool | None) -> None:
        """Record an assertion: it holds, fails, or depends on the run (``None``)."""


class NodeContext:
    """Inputs, attributes and results of one node."""

    __slots__ = ("_host", "attrs", "inputs", "raw")

    def __init__(self, host: Host, raw: RawNode, attrs: AttrReader, inputs: tuple[Result, ...]) -> None:
        self._host = host
        self.raw = raw
        self.attrs = attrs
        self.inputs = inputs

    @property
    def op(self) -> str:
        """TensorFlow's name of the operation."""
        return self.raw.op

    @property
    def host(self) -> Host:
        """The importer."""
        return self._host

    def unsupported(self, reason: str) -> NoReturn:
        """Say that this node is understood but cannot be compiled."""
        raise Unsupported(reason)

    def invalid(self, reason: str) -> NoReturn:
        """Say that the graph is wrong at this node."""
        raise GraphError(reason)

    def value(self, i: int) -> Value:
        """Return input ``i``.

        Raises:
            UnknownInput: it stands behind an unsupported node.
            Unsupported: it is a quantised constant.
        """
        found = self.inputs[i]
        if found is Special.ABSENT:
            self.unsupported("reads a result that is not compiled")
        if isinstance(found, Special):
            raise UnknownInput
        if found.quantised is not None:
            self.unsupported(f"reads a {found.quantised.label} tensor without Dequantize")
        return found

    def values(self) -> list[Value]:
        """Return all inputs."""
        return [self.value(i) for i in range(len(self.inputs))]

    def type_of(self, i: int) -> TensorType:
        """Return the type of input ``i``."""
        return self.value(i).type

    def node(self, i: int) -> Node:
        """Return the IR node of input ``i``."""
        return self._host.node_of(self.value(i))

    def node_of(self, value: Value) -> Node:
        """Return the IR node of a value."""
        return self._host.node_of(value)

    def sym(self, i: int) -> SymArray | None:
        """Return input ``i`` as a symbolic tensor if it is one."""
        return self.value(i).sym

    def known(self, i: int, what: str) -> SymArray:
        """Return input ``i``, which must be known now.

        Raises:
            Unsupported: it depends on the pixels.
        """
        found = self.value(i).sym
        if found is None:
            self.unsupported(f"{what} must be constant or computed from the image size")
        return found

    def sizes(self, i: int, what: str) -> tuple[int | Dim, ...]:
        """Return input ``i``, a vector of integers or sizes."""
        found = self.known(i, what)
        if found.ndim != 1 or not self.type_of(i).dtype.is_integer:
            self.invalid(f"{what} must be a vector of integers, not {self.type_of(i)}")
        return tuple(found.tolist())

    def ints(self, i: int, what: str) -> tuple[int, ...]:
        """Return input ``i``, a vector (or single number) of constant integers."""
        found = self.known(i, what)
        if found.ndim > 1 or not self.type_of(i).dtype.is_integer:
            self.invalid(f"{what} must be a vector of integers, not {self.type_of(i)}")
        values = found.ravel().tolist()
        if not all(isinstance(v, int) for v in values):
            self.unsupported(f"{what} must not depend on the image size")
        return tuple(values)

    def integer(self, i: int, what: str) -> int:
        """Return input ``i``, one constant integer."""
        values = self.ints(i, what)
        if len(values) != 1:
            self.invalid(f"{what} must be one number, not {self.type_of(i)}")
        return values[0]

    def axis(self, i: int, rank: int, what: str = "the axis") -> int:
        """Return input ``i``, an axis, counted from the front."""
        return self.check_axis(self.integer(i, what), rank)

    def check_axis(self, axis: int, rank: int) -> int:
        """Return an axis counted from the front."""
        if not -rank <= axis < rank:
            self.invalid(f"axis {axis} is outside a tensor of {rank} dimensions")
        return axis % rank

    def emit(self, op: Op, inputs: Sequence[Node], output: int = 0) -> Value:
        """Make the node of output number ``output``."""
        name = f"{self.raw.name}:{output}"
        node = make_node(op, inputs, name)
        self.check_shape(node.type)
        return Value(node.type, name, node=node)

    def part(self, op: Op, inputs: Sequence[Node], suffix: str) -> Node:
        """Make a helper node."""
        node = make_node(op, inputs, f"{self.raw.name}/{suffix}")
        self.check_shape(node.type)
        return node

    def cast(self, node: Node, dtype: DType, cast_op: Callable[[DType], Op]) -> Node:
        """Return ``node`` converted to ``dtype``, itself if it has that type."""
        return node if node.type.dtype is dtype else self.part(cast_op(dtype), (node,), "cast")

    def symbolic(self, sym: SymArray, dtype: DType, output: int = 0) -> Value:
        """Return a result whose elements are known."""
        shape = tuple(int(s) for s in sym.shape)
        if sym.size > symbolic.MAX_ELEMENTS or len(shape) > MAX_RANK or not self._host.allow(sym.size):
            raise NotSymbolic
        return Value(TensorType(dtype, shape), f"{self.raw.name}:{output}", sym=sym)

    def constant(self, array: NDArray[np.generic], output: int = 0, dtype: DType | None = None) -> Value:
        """Return a constant result (symbolic as well, if small); counts against the limit."""
        self._host.spend(array.nbytes, array.nbytes)
        array.flags.writeable = False
        kind = DType.from_numpy(array.dtype) if dtype is None else dtype
        type_ = TensorType(kind, tuple(array.shape))
        return Value(type_, f"{self.raw.name}:{output}", array=array, sym=symbolic.from_array(array, kind))

    def try_symbolic(self, fn: Callable[..., object], dtype: DType | None = None) -> Value | None:
        """Apply ``fn`` elementwise if all inputs are symbolic and the result is too."""
        found: list[SymArray] = []
        for i in range(len(self.inputs)):
            sym = self.sym(i)
            if sym is None:
                return None
            found.append(sym)
        kind = self.type_of(0).dtype if dtype is None else dtype
        elements = max((s.size for s in found), default=0)
        if not self._host.allow(symbolic.work_of(found, elements)):
            return None
        try:
            return self.symbolic(symbolic.elementwise(fn, found, kind), kind)
        except NotSymbolic:
            return None

    def try_reshaped(self, shape: Sequence[int | Dim]) -> Value | None:
        """Return input 0, if symbolic, with another (constant) shape."""
        value = self.value(0)
        if value.sym is None or not all(isinstance(s, int) for s in shape):
            return None
        sizes = [int(s) for s in shape if isinstance(s, int)]
        if math.prod(sizes) != value.sym.size:
            self.invalid(f"{value.type} cannot become {list(shape)}")
        return self.symbolic(value.sym.reshape(sizes), value.type.dtype)

    def require_float(self, *inputs: int) -> None:
        """Refuse inputs that are not floating point."""
        for i in inputs:
            if not self.type_of(i).dtype.is_float:
                self.unsupported(f"element type {self.type_of(i).dtype.value}")

    def require_rank(self, i: int, rank: int) -> None:
        """Refuse an input of another rank."""
        if self.type_of(i).rank != rank:
            self.invalid(f"input {i} must have {rank} dimensions, not {self.type_of(i)}")

    def check_shape(self, type_: TensorType) -> None:
        """Refuse shapes over the limits of this compiler."""
        if type_.rank > MAX_RANK:
            raise Unsupported(f"a tensor of {type_.rank} dimensions; the limit is {MAX_RANK}")
        known = 1
        for size in type_.shape:
            if isinstance(size, int):
                known *= max(size, 1)
                if size > MAX_DIM:
                    raise GraphError(f"the result {type_} has a size above {MAX_DIM}")
            else:
                symbolic.check_complexity(size)
        if known > MAX_ELEMENTS:
            raise GraphError(f"the result {type_} has more than {MAX_ELEMENTS} elements")
