"""Plan -> LLVM module.

The entry ``i32 run(ctx, thread, threads)`` is called once in each thread.  ``ctx`` is an array of 64-bit words (see
``docs/offline-model-file.md``).  Inside a step the work items are handed out through an atomic counter, each item
computed the same way whoever takes it; behind it everybody waits until all items are done.  Nobody waits for a thread
that has taken none, so one that the system does not run holds nobody up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from llvmlite import ir

from smalti.artifact.abi import Ctx, counters, done, taken
from smalti.codegen.constants import ConstantPool
from smalti.codegen.functions import Functions, InnerEmitter
from smalti.errors import CompilerError
from smalti.ir.dims import Dim
from smalti.kernels.values import native_half
from smalti.llvm.builder import I32, I64, PTR, VOID, Fn
from smalti.plan.dimtable import DimTable
from smalti.plan.planner import scratch_stride
from smalti.plan.schedule import BufferRef, Place, Plan, Step
from smalti.target.target import Target

ENTRY = "run"
BARRIER = "barrier"


@dataclass(frozen=True, slots=True)
class ModuleText:
    """LLVM text of a plan and what belongs to it."""

    text: str
    entry: str
    dims: DimTable
    constant_offsets: tuple[int, ...]
    constant_bytes: int
    counters: int


def build_module(plan: Plan, pool: ConstantPool | None = None) -> ModuleText:
    """Generate the LLVM module of a plan.

    Args:
        plan: the plan.
        pool: gets the plan's constants; those of other programs of the same file may be there already.

    Raises:
        CompilerError: a kernel broke its contract.
    """
    module = ir.Module("smalti")
    module.triple = plan.target.triple
    dims = DimTable(plan.graph.symbols())
    offsets, total = _constant_offsets(plan) if pool is None else (pool.place(plan.constants), pool.nbytes)
    functions = Functions(module, plan.target)
    barrier = _barrier_function(module, plan.target)
    steps = [_step_function(plan, i, dims, offsets, functions, barrier) for i in range(len(plan.steps))]
    _entry_function(module, steps)
    return ModuleText(str(module), ENTRY, dims, offsets, total, counters(len(plan.steps)))


def _constant_offsets(plan: Plan) -> tuple[tuple[int, ...], int]:
    pool = ConstantPool()
    return pool.place(plan.constants), pool.nbytes


def _context_word(fn: Fn, ctx: ir.Value, word: Ctx) -> ir.Value:
    return fn.load(PTR, fn.at(ctx, 8 * word))


class Emitter(InnerEmitter):
    """The ``StepEmitter`` of one step function."""

    def __init__(
        self,
        fn: Fn,
        plan: Plan,
        number: int,
        dims: DimTable,
        constant_offsets: Sequence[int],
        functions: Functions,
        barrier: ir.Function,
    ) -> None:
        super().__init__(fn, functions)
        self._barrier = barrier
        self._plan = plan
        self._number = number
        self._step: Step = plan.steps[number]
        self._dims = dims
        self._constant_offsets = constant_offsets
        self._parallel_used = False
        self._inside: frozenset[int] = frozenset()
        # Addresses and sizes are loaded in a prologue block, so that they dominate every use.
        self._prologue = fn.b
        fn.b = ir.IRBuilder(fn.function.append_basic_block("main"))
        self._main = fn.b.block
        self._ctx, self._thread, _ = fn.args
        self._sizes: dict[int, ir.Value] = {}
        self._pointers: dict[str, ir.Value] = {}

    def operand(self, position: int) -> ir.Value:
        """Return the address of operand ``plan.operands[position]``."""
        return self._address(self._step.operands[position])

    def result(self) -> ir.Value:
        """Return the address of the step's result."""
        return self._address(self._step.result)

    def constant(self, position: int) -> ir.Value:
        """Return the address of ``plan.constants[position]``."""
        return self._address(BufferRef(Place.CONSTANT, self._step.constants[position]))

    def scratch(self, position: int) -> ir.Value:
        """Return the address of this thread's scratch buffer ``position``."""
        base = self._address(BufferRef(Place.ARENA, self._step.scratch[position]))
        stride = self.size(scratch_stride(self._step.plan.scratch[position]))
        with self._in_prologue():
            return self.fn.at(base, self.fn.mul(self._thread, stride))

    def size(self, value: int | Dim) -> int | ir.Value:
        """Return a size as an index."""
        if isinstance(value, int):
            return value
        index = self._dims.index(value)
        if index not in self._sizes:
            with self._in_prologue():
                table = _context_word(self.fn, self._ctx, Ctx.DIMS)
                self._sizes[index] = self.fn.load(I64, self.fn.at(table, 8 * index))
        return self._sizes[index]

    @contextmanager
    def parallel(self, items: int | ir.Value) -> Iterator[ir.Value]:
        """Run the body once for each item, in whichever thread takes it."""
        if self._parallel_used:
            raise CompilerError(f"kernel {self._step.kernel.name} distributes work twice in one step")
        self._parallel_used = True
        fn = self.fn
        self._refuse_effects(fn.function.blocks)
        first = fn.b.block
        places = _context_word(fn, self._ctx, Ctx.COUNTERS)
        counter = fn.at(places, 4 * taken(self._number))
        head, body, finished = (fn.function.append_basic_block(n) for n in ("take", "item", "finished"))
        fn.b.branch(head)
        fn.b.position_at_end(head)
        mine = fn.b.phi(I32)
        mine.add_incoming(ir.Constant(I32, 0), first)
        next_item = fn.b.atomic_rmw("add", counter, ir.Constant(I32, 1), "monotonic")
        item = fn.b.zext(next_item, I64)
        fn.b.cbranch(fn.compare("<", item, items), body, finished)
        fn.b.position_at_end(body)
        yield item
        mine.add_incoming(fn.b.add(mine, ir.Constant(I32, 1)), fn.b.block)
        fn.b.branch(head)
        fn.b.position_at_end(finished)
        all_done = fn.at(places, 4 * done(self._number))
        fn.call(self._barrier, self._ctx, all_done, mine, fn.b.trunc(fn.i64(items), I32))
        self._inside = frozenset(id(block) for block in fn.function.blocks) - {id(finished)}

    def finish(self) -> None:
        """Close the step function."""
        if not self._parallel_used:
            raise CompilerError(f"kernel {self._step.kernel.name} distributes no work")
        self._refuse_effects(b for b in self.fn.function.blocks if id(b) not in self._inside)
        self.fn.finish()
        self._prologue.branch(self._main)

    def _refuse_effects(self, blocks: Iterable[ir.Block]) -> None:
        """Outside its items a step must not write: others may already be at a later one, in the same memory."""
        for block in blocks:
            for instruction in block.instructions:
                called = instruction.callee.name if isinstance(instruction, ir.CallInstr) else BARRIER
                if isinstance(instruction, ir.StoreInstr) or not (called == BARRIER or called.startswith("llvm.")):
                    raise CompilerError(f"kernel {self._step.kernel.name} has effects outside its work items")

    @contextmanager
    def _in_prologue(self) -> Iterator[None]:
        main = self.fn.b
        self.fn.b = self._prologue
        yield
        self.fn.b = main

    def _address(self, ref: BufferRef) -> ir.Value:
        key = str(ref)
        if key not in self._pointers:
            with self._in_prologue():
                self._pointers[key] = self._load_address(ref)
        return self._pointers[key]

    def _load_address(self, ref: BufferRef) -> ir.Value:
        fn = self.fn
        if ref.place is Place.CONSTANT:
            return fn.at(_context_word(fn, self._ctx, Ctx.CONSTANTS), self._constant_offsets[ref.index])
        if ref.place is Place.ARENA:
            table = _context_word(fn, self._ctx, Ctx.OFFSETS)
            return fn.at(_context_word(fn, self._ctx, Ctx.WORKSPACE), fn.load(I64, fn.at(table, 8 * ref.index)))
        position = ref.index + (len(self._plan.graph.inputs) if ref.place is Place.OUTPUT else 0)
        return fn.load(PTR, fn.at(_context_word(fn, self._ctx, Ctx.TENSORS), 8 * position))


