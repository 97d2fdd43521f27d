"""This machine: CPU features, caches and the CPUs this process may use.  Nothing else reads them."""

from __future__ import annotations

import ctypes
import math
import os
import platform
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from smalti.errors import UsageError
from smalti.target.target import Caches, Target, generic, known_extensions, levels_of

_ROOT = Path("/")

# Linux's name of a feature in /proc/cpuinfo where it differs from LLVM's.
_LINUX_NAMES = {
    "abm": "lzcnt",
    "asimd": "neon",
    "asimddp": "dotprod",
    "asimdhp": "fullfp16",
    "avx512_bf16": "avx512bf16",
    "avx512_vnni": "avx512vnni",
    "avx_vnni": "avxvnni",
    "bmi1": "bmi",
    "fp": "fp-armv8",
    "lahf_lm": "sahf",
    "pni": "sse3",
    "sse4_1": "sse4.1",
    "sse4_2": "sse4.2",
}

# Where the C library keeps a feature: (leaf index, register index, bit); glibc manual, "X86 CPU features".
_CPUID_BITS = {
    "sse3": (0, 2, 0),
    "ssse3": (0, 2, 9),
    "fma": (0, 2, 12),
    "cx16": (0, 2, 13),
    "sse4.1": (0, 2, 19),
    "sse4.2": (0, 2, 20),
    "movbe": (0, 2, 22),
    "popcnt": (0, 2, 23),
    "avx": (0, 2, 28),
    "f16c": (0, 2, 29),
    "sse": (0, 3, 25),
    "sse2": (0, 3, 26),
    "bmi": (1, 1, 3),
    "avx2": (1, 1, 5),
    "bmi2": (1, 1, 8),
    "avx512f": (1, 1, 16),
    "avx512dq": (1, 1, 17),
    "avx512cd": (1, 1, 28),
    "avx512bw": (1, 1, 30),
    "avx512vl": (1, 1, 31),
    "avx512vnni": (1, 2, 11),
    "sahf": (2, 2, 0),
    "lzcnt": (2, 2, 5),
    "avxvnni": (6, 0, 4),
    "avx512bf16": (6, 0, 5),
}


@dataclass(frozen=True, slots=True)
class Host:
    """What this machine is: architecture, CPU model, LLVM names of usable features, data caches in bytes."""

    arch: str
    model: str
    features: frozenset[str]
    caches: Caches


@dataclass(frozen=True, slots=True)
class UsableCpus:
    """How many CPUs this process may use, and why, as text."""

    count: int
    reason: str


def arch() -> str:
    """Return the architecture of this machine in LLVM's spelling."""
    machine = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


def read_host(root: Path = _ROOT) -> Host:
    """Read what this machine is.  Whatever cannot be read is left empty or 0, never guessed upwards."""
    fields = _cpuinfo_fields(_read(root / "proc/cpuinfo"))
    listed = fields.get("flags", fields.get("Features", "")).split()
    features = {_LINUX_NAMES.get(name, name) for name in listed}
    if arch() == "x86_64":
        features -= _refused_by_cpuid()
    model = fields.get("model name", "unknown")
    return Host(arch(), model, frozenset(features), _caches(root / "sys/devices/system/cpu/cpu0/cache"))


def native_target(host: Host | None = None) -> Target:
    """Return the most demanding known target that a machine can run, with every extension it has.

    Raises:
        UsageError: the machine is below the least demanding target.
    """
    host = host or read_host()
    fitting = [level for level in levels_of(host.arch) if host.features.issuperset(level.features)]
    if not fitting:
        missing = missing_features(generic(host.arch).features, host)
        raise UsageError(f"this CPU ({host.model}) lacks {', '.join(missing)}, which every target needs")
    best = fitting[-1]
    widened = (Target.parse(f"{best.name}+{extension}") for extension in known_extensions(best.name))
    kept = [t.name.partition("+")[2] for t in widened if host.features.issuperset(t.features)]
    return Target.parse("+".join([best.name, *kept]))


def resolve_target(text: str) -> Target:
    """Return the target of a name; ``native`` is the best for this machine, ``generic`` runs on any of its kind.

    Raises:
        UsageError: the name is unknown.
    """
    if text == "native":
        return native_target()
    if text == "generic":
        return generic(arch())
    return Target.parse(text)


def resolve_targets(text: str) -> tuple[Target, ...]:
    """Return the targets of names with commas between them, each once, the most demanding first.

    Raises:
        UsageError: a name is unknown, or there is none.
    """
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise UsageError(f"targets are names with commas between them, such as native,generic; not {text!r}")
    return tuple(sorted({resolve_target(name) for name in names}, key=lambda target: target.preference))


