"""Builds examples/infer_cpp and runs it; calls its picture code through a module for tests."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "infer_cpp"
PROBE = "#include <cstdio>\n#include <jpeglib.h>\n#include <png.h>\nint main() { return 0; }\n"
BUILD_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the picture code says about a picture that it does not take."""

    code: int
    text: str


class Pictures:
    """The picture code of the example."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self._library.shim_error.restype = ctypes.c_char_p
        self._library.shim_bytes.restype = ctypes.c_void_p
        self._library.shim_labels.restype = ctypes.c_void_p
        self._library.shim_count.restype = ctypes.c_size_t

    def decode(self, data: bytes, max_pixels: int = 2**26) -> NDArray[np.uint8] | Refusal:
        code = self._library.shim_decode(data, ctypes.c_size_t(len(data)), ctypes.c_int64(max_pixels))
        return self._picture() if code == 0 else self._refusal(code)

    def read(self, path: Path, max_pixels: int = 2**26) -> NDArray[np.uint8] | Refusal:
        code = self._library.shim_read(os.fsencode(path), ctypes.c_int64(max_pixels))
        return self._picture() if code == 0 else self._refusal(code)

    def resize(self, picture: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
        self._check(self._library.shim_resize(_address(picture), *picture.shape[:2], height, width))
        return self._picture()

    def resize_labels(self, labels: NDArray[np.int32], height: int, width: int) -> NDArray[np.int32]:
        self._check(self._library.shim_resize_labels(_address(labels), *labels.shape, height, width))
        data = ctypes.string_at(self._library.shim_labels(), 4 * height * width)
        return np.frombuffer(data, dtype=np.int32).reshape(height, width)

    def target_size(self, height: int, width: int, fit: int, input_size: int) -> tuple[int, int]:
        self._check(self._library.shim_target_size(height, width, fit, ctypes.c_int64(input_size)))
        return self._library.shim_height(), self._library.shim_width()

    def palette(self, manifest: str, labels: int) -> NDArray[np.uint8] | Refusal:
        data = manifest.encode()
        code = self._library.shim_palette(data, ctypes.c_size_t(len(data)), ctypes.c_size_t(labels))
        return np.frombuffer(self._bytes(), np.uint8).reshape(256, 3) if code == 0 else self._refusal(code)

    def mask(self, labels: NDArray[np.int32]) -> bytes | Refusal:
        code = self._library.shim_mask(_address(labels), *labels.shape)
        return self._bytes() if code == 0 else self._refusal(code)

    def overlay(self, picture: NDArray[np.uint8], labels: NDArray[np.int32]) -> bytes:
        self._check(self._library.shim_overlay(_address(picture), _address(labels), *labels.shape))
        return self._bytes()

    def _bytes(self) -> bytes:
        return ctypes.string_at(self._library.shim_bytes(), self._library.shim_count())

    def _picture(self) -> NDArray[np.uint8]:
        shape = self._library.shim_height(), self._library.shim_width(), 3
        return np.frombuffer(self._bytes(), dtype=np.uint8).reshape(shape)

    def _refusal(self, code: int) -> Refusal:
        return Refusal(code, self._library.shim_error().decode())

    def _check(self, code: int) -> None:
        if code != 0:
            raise AssertionError(self._refusal(code))


def _address(array: NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


@lru_cache(maxsize=1)
def _missing() -> str | None:
    """What of the tools this machine lacks, or None."""
    for program in ("cmake", "c++", "make"):
        if shutil.which(program) is None:
            return f"{program} is not on this machine"
    done = subprocess.run(
        ["c++", "-fsyntax-only", "-x", "c++", "-"], input=PROBE, text=True, capture_output=True, check=False
    )
    return "the headers of libjpeg and libpng are not on this machine" if done.returncode else None


def build(root: Path, name: str, targets: tuple[str, ...], *settings: str, **environment: str) -> Path:
    """Build the example in ``root / name``, once for all test processes; skip where tools are missing."""
    missing = _missing()
    if missing:
        pytest.skip(missing)
    options = [
        "-DINFER_CPP_WITH_OPENCV=OFF",
        "-DINFER_CPP_BUILD_TESTS=ON",
        "-DCMAKE_COMPILE_WARNING_AS_ERROR=ON",
        *settings,
    ]

    def make(folder: Path) -> None:
        run(["cmake", "-S", str(EXAMPLE), "-B", str(folder), *options], env={**os.environ, **environment})
        run(["cmake", "--build", str(folder), "--parallel", "2", "--target", *targets])

    return once(root, name, make)


def once(root: Path, name: str, make: Callable[[Path], None]) -> Path:
    """Return ``root / name``, filled by the first process that asks for it."""
    folder = root / name
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            folder.mkdir(exist_ok=True)
            make(folder)
            (folder / "done").touch()
    return folder


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """Return a temporary folder that is the same in all processes of a test run."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command that must succeed."""
    done = subprocess.run(command, text=True, capture_output=True, timeout=BUILD_SECONDS, check=False, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


def smalti_command(folder: Path) -> Path:
    """Write a ``smalti`` command for the package under test and return it."""
    command = folder / "smalti"
    code = "from smalti.cli.main import main; main()"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{code}" "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    return command
