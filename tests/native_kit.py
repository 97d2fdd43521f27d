"""The C library built by the compiler of this machine, and called in this process."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray

from smalti import errors

ROOT = Path(__file__).resolve().parents[1]
RUNTIME = ROOT / "runtime-c"
SOURCES = tuple(sorted((RUNTIME / "src").glob("*.c")))
BUILD_SECONDS = 300
MAX_RANK = 16
DTYPES = {
    1: "float32",
    2: "float64",
    3: "float16",
    4: "bfloat16",
    5: "uint8",
    6: "int8",
    7: "uint16",
    8: "int16",
    9: "int32",
    10: "int64",
    11: "bool",
    12: "uint32",
    13: "uint64",
}
STATUSES = (
    None,
    errors.UsageError,
    errors.NotAModelError,
    errors.DamagedModelError,
    errors.ModelVersionError,
    errors.TargetError,
    errors.ModelFileError,
    errors.InputError,
    errors.ResourceError,
    errors.CompilerError,
)
BASE = ("-std=c11", "-I" + str(RUNTIME / "include"), "-I" + str(RUNTIME / "src"))
ParallelFor = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_int64,
    ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64),
    ctypes.c_void_p,
)
T = TypeVar("T", bound=ctypes.Structure)


class Shape(ctypes.Structure):
    _fields_ = (("rank", ctypes.c_int32), ("dims", ctypes.c_int64 * MAX_RANK))


class Info(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("dtype", ctypes.c_int),
        ("shape", Shape),
        ("minimum", ctypes.c_int64 * MAX_RANK),
        ("maximum", ctypes.c_int64 * MAX_RANK),
    )


class Layout(ctypes.Structure):
    _fields_ = (
        ("layout", ctypes.c_char_p),
        ("symbol", ctypes.c_char_p * MAX_RANK),
        ("multiple", ctypes.c_int64 * MAX_RANK),
    )


class Tensor(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("bytes", ctypes.c_size_t), ("dtype", ctypes.c_int), ("shape", Shape))


class ErrorText(ctypes.Structure):
    _fields_ = (("status", ctypes.c_int), ("message", ctypes.c_char * 1020))


class LoadOptions(ctypes.Structure):
    _fields_ = (
        ("struct_bytes", ctypes.c_size_t),
        ("sha256", ctypes.c_char_p),
        ("target", ctypes.c_char_p),
        ("copy_constants", ctypes.c_int),
    )


class EngineOptions(ctypes.Structure):
    _fields_ = (
        ("struct_bytes", ctypes.c_size_t),
        ("threads", ctypes.c_int64),
        ("parallel_for", ParallelFor),
        ("pool", ctypes.c_void_p),
        ("workspace", ctypes.c_void_p),
        ("workspace_bytes", ctypes.c_size_t),
    )


class StaticProgram(ctypes.Structure):
    _fields_ = (
        ("target", ctypes.c_char_p),
        ("manifest", ctypes.c_char_p),
        ("manifest_bytes", ctypes.c_size_t),
        ("code", ctypes.c_void_p),
        ("code_bytes", ctypes.c_size_t),
    )


class StaticModel(ctypes.Structure):
    _fields_ = (
        ("abi_version", ctypes.c_uint32),
        ("program_count", ctypes.c_uint32),
        ("programs", ctypes.POINTER(StaticProgram)),
        ("constants", ctypes.c_void_p),
        ("constants_bytes", ctypes.c_size_t),
    )


# ---- building --------------------------------------------------------------------------------------------------------


def compiler(name: str = "") -> str:
    """Return a C compiler (or the program of this name), or skip the test."""
    for candidate in (name,) if name else (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        found = shutil.which(candidate) if candidate else None
        if found is not None:
            return found
    pytest.skip(f"there is no {name or 'C compiler'} on this machine")


def tool(name: str) -> str:
    """Return the path of a program, or skip the test."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed on this machine")
    return found