def runnable_target(targets: Iterable[Target], what: str) -> Target:
    """Return the first target whose code this CPU can run, the most demanding first; ``what`` is what runs it.

    Raises:
        UsageError: there is none.
    """
    host, known = read_host(), tuple(targets)
    for target in sorted(known, key=lambda target: target.preference):
        if target.arch == host.arch and not missing_features(target.features, host):
            return target
    raise UsageError(
        f"{what} runs the network, and this CPU ({host.model}) cannot run code for "
        f"{', '.join(map(str, known))}: add native to --target, or leave {what} out"
    )


def missing_features(features: Iterable[str], host: Host | None = None) -> tuple[str, ...]:
    """Return, sorted, the features that a machine (default: this one) does not have."""
    host = host or read_host()
    return tuple(sorted(set(features) - host.features))


def usable_cpus(root: Path = _ROOT) -> UsableCpus:
    """Return how many CPUs this process may keep busy: its affinity mask, cut by its cgroup CPU quota (rounded up)."""
    total = os.cpu_count() or 1
    allowed = _allowed_cpus(total)
    quota = _cgroup_quota(root)
    mask = f"affinity mask allows {allowed} of {total} CPUs"
    if quota is None:
        return UsableCpus(allowed, f"{allowed}: {mask}, no cgroup quota")
    count = max(1, min(allowed, math.ceil(quota - 1e-9)))
    return UsableCpus(count, f"{count}: {mask}, cgroup quota of {quota:.3g} CPUs")


def _allowed_cpus(total: int) -> int:
    if not hasattr(os, "sched_getaffinity"):
        return total
    try:
        return len(os.sched_getaffinity(0))
    except OSError:
        return total  # a sandbox may refuse to tell


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _cpuinfo_fields(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in text.split("\n\n", 1)[0].splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    return fields


def _refused_by_cpuid() -> set[str]:
    """Features that the CPUID instruction denies: under emulation /proc/cpuinfo describes the outer machine."""
    try:
        leaf_of = ctypes.CDLL(None).__x86_get_cpuid_feature_leaf
    except (AttributeError, OSError):
        return set()  # another C library, or glibc before 2.33: /proc/cpuinfo is all there is
    leaf_of.restype = ctypes.POINTER(ctypes.c_uint32 * 8)
    leaf_of.argtypes = [ctypes.c_uint32]
    refused = set()
    for feature, (index, register, bit) in _CPUID_BITS.items():
        found = leaf_of(index).contents[register]
        if not found >> bit & 1:
            refused.add(feature)
    return refused


def _caches(folder: Path) -> Caches:
    sizes = {1: 0, 2: 0, 3: 0}
    for index in range(8):
        entry = folder / f"index{index}"
        level, size = _read(entry / "level").strip(), _read(entry / "size").strip()
        match = re.fullmatch(r"(\d{1,9})([KM]?)", size)
        if match is None or level not in ("1", "2", "3") or _read(entry / "type").strip() == "Instruction":
            continue
        sizes[int(level)] = int(match[1]) * {"": 1, "K": 1024, "M": 1024 * 1024}[match[2]]
    return Caches(sizes[1], sizes[2], sizes[3])


def _cgroup_quota(root: Path) -> float | None:
    """Smallest CPU quota of this process' control groups and their parents, in CPUs; None where there is none."""
    found: list[float] = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        below = Path(path.lstrip("/"))
        base = root / "sys/fs/cgroup"
        if not controllers:
            for mount in (base, base / "unified"):
                found += _quotas(mount, below, _quota_v2)
        elif "cpu" in controllers.split(","):
            for mount in (base / controllers, base / "cpu", base / "cpu,cpuacct"):
                found += _quotas(mount, below, _quota_v1)
    return min(found, default=None)


def _quotas(mount: Path, below: Path, read: Callable[[Path], float | None]) -> list[float]:
    if ".." in below.parts:
        below = Path()
    folders = [mount / below, *(mount / parent for parent in below.parents), mount]
    return [quota for quota in map(read, folders) if quota is not None]


def _quota_v2(folder: Path) -> float | None:
    parts = _read(folder / "cpu.max").split()
    return _ratio(parts[0], parts[1]) if len(parts) == 2 else None


def _quota_v1(folder: Path) -> float | None:
    return _ratio(_read(folder / "cpu.cfs_quota_us").strip(), _read(folder / "cpu.cfs_period_us").strip())


def _ratio(quota: str, period: str) -> float | None:
    if not (quota.isdigit() and period.isdigit() and int(quota) > 0 and int(period) > 0):
        return None  # "max" or -1: no limit
    return int(quota) / int(period)
