"""What this machine and this installation are, and what would be slow or missing here."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from smalti import __version__
from smalti.delivery.native import native_files
from smalti.errors import UsageError
from smalti.jobs.table import Fit, Table
from smalti.runtime.engine import default_threads
from smalti.target.host import Host, native_target, read_host, usable_cpus
from smalti.target.target import Target

_ROOT: Final = Path("/")
NEEDED: Final = {
    "numpy": "to run a model",
    "opencv-python-headless": "to resize pictures",
    "pillow": "to decode pictures",
    "llvmlite": "to build models",
    "protobuf": "to read graphs",
    "urllib3": "to export",
    "typer": "for this command line",
    "rich": "for its tables",
}
EXTRAS: Final = {"matplotlib": "bench --plot", "tensorflow": "compare --reference tensorflow"}
_LITTLE_MEMORY_MB: Final = 1024.0


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found.

    Attributes:
        version, python, system: of Smalti, of Python, of the operating system.
        cpu: the CPU's name; ``target`` is what ``--target native`` builds for, None where no target fits.
        bfloat16, int8: whether the CPU multiplies them natively.
        threads, reason: of one request by default, and why.
        memory_mb: memory that is available now; None where the system does not tell.
        packages: version of each package that is needed, None where it is missing.
        extras: the same of those that only some options need.
        c_library: whether a prebuilt C library is here.
        notes: what would be slow, or what does not work, and what to do; empty where all is well.
    """

    version: str
    python: str
    system: str
    cpu: str
    target: str | None
    bfloat16: bool
    int8: bool
    threads: int
    reason: str
    memory_mb: float | None
    packages: Mapping[str, str | None]
    extras: Mapping[str, str | None]
    c_library: bool
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "version": self.version,
            "python": self.python,
            "system": self.system,
            "cpu": self.cpu,
            "target": self.target,
            "native_bfloat16": self.bfloat16,
            "native_int8": self.int8,
            "threads": self.threads,
            "threads_reason": self.reason,
            "memory_mb": self.memory_mb,
            "packages": dict(self.packages),
            "extras": dict(self.extras),
            "c_library": self.c_library,
            "notes": list(self.notes),
        }


def doctor(root: Path = _ROOT, host: Host | None = None) -> Diagnosis:
    """Look at this machine and installation; ``root`` is where ``/proc`` and ``/sys`` are read.

    Nothing is built or run. Raises UsageError where SMALTI_THREADS is no number of threads.
    """
    found = host or read_host(root)
    target, problem = _target(found)
    cpus = usable_cpus(root)
    threads, reason = default_threads(cpus)
    memory = _memory_mb(root)
    packages = {name: _version(name) for name in NEEDED}
    notes = [
        *([problem] if problem else []),
        *(_slow(target) if target else []),
        *_missing(packages),
        *_about_threads(threads, cpus.count),
        *_about_memory(memory),
        *_about_protobuf(packages),
    ]
    return Diagnosis(
        __version__,
        platform.python_version(),
        f"{platform.system()} {platform.release()}",
        found.model,
        None if target is None else target.name,
        target is not None and _has(target, "bf16"),
        target is not None and _has(target, "vnni", "dotprod"),
        threads,
        reason,
        memory,
        packages,
        {name: _version(name) for name in EXTRAS},
        native_files().library_dir is not None,
        tuple(notes),
    )


def doctor_table(found: Diagnosis) -> Table:
    """Return what was found as a table."""
    yes = {True: "native", False: "emulated"}
    rows = [
        ("Smalti", f"{found.version}, Python {found.python}, {found.system}"),
        ("CPU", found.cpu),
        ("target", found.target or "none fits"),
        ("bfloat16", yes[found.bfloat16]),
        ("int8 products", yes[found.int8]),
        ("threads", found.reason),
        ("memory", "unknown" if found.memory_mb is None else f"{found.memory_mb:,.0f} MB available"),
        *((name, found.packages[name] or f"missing: needed {why}") for name, why in NEEDED.items()),
        *((name, found.extras[name] or f"not installed: only {why} needs it") for name, why in EXTRAS.items()),
        ("C library", "prebuilt" if found.c_library else "not prebuilt: CMake builds it from its sources"),
    ]
    return Table("this machine", ("", ""), tuple(rows), (), (0, 1), Fit(prose=(1,)))


def _target(host: Host) -> tuple[Target | None, str | None]:
    try:
        return native_target(host), None
    except UsageError as error:
        return None, f"{error}: nothing runs here; build and run on a newer CPU"


def _has(target: Target, *words: str) -> bool:
    return any(word in feature for feature in target.features for word in words)


def _slow(target: Target) -> list[str]:
    notes = []
    if target.arch == "x86_64" and target.vector_bits < 256:
        notes.append("this CPU has no AVX2: everything takes several times as long as on CPUs of the last ten years")
    if not _has(target, "vnni", "dotprod"):
        notes.append(
            "this CPU has no 8-bit dot products: int8 models pair 16-bit products, are larger here and gain less over "
            "float32; compare them with `smalti bench`"
        )
    if not _has(target, "bf16"):
        notes.append("this CPU does not multiply bfloat16: force_bfloat16 saves memory here, not time")
    return notes


def _missing(packages: Mapping[str, str | None]) -> list[str]:
    gone = [name for name, version in packages.items() if version is None]
    return [f"{name} is missing, needed {NEEDED[name]}: pip install {name}" for name in gone]


def _about_threads(threads: int, cpus: int) -> list[str]:
    total = os.cpu_count() or cpus
    if threads > cpus:
        return [f"{threads} threads share {cpus} CPUs: unset SMALTI_THREADS, or give --threads {cpus}"]
    if cpus < total:
        return [f"this process may use {cpus} of {total} CPUs: give it more (affinity, cgroup quota) to be faster"]
    return []


def _about_memory(memory: float | None) -> list[str]:
    if memory is None or memory >= _LITTLE_MEMORY_MB:
        return []
    return [f"only {memory:,.0f} MB of memory are available: building a large graph may fail; close other programs"]


def _about_protobuf(packages: Mapping[str, str | None]) -> list[str]:
    if packages["protobuf"] is None or find_spec("google.protobuf.internal.api_implementation") is None:
        return []
    kind = import_module("google.protobuf.internal.api_implementation").Type()
    if kind != "python":
        return []
    return ["protobuf runs in pure Python here: reading large graphs is slow; install its wheel for this platform"]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _memory_mb(root: Path) -> float | None:
    try:
        text = (root / "proc/meminfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "MemAvailable:" and words[1].isdigit():
            return int(words[1]) * 1024 / 1e6
    return None
