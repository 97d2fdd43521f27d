"""The engine over its life: same bits, many callers, forks, few CPUs, loading again and again, little memory."""

from __future__ import annotations

import gc
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import smalti
from deeplab_golden import CROP, FULL, graph_bytes
from smalti.artifact.reader import open_model
from soak.files import built, demo_model
from soak.forks import Tally, forked, has, script

SIDE = 193
THREADS = (1, 2, 3, 4, 8)


def main(seed: int, scale: float) -> dict[str, Any]:
    """Run the checks of the engine with counts multiplied by ``scale``; return the figures of each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = demo_model(folder)
        return {
            "20 same bits": same_bits(model, seed, scale),
            "20 same labels on every level": same_labels_on_levels(folder, model, seed),
            "21 many callers": many_callers(model, seed, scale),
            "22 forks": forks(model, scale),
            "22 spawned workers": spawned_workers(model),
            "23 few CPUs": few_cpus(*network(folder, model), scale),
            "24 load, run, unload": load_and_unload(model, scale),
            "24 ends": ends(model, scale),
            "25 stated memory": stated_memory(model, *network(folder, model)),
            "25 little address space": little_address_space(model),
            "25 refused threads": refused_threads(model),
        }


def pictures(seed: int, count: int) -> list[NDArray[np.uint8]]:
    """Return pictures of mixed sizes that the embedded network takes."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, SIDE + 1, (count, 2)).tolist()
    return [rng.integers(0, 256, (h, w, 3), np.uint8) for h, w in sizes]


def same_bits(model: Path, seed: int, scale: float) -> dict[str, Any]:
    """100 runs with every thread count, places in a batch and in memory, alone and beside busy neighbours."""
    images = pictures(seed, 5)
    with smalti.load(model, threads=1) as engine:
        want = [engine(image).tobytes() for image in images]
    runs = differing = 0

    def count(engine: smalti.Engine, image: NDArray[np.uint8], expected: bytes) -> None:
        nonlocal runs, differing
        runs += 1
        differing += engine(image).tobytes() != expected

    for busy in (0, 2):
        with busy_neighbours(busy):
            for threads in THREADS:
                with smalti.load(model, threads=threads) as engine:
                    for number in range(max(1, int(20 * scale))):
                        for image, expected in zip(images, want, strict=True):
                            count(engine, _moved(image, number), expected)
    with smalti.load(model, threads=2) as engine:
        rng = np.random.default_rng(seed)
        for size in (1, 2, 3, 5, 8):
            batch = rng.integers(0, 256, (size, 65, 49, 3), np.uint8)
            together = engine(batch)
            for place in range(size):
                runs += 1
                differing += together[place].tobytes() != engine(batch[place]).tobytes()
    return {"pass": differing == 0, "runs": runs, "differing": differing}


def _moved(image: NDArray[np.uint8], offset: int) -> NDArray[np.uint8]:
    """Return the same picture at another address."""
    raw = np.empty(image.size + 64, np.uint8)
    made = raw[offset % 64 : offset % 64 + image.size].reshape(image.shape)
    made[...] = image
    return made


@contextmanager
def busy_neighbours(count: int) -> Iterator[None]:
    """Keep ``count`` CPUs busy meanwhile."""
    children = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for child in children:
            child.kill()
            child.wait()


def same_labels_on_levels(folder: Path, native: Path, seed: int) -> dict[str, Any]:
    """Float32 code for other CPUs may round otherwise: count the pixels that differ (bound: 1 in 10,000)."""
    images = pictures(seed, 40)
    with smalti.load(native) as engine:
        want = [engine(image) for image in images]
    total = sum(labels.size for labels in want)
    figures: dict[str, Any] = {"pixels": total}
    for level in ("x86-64-v2", "x86-64-v3", "x86-64-v4"):
        try:
            with smalti.load(demo_model(folder, level)) as engine:
                found = sum(int((engine(i) != w).sum()) for i, w in zip(images, want, strict=True))
        except smalti.errors.TargetError:
            continue
        figures[level] = found
    worst = max((v for k, v in figures.items() if k != "pixels"), default=0)
    return {"pass": worst * 10_000 <= total, **figures}