def _step_function(
    plan: Plan, number: int, dims: DimTable, offsets: Sequence[int], functions: Functions, barrier: ir.Function
) -> ir.Function:
    step = plan.steps[number]
    native = native_half(plan.target)
    fn = Fn(functions.module, f"step_{number}_{step.kernel.name}", (PTR, I64, I64), native_half=native)
    emitter = Emitter(fn, plan, number, dims, offsets, functions, barrier)
    step.kernel.emit(emitter, step.node, step.plan)
    emitter.finish()
    return fn.function


def _entry_function(module: ir.Module, steps: Sequence[ir.Function]) -> None:
    fn = Fn(module, ENTRY, (PTR, I64, I64), I32, internal=False)
    ctx, thread, threads = fn.args
    for number, step in enumerate(steps):
        _stamp(fn, ctx, thread, number)
        fn.call(step, ctx, thread, threads)
    _stamp(fn, ctx, thread, len(steps))
    fn.finish(ir.Constant(I32, 0))


def _stamp(fn: Fn, ctx: ir.Value, thread: ir.Value, position: int) -> None:
    """Thread 0 stores the cycle counter, when the caller asked for a profile."""
    table = _context_word(fn, ctx, Ctx.PROFILE)
    wanted = fn.b.icmp_unsigned("!=", fn.b.ptrtoint(table, I64), ir.Constant(I64, 0))
    with fn.when(fn.b.and_(wanted, fn.compare("==", thread, 0))):
        callee = fn.module.globals.get("llvm.readcyclecounter")
        if callee is None:
            callee = ir.Function(fn.module, ir.FunctionType(I64, []), "llvm.readcyclecounter")
        fn.store(fn.b.call(callee, []), fn.at(table, 8 * position))


