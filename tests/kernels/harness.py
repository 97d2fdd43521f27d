"""Compile a graph of one node (or a few) and call it between guard pages."""

from __future__ import annotations

import ctypes
import threading
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from kernels.guard import Fill, GuardedArray, GuardedSection, Side, apart, guarded_copy
from smalti.codegen import module as codegen
from smalti.codegen.module import ModuleText, build_module
from smalti.ir import ops, reference
from smalti.ir.dims import Dim
from smalti.ir.graph import Graph, Level, Node, TensorType
from smalti.ir.infer import constant, make_node
from smalti.ir.ops import Op
from smalti.ir.sizes import evaluate
from smalti.kernels.kernel import FusedKernel, Kernel, KernelPlan
from smalti.llvm.backend import DEFAULT_OPTIONS, Options, emit_object
from smalti.llvm.link import link
from smalti.numerics import DType
from smalti.plan.planner import plan_graph
from smalti.plan.schedule import Plan
from smalti.runtime.memory import Region, map_code
from smalti.target.host import missing_features
from smalti.target.target import Target
from tolerance import Tol, assert_close

SPINS = 100
"""How often a thread looks at a barrier before it gives way."""
OLDEST, NEXT = "x86-64-v2", "x86-64-v3"
SAMPLE = 4
"""One in so many modules for the oldest CPUs is optimised as those that are shipped."""


@dataclass(frozen=True)
class Compiled:
    """Machine code of a plan, callable in this process."""

    plan: Plan
    text: ModuleText
    code: Region
    entry: int


def edge_sizes(t: int) -> list[int]:
    """Return the sizes around a tile or vector of ``t`` where kernels go wrong."""
    return sorted({n for n in (1, t - 1, t, t + 1, 2 * t - 1, 3 * t + 1) if n > 0})


def input_node(name: str, dtype: DType, shape: Sequence[int | Dim]) -> Node:
    """Make a graph input."""
    return make_node(ops.Input(), (), name, TensorType(dtype, tuple(shape)))


def single(op: Op, operands: Sequence[NDArray[Any] | Node], shapes: Sequence[Any] | None = None) -> Graph:
    """Return the graph of one operation.

    Arrays become inputs ``x0, x1, ...`` (of the shapes in ``shapes`` where given), nodes stay.
    """
    nodes: list[Node] = []
    for i, value in enumerate(operands):
        if isinstance(value, Node):
            nodes.append(value)
        else:
            shape = value.shape if shapes is None or shapes[i] is None else shapes[i]
            nodes.append(input_node(f"x{i}", DType.from_numpy(value.dtype), shape))
    inputs = tuple(n for n in nodes if isinstance(n.op, ops.Input))
    return Graph(inputs, (make_node(op, nodes, "result"),), ("y",), Level.CANONICAL)


def compile_graph(
    graph: Graph,
    target: Target,
    kernels: Sequence[Kernel],
    forced: Mapping[str, KernelPlan] | None = None,
    fused: Sequence[FusedKernel] = (),
    side: Side = Side.RIGHT,
) -> Compiled:
    """Compile for this process, with every constant at that side of pages of its own."""
    plan = plan_graph(graph, target, kernels, forced, fused)
    spread = apart([value.nbytes for value in plan.constants], side)
    with mock.patch.object(codegen, "_constant_offsets", lambda _: spread):
        text = build_module(plan)
    blob = link(_object_code(text.text, target, level_for(text.text, target)))
    code = map_code(blob.code)
    return Compiled(plan, text, code, code.address + blob.entries[text.entry])


@lru_cache(maxsize=128)
def _object_code(text: str, target: Target, options: Options) -> bytes:
    """Return what LLVM makes of a module; tests that differ in their numbers alone share it."""
    return emit_object(text, target, options)


def level_for(text: str, target: Target) -> Options:
    """Return how LLVM is to optimise a module: as it is shipped, but for most modules for CPUs older than this one.

    What a kernel does for a kind of CPU stands in the text of its module. To optimise it for the oldest kind as well
    took LLVM a fifth to a third of the time of these tests. So a quarter of those modules is optimised, chosen by the
    text, and the others are translated as they stand, which must give the same results. Other tests build whole
    networks for each kind of CPU as they are shipped.
    """
    if target.name == OLDEST and _is_newer() and zlib.crc32(text.encode()) % SAMPLE:
        return Options(level=0)
    return DEFAULT_OPTIONS


@cache
def _is_newer() -> bool:
    """Return whether this CPU runs newer code than that for the oldest."""
    return not missing_features(Target.parse(NEXT).features)


def run_compiled(
    compiled: Compiled,
    inputs: Mapping[str, NDArray[Any]],
    threads: int = 1,
    side: Side = Side.RIGHT,
    repeat: int = 1,
    fill: Fill = Fill.NAN,
) -> list[NDArray[Any]]:
    """Run with every input, output, constant and workspace buffer guarded, and return the outputs.

    Inputs and constants are read-only; ``fill`` is what the other buffers hold before.

    Raises:
        AssertionError: the code wrote beside a buffer.
    """
    call = _Call(compiled, inputs, threads, side, fill)
    for _ in range(repeat):
        call.run()
    return call.results()


