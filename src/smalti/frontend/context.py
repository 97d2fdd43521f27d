"""What a handler sees of the node it imports, and what a builder sees of it: the same without the attributes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Generic, NoReturn, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from smalti.errors import GraphError
from smalti.frontend import symbolic
from smalti.frontend.attributes import Attributes
from smalti.frontend.budget import MAX_DIM, MAX_ELEMENTS, MAX_RANK
from smalti.frontend.kinds import ElementKind
from smalti.frontend.raw import RawNode, StatedSize
from smalti.frontend.signals import UnknownInput, Unsupported
from smalti.frontend.symbolic import NotSymbolic, SymArray
from smalti.frontend.values import Result, Special, Value
from smalti.ir.dims import Dim
from smalti.ir.graph import Node, TensorType
from smalti.ir.infer import make_node
from smalti.ir.ops import Op
from smalti.numerics import DType

A = TypeVar("A", bound=Attributes)


class Host(Protocol):
    """What the importer offers to handlers."""

    def node_of(self, value: Value) -> Node:
        """Return the IR node of a value, made once."""

    def name_of(self, node: RawNode, output: int) -> str:
        """Return the format's name of a result."""

    def constant_budget(self) -> tuple[int, int]:
        """Return how many bytes of constants are still allowed, in all and not standing in the file."""

    def spend(self, nbytes: int, generated: int = 0) -> None:
        """Count bytes of constants; ``generated`` of them do not stand in the file."""

    def allow(self, work: int) -> bool:
        """Count symbolic arithmetic; ``False`` when an import has done more than any real graph needs."""

    def placeholder(
        self, node: RawNode, kind: ElementKind, shape: tuple[StatedSize, ...] | None, what: str = "an input"
    ) -> Value:
        """Return the value of a graph input; messages about its type begin with ``what``."""

    def note_assert(self, name: str, outcome: bool | None) -> None:
        """Record an assertion: it holds, fails, or depends on the run (``None``)."""


