"""What a kernel is: the contract between planning, code generation and the kernels."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from smalti.ir.dims import Dim
from smalti.ir.graph import Node
from smalti.kernels.takes import Takes, may_take
from smalti.llvm.builder import Fn
from smalti.target.target import Target

Path = tuple[int, ...]
Readers = Mapping[Node, int]
"""How often each node is read (a graph output counts as read once more)."""


@dataclass(frozen=True, slots=True)
class KernelPlan:
    """What the planner decided for one node: a value that can be printed, stored and forced by a test.

    Attributes:
        operands: which operands are read from memory when the step runs (others are packed away): a position in
            ``node.inputs``, or a path of positions through absorbed nodes.
        constants: packed arrays, 64-byte aligned in the constants section.
        scratch: bytes of workspace for each thread, one entry per scratch buffer.
        tile: the kernel's own parameters (a frozen dataclass, a tuple or None).
        absorbs: paths to the nodes that this step computes on the way and that get no memory of their own.
    """

    operands: tuple[int | Path, ...]
    constants: tuple[NDArray[np.generic], ...] = field(default=(), repr=False)
    scratch: tuple[int | Dim, ...] = ()
    tile: Any = None
    absorbs: tuple[Path, ...] = ()


Spec = TypeVar("Spec", bound=Hashable)


class FunctionEmitter(Protocol):
    """What a builder sees while an internal function is written."""

    fn: Fn
    target: Target

    def function(
        self, build: Callable[[FunctionEmitter, Spec], None], spec: Spec, args: Sequence[ir.Type]
    ) -> ir.Function:
        """Return the internal function that ``build`` writes for ``spec``, building it the first time.

        Builder and specification are its key, so ``build`` is a plain function of a module: all it knows is in the
        frozen ``spec`` (and the target).  It calls ``fn.finish`` at the end.
        """
        ...


class StepEmitter(FunctionEmitter, Protocol):
    """What a kernel sees while its step function is written (see ``smalti.codegen``).

    The step function runs once in every thread; ``parallel`` hands out the work.
    """

    def operand(self, position: int) -> ir.Value:
        """Return the address of operand ``plan.operands[position]``."""
        ...

    def result(self) -> ir.Value:
        """Return the address of the step's result."""
        ...

    def constant(self, position: int) -> ir.Value:
        """Return the address of ``plan.constants[position]``."""
        ...

    def scratch(self, position: int) -> ir.Value:
        """Return the address of this thread's scratch buffer ``position``."""
        ...

    def size(self, value: int | Dim) -> int | ir.Value:
        """Return a size as an index."""
        ...

    def parallel(self, items: int | ir.Value) -> AbstractContextManager[ir.Value]:
        """Run the body once for each item ``0 .. items - 1``, in whichever thread takes it; use it once per step."""
        ...


class Kernel(Protocol):
    """One way to compute an operation."""

    @property
    def name(self) -> str:
        """Name shown in profiles, for instance ``f32_conv1x1``."""
        ...

    @property
    def takes(self) -> tuple[Takes, ...]:
        """The records that it takes, and the values of their attributes; it is not asked about others."""
        ...

    def accepts(self, node: Node, target: Target) -> bool:
        """Whether this kernel can compute the node, whose record it takes."""
        ...

    def plan(self, node: Node, target: Target) -> KernelPlan:
        """Choose tiles and pack constants."""
        ...

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step."""
        ...


class ReadsAll:
    """The part of a kernel that accepts every node of its records, reads all operands and packs nothing."""

    __slots__ = ()

    def accepts(self, node: Node, target: Target) -> bool:
        """Accept the node."""
        return True

    def plan(self, node: Node, target: Target) -> KernelPlan:
        """Return the plan: all operands are read from memory as they are."""
        return KernelPlan(operands=tuple(range(len(node.inputs))))


class FusedKernel(Protocol):
    """One way to compute a node together with the nodes before it."""

    @property
    def name(self) -> str:
        """Name shown in profiles."""
        ...

    @property
    def takes(self) -> tuple[Takes, ...]:
        """The records of the last node that it takes; it asks about those before it by itself."""
        ...

    def matches(self, node: Node, target: Target, readers: Readers) -> bool:
        """Whether this kernel can compute the node and what it absorbs, and is worth it."""
        ...

    def plan(self, node: Node, target: Target) -> KernelPlan:
        """Choose tiles and pack constants."""
        ...

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step."""
        ...


def asks(kernel: Kernel, node: Node, target: Target) -> bool:
    """Whether a kernel takes the node's record and accepts the node."""
    return may_take(kernel.takes, node.op) and kernel.accepts(node, target)


def follow(node: Node, path: int | Path) -> Node:
    """Return the operand at a position, or behind a path of positions."""
    for position in (path,) if isinstance(path, int) else path:
        node = node.inputs[position]
    return node