def _barrier_function(module: ir.Module, target: Target) -> ir.Function:
    """Return ``barrier(ctx, done, mine, items)``: note that ``mine`` items are done, wait until all ``items`` are."""
    fn = Fn(module, BARRIER, (PTR, PTR, I32, I32))
    ctx, done, mine, items = fn.args
    with fn.when(fn.b.icmp_unsigned("!=", mine, ir.Constant(I32, 0))):
        fn.b.atomic_rmw("add", done, mine, "release")
    patience = fn.load(I64, fn.at(ctx, 8 * Ctx.SPINS))
    entry = fn.b.block
    head, spin, give, turn, go = (fn.function.append_basic_block(n) for n in ("wait", "spin", "give", "turn", "go"))
    fn.b.branch(head)
    fn.b.position_at_end(head)
    spins = fn.b.phi(I64)
    spins.add_incoming(fn.i64(0), entry)
    now = fn.b.load_atomic(done, "acquire", 4, typ=I32)
    fn.b.cbranch(fn.b.icmp_unsigned("==", now, items), go, spin)
    fn.b.position_at_end(spin)
    fn.b.cbranch(fn.compare("<", spins, patience), turn, give)
    fn.b.position_at_end(give)
    fn.b.call(_yield_pointer(fn, ctx), [])
    fn.b.branch(turn)
    fn.b.position_at_end(turn)
    _pause(fn, target)
    spins.add_incoming(fn.b.add(spins, fn.i64(1)), turn)
    fn.b.branch(head)
    fn.b.position_at_end(go)
    fn.finish()
    return fn.function


def _yield_pointer(fn: Fn, ctx: ir.Value) -> ir.Value:
    address = fn.load(I64, fn.at(ctx, 8 * Ctx.YIELD))
    return fn.b.inttoptr(address, ir.FunctionType(VOID, []).as_pointer())


def _pause(fn: Fn, target: Target) -> None:
    name, args = target.pause_intrinsic
    callee = fn.module.globals.get(name)
    values = [ir.Constant(I32, a) for a in args]
    if callee is None:
        callee = ir.Function(fn.module, ir.FunctionType(VOID, [I32] * len(args)), name)
    fn.b.call(callee, values)