def many_callers(model: Path, seed: int, scale: float) -> dict[str, Any]:
    """16 threads call one engine with mixed sizes while the number of its threads changes."""
    images = pictures(seed, 24)
    engine = smalti.load(model, threads=2, concurrency=4)
    want = [engine(image).tobytes() for image in images]
    calls = max(10, int(500 * scale))
    wrong: list[int] = []
    rng = random.Random(seed)

    def call(number: int) -> None:
        own = random.Random(number)
        for _ in range(calls):
            chosen = own.randrange(len(images))
            if engine(images[chosen]).tobytes() != want[chosen]:
                wrong.append(number)

    def warm() -> None:
        for threads in (3, 2, 1):
            engine.set_threads(threads)
            for image in images:
                engine(image)

    callers = [threading.Thread(target=call, args=(number,), daemon=True) for number in range(16)]
    warm()
    before = 0
    stop = time.monotonic() + 120 + 20 * 60 * scale
    for caller in callers:
        caller.start()
    while any(caller.is_alive() for caller in callers) and time.monotonic() < stop:
        engine.set_threads(rng.choice([1, 2, 3]))
        time.sleep(0.2)
        before = before or _resident()
    hang = any(caller.is_alive() for caller in callers)
    growth = _resident() - before
    if not hang:
        engine.close()
    return {
        "pass": not wrong and not hang and growth < 16 << 20,
        "calls": 16 * calls,
        "wrong": len(wrong),
        "hang": hang,
        "growth of resident memory kB": growth // 1024,
    }


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def forks(model: Path, scale: float) -> dict[str, Any]:
    """A child made by a fork runs with its parent's engine; the parent goes on."""
    image = pictures(5, 1)[0]
    tally = Tally(wrong=("foreign", "signal", "hang", "refused"))
    with smalti.load(model, threads=2) as engine:
        want = engine(image).tobytes()

        def child() -> str:
            if engine(image).tobytes() != want:
                raise ValueError("other labels in the child")
            return "same"

        for number in range(max(5, int(50 * scale))):
            tally.add(forked(child, seconds=10), f"fork {number}")
            if engine(image).tobytes() != want:
                tally.failures.append(f"other labels in the parent after fork {number}")
    return tally.result()


_SPAWN = """
import multiprocessing, sys
import numpy as np
import smalti

def work(arguments):
    path, seed = arguments
    image = np.random.default_rng(seed).integers(0, 256, (90, 70, 3), np.uint8)
    with smalti.load(path, threads=2) as engine:
        return engine(image).tobytes()

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with context.Pool(3) as pool:
        found = pool.map(work, [(sys.argv[1], seed) for seed in range(9)])
    print(found == [work((sys.argv[1], seed)) for seed in range(9)])
"""


def spawned_workers(model: Path) -> dict[str, Any]:
    """Workers of multiprocessing that load the file themselves."""
    with tempfile.TemporaryDirectory() as name:
        program = Path(name) / "spawn.py"
        program.write_text(_SPAWN)
        ran = script("import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')",
                     program, model)  # fmt: skip
        return {"pass": ran.stdout.strip() == "True", "said": (ran.stdout + ran.stderr)[-300:]}


_RATE = """
import json, random, statistics, sys, time
import numpy as np
import smalti
model, side, rounds, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
if len(sys.argv) > 5:
    open(sys.argv[5], "w").write("0")
image = np.random.default_rng(1).integers(0, 256, (side, side, 3), np.uint8)
engines = {name: smalti.load(model, threads=threads) for name, threads in
           {"default": None, "1": 1, "2": 2, "4": 4, "8": 8}.items()}
rates = {name: [] for name in engines}
for engine in engines.values():
    engine(image)
for number in range(rounds):
    for name in random.Random(number).sample(list(engines), len(engines)):
        runs, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            engines[name](image)
            runs += 1
        rates[name].append(runs / (time.perf_counter() - started))
print(json.dumps({name: statistics.median(found) for name, found in rates.items()}))
"""


def network(folder: Path, small: Path) -> tuple[Path, int]:
    """Return DeepLabv3 on MobileNetV2 and its input size where it is there, else the embedded network.

    A run of the embedded network is about as short as the system's slices of time: beside busy neighbours the same
    setting then gives this or that.
    """
    try:
        data = graph_bytes(FULL)
    except pytest.skip.Exception:
        return small, SIDE
    return built(folder, FULL, data), CROP


