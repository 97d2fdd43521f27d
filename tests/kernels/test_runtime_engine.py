"""Hand-written models, compiled, written, loaded and run: threads, shapes, sharing, forks, limits."""

from __future__ import annotations

import ctypes
import gc
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import smalti
from artifact_kit import Parts, reverse_manifest
from model_kit import build_with_team, label_parts, reverse_parts
from smalti.errors import CompilerError, InputError, ResourceError, UsageError
from smalti.runtime import memory as memory_module
from smalti.runtime import team as team_module
from smalti.runtime.memory import map_anonymous, map_code

_TESTS = Path(__file__).resolve().parents[1]
_ENV = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_TESTS), str(_TESTS.parent / "src")])}


@pytest.fixture(scope="module")
def reverse_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reverse_parts().write(tmp_path_factory.mktemp("m") / "reverse.smalti")


@pytest.fixture(scope="module")
def label_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return label_parts().write(tmp_path_factory.mktemp("m") / "label.smalti")


@pytest.fixture(autouse=True)
def watchdog() -> Iterator[None]:
    def expire(*args: object) -> None:
        raise TimeoutError("the test hangs")

    before = signal.signal(signal.SIGALRM, expire)
    signal.alarm(100)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


# Newer Pythons warn of what this test is about.
_FORKS = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


