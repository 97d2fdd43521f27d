"""The arithmetic limit of this machine: float32 multiply-adds per second, measured with a loop of nothing else."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from smalti.errors import CompilerError, ResourceError, UsageError
from smalti.llvm.backend import Options, emit_object
from smalti.llvm.link import link
from smalti.runtime.memory import map_code
from smalti.target.host import native_target
from smalti.target.target import Target

_SLICE = 20_000  # some tenths of a millisecond, less than the system leaves a thread on a CPU
_SECONDS = 0.15
_ENTRY = "fma_loop"
_SPARE_REGISTERS = 4

_Loop = Callable[[int, int], None]


def fma_limit(threads: int) -> float | None:
    """Return this machine's limit for ``threads`` threads at once, in GFLOP/s (a multiply-add counts as two).

    The loop keeps more independent chains of fused multiply-adds in registers than any current CPU needs to hide their
    latency.  Every thread times many short slices, of which other load disturbs few.  None where no code can be
    generated for this CPU or the system does not run it.
    """
    try:
        target = native_target()
        blob = link(emit_object(fma_module(target), target, Options(level=2)))
        region = map_code(blob.code)
    except (CompilerError, ResourceError, UsageError):
        return None
    lanes, chains = target.vector_bits // 32, _chains(target)
    prototype = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p)
    loop: _Loop = prototype(region.address + blob.entries[_ENTRY])
    sinks = [ctypes.create_string_buffer(lanes * 4 + 64) for _ in range(threads)]
    try:
        with ThreadPoolExecutor(threads, thread_name_prefix="smalti-bench-limit") as pool:
            parts = [pool.submit(_rate, loop, ctypes.addressof(sink)) for sink in sinks]
            rounds = sum(part.result() for part in parts)
    finally:
        region.close()
    return 2 * lanes * chains * rounds / 1e9


def fma_module(target: Target) -> str:
    """Return an LLVM module with ``fma_loop(count, sink)``: ``count`` rounds of one multiply-add in every chain.

    The sum of the chains is stored to ``sink`` (one vector), so that nothing can be left out.
    """
    lanes, chains = target.vector_bits // 32, range(_chains(target))
    vector = f"<{lanes} x float>"
    factor = _splat(lanes, "0x3FEFFFFF80000000")
    term = _splat(lanes, "0x3E70000000000000")
    lines = [
        f"declare {vector} @llvm.fma.v{lanes}f32({vector}, {vector}, {vector})",
        f"define void @{_ENTRY}(i64 %count, ptr %sink) nounwind {{",
        "entry:",
        "  br label %loop",
        "loop:",
        "  %i = phi i64 [ 0, %entry ], [ %next, %loop ]",
        *(f"  %a{k} = phi {vector} [ {_splat(lanes, f'{k + 1}.0')}, %entry ], [ %b{k}, %loop ]" for k in chains),
        *(
            f"  %b{k} = call {vector} @llvm.fma.v{lanes}f32({vector} %a{k}, {vector} {factor}, {vector} {term})"
            for k in chains
        ),
        "  %next = add i64 %i, 1",
        "  %more = icmp slt i64 %next, %count",
        "  br i1 %more, label %loop, label %done",
        "done:",
        f"  %s0 = fadd {vector} %b0, {term}",
        *(f"  %s{k} = fadd {vector} %s{k - 1}, %b{k}" for k in chains if k > 0),
        f"  store {vector} %s{len(chains) - 1}, ptr %sink, align 4",
        "  ret void",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _chains(target: Target) -> int:
    return target.vector_registers - _SPARE_REGISTERS


def _splat(lanes: int, value: str) -> str:
    return "<" + ", ".join([f"float {value}"] * lanes) + ">"


def _rate(loop: _Loop, sink: int) -> float:
    """Return rounds of the loop per second of one thread: the upper decile of many slices too short to be disturbed."""
    loop(_SLICE, sink)
    rates = []
    begin = time.perf_counter()
    while (start := time.perf_counter()) - begin < _SECONDS:
        loop(_SLICE, sink)
        rates.append(_SLICE / (time.perf_counter() - start))
    return float(np.percentile(rates, 90))