def few_cpus(model: Path, side: int, scale: float) -> dict[str, Any]:
    """Throughput of more threads than CPUs, and of the default, against the best setting under the same load.

    The settings take turns of a second in one process, in changing order, so that whatever else disturbs them
    disturbs all alike. The default must hold everywhere; 8 threads where nothing else wants the CPUs.
    """
    rounds = max(3, int(15 * scale))
    settings = {
        "all CPUs": ((), 0),
        "one CPU": (("taskset", "-c", "0"), 0),
        "two busy neighbours": ((), 2),
    }
    figures: dict[str, Any] = {}
    with _half_a_cpu() as group:
        if isinstance(group, Path):
            figures["half a CPU by quota"] = _shares(_rate(model, side, rounds, (), group))
        else:
            figures["half a CPU by quota"] = group
    for name, (before, busy) in settings.items():
        if before and not has(before[0]):
            continue
        with busy_neighbours(busy):
            figures[name] = _shares(_rate(model, side, rounds, before))
    good = all(found["default"] >= 0.7 for found in figures.values() if isinstance(found, dict))
    good &= all(figures[name]["8"] >= 0.7 for name in ("all CPUs", "one CPU") if name in figures)
    figures["threads under the quota"] = _quota_reason(model)
    return {"pass": good, "pixels of a side": side, "rounds": rounds, "throughput against the best": figures}


def _rate(model: Path, side: int, rounds: int, before: Sequence[str], group: Path | None = None) -> dict[str, float]:
    """Return runs a second of each setting."""
    more = () if group is None else (group / "cgroup.procs",)
    ran = script(_RATE, model, side, rounds, 1, *more, seconds=120 + 30 * rounds, before=before)
    found: dict[str, float] = json.loads(ran.stdout)
    return found


def _shares(rates: Mapping[str, float]) -> dict[str, float]:
    best = max(rates.values())
    return {name: round(rate / best, 2) for name, rate in rates.items()}


@contextmanager
def _half_a_cpu() -> Iterator[Path | str]:
    """Make a control group with half a CPU; gives its folder, or why there is none."""
    for base, name, text in (
        (Path("/sys/fs/cgroup/cpu"), "cpu.cfs_quota_us", "50000"),
        (Path("/sys/fs/cgroup"), "cpu.max", "50000 100000"),
    ):
        group = base / "smalti-check"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / name).write_text(text)
        except OSError as error:
            group.rmdir()
            yield f"not tried: {error}"
            return
        try:
            yield group
        finally:
            group.rmdir()
        return
    yield "not tried: no right to make a control group"


def _quota_reason(model: Path) -> str:
    """Say how many threads the engine takes in a control group with half a CPU (needs the right to make one)."""
    with _half_a_cpu() as group:
        if isinstance(group, str):
            return group
        join = f"import os; open({str(group / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))\n"
        return script(f"{join}import sys, smalti; print(smalti.load(sys.argv[1]).threads_reason)", model).stdout.strip()


def load_and_unload(model: Path, scale: float) -> dict[str, Any]:
    """Load, run, unload: memory, descriptors and threads stay."""
    image = pictures(3, 1)[0]

    def cycle() -> None:
        with smalti.load(model, threads=2) as engine:
            engine(image)

    for _ in range(50):
        cycle()
    gc.collect()
    counts = [_resident(), len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))]
    cycles = max(200, int(2000 * scale))
    for _ in range(cycles):
        cycle()
    gc.collect()
    after = [_resident(), len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))]
    growth = (after[0] - counts[0]) / cycles
    return {
        "pass": growth <= 1024 and after[1:] == counts[1:],
        "cycles": cycles,
        "bytes per cycle": round(growth, 1),
        "descriptors and threads": [counts[1:], after[1:]],
    }


_END = """
import sys, threading, time
import numpy as np
import smalti
engine = smalti.load(sys.argv[1], threads=2)
image = np.zeros((193, 193, 3), np.uint8)
def forever():
    while True:
        engine(image)
for _ in range(2):
    threading.Thread(target=forever, daemon=True).start()
print("ready", flush=True)
try:
    if sys.argv[2] == "interrupt":
        forever()
    for _ in range(20):
        engine(image)
    if sys.argv[2] == "exit":
        sys.exit(7)
    raise ValueError("told to fail")
except KeyboardInterrupt:
    sys.exit(5)
"""


def ends(model: Path, scale: float) -> dict[str, Any]:
    """Ctrl-C, sys.exit and an exception while others run the engine end the program at once, without a signal."""
    wrong: list[str] = []
    slowest, cases = 0.0, 0
    environment = {**os.environ, "PYTHONPATH": str(Path(smalti.__file__).parents[1])}
    for how, status in (("interrupt", 5), ("exit", 7), ("exception", 1)):
        for number in range(max(2, int(10 * scale))):
            child = subprocess.Popen(
                [sys.executable, "-c", _END, str(model), how],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
            )
            if child.stdout is None:
                raise RuntimeError("no pipe")
            child.stdout.readline()
            started = time.perf_counter()
            if how == "interrupt":
                time.sleep(0.02 * number)
                started = time.perf_counter()
                child.send_signal(signal.SIGINT)
            child.communicate(timeout=60)
            slowest = max(slowest, time.perf_counter() - started)
            cases += 1
            if child.returncode != status:
                wrong.append(f"{how} {number}: status {child.returncode}")
    return {"pass": not wrong and slowest < 2, "cases": cases, "slowest s": round(slowest, 2), "wrong": wrong}


