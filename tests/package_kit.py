"""C programs in tests: compilers, emulators, and the C library as an installed wheel has it."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from smalti.delivery.native import NativeFiles, native_files

ROOT = Path(__file__).resolve().parents[1]
ARM_COMPILER = "aarch64-linux-gnu-gcc"
ARM_LIBRARIES = "/usr/aarch64-linux-gnu"


def need(*programs: str) -> None:
    """Skip the test that asked where a program is missing."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"not on this machine: {', '.join(missing)}")


def need_arm() -> None:
    """Skip the test that asked where programs for aarch64 cannot be made or run."""
    need(ARM_COMPILER, "qemu-aarch64")
    if not Path(ARM_LIBRARIES).is_dir():
        pytest.skip(f"not on this machine: the C library for aarch64 ({ARM_LIBRARIES})")


def need_link(*flags: str) -> None:
    """Skip the test that asked where an empty C program cannot be linked with these flags: ``-static`` needs libc.a."""
    need("cc")
    command = ("cc", "-x", "c", "-", *flags, "-o", os.devnull)
    done = subprocess.run(command, input=b"int main(void) { return 0; }", capture_output=True, check=False, timeout=60)
    if done.returncode:
        pytest.skip(f"not on this machine: what cc {' '.join(flags)} needs")


def run(*command: str | Path, cwd: Path | None = None, code: int = 0, env: Mapping[str, str] | None = None) -> str:
    """Run a program, check its exit code, return what it printed."""
    environment = {**os.environ, **(env or {})}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=120)
    words = " ".join(map(str, command))
    assert done.returncode == code, f"{words}\nended with {done.returncode}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout + done.stderr if code else done.stdout


def native_wheel() -> ModuleType:
    """Return tools/native_wheel.py, what the build of the wheel runs."""
    name = "native_wheel"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def shared_package(factory: pytest.TempPathFactory) -> NativeFiles:
    """Return the package with prebuilt libraries; it is made once for all tests, whichever process runs them.

    The folder ``made`` beside it holds what the build made, the file ``tag`` the tag of the wheel.
    """
    need("cc", "ar")
    base = factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with (base / "c-package.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (base / "c-package" / "tag").exists():
            staged(base / "c-package")
    return native_files(base / "c-package" / "smalti")


def staged(folder: Path, *, prebuilt: bool = True, source: Path = ROOT / "runtime-c") -> NativeFiles:
    """Lay out in ``folder`` what the wheel holds for C, as it is after the installation."""
    if prebuilt:
        need("cc", "ar")
    kit = native_wheel()
    found = kit.stage(source, folder / "made", kit.Want.ALWAYS if prebuilt else kit.Want.NEVER)
    for name, path in found.files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    (folder / "tag").write_text(str(found.tag))
    return native_files(folder / "smalti")


def cmake_build(source: Path, build: Path, *options: str, targets: Sequence[str] = ()) -> str:
    """Configure and build a CMake project; return what CMake said of the configuration."""
    need("cmake", "make")
    said = run("cmake", "-S", source, "-B", build, "-Wno-dev", *options)
    wanted = [word for target in targets for word in ("--target", target)]
    run("cmake", "--build", build, *wanted)
    return said
