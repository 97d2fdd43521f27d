"""Typed building of LLVM functions: index arithmetic that folds constants, loops with carried values, vectors.

Indices are ``int`` (known while compiling) or 64-bit LLVM values; arithmetic on two ``int`` gives an ``int``.
Pointers are opaque and offsets are in bytes, so one kernel can address any strided layout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from llvmlite import ir

from smalti.errors import CompilerError
from smalti.numerics import DType

I1 = ir.IntType(1)
I8 = ir.IntType(8)
I16 = ir.IntType(16)
I32 = ir.IntType(32)
I64 = ir.IntType(64)
F32 = ir.FloatType()
F64 = ir.DoubleType()
F16 = ir.HalfType()
PTR = ir.PointerType()
VOID = ir.VoidType()

_SCALARS = {
    DType.FLOAT32: F32,
    DType.FLOAT64: F64,
    DType.FLOAT16: F16,
    DType.BFLOAT16: I16,
    DType.UINT8: I8,
    DType.INT8: I8,
    DType.UINT16: I16,
    DType.INT16: I16,
    DType.INT32: I32,
    DType.INT64: I64,
    DType.BOOL: I8,
    DType.UINT32: I32,
    DType.UINT64: I64,
}


def scalar_type(dtype: DType) -> ir.Type:
    """Return the LLVM type of one element in memory (bool is a byte holding 0 or 1)."""
    return _SCALARS[dtype]


def vector(element: ir.Type, lanes: int) -> ir.Type:
    """Return the LLVM vector type (the element itself for one lane)."""
    return element if lanes == 1 else ir.VectorType(element, lanes)


def lanes_of(value: ir.Value) -> int:
    """Return the number of lanes of a value (1 for a scalar)."""
    return value.type.count if isinstance(value.type, ir.VectorType) else 1


class Fn:
    """One LLVM function under construction."""

    def __init__(
        self,
        module: ir.Module,
        name: str,
        args: Sequence[ir.Type],
        result: ir.Type = VOID,
        internal: bool = True,
        native_half: bool = False,
    ) -> None:
        self.module = module
        # Whether the target has instructions between float16 and float32 (else LLVM calls a library there is not).
        self.native_half = native_half
        self.function = ir.Function(module, ir.FunctionType(result, list(args)), name)
        self.function.attributes.add("nounwind")
        # LLVM must not turn loops into calls of memset or memcpy: the code has no C library.  (llvmlite's own `add`
        # knows no string attributes.)
        set.add(self.function.attributes, '"no-builtins"')
        if internal:
            self.function.linkage = "internal"
            self.function.attributes.add("noinline")
        self.args: tuple[ir.Value, ...] = tuple(self.function.args)
        self.b = ir.IRBuilder(self.function.append_basic_block("entry"))

    # ---- index arithmetic -------------------------------------------------------------------------------------------

    def i64(self, value: int | ir.Value) -> ir.Value:
        """Return an index as a 64-bit LLVM value."""
        return ir.Constant(I64, value) if isinstance(value, int) else value

    def add(self, *values: int | ir.Value) -> int | ir.Value:
        """Return the sum of indices."""
        constant = sum(v for v in values if isinstance(v, int))
        total: int | ir.Value = constant
        for value in values:
            if not isinstance(value, int):
                total = value if isinstance(total, int) and total == 0 else self.b.add(self.i64(total), value)
        return total

    def sub(self, a: int | ir.Value, b: int | ir.Value) -> int | ir.Value:
        """Return ``a - b``."""
        if isinstance(b, int):
            return self.add(a, -b)
        return self.b.sub(self.i64(a), b)

    def mul(self, a: int | ir.Value, b: int | ir.Value) -> int | ir.Value:
        """Return ``a * b``."""
        if isinstance(a, int) and isinstance(b, int):
            return a * b
        if isinstance(a, int):
            a, b = b, a
        if isinstance(b, int) and b in (0, 1):
            return a if b else 0
        return self.b.mul(a, self.i64(b))

    def div(self, a: int | ir.Value, b: int | ir.Value) -> int | ir.Value:
        """Return ``a / b`` for ``a >= 0`` and ``b > 0``."""
        if isinstance(a, int) and isinstance(b, int):
            return a // b
        return a if isinstance(b, int) and b == 1 else self.b.udiv(self.i64(a), self.i64(b))

    def ceil_div(self, a: int | ir.Value, b: int) -> int | ir.Value:
        """Return ``ceil(a / b)`` for ``a >= 0`` and ``b > 0``."""
        return self.div(self.add(a, b - 1), b)

    def floor_div(self, a: int | ir.Value, b: int) -> int | ir.Value:
        """Return ``floor(a / b)`` for any ``a`` and ``b > 0``."""
        if isinstance(a, int):
            return a // b
        if b == 1:
            return a
        quotient = self.b.sdiv(a, self.i64(b))
        remainder = self.b.srem(a, self.i64(b))
        negative = self.b.icmp_signed("<", remainder, self.i64(0))
        return self.b.sub(quotient, self.b.zext(negative, I64))

    def mod(self, a: int | ir.Value, b: int | ir.Value) -> int | ir.Value:
        """Return ``a mod b`` for ``a >= 0`` and ``b > 0``."""
        if isinstance(a, int) and isinstance(b, int):
            return a % b
        return 0 if isinstance(b, int) and b == 1 else self.b.urem(self.i64(a), self.i64(b))

    def minimum(self, a: int | ir.Value, b: int | ir.Value) -> int | ir.Value:
        """Return the smaller of two signed indices."""
        if isinstance(a, int) and isinstance(b, int):
            return min(a, b)
        a, b = self.i64(a), self.i64(b)
        return self.b.select(self.b.icmp_signed("<", a, b), a, b)

    def maximum(self, a: int | ir.Value, b: int | ir.Value) -> int | ir.Value:
        """Return the larger of two signed indices."""
        if isinstance(a, int) and isinstance(b, int):
            return max(a, b)
        a, b = self.i64(a), self.i64(b)
        return self.b.select(self.b.icmp_signed(">", a, b), a, b)

    def compare(self, relation: str, a: int | ir.Value, b: int | ir.Value) -> ir.Value:
        """Return the signed comparison ``a relation b`` as an ``i1``; relation is one of ``< <= > >= == !=``."""
        return self.b.icmp_signed(relation, self.i64(a), self.i64(b))

    # ---- control flow -----------------------------------------------------------------------------------------------

    @contextmanager
    def loop(self, start: int | ir.Value, stop: int | ir.Value, step: int | ir.Value = 1) -> Iterator[ir.Value]:
        """Run the body for ``start, start + step, ...`` while below ``stop``."""
        head, body, done = (self.function.append_basic_block(n) for n in ("head", "body", "done"))
        entry = self.b.block
        self.b.branch(head)
        self.b.position_at_end(head)
        index = self.b.phi(I64)
        index.add_incoming(self.i64(start), entry)
        self.b.cbranch(self.b.icmp_signed("<", index, self.i64(stop)), body, done)
        self.b.position_at_end(body)
        yield index
        following = self.b.add(index, self.i64(step))
        index.add_incoming(following, self.b.block)
        self.b.branch(head)
        self.b.position_at_end(done)

    def loop_carry(
        self,
        start: int | ir.Value,
        stop: int | ir.Value,
        step: int,
        initial: Sequence[ir.Value],
        body: Callable[[ir.Value, list[ir.Value]], Sequence[ir.Value]],
    ) -> list[ir.Value]:
        """Run ``values = body(index, values)`` over the range and return the last values (accumulators as phis)."""
        head, inside, done = (self.function.append_basic_block(n) for n in ("khead", "kbody", "kdone"))
        entry = self.b.block
        self.b.branch(head)
        self.b.position_at_end(head)
        index = self.b.phi(I64)
        index.add_incoming(self.i64(start), entry)
        values = []
        for value in initial:
            phi = self.b.phi(value.type)
            phi.add_incoming(value, entry)
            values.append(phi)
        self.b.cbranch(self.b.icmp_signed("<", index, self.i64(stop)), inside, done)
        self.b.position_at_end(inside)
        updated = body(index, list(values))
        index.add_incoming(self.b.add(index, self.i64(step)), self.b.block)
        for phi, value in zip(values, updated, strict=True):
            phi.add_incoming(value, self.b.block)
        self.b.branch(head)
        self.b.position_at_end(done)
        return list(values)

    @contextmanager
    def when(self, condition: ir.Value) -> Iterator[None]:
        """Run the body only where the ``i1`` condition holds."""
        inside, done = self.function.append_basic_block("then"), self.function.append_basic_block("after")
        self.b.cbranch(condition, inside, done)
        self.b.position_at_end(inside)
        yield
        self.b.branch(done)
        self.b.position_at_end(done)

    def choose(self, condition: ir.Value, then: Callable[[], None], otherwise: Callable[[], None]) -> None:
        """Run one of two bodies."""
        yes, no, done = (self.function.append_basic_block(n) for n in ("yes", "no", "join"))
        self.b.cbranch(condition, yes, no)
        for block, body in ((yes, then), (no, otherwise)):
            self.b.position_at_end(block)
            body()
            self.b.branch(done)
        self.b.position_at_end(done)

    # ---- memory -----------------------------------------------------------------------------------------------------

    def at(self, base: ir.Value, offset: int | ir.Value) -> ir.Value:
        """Return the address ``offset`` bytes behind ``base``."""
        if isinstance(offset, int) and offset == 0:
            return base
        return self.b.gep(base, [self.i64(offset)], source_etype=I8)

    def load(self, type: ir.Type, address: ir.Value, align: int | None = None) -> ir.Value:
        """Load a value; the address is aligned to the element unless said otherwise."""
        return self.b.load(address, typ=type, align=align or _element_bytes(type))

    def store(self, value: ir.Value, address: ir.Value, align: int | None = None) -> None:
        """Store a value; the address is aligned to the element unless said otherwise."""
        self.b.store(value, address, align=align or _element_bytes(value.type))

    # ---- numbers ----------------------------------------------------------------------------------------------------

    def f32(self, value: float, lanes: int = 1) -> ir.Constant:
        """Return a float32 constant in every lane."""
        constant = ir.Constant(F32, value)
        return constant if lanes == 1 else ir.Constant(ir.VectorType(F32, lanes), [constant] * lanes)

    def splat(self, value: ir.Value, lanes: int) -> ir.Value:
        """Return the scalar in every lane."""
        if lanes == 1:
            return value
        type_ = ir.VectorType(value.type, lanes)
        first = self.b.insert_element(ir.Constant(type_, ir.Undefined), value, ir.Constant(I32, 0))
        mask = ir.Constant(ir.VectorType(I32, lanes), [0] * lanes)
        return self.b.shuffle_vector(first, ir.Constant(type_, ir.Undefined), mask)

    def lane(self, value: ir.Value, which: int, lanes: int) -> ir.Value:
        """Return one lane of a vector in each of ``lanes`` lanes."""
        if lanes == 1:
            return self.b.extract_element(value, ir.Constant(I32, which))
        mask = ir.Constant(ir.VectorType(I32, lanes), [which] * lanes)
        return self.b.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), mask)

    def first_lanes(self, value: ir.Value, lanes: int) -> ir.Value:
        """Return the first lanes of a vector (a scalar for one lane)."""
        if lanes == lanes_of(value):
            return value
        if lanes == 1:
            return self.b.extract_element(value, ir.Constant(I32, 0))
        mask = ir.Constant(ir.VectorType(I32, lanes), list(range(lanes)))
        return self.b.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), mask)

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """Return ``a * b + c``, rounded once where the target can, else twice."""
        return self.intrinsic("llvm.fmuladd", a.type, a, b, c)

    def clamp_low(self, value: ir.Value, low: float) -> ir.Value:
        """Return ``max(value, low)``; a NaN stays a NaN (one maximum instruction on x86 and Arm)."""
        limit = self.f32(low, lanes_of(value))
        return self.b.select(self.b.fcmp_ordered("<", value, limit), limit, value)

    def clamp_high(self, value: ir.Value, high: float) -> ir.Value:
        """Return ``min(value, high)``; a NaN stays a NaN."""
        limit = self.f32(high, lanes_of(value))
        return self.b.select(self.b.fcmp_ordered(">", value, limit), limit, value)

    def intrinsic(self, name: str, type: ir.Type, *args: ir.Value) -> ir.Value:
        """Call an LLVM intrinsic overloaded on ``type`` (all operands and the result have it)."""
        full = f"{name}.{_mangled(type)}"
        callee = self.module.globals.get(full)
        if callee is None:
            callee = ir.Function(self.module, ir.FunctionType(type, [a.type for a in args]), full)
        return self.b.call(callee, args)

    def call(self, callee: Fn | ir.Function, *args: int | ir.Value) -> ir.Value:
        """Call a function; index arguments may be ``int``."""
        target = callee.function if isinstance(callee, Fn) else callee
        return self.b.call(target, [self.i64(a) if isinstance(a, int) else a for a in args])

    def finish(self, result: ir.Value | None = None) -> ir.Function:
        """Return from the function and close it."""
        if result is None:
            self.b.ret_void()
        else:
            self.b.ret(result)
        return self.function


def named_intrinsic(fn: Fn, name: str, result: ir.Type, *args: ir.Value) -> ir.Value:
    """Call an intrinsic by its full name."""
    callee = fn.module.globals.get(name)
    if callee is None:
        callee = ir.Function(fn.module, ir.FunctionType(result, [a.type for a in args]), name)
    return fn.b.call(callee, args)


def _element_bytes(type: ir.Type) -> int:
    element = type.element if isinstance(type, ir.VectorType) else type
    if isinstance(element, ir.PointerType):
        return 8
    if isinstance(element, ir.IntType):
        return max(1, int(element.width) // 8)
    sizes = {ir.FloatType: 4, ir.DoubleType: 8, ir.HalfType: 2}
    for kind, size in sizes.items():
        if isinstance(element, kind):
            return size
    raise CompilerError(f"no size for LLVM type {type}")


def _mangled(type: ir.Type) -> str:
    if isinstance(type, ir.VectorType):
        return f"v{type.count}{_mangled(type.element)}"
    if isinstance(type, ir.IntType):
        return f"i{type.width}"
    for kind, name in ((ir.FloatType, "f32"), (ir.DoubleType, "f64"), (ir.HalfType, "f16")):
        if isinstance(type, kind):
            return name
    raise CompilerError(f"no intrinsic name for LLVM type {type}")