class _Call:
    def __init__(
        self, compiled: Compiled, inputs: Mapping[str, NDArray[Any]], threads: int, side: Side, fill: Fill
    ) -> None:
        plan, text = compiled.plan, compiled.text
        env = reference.bind_sizes(plan.graph, inputs)
        self.threads = threads
        dims = dim_values(text, env)
        shapes = [tuple(evaluate(s, env) for s in n.type.shape) for n in plan.graph.outputs]
        self.inputs = [guarded_copy(np.ascontiguousarray(inputs[n.name]), side, True) for n in plan.graph.inputs]
        self.outputs = [
            GuardedArray(shape, n.type.dtype.numpy, side, fill)
            for n, shape in zip(plan.graph.outputs, shapes, strict=True)
        ]
        self.constants = GuardedSection(plan.constants, text.constant_offsets, text.constant_bytes)
        self.arena = [GuardedArray((size,), np.uint8, side, fill) for size in workspace(plan, env, threads)]
        # The workspace begins at address 0, so that a buffer can lie anywhere.
        offsets = [buffer.address for buffer in self.arena]
        pointers = [b.address for b in (*self.inputs, *self.outputs)]
        tables = [guarded_copy(np.array(t, np.int64), side, True) for t in (dims, offsets, pointers)]
        self.counters = GuardedArray((text.counters,), np.int32, side)
        give = ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value or 0
        addresses = [t.address for t in (*tables, self.counters)]
        words = [self.constants.address, 0, *addresses, give, 0, SPINS]
        self.context = guarded_copy(np.array(words, np.int64), side, True)
        self.entry = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(compiled.entry)
        self.keep = (compiled, tables)

    def run(self) -> None:
        """Run once in all threads."""
        self.counters.array[:] = 0
        status = [1] * self.threads

        def work(number: int) -> None:
            status[number] = self.entry(self.context.address, number, self.threads)

        workers = [threading.Thread(target=work, args=(i,)) for i in range(1, self.threads)]
        for worker in workers:
            worker.start()
        work(0)
        for worker in workers:
            worker.join()
        assert status == [0] * self.threads

    def results(self) -> list[NDArray[Any]]:
        """Return copies of the outputs."""
        for buffer in (*self.inputs, *self.outputs, *self.arena, self.counters):
            assert buffer.slack_is_intact(), "a kernel wrote beside a buffer"
        return [b.array.copy() for b in self.outputs]


def workspace(plan: Plan, env: Mapping[str, int], threads: int) -> list[int]:
    """Return the bytes of every workspace buffer; the last thread's scratch has none to round up."""
    sizes = [evaluate(buffer.size, env) for buffer in plan.arena]
    for step in plan.steps:
        for index, size in zip(step.scratch, step.plan.scratch, strict=True):
            sizes[index] = sizes[index] * (threads - 1) + evaluate(size, env)
    return sizes


def dim_values(text: ModuleText, env: Mapping[str, int]) -> list[int]:
    """Return the sizes that generated code reads from its table."""
    values: list[int] = []
    fns = {
        "add": lambda a, b: a + b,
        "sub": lambda a, b: a - b,
        "mul": lambda a, b: a * b,
        "floordiv": lambda a, b: a // b,
        "mod": lambda a, b: a % b,
        "max": max,
        "min": min,
    }
    for instruction in text.dims.program:
        name, *args = instruction
        if name == "const":
            values.append(args[0])
        elif name == "symbol":
            values.append(env[text.dims.symbols[args[0]].name])
        else:
            values.append(fns[name](values[args[0]], values[args[1]]))
    return values


def run_node(
    op: Op,
    operands: Sequence[NDArray[Any] | Node],
    target: Target,
    kernels: Sequence[Kernel],
    threads: int = 1,
    side: Side = Side.RIGHT,
    shapes: Sequence[Any] | None = None,
) -> NDArray[Any]:
    """Compile one operation and run it on the operands (arrays are graph inputs, nodes are taken as they are)."""
    compiled = compile_graph(single(op, operands, shapes), target, kernels)
    values = {f"x{i}": v for i, v in enumerate(operands) if not isinstance(v, Node)}
    return run_compiled(compiled, values, threads, side)[0]


def expected(op: Op, operands: Sequence[NDArray[Any] | Node], shapes: Sequence[Any] | None = None) -> NDArray[Any]:
    """Return what the numpy reference computes."""
    values = {f"x{i}": v for i, v in enumerate(operands) if not isinstance(v, Node)}
    return reference.run(single(op, operands, shapes), values)["y"]


def weights(value: NDArray[Any]) -> Node:
    """Make a constant operand."""
    frozen = value.copy()
    frozen.setflags(write=False)
    return constant(frozen)


def check(
    op: Op,
    operands: Sequence[NDArray[Any] | Node],
    target: Target,
    kernels: Sequence[Kernel],
    tolerance: Tol = Tol.EXACT,
    shapes: Sequence[Any] | None = None,
) -> NDArray[Any]:
    """Compare one operation with the reference, with buffers against either guard page; return the result.

    Two runs, of one thread and of three and with other garbage in memory, must give the same bits.
    """
    compiled = compile_graph(single(op, operands, shapes), target, kernels)
    values = {f"x{i}": v for i, v in enumerate(operands) if not isinstance(v, Node)}
    alone = run_compiled(compiled, values, 1, Side.LEFT)[0]
    together = run_compiled(compiled, values, 3, Side.RIGHT, fill=Fill.RANDOM)[0]
    assert_close(alone, expected(op, operands, shapes), tolerance)
    assert alone.tobytes() == together.tobytes(), "the result depends on the number of threads or on garbage"
    return alone
