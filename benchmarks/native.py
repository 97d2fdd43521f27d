"""Small generated functions that run without Smalti's runtime: loops whose speed is known from the CPU alone."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from llvmlite import ir

from smalti.llvm.backend import emit_object
from smalti.llvm.builder import F32, I64, PTR, Fn, vector
from smalti.llvm.link import link
from smalti.runtime.memory import Region, map_anonymous, map_code, view
from smalti.target.target import Target

_LINE = 64
_NATIVE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
Native = Callable[[int, int, int], None]


@dataclass(frozen=True, slots=True)
class Loops:
    """Compiled loops, each called with ``(memory, bytes, passes)``.

    ``fma`` runs ``passes`` turns of ``fmas_per_pass`` independent multiply-adds on single numbers and uses the first
    line of the memory; ``read`` and ``write`` go over all bytes ``passes`` times.
    """

    code: Region
    fma: Native
    read: Native
    write: Native
    fmas_per_pass: int


def compile_loops(target: Target, vector_bits: int) -> Loops:
    """Generate the loops for vectors of ``vector_bits``."""
    lanes = vector_bits // 32
    # Latency (4 to 5 cycles) times throughput (2 a cycle) asks for 10 sums; two more registers hold the factors.
    sums = 12
    module = ir.Module("loops")
    module.triple = target.triple
    _fma_loop(module, lanes, sums)
    _read_loop(module, lanes)
    _write_loop(module, lanes)
    blob = link(emit_object(str(module), target))
    code = map_code(blob.code)
    fma, read, write = (_NATIVE(code.address + blob.entries[name]) for name in ("fma", "read", "write"))
    return Loops(code, fma, read, write, sums * lanes)


def _fma_loop(module: ir.Module, lanes: int, sums: int) -> None:
    fn = Fn(module, "fma", (PTR, I64, I64), internal=False)
    memory, _, passes = fn.args
    kind = vector(F32, lanes)
    factor, addend = fn.load(kind, memory), fn.load(kind, fn.at(memory, _LINE))
    start = [fn.load(kind, fn.at(memory, _LINE * (2 + i))) for i in range(sums)]
    ends = fn.loop_carry(0, passes, 1, start, lambda _, values: [fn.fma(v, factor, addend) for v in values])
    for i, value in enumerate(ends):
        fn.store(value, fn.at(memory, _LINE * (2 + i)))
    fn.finish()


def _read_loop(module: ir.Module, lanes: int) -> None:
    fn = Fn(module, "read", (PTR, I64, I64), internal=False)
    memory, size, passes = fn.args
    kind = vector(F32, lanes)
    count, step = 8, 4 * lanes
    zero = [fn.f32(0.0, lanes)] * count

    def one_pass(_: ir.Value, values: list[ir.Value]) -> list[ir.Value]:
        def body(offset: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
            place = fn.at(memory, offset)
            return [fn.b.fadd(s, fn.load(kind, fn.at(place, i * step), align=step)) for i, s in enumerate(sums)]

        return fn.loop_carry(0, size, count * step, values, body)

    total = fn.loop_carry(0, passes, 1, zero, one_pass)
    result = total[0]
    for value in total[1:]:
        result = fn.b.fadd(result, value)
    fn.store(result, memory)
    fn.finish()


def _write_loop(module: ir.Module, lanes: int) -> None:
    fn = Fn(module, "write", (PTR, I64, I64), internal=False)
    memory, size, passes = fn.args
    count, step = 8, 4 * lanes
    with fn.loop(0, passes) as number:
        value = fn.splat(fn.b.uitofp(number, F32), lanes)
        with fn.loop(0, size, count * step) as offset:
            place = fn.at(memory, offset)
            for i in range(count):
                fn.store(value, fn.at(place, i * step), align=step)
    fn.finish()


class Crew:
    """Threads bound to one CPU each that run a native loop at the same time."""

    def __init__(self, cpus: Sequence[int], bytes_each: int) -> None:
        self._cpus = tuple(cpus)
        self._memory = [map_anonymous(max(bytes_each, 4096), huge=True) for _ in cpus]
        for region in self._memory:
            np.frombuffer(view(region), np.float32)[:] = 0.5

    def rate(self, function: Native, size: int, seconds: float, trials: int) -> float:
        """Return the best passes per second, over all threads, of trials of ``seconds`` each."""
        passes = 1
        elapsed = self._once(function, size, passes)
        while elapsed < seconds / 8:
            passes *= 4
            elapsed = self._once(function, size, passes)
        passes = max(1, round(passes * seconds / elapsed))
        best = min(self._once(function, size, passes) for _ in range(trials))
        return passes * len(self._cpus) / best

    def close(self) -> None:
        """Give the memory back."""
        for region in self._memory:
            region.close()

    def _once(self, function: Native, size: int, passes: int) -> float:
        """Return the seconds from the first thread's start to the last one's end."""
        gate = threading.Barrier(len(self._cpus))
        spans: list[tuple[float, float]] = []

        def work(cpu: int, memory: Region) -> None:
            os.sched_setaffinity(0, (cpu,))
            gate.wait()
            start = time.perf_counter()
            function(memory.address, size, passes)
            spans.append((start, time.perf_counter()))

        threads = [
            threading.Thread(target=work, args=(cpu, memory), daemon=True)
            for cpu, memory in zip(self._cpus, self._memory, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return max(stop for _, stop in spans) - min(start for start, _ in spans)