_PEAK = """
import json, pathlib, sys
import numpy as np
import smalti
def status(key):
    lines = dict(line.split(":") for line in pathlib.Path("/proc/self/status").read_text().splitlines())
    return int(lines[key].split()[0]) * 1024
side = int(sys.argv[3])
image = np.zeros((side, side, 3), np.uint8)
image += 1
with smalti.load(sys.argv[1], threads=2) as small:
    small(image[:65, :65])
pathlib.Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
engine = smalti.load(sys.argv[2], threads=2)
labels = engine(image)
(tensor,) = engine.inputs
workspace = engine.workspace_bytes({tensor.name: (1, side, side, 3)})
print(json.dumps({"growth": status("VmHWM") - before, "stated": workspace + labels.nbytes}))
"""


def stated_memory(small: Path, model: Path, side: int) -> dict[str, Any]:
    """What a run takes from the system is what the engine states: constants, code, workspace, output.

    Another model has run in that process before, so that Python's modules and numpy's are not counted; for the embedded
    network, which is very small, 2 MiB are allowed for the rest.
    """
    with open_model(model) as file:
        fixed = file.constants.size + len(file.first.code)
    found = json.loads(script(_PEAK, small, model, side, env={"SMALTI_HUGE_PAGES": "0"}).stdout)
    stated = fixed + found["stated"]
    allowed = stated * 1.1 + (0 if side == CROP else 2 << 20)
    return {
        "pass": found["growth"] <= allowed,
        "pixels of a side": side,
        "stated bytes": stated,
        "growth of the peak": found["growth"],
    }


_LITTLE = """
import pathlib, resource, sys
import numpy as np
import smalti
from smalti.errors import ResourceError
image = np.zeros((193, 193, 3), np.uint8)
size = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
hard = resource.getrlimit(resource.RLIMIT_AS)[1]
resource.setrlimit(resource.RLIMIT_AS, (size + int(sys.argv[2]), hard))
try:
    smalti.load(sys.argv[1], threads=2)(image)
    said = "runs"
except ResourceError as error:
    said = "refused"
resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
smalti.load(sys.argv[1], threads=2)(image)
print(said)
"""


def little_address_space(model: Path) -> dict[str, Any]:
    """With 1 to 100 % of the address space that a run needs: our error, or it runs; afterwards it works again."""
    said: Counter[str] = Counter()
    wrong = []
    for percent in [*range(1, 10), *range(10, 101, 10), 200, 1000]:
        ran = script(_LITTLE, model, 400_000 * percent)
        text = ran.stdout.strip()
        said[text] += 1
        if ran.returncode != 0 or text not in ("runs", "refused"):
            wrong.append(f"{percent} %: status {ran.returncode} {ran.stderr[-200:]}")
    return {"pass": not wrong and len(said) == 2, **said, "wrong": wrong}


_NO_THREADS = """
import sys
import numpy as np
import smalti
image = np.zeros((65, 65, 3), np.uint8)
engine = smalti.load(sys.argv[1], threads=8)
try:
    engine(image)
    print("runs")
except smalti.errors.ResourceError as error:
    print("refused")
engine(image)
"""


def refused_threads(model: Path) -> dict[str, Any]:
    """The system refuses the nth thread: our error, and the next call works."""
    if not has("strace"):
        return {"pass": True, "skipped": "strace is not installed"}
    said: Counter[str] = Counter()
    wrong = []
    for nth in range(1, 11):
        inject = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject=clone3,clone:error=EAGAIN:when={nth}"]
        ran = script(_NO_THREADS, model, before=inject, env={"OPENBLAS_NUM_THREADS": "1"})
        text = ran.stdout.strip()
        said[text] += 1
        if ran.returncode != 0 or text not in ("runs", "refused"):
            wrong.append(f"thread {nth}: status {ran.returncode} {ran.stderr[-300:]}")
    return {"pass": not wrong and said["refused"] >= 7, **said, "wrong": wrong}
