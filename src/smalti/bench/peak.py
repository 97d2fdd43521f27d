"""What this machine can do: arithmetic per second of every kind that kernels use, and bytes copied per second.

The arithmetic is measured with loops of nothing else, compiled for this CPU.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.errors import CompilerError, ResourceError, UsageError
from smalti.llvm.backend import Options, emit_object
from smalti.llvm.link import link
from smalti.runtime.memory import map_code
from smalti.target.host import native_target
from smalti.target.target import Target

_SLICE = 20_000  # some tenths of a millisecond, less than the system leaves a thread on a CPU
_SECONDS = 0.1
_COPY_SECONDS = 0.03
_SMALLEST_COPY = 1 << 18
_LARGEST_COPY = 1 << 26
_ENTRY = "peak_loop"
_SPARE_REGISTERS = 4
_PAIR_MULTIPLY = {128: "sse2.pmadd.wd", 256: "avx2.pmadd.wd", 512: "avx512.pmaddw.d.512"}

_Loop = Callable[[int, int], None]


class Arithmetic(Enum):
    """A kind of multiply-add.  The value is its name in reports."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16 pairs"
    BYTES = "int8"
    PAIRS = "int16 pairs"

    @property
    def instruction(self) -> str:
        """What the CPU's loop is made of."""
        return _INSTRUCTIONS[self]

    @property
    def unit(self) -> str:
        """How its rate is written; a multiply-add counts as two."""
        return "GFLOP/s" if self in (Arithmetic.FLOAT32, Arithmetic.BFLOAT16) else "GOP/s"

    @property
    def group(self) -> int:
        """Multiply-adds that one 32-bit lane does at once."""
        return _GROUPS[self]

    def runs_on(self, target: Target) -> bool:
        """Return whether a target has the instruction."""
        match self:
            case Arithmetic.FLOAT32:
                return target.has("fma") or target.has("neon")
            case Arithmetic.BFLOAT16:
                return target.has("avx512bf16")
            case Arithmetic.BYTES:
                return target.has("avx512vnni") or target.has("avxvnni")
            case Arithmetic.PAIRS:
                return target.has("sse2")


_INSTRUCTIONS = {
    Arithmetic.FLOAT32: "fused multiply-add",
    Arithmetic.BFLOAT16: "vdpbf16ps",
    Arithmetic.BYTES: "vpdpbusd",
    Arithmetic.PAIRS: "pmaddwd",
}
_GROUPS = {Arithmetic.FLOAT32: 1, Arithmetic.BFLOAT16: 2, Arithmetic.BYTES: 4, Arithmetic.PAIRS: 2}


@dataclass(frozen=True, slots=True)
class Peaks:
    """The limits of this machine for some threads at once.

    Attributes:
        rates: billions of operations a second (a multiply-add counts as two) of every arithmetic that this CPU has.
        copies: bytes read and written a second by copies that move so many bytes, the sizes ascending.
    """

    rates: Mapping[Arithmetic, float]
    copies: tuple[tuple[int, float], ...] = ()

    def compute_ms(self, arithmetic: Arithmetic | None, macs: int) -> float | None:
        """Return the least milliseconds of some multiply-adds; None where the rate is not known."""
        rate = None if arithmetic is None else self.rates.get(arithmetic)
        return 2 * macs / rate / 1e6 if rate and macs else None

    def memory_ms(self, size: int) -> float | None:
        """Return how long a copy that moves so many bytes takes; None where it was not measured."""
        if not self.copies or size <= 0:
            return None
        rate = next((rate for moved, rate in reversed(self.copies) if moved <= size), self.copies[0][1])
        return 1e3 * size / rate

    def best(self, other: Peaks) -> Peaks:
        """Return the larger of every two limits: other load can only make one smaller."""
        rates = {
            kind: max(self.rates.get(kind, 0.0), other.rates.get(kind, 0.0)) for kind in {**self.rates, **other.rates}
        }
        copies, more = dict(self.copies), dict(other.copies)
        sizes = sorted(copies.keys() | more.keys())
        return Peaks(rates, tuple((size, max(copies.get(size, 0.0), more.get(size, 0.0))) for size in sizes))

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "arithmetic": [
                {"name": kind.value, "instruction": kind.instruction, "unit": kind.unit, "rate": rate}
                for kind, rate in self.rates.items()
            ],
            "copy": [{"bytes": size, "gigabytes_per_s": rate / 1e9} for size, rate in self.copies],
        }


