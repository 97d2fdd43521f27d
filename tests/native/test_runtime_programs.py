"""Programs that use the C library, under the sanitizers, valgrind and emulators; what the library exports.

The thread sanitizer does not see what a model's own code does, only the library around it.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import random
import re
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import smalti
from artifact_kit import Parts, label_manifest, plain_parts
from model_kit import reverse_parts
from native_kit import BASE, ROOT, RUNTIME, SOURCES, Builder, builder, compiler, tool
from smalti.artifact.manifest import Symbol
from smalti.runtime.signature import Size
from smalti.target.host import arch, usable_cpus
from smalti.target.target import Target

STRICT = ("-Wall", "-Wextra", "-Werror", "-Wpedantic", "-Wconversion", "-Wshadow")
CHECKED = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")
TESTS = RUNTIME / "tests"
LARGEST = 100_000
_SAYS = r"""
#include <iostream>
#include <smalti.hpp>

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  const smalti::Model model(argv[1]);
  for (const smalti::TensorInfo &info : model.inputs()) {
    std::cout << info.name << ' ' << smalti_dtype_name(info.dtype) << ' ' << info.layout << '\n';
    for (std::size_t i = 0; i < info.shape.rank(); i++)
      std::cout << '\'' << info.symbol[i] << "' " << info.minimum[i] << ' ' << info.maximum[i] << ' '
                << info.multiple[i] << '\n';
  }
  for (const smalti::TensorInfo &info : model.outputs()) std::cout << '\'' << info.layout << "'\n";
  for (const std::string &label : model.labels()) std::cout << label << '\n';
}
"""
BLOCK = re.compile(r"^```(c|cpp)$\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    return builder(tmp_path_factory)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return reverse_parts().write(tmp_path / "reverse.smalti")


def run(command: Sequence[object], **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **env},
    )


def succeed(command: Sequence[object], **env: str) -> str:
    done = run(command, **env)
    assert done.returncode == 0, f"{done.stdout[-1000:]}\n{done.stderr[-3000:]}"
    return done.stdout


class Hash(ctypes.Structure):
    _fields_ = (
        ("state", ctypes.c_uint32 * 8),
        ("bytes", ctypes.c_uint64),
        ("block", ctypes.c_uint8 * 64),
        ("blocks", ctypes.c_void_p),
    )


def test_checksums(build: Builder) -> None:
    functions = ctypes.CDLL(str(build.open_library()))
    data = np.random.default_rng(1).bytes(1000)
    for size in (0, 1, 55, 56, 63, 64, 65, 119, 120, 1000):
        for part in (1, 7, 64, 1000):
            state, digest = Hash(), ctypes.create_string_buffer(32)
            functions.smi_sha256_start(ctypes.byref(state))
            for at in range(0, size, part):
                piece = data[at : min(at + part, size)]
                functions.smi_sha256_add(ctypes.byref(state), piece, ctypes.c_size_t(len(piece)))
            functions.smi_sha256_end(ctypes.byref(state), digest)
            assert digest.raw == hashlib.sha256(data[:size]).digest(), f"{size} bytes by {part}"


def test_control_groups_are_read_as_python_reads_them(build: Builder, tmp_path: Path) -> None:
    functions = ctypes.CDLL(str(build.open_library()))
    cases = (
        ("0::/a/b\n", {"a/cpu.max": "50000 100000\n", "a/b/cpu.max": "max 100000\n"}),
        ("0::/../x\n", {"cpu.max": "150000 100000"}),
        ("0::/\n", {"unified/cpu.max": "1000 100000"}),
        (
            "4:cpu,cpuacct:/d\n0::/\n",
            {"cpu,cpuacct/d/cpu.cfs_quota_us": "120000", "cpu,cpuacct/d/cpu.cfs_period_us": "100000"},
        ),
        ("4:cpu:/d\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}),
        ("", {}),
        ("0::/a\n", {"a/cpu.max": "0 100000", "cpu.max": "12 x"}),
    )
    for number, (groups, files) in enumerate(cases):
        root = tmp_path / str(number)
        for name, text in {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{k}": v for k, v in files.items()}}.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        want, reason = usable_cpus(root), ctypes.create_string_buffer(256)
        functions.smi_usable_cpus.restype = ctypes.c_int64
        assert functions.smi_usable_cpus(str(root).encode(), reason, ctypes.c_size_t(256)) == want.count
        assert reason.value.decode() == want.reason


@pytest.mark.parametrize("batch", [1, None])
def test_programs_say_what_python_says(build: Builder, tmp_path: Path, batch: int | None) -> None:
    wide = (Symbol("H", 8, None, 8), Symbol("W", 1, 600))
    manifest = replace(label_manifest(batch), symbols=wide, labels=("grün", "blau"))
    path = Parts(manifest, b"", plain_parts().code).write(tmp_path / "m.smalti")
    with smalti.load(path, threads=1) as engine:
        lines = [f"input {spec}" for spec in engine.inputs] + [f"output {spec}" for spec in engine.outputs]
        assert "H at least 8 in multiples of 8, W from 1 to 600" in lines[0]
        said = succeed([build.command(), path, "--info"]).splitlines()
        assert [line for line in said if line.startswith(("input ", "output "))] == lines
        (picture,), labels = engine.inputs, engine.labels
    source, program = tmp_path / "says.cpp", tmp_path / "says"
    source.write_text(_SAYS)
    library = build.library()
    flags = [*STRICT, "-I", RUNTIME / "include", f"-Wl,-rpath,{library.parent}"]
    succeed([compiler("c++"), "-std=c++17", *flags, source, library, "-pthread", "-o", program])
    said = succeed([program, path]).splitlines()
    assert said[0] == f"{picture.name} {picture.element} {picture.layout}"
    sizes = [(str(s), s.low, s.high or -1, s.multiple) if isinstance(s, Size) else ("", s, s, 1) for s in picture.shape]
    assert said[1:5] == [f"'{name}' {low} {high} {multiple}" for name, low, high, multiple in sizes]
    assert said[5:] == ["''", *(labels or ())]  # the layout of a label map, then the classes


def test_little_address_space_is_an_error(build: Builder, model: Path, tmp_path: Path) -> None:
    np.zeros(100, np.float32).tofile(tmp_path / "x")
    command = [build.command(), model, tmp_path / "x", "--shape", "1x100", "--threads", "900"]
    done = run([tool("prlimit"), "--as=60000000", *command])
    assert done.returncode == 7 and "cannot start 900 threads" in done.stderr


def test_no_warnings_and_only_our_names(build: Builder, tmp_path: Path) -> None:
    library = build.library()
    names = [line.split()[-1] for line in succeed([tool("nm"), "-D", "--defined-only", library]).splitlines()]
    declared = re.findall(r"\b(smalti_\w+)\(", (RUNTIME / "include" / "smalti.h").read_text())
    assert set(names) <= set(declared) and len(names) > 30
    small = tmp_path / "small.so"
    succeed([tool("strip"), "-o", small, library])
    assert small.stat().st_size <= LARGEST
    programs = [*TESTS.glob("*.c"), RUNTIME / "tools" / "smalti_run.c"]
    succeed([compiler(), *BASE, *STRICT, "-fsyntax-only", *SOURCES, *programs])


def test_threads_memory_and_children(build: Builder, model: Path) -> None:
    program = build.executable("exercise-checked", TESTS / "exercise.c", CHECKED, optional=True)
    assert succeed([program, model, 8, 30]) == "done\n"


def test_many_threads_under_the_thread_sanitizer(build: Builder, model: Path) -> None:
    flags = ("-O1", "-g", "-fsanitize=thread")
    program = build.executable("exercise-threads", TESTS / "exercise.c", flags, optional=True)
    command = [tool("setarch"), "-R", program, model, 16, 200]
    assert succeed(command, TSAN_OPTIONS="die_after_fork=0") == "done\n"


def test_bad_files_under_the_address_sanitizer(build: Builder, tmp_path: Path) -> None:
    program = build.executable("look-checked", TESTS / "look.c", CHECKED, optional=True)
    rng, data, paths = random.Random(9), plain_parts().data(), []
    for number in range(150):
        bad = bytearray(data[: rng.choice((len(data), rng.randrange(len(data))))])
        for _ in range(rng.randrange(3)):
            if bad:
                bad[rng.randrange(min(len(bad), 3000))] = rng.randrange(256)
        paths.append(tmp_path / str(number))
        paths[-1].write_bytes(bad)
    lines = succeed([program, *paths]).splitlines()
    assert len(lines) == len(paths) and "DamagedModelError" in lines


def test_valgrind_reports_nothing(build: Builder, model: Path, tmp_path: Path) -> None:
    np.arange(100, dtype=np.float32).tofile(tmp_path / "x")
    program = build.executable("smalti-run-plain", RUNTIME / "tools" / "smalti_run.c", ("-O1", "-g"))
    command = [tool("valgrind"), "--error-exitcode=9", "--leak-check=full", "--show-leak-kinds=all", "-q", program]
    succeed([*command, model, tmp_path / "x", "--shape", "1x100", "--threads", "3", "--output", tmp_path / "y"])
    assert (np.fromfile(tmp_path / "y", np.float32) == 2 * np.arange(99, -1, -1) + 0.5).all()


@pytest.mark.skipif(arch() != "x86_64", reason="emulated x86-64 CPUs are compared with code for x86-64")
def test_code_for_newer_cpus_gets_a_message(build: Builder, tmp_path: Path) -> None:
    emulator = tool("qemu-x86_64-static" if not os.path.exists("/usr/bin/qemu-x86_64") else "qemu-x86_64")
    program = build.command()
    np.arange(100, dtype=np.float32).tofile(tmp_path / "x")
    for name, cpus in (("x86-64-v4", ()), ("x86-64-v3", ("Haswell",)), ("x86-64-v2", ("Haswell", "Nehalem"))):
        path = reverse_parts(target=Target.parse(name)).write(tmp_path / name)
        for cpu in ("Haswell", "Nehalem"):
            done = run([emulator, "-cpu", cpu, program, path, tmp_path / "x", "--shape", "1x100"])
            assert done.returncode == (0 if cpu in cpus else 5), f"{name} on {cpu}: {done.stderr}"
            assert cpu in cpus or "TargetError" in done.stderr and "lacks " in done.stderr


def test_arm_model_runs_emulated(build: Builder, tmp_path: Path) -> None:
    emulator, cross = tool("qemu-aarch64"), "aarch64-linux-gnu-gcc"
    compiler(cross)
    arguments = [*BASE, "-O1", "-static", RUNTIME / "tools" / "smalti_run.c", *SOURCES, "-pthread"]
    program = build.build("smalti-run-arm", [str(a) for a in arguments], program=cross, optional=True)
    np.arange(100, dtype=np.float32).tofile(tmp_path / "x")
    path = reverse_parts(target=Target.parse("aarch64")).write(tmp_path / "m")
    words = [program, path, tmp_path / "x", "--shape", "1x100", "--threads", "2", "--output", tmp_path / "y"]
    succeed([emulator, *words])
    assert (np.fromfile(tmp_path / "y", np.float32) == 2 * np.arange(99, -1, -1) + 0.5).all()


def test_blocks_of_the_guide(build: Builder, model: Path, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "c-api.md").read_text(encoding="utf-8")
    blocks = BLOCK.findall(page)
    assert {kind for kind, _ in blocks} == {"c", "cpp"}
    library = build.library()
    for number, (kind, body) in enumerate(blocks):
        source = tmp_path / f"block{number}.{kind}"
        source.write_text(body)
        by = [compiler(), "-std=c11"] if kind == "c" else [compiler("c++"), "-std=c++17"]
        program = tmp_path / f"block{number}"
        flags = [*STRICT, "-I", RUNTIME / "include", f"-Wl,-rpath,{library.parent}"]
        succeed([*by, *flags, source, library, "-pthread", "-o", program])
        assert succeed([program, model]).endswith("8.5\n")