def _input(n: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((1, n), np.float32)


def _want(x: Any) -> Any:
    return x[:, ::-1] * np.float32(2) + np.float32(0.5)


def _run_script(script: str, *arguments: object, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, env=_ENV, timeout=timeout, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_thread_counts_give_the_same_bits(reverse_file: Path, threads: int) -> None:
    with smalti.load(reverse_file, threads=threads) as engine:
        for n in (1, 2, 15, 16, 17, 1000, 100_000):
            x = _input(n, n)
            before = x.copy()
            ((name, y),) = engine.run({"x": x}).items()
            assert name == "y:0" and y.dtype == np.float32
            assert y.tobytes() == _want(x).tobytes()
            assert x.tobytes() == before.tobytes()


def test_thread_count_changes_between_calls(reverse_file: Path) -> None:
    engine = smalti.load(reverse_file, threads=1)
    rng = random.Random(5)
    for _ in range(60):
        engine.set_threads(rng.choice([1, 2, 3, 5]))
        x = _input(rng.randrange(1, 3000))
        assert (engine.run({"x": x})["y:0"] == _want(x)).all()
    assert engine.threads_reason.endswith(": asked for")
    for bad in (0, -1, 2000, 1.5, "2", True):
        with pytest.raises(UsageError):
            engine.set_threads(bad)  # type: ignore[arg-type]
        with pytest.raises(UsageError):
            smalti.load(reverse_file, threads=bad)  # type: ignore[arg-type]


def test_default_threads_and_knob(reverse_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = smalti.load(reverse_file)
    assert 1 <= engine.threads <= len(os.sched_getaffinity(0)) and "affinity" in engine.threads_reason
    monkeypatch.setenv("SMALTI_THREADS", "3")
    assert smalti.load(reverse_file).threads == 3
    monkeypatch.setenv("SMALTI_THREADS", "many")
    with pytest.raises(UsageError, match="SMALTI_THREADS must be a whole number"):
        smalti.load(reverse_file)


def test_affinity_sets_the_default(reverse_file: Path) -> None:
    script = (
        "import os, sys\nos.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\nimport smalti\n"
        "e = smalti.load(sys.argv[1])\nprint(e.threads, e.concurrency)\n"
    )
    assert _run_script(script, reverse_file).stdout == "1 1\n"


def test_images_and_batches(label_file: Path) -> None:
    engine = smalti.load(label_file, threads=2)
    batch = np.random.default_rng(1).integers(0, 256, (3, 17, 23, 3), np.uint8)
    want = batch.astype(np.int32).sum(-1)
    one = engine(batch[0])
    assert one.dtype == np.int32 and one.shape == (17, 23) and (one == want[0]).all()
    many = engine(batch)
    assert many.shape == (3, 17, 23) and (many == want).all()
    assert (engine(batch[:, ::2, ::-1]) == want[:, ::2, ::-1]).all()
    assert (engine.run({"image": batch[:1]})["labels:0"] == want[:1]).all()
    with pytest.raises(InputError, match=r"must have shape"):
        engine.run({"image": batch})
    for bad in (batch[0, 0], batch[0].astype(np.float32), batch[:0], np.zeros((601, 5, 3), np.uint8)):
        with pytest.raises(InputError):
            engine(bad)
    with pytest.raises(InputError, match="'image:0' is not an array"):
        engine([[1, 2], [3]])  # type: ignore[arg-type]
    assert (engine(batch[0]) == want[0]).all()


def test_label_call_needs_a_label_model(reverse_file: Path) -> None:
    with pytest.raises(UsageError, match="use run"):
        smalti.load(reverse_file)(np.zeros((5, 5, 3), np.uint8))


def test_sizes_are_known_before_running(reverse_file: Path) -> None:
    engine = smalti.load(reverse_file, threads=1)
    assert engine.output_shapes({"x": (1, 1000)}) == {"y:0": (1, 1000)}
    assert engine.output_shapes({"x": (7, 10)}) == {"y:0": (7, 10)}
    assert engine.workspace_bytes({"x": (1, 1000)}) == 4032
    with pytest.raises(InputError, match="at most 100000"):
        engine.output_shapes({"x": (1, 100_001)})


def test_profile(reverse_file: Path) -> None:
    engine = smalti.load(reverse_file, threads=2)
    profile = engine.profile({"x": _input(50_000)})
    assert [s.name for s in profile.steps] == ["double", "reverse"]
    assert profile.steps[0].shape == (1, 50_000) and profile.steps[0].macs == 50_000
    assert profile.threads == 2 and 0 < sum(s.nanoseconds for s in profile.steps) <= profile.nanoseconds * 1.001
    assert all(s.cycles > 0 for s in profile.steps)


def test_many_callers_at_once(reverse_file: Path) -> None:
    for threads, concurrency in ((1, 4), (2, 2), (2, None)):
        engine = smalti.load(reverse_file, threads=threads, concurrency=concurrency)
        wrong: list[str] = []

        def work(seed: int, engine: smalti.Engine = engine, wrong: list[str] = wrong) -> None:
            rng = random.Random(seed)
            for i in range(60):
                x = _input(rng.choice([3, 100, 1000, 5000]), seed * 1000 + i)
                if engine.run({"x": x})["y:0"].tobytes() != _want(x).tobytes():
                    wrong.append(f"caller {seed}, call {i}")

        callers = [threading.Thread(target=work, args=(s,)) for s in range(16)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(60)
            assert not caller.is_alive()
        assert not wrong
        engine.close()


def test_nobody_is_kept_waiting(reverse_file: Path) -> None:
    """Callers that come back at once do not overtake one that waits: else it may wait for ever."""
    engine = smalti.load(reverse_file, threads=1, concurrency=1)
    x = _input(100_000)
    others, enough = [0, 0], threading.Event()

    def insist(number: int) -> None:
        while not enough.is_set():
            engine.run({"x": x})
            others[number] += 1

    threads = [threading.Thread(target=insist, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    while min(others) < 3:
        time.sleep(0.001)
    before = sum(others)
    for _ in range(20):
        engine.run({"x": x})
    overtaken = sum(others) - before
    enough.set()
    for thread in threads:
        thread.join()
    assert overtaken <= 400


def test_close(reverse_file: Path) -> None:
    engine = smalti.load(reverse_file, threads=3)
    engine.run({"x": _input(5)})
    engine.close()
    engine.close()
    with pytest.raises(UsageError, match="closed"):
        engine.run({"x": _input(5)})


def test_close_waits_for_callers(reverse_file: Path) -> None:
    engine = smalti.load(reverse_file, threads=2)
    results: list[object] = []

    def work() -> None:
        while True:
            try:
                results.append((engine.run({"x": _input(20_000)})["y:0"] == _want(_input(20_000))).all())
            except UsageError:
                return

    callers = [threading.Thread(target=work) for _ in range(4)]
    for caller in callers:
        caller.start()
    deadline = time.monotonic() + 60
    while not results and time.monotonic() < deadline:
        time.sleep(0.1)
    engine.close()
    for caller in callers:
        caller.join(60)
        assert not caller.is_alive()
    assert results and all(results)


def _threads_and_maps() -> tuple[int, int]:
    return len(os.listdir("/proc/self/task")), len(Path("/proc/self/maps").read_text().splitlines())


def test_nothing_is_left_behind(reverse_file: Path) -> None:
    def cycle(close: bool) -> None:
        engine = smalti.load(reverse_file, threads=3)
        engine.run({"x": _input(100)})
        if close:
            engine.close()

    for _ in range(5):
        cycle(True)
    gc.collect()
    time.sleep(0.05)
    fds, (threads, maps) = len(os.listdir("/proc/self/fd")), _threads_and_maps()
    for i in range(100):
        cycle(close=bool(i % 2))
    gc.collect()
    deadline = time.monotonic() + 10
    while _threads_and_maps()[0] > threads and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(os.listdir("/proc/self/fd")) == fds
    assert _threads_and_maps()[0] == threads
    assert _threads_and_maps()[1] <= maps + 8


def test_idle_threads_cost_nothing(reverse_file: Path) -> None:
    engine = smalti.load(reverse_file, threads=4)
    engine.run({"x": _input(1000)})
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.05


@_FORKS
def test_fork(reverse_file: Path) -> None:
    engine = smalti.load(reverse_file, threads=3)
    x = _input(5000)
    assert (engine.run({"x": x})["y:0"] == _want(x)).all()
    for i in range(20):
        child = os.fork()
        if child == 0:
            ok = (engine.run({"x": x})["y:0"] == _want(x)).all() and (engine.run({"x": x})["y:0"] == _want(x)).all()
            if i % 2:
                engine.close()
            os._exit(0 if ok else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert (engine.run({"x": x})["y:0"] == _want(x)).all()


@_FORKS
def test_fork_while_others_run(reverse_file: Path) -> None:
    engine = smalti.load(reverse_file, threads=2, concurrency=1)
    x = _input(50_000)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            engine.run({"x": x})

    caller = threading.Thread(target=work)
    caller.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                signal.alarm(100)
                os._exit(0 if (engine.run({"x": x})["y:0"] == _want(x)).all() else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        caller.join()


def test_runs_without_compiler_and_without_writable_code(reverse_file: Path, label_file: Path) -> None:
    script = (
        "import sys, smalti, numpy as np\n"
        "FOREIGN = ('llvmlite', 'google', 'cv2', 'typer', 'rich', 'PIL'); OURS = ('ir', 'llvm', 'codegen')\n"
        "e = smalti.load(sys.argv[1], threads=2); f = smalti.load(sys.argv[2], threads=3)\n"
        "x = np.arange(1000, dtype=np.float32)[None]\n"
        "assert (e.run({'x': x})['y:0'] == 2 * x[:, ::-1] + np.float32(.5)).all()\n"
        "assert f(np.ones((5, 6, 3), np.uint8)).tolist() == [[3] * 6] * 5\n"
        "print(sorted(m for m in sys.modules if m.split('.')[0] in FOREIGN))\n"
        "print(sorted(m for m in sys.modules if m.startswith('smalti.') and m.split('.')[1] in OURS))\n"
        "for line in open('/proc/self/maps'):\n"
        "    rights, path = line.split()[1], line.rstrip().rpartition(' ')[2]\n"
        "    assert not ('w' in rights and 'x' in rights), line\n"
        "    if path.endswith('.smalti'): print(rights)\n"
    )
    done = _run_script(script, reverse_file, label_file)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[]", "[]", "r--p"]


def test_constants_copied_on_request(reverse_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SMALTI_COPY_CONSTANTS", "1")
    copy = tmp_path / "copy.smalti"
    copy.write_bytes(reverse_file.read_bytes())
    engine = smalti.load(copy, threads=1)
    os.truncate(copy, 0)
    x = _input(10)
    assert (engine.run({"x": x})["y:0"] == _want(x)).all()


def test_replacing_a_loaded_file(tmp_path: Path) -> None:
    path = reverse_parts().write(tmp_path / "m.smalti")
    old = smalti.load(path, threads=1)
    other = reverse_parts(bias=-7.0)
    x = _input(100)
    for _ in range(20):
        other.write(path)
        assert (old.run({"x": x})["y:0"] == _want(x)).all()
        new = smalti.load(path, threads=1).run({"x": x})["y:0"]
        assert (new == _want(x) - np.float32(7.5)).sum() > 90


def test_refused_executable_memory(reverse_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smalti.runtime.memory._mprotect", lambda *args: -1)
    with pytest.raises(ResourceError, match="executable"):
        smalti.load(reverse_file)


@pytest.mark.parametrize("name", ["_mmap", "_mprotect"])
def test_every_refused_mapping(reverse_file: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let the n-th system call fail, for every n: always a ResourceError, and the next attempt works."""
    real = getattr(memory_module, name)
    refusal = -1 if name == "_mprotect" else memory_module._FAILED
    x = _input(5000)
    for nth in range(1, 20):
        left = [nth]

        def failing(*args: Any, left: list[int] = left) -> int | None:
            left[0] -= 1
            return refusal if left[0] == 0 else int(real(*args))

        monkeypatch.setattr(memory_module, name, failing)
        engine = None
        for _ in range(2):
            try:
                engine = engine or smalti.load(reverse_file, threads=2)
                assert (engine.run({"x": x})["y:0"] == _want(x)).all()
                break
            except ResourceError:
                assert left[0] <= 0
        else:
            pytest.fail(f"call {nth}: no success after the failure")
        if left[0] > 0:
            assert nth > 1
            return
    pytest.fail("more calls than expected")


def test_address_space_limit(reverse_file: Path) -> None:
    """Whatever the limit, the answer is right or a ResourceError, and a later call works."""
    script = (
        "import resource, sys, smalti, numpy as np\n"
        "e = smalti.load(sys.argv[1], threads=1)\n"
        "x = np.ones((1, 100000), np.float32); small = np.ones((1, 10), np.float32)\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * 4096\n"
        "seen = set()\n"
        "for extra in (0, 100_000, 500_000, 900_000, 1 << 24):\n"
        "    resource.setrlimit(resource.RLIMIT_AS, (used + extra, -1))\n"
        "    try:\n        e.run({'x': x}); seen.add('ok')\n"
        "    except smalti.ResourceError: seen.add('refused')\n"
        "    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))\n"
        "    assert e.run({'x': small})['y:0'][0, 0] == 2.5\n"
        "print(sorted(seen))\n"
    )
    done = _run_script(script, reverse_file)
    assert done.returncode == 0, done.stderr
    assert "'ok'" in done.stdout


def test_thread_refused_by_the_system(reverse_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = smalti.load(reverse_file, threads=4)
    start = team_module._start
    allowed = [2]

    def sometimes(*arguments: Any) -> int:
        if allowed[0] == 0:
            raise RuntimeError("can't start new thread")
        allowed[0] -= 1
        return start(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(team_module, "_start", sometimes)
        with pytest.raises(ResourceError, match="cannot start 4 threads"):
            engine.run({"x": _input(10)})
        engine.set_threads(3)
        assert (engine.run({"x": _input(10)})["y:0"] == _want(_input(10))).all()
    engine.set_threads(4)
    assert (engine.run({"x": _input(10)})["y:0"] == _want(_input(10))).all()


def test_failing_code(tmp_path: Path) -> None:
    """The last thread reports a failure, the others wait for it: with one thread that is the caller, else a helper."""
    text = """
define i32 @run(ptr %ctx, i64 %thread, i64 %threads) nounwind {
  %at = getelementptr ptr, ptr %ctx, i64 5
  %counters = load ptr, ptr %at, align 8
  %last = sub i64 %threads, 1
  %mine = icmp eq i64 %thread, %last
  br i1 %mine, label %fail, label %wait
fail:
  store atomic i32 1, ptr %counters release, align 4
  ret i32 1
wait:
  %seen = load atomic i32, ptr %counters acquire, align 4
  %failed = icmp eq i32 %seen, 1
  br i1 %failed, label %done, label %wait
done:
  ret i32 0
}
"""
    code, entry, team = build_with_team(text)
    broken = Parts(reverse_manifest(None, entry, team), bytes(64), code)
    engine = smalti.load(broken.write(tmp_path / "m.smalti"), threads=1)
    for threads in (1, 2, 3):
        engine.set_threads(threads)
        with pytest.raises(CompilerError, match="failure 1"):
            engine.run({"x": _input(4)})


def test_interrupts_never_wedge_the_engine(reverse_file: Path) -> None:
    """Signal handlers that raise at random moments: every call ends, and the next one is right."""
    script = (
        "import random, signal, sys, time, smalti, numpy as np\n"
        "class Stop(Exception): pass\n"
        "def handler(*a): raise Stop\n"
        "signal.signal(signal.SIGALRM, handler)\n"
        "e = smalti.load(sys.argv[1], threads=3, concurrency=1)\n"
        "x = np.ones((1, 20000), np.float32); rng = random.Random(1); hits = 0\n"
        "for i in range(400):\n"
        "    try:\n"
        "        signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, 1.5e-3))\n"
        "        for _ in range(20): e.run({'x': x})\n"
        "        signal.setitimer(signal.ITIMER_REAL, 0)\n"
        "    except Stop: hits += 1\n"
        "    if i % 20 == 0:\n"
        "        signal.setitimer(signal.ITIMER_REAL, 0)\n"
        "        assert (e.run({'x': x})['y:0'] == 2.5).all()\n"
        "print(hits)\n"
    )
    done = _run_script(script, reverse_file)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100


def test_interrupts_while_threads_start(reverse_file: Path) -> None:
    """A signal handler that raises while helpers are started: none is lost, doubled or left behind."""
    script = (
        "import os, random, signal, sys, time, smalti, numpy as np\n"
        "class Stop(Exception): pass\n"
        "def handler(*a): raise Stop\n"
        "signal.signal(signal.SIGALRM, handler)\n"
        "x = np.ones((1, 2000), np.float32); rng = random.Random(2); hits = 0\n"
        "tasks = len(os.listdir('/proc/self/task'))\n"
        "for i in range(300):\n"
        "    e = smalti.load(sys.argv[1], threads=6, concurrency=1)\n"
        "    try:\n"
        "        signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, 6e-4))\n"
        "        for _ in range(40): e.run({'x': x})\n"
        "        signal.setitimer(signal.ITIMER_REAL, 0)\n"
        "    except Stop: hits += 1\n"
        "    assert (e.run({'x': x})['y:0'] == 2.5).all()\n"
        "    e.close()\n"
        "deadline = time.monotonic() + 10\n"
        "while len(os.listdir('/proc/self/task')) > tasks and time.monotonic() < deadline: time.sleep(0.01)\n"
        "print(len(os.listdir('/proc/self/task')) - tasks, hits > 100)\n"
    )
    done = _run_script(script, reverse_file)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "0 True\n"


def test_exit_while_threads_run(reverse_file: Path) -> None:
    script = (
        "import sys, threading, time, smalti, numpy as np\n"
        "e = smalti.load(sys.argv[1], threads=3)\n"
        "x = np.ones((1, 100000), np.float32)\n"
        "def work():\n    while True: e.run({'x': x})\n"
        "threading.Thread(target=work, daemon=True).start()\n"
        "time.sleep(0.2)\nsys.exit(5)\n"
    )
    assert _run_script(script, reverse_file, timeout=30).returncode == 5


_ODD_ENVIRONMENT = 0x1F80 | 0x8040 | 0x6000  # flush to zero, denormals are zero, round towards zero


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="sets the x86 control register by its layout in fenv_t")
def test_floating_point_state_is_ours_inside_and_theirs_outside(reverse_file: Path) -> None:
    tiny = np.full((1, 64), 1e-40, np.float32)
    libm = ctypes.CDLL(None)
    saved, odd = ctypes.create_string_buffer(64), ctypes.create_string_buffer(64)
    libm.fegetenv(saved)
    for threads in (1, 2):
        engine = smalti.load(reverse_file, threads=threads)
        want = engine.run({"x": tiny})["y:0"].tobytes()
        third = np.full((1, 64), 1 / 3, np.float32)
        want_third = engine.run({"x": third})["y:0"].tobytes()
        ctypes.memmove(odd, saved, 64)
        ctypes.memmove(ctypes.addressof(odd) + 28, _ODD_ENVIRONMENT.to_bytes(4, "little"), 4)
        libm.fesetenv(odd)
        try:
            got, got_third = engine.run({"x": tiny})["y:0"], engine.run({"x": third})["y:0"]
            after = ctypes.create_string_buffer(64)
            libm.fegetenv(after)
        finally:
            libm.fesetenv(saved)
        assert got.tobytes() == want and got_third.tobytes() == want_third
        assert int.from_bytes(after[28:32], "little") & ~0x3F == _ODD_ENVIRONMENT


def test_memory_rights() -> None:
    code = map_code(b"\xc3" * 5000)
    data = map_anonymous(5 << 20, huge=True)
    assert code.address % 4096 == 0 and data.address % (2 << 20) == 0
    rights = {}
    for line in Path("/proc/self/maps").read_text().splitlines():
        found = re.match(r"([0-9a-f]+)-([0-9a-f]+) (....)", line)
        assert found is not None
        for name, region in (("code", code), ("data", data)):
            if int(found[1], 16) <= region.address < int(found[2], 16):
                rights[name] = found[3]
    assert rights == {"code": "r-xp", "data": "rw-p"}
    with pytest.raises(ResourceError):
        map_anonymous(1 << 50, huge=True)
    with pytest.raises(ResourceError):
        map_anonymous(1 << 46, huge=True)
    assert (ctypes.c_char * 16).from_address(data.address).raw == bytes(16)
