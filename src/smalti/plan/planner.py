"""From a canonical graph to a plan: one kernel a node, one place a tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.dims import Dim, ceil_div
from smalti.ir.graph import Graph, Node
from smalti.ir.infer import make_node
from smalti.kernels.kernel import FusedKernel, Kernel, KernelPlan, asks, follow
from smalti.kernels.takes import may_take, takes, why_refused
from smalti.plan.schedule import ArenaBuffer, BufferRef, Place, Plan, Step
from smalti.target.target import Target

ALIGNMENT = 64
INPUT, CONSTANT = takes(ops.Input), takes(ops.Constant, "value", "bfloat16")
VIEW = takes(ops.Reshape, "shape")
"""What needs no kernel: results of a view share their operand's memory."""


def plan_graph(
    graph: Graph,
    target: Target,
    kernels: Sequence[Kernel],
    forced: Mapping[str, KernelPlan] | None = None,
    fused: Sequence[FusedKernel] = (),
) -> Plan:
    """Plan a canonical graph.

    Args:
        graph: the graph; results of ``Reshape`` share their operand's memory.
        target: the machine to plan for.
        kernels: kernels in order of preference.
        forced: kernel plans by node name that replace the kernels' own choice.
        fused: kernels that compute a node with the ones before it, tried first.

    Raises:
        CompilerError: a node has no kernel, because none takes its record or none accepts the node.
    """
    return _Planner(graph, target, kernels, forced or {}, fused).plan()


class _Planner:
    def __init__(
        self,
        graph: Graph,
        target: Target,
        kernels: Sequence[Kernel],
        forced: Mapping[str, KernelPlan],
        fused: Sequence[FusedKernel],
    ) -> None:
        self.graph = _materialise_outputs(graph)
        self.target = target
        self.kernels = kernels
        self.forced = forced
        self.fused = fused
        self.steps: list[Step] = []
        self.arena: list[ArenaBuffer] = []
        self.constants: list[NDArray[np.generic]] = []
        self.places: dict[Node, BufferRef] = {}

    def plan(self) -> Plan:
        outputs = {node: i for i, node in enumerate(self.graph.outputs)}
        inputs = {node: i for i, node in enumerate(self.graph.inputs)}
        choices, absorbed = self._fuse()
        for node in self.graph.nodes():
            if node in absorbed:
                continue
            if node in inputs and may_take((INPUT,), node.op):
                self.places[node] = BufferRef(Place.INPUT, inputs[node])
            elif node not in outputs and may_take((VIEW,), node.op):
                self.places[node] = self._place(node.inputs[0])
            elif not may_take((CONSTANT,), node.op):
                kernel, choice = choices.get(node) or self._choose(node)
                self._step(node, kernel, choice, outputs.get(node))
        return Plan(self.graph, self.target, tuple(self.steps), tuple(self.arena), tuple(self.constants))

    def _fuse(self) -> tuple[dict[Node, tuple[FusedKernel, KernelPlan]], set[Node]]:
        """Return the steps that absorb other nodes, and those nodes."""
        readers = {node: len(users) for node, users in self.graph.users().items()}
        for node in self.graph.outputs:
            readers[node] += 1
        choices: dict[Node, tuple[FusedKernel, KernelPlan]] = {}
        absorbed: set[Node] = set()
        for node in reversed(self.graph.nodes()):
            if node in absorbed or node.name in self.forced:
                continue
            asked = (k for k in self.fused if may_take(k.takes, node.op))
            kernel = next((k for k in asked if k.matches(node, self.target, readers)), None)
            if kernel is not None:
                choice = kernel.plan(node, self.target)
                choices[node] = (kernel, choice)
                absorbed |= {follow(node, path) for path in choice.absorbs}
        return choices, absorbed

    def _choose(self, node: Node) -> tuple[Kernel, KernelPlan]:
        kernel = next((k for k in self.kernels if asks(k, node, self.target)), None)
        if kernel is None:
            declared = [one for k in self.kernels for one in k.takes] + [INPUT, CONSTANT, VIEW]
            why = "" if may_take(declared, node.op) else f": {why_refused(declared, node.op)}"
            raise CompilerError(f"no kernel for {node!r} on {self.target}{why}")
        return kernel, self.forced.get(node.name) or kernel.plan(node, self.target)

    def _step(self, node: Node, kernel: Kernel | FusedKernel, choice: KernelPlan, output: int | None) -> None:
        number = len(self.steps)
        operands = tuple(self._place(follow(node, path)) for path in choice.operands)
        for ref in operands:
            if ref.place is Place.ARENA:
                self.arena[ref.index] = replace(self.arena[ref.index], last=number)
        if output is None:
            result = BufferRef(Place.ARENA, self._reserve(node.name, node.type.nbytes, number))
        else:
            result = BufferRef(Place.OUTPUT, output)
        self.places[node] = result
        constants = tuple(self._constant(c) for c in choice.constants)
        scratch = tuple(self._scratch(node.name, size, number) for size in choice.scratch)
        self.steps.append(Step(node, kernel, choice, operands, result, constants, scratch))

    def _place(self, node: Node) -> BufferRef:
        if node not in self.places:
            if not isinstance(node.op, ops.Constant):
                raise CompilerError(f"{node!r} is used before it is computed")
            self.places[node] = BufferRef(Place.CONSTANT, self._constant(node.op.value))
        return self.places[node]

    def _constant(self, value: NDArray[np.generic]) -> int:
        self.constants.append(np.ascontiguousarray(value).reshape(value.shape))
        return len(self.constants) - 1

    def _reserve(self, name: str, size: int | Dim, step: int) -> int:
        self.arena.append(ArenaBuffer(name, size, step, step))
        return len(self.arena) - 1

    def _scratch(self, name: str, size: int | Dim, step: int) -> int:
        self.arena.append(ArenaBuffer(f"{name} (scratch)", scratch_stride(size), step, step, per_thread=True))
        return len(self.arena) - 1


def scratch_stride(size: int | Dim) -> int | Dim:
    """Return the bytes between two threads' scratch buffers of ``size`` bytes."""
    return ceil_div(size, ALIGNMENT) * ALIGNMENT


def _materialise_outputs(graph: Graph) -> Graph:
    """Give every output a node of its own, so that each is written exactly where the caller wants it."""
    taken: set[Node] = set(graph.inputs)
    outputs: list[Node] = []
    for node in graph.outputs:
        needs_copy = node in taken or isinstance(node.op, (ops.Constant, ops.Reshape))
        if needs_copy:
            node = make_node(ops.Reshape(node.type.shape), (node,), node.name)
        taken.add(node)
        outputs.append(node)
    return replace(graph, outputs=tuple(outputs))
