"""Float networks on NaN, infinities and subnormal numbers, in any floating-point state of the host: bits and time."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import smalti
from kernels.float_state import FLAGS, OUTPUTS, SPECIALS, STATES, control, control_register, image, network
from smalti.compiler import CompileOptions, compile_graph
from smalti.quant.modes import QuantMode, QuantOptions
from smalti.runtime.engine import Engine
from smalti.target.host import missing_features, resolve_target
from smalti.target.target import Target
from stage_runners import save

MODES = (QuantMode.FORCE_FLOAT32, QuantMode.FORCE_FLOAT16, QuantMode.FORCE_BFLOAT16)
TARGETS = ("x86-64-v2", "x86-64-v3", "x86-64-v4", "aarch64")
MOST_TIMES = 3.0
SIDE = 129
RUNS = 20


def check(seed: int, scale: float) -> dict[str, Any]:
    """Run every precision on every family that this CPU runs; return the figures."""
    failures: list[str] = []
    slowest: dict[str, float] = {}
    count = 0
    targets = [t for t in map(Target.parse, TARGETS) if t.arch == resolve_target("native").arch]
    with tempfile.TemporaryDirectory() as folder:
        for target in (t for t in targets if not missing_features(t.features)):
            for mode in MODES:
                path = Path(folder) / f"{target.name}-{mode.value}.smalti"
                save(compile_graph(network(), CompileOptions((target,), QuantOptions(mode), outputs=OUTPUTS)), path)
                with smalti.load(path, threads=1) as engine:
                    where = f"{target.name} {mode.value} seed {seed}"
                    found, runs = _states(engine, seed, max(1, int(5 * scale)))
                    failures += [f"{where}: {line}" for line in found]
                    count += runs
                    for kind, times in _times(engine, seed).items():
                        slowest[kind] = max(times, slowest.get(kind, 0.0))
    for line in failures:
        sys.stderr.write(f"FAILED {line}\n")
    return {
        "pass": not failures and max(slowest.values()) <= MOST_TIMES,
        "runs": count,
        "states": len(STATES),
        "times as long": {kind: round(times, 2) for kind, times in slowest.items()},
        "failures": failures[:20],
    }


def _bits(engine: Engine, x: Any) -> list[bytes]:
    outputs = engine.run({"x:0": x})
    return [outputs[name].tobytes() for name in OUTPUTS]


def _states(engine: Engine, seed: int, count: int) -> tuple[list[str], int]:
    found: list[str] = []
    runs = 0
    for kind in (None, *SPECIALS):
        for i in range(count):
            x = image(kind, 9 + 4 * i, (0.02, 0.3, 1.0)[i % 3], seed + i)
            want = _bits(engine, x)
            # Trapping exceptions are the tests' business: other code of this process must not meet them.
            for name, value in STATES.items():
                if name == "exceptions trap":
                    continue
                engine.set_threads(1 + i % 3)
                with control(value):
                    got = _bits(engine, x)
                    after = control_register()
                runs += 1
                if got != want or after & ~FLAGS != value & ~FLAGS:
                    found.append(f"{kind} {x.shape} with {name}: {'bits' if got != want else hex(after)}")
            engine.set_threads(1)
    return found, runs


def _times(engine: Engine, seed: int) -> dict[str, float]:
    """Return how many times as long as on ordinary numbers a run takes (the least of several)."""

    def least(kind: str | None) -> float:
        x = image(kind, SIDE, 1.0, seed)
        best = float("inf")
        for _ in range(RUNS):
            begin = time.perf_counter()
            engine.run({"x:0": x})
            best = min(best, time.perf_counter() - begin)
        return best

    ordinary = least(None)
    return {kind: least(kind) / ordinary for kind in SPECIALS}