@dataclass(frozen=True, slots=True)
class Builder:
    """Compiles into one folder; what was built by another process of the same test run is used again."""

    folder: Path

    def build(self, name: str, arguments: Sequence[str], *, program: str = "", optional: bool = False) -> Path:
        """Return ``folder/name``, made by the compiler from ``arguments``; ``optional``: skip the test if it cannot."""
        path = self.folder / name
        compile_with = compiler(program)
        with (self.folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                made = path.with_name(name + ".part")
                command = [compile_with, *arguments, "-o", str(made)]
                done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
                if done.returncode != 0 and optional:
                    pytest.skip(f"{compile_with} cannot build {name}: {done.stderr[-300:]}")
                assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr[-4000:]}"
                made.replace(path)
        return path

    def library(self) -> Path:
        """The shared library as users get it."""
        flags = ("-O2", "-fPIC", "-fvisibility=hidden", "-shared", "-pthread")
        return self.build("libsmalti.so", [*BASE, *flags, *map(str, SOURCES)])

    def open_library(self) -> Path:
        """The shared library with its inner functions visible."""
        return self.build("libsmalti-open.so", [*BASE, "-O1", "-fPIC", "-shared", "-pthread", *map(str, SOURCES)])

    def executable(self, name: str, source: Path, flags: Sequence[str] = (), **how: Any) -> Path:
        """A program of one source file with the library linked into it."""
        return self.build(name, [*BASE, *flags, str(source), *map(str, SOURCES), "-pthread"], **how)

    def command(self) -> Path:
        """The command line program smalti-run, linked statically, so that emulators need no libraries."""
        return self.executable("smalti-run", RUNTIME / "tools" / "smalti_run.c", ["-O2", "-static"])