def measure_peaks(threads: int) -> Peaks:
    """Measure every arithmetic that this CPU has, and copies of several sizes."""
    rates = {kind: peak_rate(kind, threads) for kind in Arithmetic}
    return Peaks({kind: rate for kind, rate in rates.items() if rate is not None}, copy_rates(threads))


def peak_rate(kind: Arithmetic, threads: int) -> float | None:
    """Return this machine's limit for ``threads`` threads at once, in billions of operations a second.

    The loop keeps more independent chains of multiply-adds in registers than any current CPU needs to hide their
    latency.  Every thread times many short slices, of which other load disturbs few.  None where the CPU has no such
    instruction, no code can be generated for it or the system does not run it.
    """
    try:
        target = native_target()
        if not kind.runs_on(target):
            return None
        blob = link(emit_object(peak_module(kind, target), target, Options(level=2)))
        region = map_code(blob.code)
    except (CompilerError, ResourceError, UsageError):
        return None
    prototype = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p)
    loop: _Loop = prototype(region.address + blob.entries[_ENTRY])
    sinks = [ctypes.create_string_buffer(target.vector_bits // 4) for _ in range(threads)]
    try:
        rounds = sum(_on_threads([partial(_rate, loop, ctypes.addressof(sink)) for sink in sinks]))
    finally:
        region.close()
    return 2 * kind.group * (target.vector_bits // 32) * _chains(target) * rounds / 1e9


def peak_module(kind: Arithmetic, target: Target) -> str:
    """Return an LLVM module with ``peak_loop(count, sink)``: ``count`` rounds of one multiply-add in every chain.

    The factors are read from ``sink`` (a vector) and the sum of the chains is stored behind them, so nothing can be
    left out.  Pairs are multiplied by the chain itself, so that their product stays inside the loop.
    """
    lanes, chains = target.vector_bits // 32, range(_chains(target))
    is_float = kind in (Arithmetic.FLOAT32, Arithmetic.BFLOAT16)
    vector = f"<{lanes} x {'float' if is_float else 'i32'}>"
    parts = {Arithmetic.BFLOAT16: "bfloat", Arithmetic.BYTES: "i8", Arithmetic.PAIRS: "i16"}
    factor = f"<{lanes * kind.group} x {parts.get(kind, 'float')}>"
    add = "fadd" if is_float else "add"
    lines = [
        _declaration(kind, target, vector, factor),
        f"define void @{_ENTRY}(i64 %count, ptr %sink) nounwind {{",
        "entry:",
        f"  %x = load {factor}, ptr %sink, align 4",
        f"  %y = load {vector}, ptr %sink, align 4",
        "  br label %loop",
        "loop:",
        "  %i = phi i64 [ 0, %entry ], [ %next, %loop ]",
        *(f"  %a{k} = phi {vector} [ {_splat(lanes, k, is_float)}, %entry ], [ %b{k}, %loop ]" for k in chains),
        *(line for k in chains for line in _multiply_add(kind, target, k, vector, factor)),
        "  %next = add i64 %i, 1",
        "  %more = icmp slt i64 %next, %count",
        "  br i1 %more, label %loop, label %done",
        "done:",
        f"  %s0 = {add} {vector} %b0, %y",
        *(f"  %s{k} = {add} {vector} %s{k - 1}, %b{k}" for k in chains if k > 0),
        f"  %behind = getelementptr i8, ptr %sink, i64 {target.vector_bits // 8}",
        f"  store {vector} %s{len(chains) - 1}, ptr %behind, align 4",
        "  ret void",
        "}",
    ]
    return "\n".join(lines) + "\n"


def copy_rates(threads: int) -> tuple[tuple[int, float], ...]:
    """Return how many bytes a second copies read and write that move 256 KiB, 1 MiB, 4 MiB, 16 MiB and 64 MiB."""
    found, size = [], _SMALLEST_COPY
    while size <= _LARGEST_COPY:
        each = size // (2 * threads)
        jobs = [partial(_copy_rate, np.zeros(each, np.uint8), np.ones(each, np.uint8)) for _ in range(threads)]
        found.append((size, sum(_on_threads(jobs))))
        size *= 4
    return tuple(found)


def _copy_rate(target: NDArray[np.uint8], source: NDArray[np.uint8]) -> float:
    return 2 * source.nbytes * _slices_per_second(partial(np.copyto, target, source), _COPY_SECONDS)


def _on_threads(jobs: Sequence[Callable[[], float]]) -> list[float]:
    with ThreadPoolExecutor(len(jobs), thread_name_prefix="smalti-bench-limit") as pool:
        return [part.result() for part in [pool.submit(job) for job in jobs]]


def _rate(loop: _Loop, sink: int) -> float:
    """Return rounds of the loop per second of one thread."""
    return _SLICE * _slices_per_second(partial(loop, _SLICE, sink), _SECONDS)


def _slices_per_second(run: Callable[[], object], seconds: float) -> float:
    """Return the upper decile of the rates of many slices too short to be disturbed."""
    run()
    rates = []
    begin = time.perf_counter()
    while (start := time.perf_counter()) - begin < seconds:
        run()
        rates.append(1 / max(time.perf_counter() - start, 1e-9))
    return float(np.percentile(rates, 90))


def _declaration(kind: Arithmetic, target: Target, vector: str, factor: str) -> str:
    name = _intrinsic(kind, target)
    types = {Arithmetic.FLOAT32: [vector] * 3, Arithmetic.PAIRS: [factor] * 2}.get(kind, [vector, factor, factor])
    return f"declare {vector} @{name}({', '.join(types)})"


def _intrinsic(kind: Arithmetic, target: Target) -> str:
    bits = target.vector_bits
    match kind:
        case Arithmetic.FLOAT32:
            return f"llvm.fma.v{bits // 32}f32"
        case Arithmetic.BFLOAT16:
            return f"llvm.x86.avx512bf16.dpbf16ps.{bits}"
        case Arithmetic.BYTES:
            return f"llvm.x86.avx512.vpdpbusd.{bits}"
        case Arithmetic.PAIRS:
            return f"llvm.x86.{_PAIR_MULTIPLY[bits]}"


def _multiply_add(kind: Arithmetic, target: Target, k: int, vector: str, factor: str) -> list[str]:
    name = _intrinsic(kind, target)
    match kind:
        case Arithmetic.FLOAT32:
            return [f"  %b{k} = call {vector} @{name}({vector} %a{k}, {vector} %x, {vector} %y)"]
        case Arithmetic.PAIRS:
            return [
                f"  %c{k} = bitcast {vector} %a{k} to {factor}",
                f"  %p{k} = call {vector} @{name}({factor} %c{k}, {factor} %x)",
                f"  %b{k} = add {vector} %a{k}, %p{k}",
            ]
        case _:
            return [f"  %b{k} = call {vector} @{name}({vector} %a{k}, {factor} %x, {factor} %x)"]


def _chains(target: Target) -> int:
    return target.vector_registers - _SPARE_REGISTERS


def _splat(lanes: int, k: int, is_float: bool) -> str:
    value = f"float {k + 1}.0" if is_float else f"i32 {k + 1}"
    return "<" + ", ".join([value] * lanes) + ">"