class Lowering:
    """Inputs and results of one node, for builders: these know operations of the IR and no format."""

    __slots__ = ("_host", "inputs", "raw")

    def __init__(self, host: Host, raw: RawNode, inputs: tuple[Result, ...]) -> None:
        self._host = host
        self.raw = raw
        self.inputs = inputs

    @property
    def host(self) -> Host:
        """The importer."""
        return self._host

    # -- refusals ----------------------------------------------------------------------------------------------------

    def unsupported(self, reason: str) -> NoReturn:
        """Say that this node is understood but cannot be compiled."""
        raise Unsupported(reason)

    def invalid(self, reason: str) -> NoReturn:
        """Say that the graph is wrong at this node."""
        raise GraphError(reason)

    def require_float(self, *values: Value) -> None:
        """Refuse values that are not floating point."""
        for value in values:
            if not value.type.dtype.is_float:
                self.unsupported(f"element type {value.type.dtype.value}")

    def require_rank(self, value: Value, rank: int) -> None:
        """Refuse a value of another rank."""
        if value.type.rank != rank:
            place = next((f"input {i}" for i, item in enumerate(self.inputs) if item is value), "an operand")
            self.invalid(f"{place} must have {rank} dimensions, not {value.type}")

    def check_axis(self, axis: int, rank: int) -> int:
        """Return an axis counted from the front."""
        if not -rank <= axis < rank:
            self.invalid(f"axis {axis} is outside a tensor of {rank} dimensions")
        return axis % rank

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

    # -- inputs ------------------------------------------------------------------------------------------------------

    def has(self, i: int) -> bool:
        """Whether the node has input ``i``: an optional one may be left out, or stand behind the end of the list."""
        return i < len(self.inputs) and self.inputs[i] is not Special.OMITTED

    def value(self, i: int) -> Value:
        """Return input ``i``.

        Raises:
            UnknownInput: it stands behind an unsupported node.
            Unsupported: it is a quantised constant.
            GraphError: it is left out.
        """
        if not self.has(i):
            self.invalid(f"input {i} is left out")
        found = self.inputs[i]
        if found is Special.ABSENT:
            self.unsupported("reads a result that is not compiled")
        if isinstance(found, Special):
            raise UnknownInput
        if found.quantised is not None:
            self.unsupported(f"reads a {found.quantised.label} tensor without {found.quantised.ranged_by}")
        return found

    def values(self) -> list[Value]:
        """Return all inputs."""
        return [self.value(i) for i in range(len(self.inputs))]

    def floats(self, *inputs: int) -> list[Value]:
        """Return inputs, each of which must be floating point."""
        found: list[Value] = []
        for i in inputs:
            found.append(self.value(i))
            self.require_float(found[-1])
        return found

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
        if found.ndim != 1 or not self.value(i).type.dtype.is_integer:
            self.invalid(f"{what} must be a vector of integers, not {self.value(i).type}")
        return tuple(found.tolist())

    def ints(self, i: int, what: str) -> tuple[int, ...]:
        """Return input ``i``, a vector (or single number) of constant integers."""
        found = self.known(i, what)
        if found.ndim > 1 or not self.value(i).type.dtype.is_integer:
            self.invalid(f"{what} must be a vector of integers, not {self.value(i).type}")
        values = found.ravel().tolist()
        if not all(isinstance(v, int) for v in values):
            self.unsupported(f"{what} must not depend on the image size")
        return tuple(values)

    def integer(self, i: int, what: str) -> int:
        """Return input ``i``, one constant integer."""
        values = self.ints(i, what)
        if len(values) != 1:
            self.invalid(f"{what} must be one number, not {self.value(i).type}")
        return values[0]

    def axis(self, i: int, rank: int, what: str = "the axis") -> int:
        """Return input ``i``, an axis, counted from the front."""
        return self.check_axis(self.integer(i, what), rank)

    # -- results -----------------------------------------------------------------------------------------------------

    def node_of(self, value: Value) -> Node:
        """Return the IR node of a value."""
        return self._host.node_of(value)

    def emit(self, op: Op, inputs: Sequence[Value | Node], output: int = 0) -> Value:
        """Make the node of output number ``output``."""
        name = self._host.name_of(self.raw, output)
        node = make_node(op, self._nodes(inputs), name)
        self.check_shape(node.type)
        return Value(node.type, name, node=node)

    def part(self, op: Op, inputs: Sequence[Value | Node], suffix: str) -> Node:
        """Make a helper node."""
        node = make_node(op, self._nodes(inputs), f"{self.raw.name}/{suffix}")
        self.check_shape(node.type)
        return node

    def symbolic(self, sym: SymArray, dtype: DType, output: int = 0) -> Value:
        """Return a result whose elements are known."""
        shape = tuple(int(s) for s in sym.shape)
        if sym.size > symbolic.MAX_ELEMENTS or len(shape) > MAX_RANK or not self._host.allow(sym.size):
            raise NotSymbolic
        return Value(TensorType(dtype, shape), self._host.name_of(self.raw, output), sym=sym)

    def constant(self, array: NDArray[np.generic], output: int = 0, dtype: DType | None = None) -> Value:
        """Return a constant that the importer makes (symbolic as well, if small); counts against the limit."""
        self._host.spend(array.nbytes, array.nbytes)
        array.flags.writeable = False
        return self._constant(array, output, DType.from_numpy(array.dtype) if dtype is None else dtype)

    def stored(self, array: NDArray[np.generic], kind: ElementKind, generated: int = 0) -> Value:
        """Return a constant of the file; counts against the limit.

        Args:
            array: its elements, read-only; bfloat16 as float32.
            kind: its type, which the IR has.
            generated: how many of its bytes do not stand in the file.
        """
        self._host.spend(array.nbytes, generated)
        if kind.dtype is None:
            self.unsupported(f"constants of type {kind.label}")
        value = self._constant(array, 0, kind.dtype)
        return replace(value, sym=None, quantised=kind) if kind.is_quantised else value

    def try_symbolic(self, fn: Callable[..., object], values: Sequence[Value], dtype: DType) -> Value | None:
        """Apply ``fn`` elementwise if all values are symbolic and the result is too."""
        found = [value.sym for value in values if value.sym is not None]
        if len(found) != len(values):
            return None
        elements = max((s.size for s in found), default=0)
        if not self._host.allow(symbolic.work_of(found, elements)):
            return None
        try:
            return self.symbolic(symbolic.elementwise(fn, found, dtype), dtype)
        except NotSymbolic:
            return None

    def try_reshaped(self, value: Value, shape: Sequence[int | Dim]) -> Value | None:
        """Return a value, if symbolic, with another (constant) shape."""
        sizes = [int(s) for s in shape if isinstance(s, int)]
        if value.sym is None or len(sizes) != len(shape):
            return None
        if math.prod(sizes) != value.sym.size:
            self.invalid(f"{value.type} cannot become {list(shape)}")
        return self.symbolic(value.sym.reshape(sizes), value.type.dtype)

    def _constant(self, array: NDArray[np.generic], output: int, dtype: DType) -> Value:
        type_ = TensorType(dtype, tuple(array.shape))
        sym = symbolic.from_array(array, dtype)
        return Value(type_, self._host.name_of(self.raw, output), array=array, sym=sym)

    def _nodes(self, inputs: Sequence[Value | Node]) -> tuple[Node, ...]:
        return tuple(self.node_of(item) if isinstance(item, Value) else item for item in inputs)


class NodeContext(Lowering, Generic[A]):
    """Inputs, attributes and results of one node, for handlers."""

    __slots__ = ("attrs",)

    def __init__(self, host: Host, raw: RawNode, attrs: A, inputs: tuple[Result, ...]) -> None:
        super().__init__(host, raw, inputs)
        self.attrs = attrs

    @property
    def op(self) -> str:
        """The format's name of the operation."""
        return self.raw.op

    def type_of(self, i: int) -> TensorType:
        """Return the type of input ``i``."""
        return self.value(i).type
