"""The plan: an ordered list of steps with every tensor's place; frozen, printable, forcible by a test."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from smalti.ir.dims import Dim
from smalti.ir.graph import Graph, Node
from smalti.kernels.kernel import FusedKernel, Kernel, KernelPlan, follow
from smalti.target.target import Target


class Place(Enum):
    """Which memory a tensor lies in."""

    INPUT = "input"
    OUTPUT = "output"
    ARENA = "arena"
    CONSTANT = "constant"


@dataclass(frozen=True, slots=True)
class BufferRef:
    """Where a tensor lies: the place and the index there."""

    place: Place
    index: int

    def __str__(self) -> str:
        return f"{self.place.value}{self.index}"


@dataclass(frozen=True, slots=True)
class ArenaBuffer:
    """A piece of the workspace that must stay intact from step ``first`` to step ``last`` (both included).

    ``size`` is in bytes and may depend on the image size; a ``per_thread`` buffer has that many bytes for each thread.
    """

    name: str
    size: int | Dim
    first: int
    last: int
    per_thread: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One kernel call: where its operands, result, packed constants and scratch are."""

    node: Node
    kernel: Kernel | FusedKernel
    plan: KernelPlan
    operands: tuple[BufferRef, ...]
    result: BufferRef
    constants: tuple[int, ...]
    scratch: tuple[int, ...]

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes this step computes: those it absorbs, then its own."""
        return (*(follow(self.node, path) for path in self.plan.absorbs), self.node)

    def __str__(self) -> str:
        reads = ", ".join(str(o) for o in self.operands)
        return (
            f"{self.result} = {self.kernel.name}({reads}) tile={self.plan.tile} : {self.node.type}  # {self.node.name}"
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """All steps of a graph for one target."""

    graph: Graph
    target: Target
    steps: tuple[Step, ...]
    arena: tuple[ArenaBuffer, ...]
    constants: tuple[NDArray[np.generic], ...] = field(repr=False)

    def __str__(self) -> str:
        lines = [f"plan for {self.target}"]
        lines += [f"{i:4} {step}" for i, step in enumerate(self.steps)]
        lines += [f"arena{i} {b.size} bytes, steps {b.first}..{b.last}  # {b.name}" for i, b in enumerate(self.arena)]
        return "\n".join(lines) + "\n"
