"""Targets: the CPU families that code is generated for, as frozen values with a canonical text form.

Levels of x86-64 are those of the System V psABI supplement (``x86-64-v2``, ``-v3``, ``-v4``); extensions are appended
as ``+vnni`` or ``+bf16``.  Feature names are LLVM's.
"""

from __future__ import annotations

from dataclasses import dataclass

from smalti.errors import UsageError


@dataclass(frozen=True, slots=True)
class Caches:
    """Data cache sizes in bytes that plans are made for (typical of the family; never read from this machine)."""

    l1d: int
    l2: int
    l3: int


@dataclass(frozen=True, slots=True)
class Target:
    """One CPU family.

    ``name`` is the canonical text, e.g. ``x86-64-v4+vnni``; ``features`` are the sorted LLVM names of everything the
    code may use, so a CPU that has them all can run it; ``cpu`` is LLVM's name of the tuning model.
    """

    name: str
    arch: str
    cpu: str
    features: tuple[str, ...]
    vector_bits: int
    triple: str
    caches: Caches

    def __str__(self) -> str:
        return self.name

    def has(self, feature: str) -> bool:
        """Return whether the code may use an LLVM feature."""
        return feature in self.features

    @property
    def llvm_features(self) -> str:
        """The feature string for LLVM: everything this target may use, and full-width vectors where there are any."""
        tuning = ["-prefer-256-bit"] if self.vector_bits == 512 else []
        return ",".join([*(f"+{feature}" for feature in self.features), *tuning])

    @property
    def vector_registers(self) -> int:
        """How many vector registers the code may use."""
        return 32 if self.vector_bits == 512 or self.arch != _X86 else 16

    @property
    def pause_intrinsic(self) -> tuple[str, tuple[int, ...]]:
        """The LLVM intrinsic, and its 32-bit arguments, that eases a spinning thread."""
        return ("llvm.x86.sse2.pause", ()) if self.arch == _X86 else ("llvm.aarch64.hint", (1,))

    @property
    def preference(self) -> tuple[str, int, int, str]:
        """Sorts targets: by architecture, and within one the most demanding first (level, number of extensions)."""
        level, *extensions = self.name.split("+")
        rank = list(_LEVELS).index(level) if level in _LEVELS else -1
        return self.arch, -rank, -len(extensions), self.name

    @classmethod
    def parse(cls, text: str) -> Target:
        """Return the target of a name such as ``x86-64-v3`` or ``x86-64-v4+bf16+vnni`` (any order of extensions).

        Raises:
            UsageError: the level or an extension is unknown; the message lists the known ones.
        """
        base, *extensions = text.split("+")
        level = _LEVELS.get(base)
        if level is None:
            raise UsageError(f"unknown target {text!r}; known: {', '.join(known_names())}")
        extra: set[str] = set()
        for extension in extensions:
            feature = level.extensions.get(extension)
            if feature is None:
                known = ", ".join("+" + name for name in level.extensions) or "none"
                raise UsageError(f"target {base} has no extension {extension!r}; known: {known}")
            extra.add(feature)
        if len(set(extensions)) != len(extensions):
            raise UsageError(f"target {text!r} names an extension twice: name each once")
        return cls(
            name="+".join([base, *sorted(extensions)]),
            arch=level.arch,
            cpu=level.cpu,
            features=tuple(sorted({*level.features, *extra})),
            vector_bits=level.vector_bits,
            triple=level.triple,
            caches=level.caches,
        )


@dataclass(frozen=True, slots=True)
class _Level:
    arch: str
    cpu: str
    features: tuple[str, ...]
    vector_bits: int
    triple: str
    caches: Caches
    extensions: dict[str, str]


_X86 = "x86_64"
_X86_TRIPLE = "x86_64-unknown-linux-gnu"
_V2 = ("cx16", "popcnt", "sahf", "sse", "sse2", "sse3", "sse4.1", "sse4.2", "ssse3")
_V3 = (*_V2, "avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe")
_V4 = (*_V3, "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl")
_KIB = 1024

_LEVELS = {
    "x86-64-v2": _Level(
        _X86, "x86-64-v2", _V2, 128, _X86_TRIPLE, Caches(32 * _KIB, 256 * _KIB, 8 * _KIB * _KIB), extensions={}
    ),
    "x86-64-v3": _Level(
        _X86,
        "x86-64-v3",
        _V3,
        256,
        _X86_TRIPLE,
        Caches(32 * _KIB, 512 * _KIB, 8 * _KIB * _KIB),
        extensions={"vnni": "avxvnni"},
    ),
    "x86-64-v4": _Level(
        _X86,
        "x86-64-v4",
        _V4,
        512,
        _X86_TRIPLE,
        Caches(32 * _KIB, 1024 * _KIB, 16 * _KIB * _KIB),
        extensions={"vnni": "avx512vnni", "bf16": "avx512bf16"},
    ),
    "aarch64": _Level(
        "aarch64",
        "generic",
        ("fp-armv8", "neon"),
        128,
        "aarch64-unknown-linux-gnu",
        Caches(32 * _KIB, 512 * _KIB, 4 * _KIB * _KIB),
        extensions={"bf16": "bf16", "dotprod": "dotprod", "fp16": "fullfp16", "i8mm": "i8mm"},
    ),
}

_GENERIC = {_X86: "x86-64-v2", "aarch64": "aarch64"}


def known_names() -> tuple[str, ...]:
    """Return the names of every level, without extensions."""
    return tuple(_LEVELS)


def known_extensions(level: str) -> tuple[str, ...]:
    """Return the extensions a level can be given."""
    return tuple(sorted(_LEVELS[level].extensions))


def levels_of(arch: str) -> tuple[Target, ...]:
    """Return the levels of an architecture (``platform.machine()`` spelling), the least demanding first."""
    return tuple(Target.parse(name) for name, level in _LEVELS.items() if level.arch == arch)


def canonical_name(text: str) -> str:
    """Return a target's name with its extensions in canonical order, known or not."""
    level, *extensions = text.split("+")
    return "+".join([level, *sorted(extensions)])


def generic(arch: str) -> Target:
    """Return the target that every supported CPU of an architecture can run.

    Raises:
        UsageError: no code can be generated for this architecture.
    """
    name = _GENERIC.get(arch)
    if name is None:
        raise UsageError(f"no code can be generated for {arch!r} CPUs; known: {', '.join(sorted(_GENERIC))}")
    return Target.parse(name)