def builder(factory: pytest.TempPathFactory) -> Builder:
    """Return the builder that all processes of this test run share."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "native"
    folder.mkdir(exist_ok=True)
    return Builder(folder)


# ---- calling ---------------------------------------------------------------------------------------------------------


def _shape(sizes: Sequence[int]) -> Shape:
    shape = Shape(len(sizes))
    shape.dims[: len(sizes)] = tuple(sizes)
    return shape


def tensor(array: NDArray[Any], dtype: str | None = None) -> Tensor:
    """Describe an array; it must outlive what is returned."""
    number = next(n for n, name in DTYPES.items() if name == (dtype or array.dtype.name))
    return Tensor(array.ctypes.data, array.nbytes, number, _shape(array.shape))


@lru_cache(maxsize=4)
def load(path: Path) -> Library:
    """Return the functions of a built library."""
    return Library(ctypes.CDLL(str(path)))


class Library:
    """Functions of the library; errors are raised as the Python runtime does."""

    def __init__(self, functions: Any) -> None:
        self.functions = functions
        for name in ("target", "program_target", "name", "precision", "label", "resize", "manifest"):
            getattr(functions, f"smalti_model_{name}").restype = ctypes.c_char_p
        for name in ("constants_bytes", "code_bytes", "input_count", "output_count", "program_count", "label_count"):
            getattr(functions, f"smalti_model_{name}").restype = ctypes.c_size_t
        functions.smalti_usable_cpus.restype = functions.smalti_engine_threads.restype = ctypes.c_int64
        functions.smalti_version.restype = functions.smalti_status_name.restype = ctypes.c_char_p

    def check(self, call: Callable[[Any], int]) -> None:
        """Make a call that takes where to write its error."""
        error = ErrorText()
        status = call(ctypes.byref(error))
        if status:
            assert status == error.status
            assert self.functions.smalti_status_name(status).decode() == STATUSES[status].__name__  # type: ignore[union-attr]
            raise STATUSES[status](error.message.decode())  # type: ignore[misc]

    def open(self, path: str | os.PathLike[str], **options: Any) -> Model:
        """smalti_model_open"""
        name = os.fsencode(path)
        return self._model(lambda o, m, e: self.functions.smalti_model_open(name, o, m, e), None, **options)

    def open_memory(self, data: Any, size: int | None = None, **options: Any) -> Model:
        """smalti_model_open_memory of a bytes-like array, which must live as long as the model if it is aligned."""
        size = data.nbytes if size is None else size
        address = ctypes.c_void_p(data.ctypes.data)
        return self._model(
            lambda o, m, e: self.functions.smalti_model_open_memory(address, ctypes.c_size_t(size), o, m, e),
            data,
            **options,
        )

    def open_static(self, linked: StaticModel, keep: Any, **options: Any) -> Model:
        """smalti_model_open_static"""
        return self._model(
            lambda o, m, e: self.functions.smalti_model_open_static(ctypes.byref(linked), o, m, e),
            (linked, keep),
            **options,
        )

    def _model(
        self,
        call: Callable[..., int],
        keep: Any,
        sha256: str | None = None,
        target: str | None = None,
        copy: bool = False,
    ) -> Model:
        texts = [None if text is None else text.encode() for text in (sha256, target)]
        options = LoadOptions(ctypes.sizeof(LoadOptions), *texts, int(copy))
        model = ctypes.c_void_p()
        self.check(lambda error: call(ctypes.byref(options), ctypes.byref(model), error))
        return Model(self, model, keep)


class Model:
    """A smalti_model."""

    def __init__(self, library: Library, handle: ctypes.c_void_p, keep: Any) -> None:
        self.library, self.handle, self._keep = library, handle, keep

    def text(self, name: str, *index: int) -> str:
        """Return what a function gives as text."""
        value = getattr(self.library.functions, f"smalti_model_{name}")(self.handle, *map(ctypes.c_size_t, index))
        return value.decode()

    def number(self, name: str) -> int:
        """Return what a function gives as a number."""
        return int(getattr(self.library.functions, f"smalti_model_{name}")(self.handle))

    def infos(self, what: str) -> list[Info]:
        """Return the descriptions of all inputs or outputs."""
        return self._each(what, f"smalti_model_{what}", Info)

    def layouts(self, what: str) -> list[Layout]:
        """Return the layouts of all inputs or outputs."""
        return self._each(what, f"smalti_model_{what}_layout", Layout)

    def _each(self, what: str, function: str, kind: type[T]) -> list[T]:
        call, found = getattr(self.library.functions, function), []
        for index in range(self.number(f"{what}_count")):
            one = kind()
            self.library.check(lambda e, i=index, o=one: call(self.handle, ctypes.c_size_t(i), ctypes.byref(o), e))
            found.append(one)
        return found

    def engine(self, threads: int = 0, **options: Any) -> Engine:
        """smalti_engine_create"""
        return Engine(self, EngineOptions(ctypes.sizeof(EngineOptions), threads, **options))

    def close(self) -> None:
        """smalti_model_close"""
        self.library.functions.smalti_model_close(self.handle)
        self.handle = ctypes.c_void_p()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *ignored: object) -> None:
        self.close()


class Engine:
    """A smalti_engine."""

    def __init__(self, model: Model, options: EngineOptions) -> None:
        self.library, self._options = model.library, options
        self.functions = model.library.functions
        self._dtypes = [DTYPES[info.dtype] for info in model.infos("output")]
        self.handle = ctypes.c_void_p()
        self.library.check(
            lambda e: self.functions.smalti_engine_create(
                model.handle, ctypes.byref(options), ctypes.byref(self.handle), e
            )
        )
        self._keep = model._keep

    @property
    def threads(self) -> int:
        """smalti_engine_threads"""
        return int(self.functions.smalti_engine_threads(self.handle))

    def set_threads(self, threads: int) -> None:
        """smalti_engine_set_threads"""
        self.library.check(lambda e: self.functions.smalti_engine_set_threads(self.handle, ctypes.c_int64(threads), e))

    def output_shapes(self, *inputs: Sequence[int]) -> list[tuple[int, ...]]:
        """smalti_engine_output_shapes"""
        given, found = (Shape * len(inputs))(*map(_shape, inputs)), (Shape * len(self._dtypes))()
        self.library.check(
            lambda e: self.functions.smalti_engine_output_shapes(
                self.handle, given, ctypes.c_size_t(len(given)), found, ctypes.c_size_t(len(found)), e
            )
        )
        return [tuple(shape.dims[: shape.rank]) for shape in found]

    def workspace_bytes(self, *inputs: Sequence[int]) -> int:
        """smalti_engine_workspace_bytes"""
        given, size = (Shape * len(inputs))(*map(_shape, inputs)), ctypes.c_size_t()
        self.library.check(
            lambda e: self.functions.smalti_engine_workspace_bytes(
                self.handle, given, ctypes.c_size_t(len(given)), ctypes.byref(size), e
            )
        )
        return size.value

    def run_raw(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        """smalti_engine_run"""
        ins, outs = (Tensor * len(inputs))(*inputs), (Tensor * len(outputs))(*outputs)
        self.library.check(
            lambda e: self.functions.smalti_engine_run(
                self.handle, ins, ctypes.c_size_t(len(ins)), outs, ctypes.c_size_t(len(outs)), e
            )
        )

    def run(self, *inputs: NDArray[Any]) -> list[NDArray[Any]]:
        """Run on arrays and return new ones.  bfloat16 outputs are uint16 arrays."""
        shapes = self.output_shapes(*(array.shape for array in inputs))
        kinds = [np.dtype("uint16" if name == "bfloat16" else name) for name in self._dtypes]
        outputs = [np.empty(shape, kind) for shape, kind in zip(shapes, kinds, strict=True)]
        described = [tensor(a, name) for a, name in zip(outputs, self._dtypes, strict=True)]
        self.run_raw([tensor(array) for array in inputs], described)
        return outputs

    def close(self) -> None:
        """smalti_engine_destroy"""
        self.functions.smalti_engine_destroy(self.handle)
        self.handle = ctypes.c_void_p()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *ignored: object) -> None:
        self.close()
