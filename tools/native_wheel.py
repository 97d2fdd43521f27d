"""What the wheel holds for C and C++ programs: headers, sources, CMake and pkg-config files, and prebuilt libraries.

The libraries are there when the machine that builds the wheel has a C compiler; without one the wheel is pure, and
CMake builds the library from the sources.  Needs the standard library only: it runs inside the build of the wheel.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import struct
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

SHARED, ARCHIVE, LINK_NAME = "libsmalti.so.0", "libsmalti.a", "libsmalti.so"
_SHIPPED = (
    "CMakeLists.txt",
    "smalti.pc.in",
    "cmake/*.cmake",
    "include/*.h",
    "include/*.hpp",
    "src/*.c",
    "src/*.h",
    "tools/*.c",
)
_LICENCE = ("LICENSE", "NOTICE")
"""Beside ``runtime-c`` in a checkout, within it in the wheel: the C library may be taken out of the package."""
_COMPILE = (
    *("-std=c11", "-O2", "-Wall", "-Wextra", "-fPIC", "-fvisibility=hidden", "-fstack-protector-strong"),
    *("-ffunction-sections", "-fdata-sections", "-DNDEBUG", "-pthread", "-g0"),
)
_LINK = (
    *("-shared", "-pthread", f"-Wl,-soname,{SHARED}", "-Wl,-z,relro,-z,now,-z,noexecstack", "-Wl,-z,defs", "-Wl,-s"),
    # Pages of code and of constants may be one: four pages less for a library of 90 kB.
    *("-Wl,--gc-sections", "-Wl,--as-needed", "-Wl,-z,noseparate-code"),
)
_GLIBC = re.compile(r"(ld-linux[\w-]*|lib(c|m|pthread|dl|rt))\.so\.\d+")
_OLDEST_MANYLINUX = 17


class Want(Enum):
    """Whether a wheel shall hold prebuilt libraries: the environment variable ``SMALTI_PREBUILT`` says it."""

    AUTO = "auto"
    NEVER = "never"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Staged:
    """Files of the wheel by their path in it; the wheel's tag, None for a pure one; and what to tell the builder."""

    files: dict[str, Path]
    tag: str | None
    note: str


class NoLibraryError(Exception):
    """Why there is no library for the wheel."""


def stage(source: Path, into: Path, want: Want = Want.AUTO, compiler: tuple[str, ...] | None = None) -> Staged:
    """Collect what the wheel holds from ``runtime-c``; what has to be made is made in the folder ``into``.

    Raises:
        NoLibraryError: a library is wanted in any case and cannot be built.
    """
    files = {
        f"smalti/native/{path.relative_to(source).as_posix()}": path
        for pattern in _SHIPPED
        for path in sorted(source.glob(pattern))
    }
    files |= {f"smalti/native/{name}": path for name in _LICENCE for path in source.parent.glob(name)}
    if want is Want.NEVER:
        return Staged(files, None, "no prebuilt C library was asked for")
    try:
        tag = _build(source, into, compiler or find_compiler())
    except NoLibraryError as error:
        if want is Want.ALWAYS:
            raise
        return Staged(files, None, f"the wheel has no prebuilt C library: {error}")
    for name in (SHARED, ARCHIVE, LINK_NAME):
        files[f"smalti/native/lib/{name}"] = into / name
    files["smalti/native/pkgconfig/smalti.pc"] = into / "smalti.pc"
    return Staged(files, tag, f"the wheel has a prebuilt C library ({tag})")


def find_compiler() -> tuple[str, ...]:
    """Return the command of the C compiler: ``CC``, or the first of the usual ones.

    Raises:
        NoLibraryError: there is none.
    """
    named = tuple(shlex.split(os.environ.get("CC", "")))
    for command in (named,) if named else (("cc",), ("gcc",), ("clang",)):
        if shutil.which(command[0]):
            return command
    raise NoLibraryError(f"no C compiler ({named[0]})" if named else "no C compiler (cc, gcc, clang)")


def _build(source: Path, into: Path, compiler: tuple[str, ...]) -> str:
    """Build the libraries and the pkg-config file; return the tag of the wheel."""
    into.mkdir(parents=True, exist_ok=True)
    sources = sorted((source / "src").glob("*.c"))
    if not sources:
        raise NoLibraryError("there are no sources")
    flags = (*_COMPILE, "-I", str(source / "include"), f"-ffile-prefix-map={source}=smalti")
    shared = {into / f"{path.stem}.o": (str(path),) for path in sources}
    static = {into / f"{path.stem}-static.o": ("-DSMALTI_STATIC", str(path)) for path in sources}
    jobs = [(*compiler, *flags, *words, "-c", "-o", str(made)) for made, words in (shared | static).items()]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda job: _run(*job), jobs))
    _run(*compiler, *map(str, shared), *_LINK, "-o", str(into / SHARED))
    archive = into / ARCHIVE
    archive.unlink(missing_ok=True)
    _run(os.environ.get("AR") or "ar", "rcsD", str(archive), *map(str, static))
    # A wheel cannot hold symbolic links, and without this name -lsmalti would mean the archive.
    (into / LINK_NAME).write_text(f"/* GNU ld script */\nINPUT({SHARED})\n")
    (into / "smalti.pc").write_text(_pkg_config(source))
    return f"py3-none-{platform_tag((into / SHARED).read_bytes())}"


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=300)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoLibraryError(f"{command[0]}: {error}") from error
    if done.returncode:
        raise NoLibraryError(f"{shlex.join(command)} failed:\n{(done.stderr or done.stdout).strip()[-2000:]}")


def version(source: Path) -> str:
    """Return the version in smalti.h."""
    text = (source / "include" / "smalti.h").read_text(encoding="utf-8")
    return ".".join(re.findall(r"^#define SMALTI_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", text, re.MULTILINE))


def _pkg_config(source: Path) -> str:
    text = (source / "smalti.pc.in").read_text(encoding="utf-8")
    values = {
        "PC_PREFIX": "..",
        "PC_INCLUDEDIR": "include",
        "PC_LIBDIR": "lib",
        "PC_VERSION": version(source),
        # The folder of a Python package is on no one's search path.
        "PC_LIBS": "-Wl,-rpath,${libdir} -lsmalti",
    }
    return re.sub(r"@(\w+)@", lambda match: values[match[1]], text)


def platform_tag(shared: bytes) -> str:
    """Return the platform tag of a wheel for a shared library: manylinux with the glibc that its symbols need.

    A library that needs more than glibc gets the tag of plain Linux, which is for machines like this one.

    Raises:
        NoLibraryError: it is not a 64-bit ELF file of x86-64 or aarch64.
    """
    if shared[:6] != b"\x7fELF\x02\x01":
        raise NoLibraryError("the compiler does not make 64-bit little-endian ELF")
    (machine,) = struct.unpack_from("<H", shared, 18)
    architecture = {62: "x86_64", 183: "aarch64"}.get(machine)
    if architecture is None:
        raise NoLibraryError(f"the compiler makes code for ELF machine {machine}")
    if architecture != os.uname().machine:
        raise NoLibraryError(f"the compiler makes code for {architecture}, and this machine is {os.uname().machine}")
    needed, versions = needs(shared)
    minors = [int(match[1]) for name in versions if (match := re.fullmatch(r"GLIBC_2\.(\d+)(?:\.\d+)?", name))]
    if len(minors) != len(versions) or not minors or not all(_GLIBC.fullmatch(name) for name in needed):
        return f"linux_{architecture}"
    return f"manylinux_2_{max(_OLDEST_MANYLINUX, *minors)}_{architecture}"


def needs(shared: bytes) -> tuple[frozenset[str], frozenset[str]]:
    """Return the libraries that a shared library needs, and the symbol versions it needs of them."""
    (table,) = struct.unpack_from("<Q", shared, 40)
    entry_size, count = struct.unpack_from("<HH", shared, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", shared, table + entry_size * index) for index in range(count)]
    needed, versions = set(), set()
    for _, kind, _, _, offset, size, link, entries, _, _ in sections:
        if kind not in (6, 0x6FFFFFFE):
            continue
        names = sections[link][4]
        if kind == 6:  # dynamic
            for tag, value in struct.iter_unpack("<QQ", shared[offset : offset + size]):
                if tag == 1:
                    needed.add(_text(shared, names + value))
            continue
        for _ in range(entries):  # version needs: one entry for each library, each with a list of versions
            _, versions_of_it, _, first, following = struct.unpack_from("<HHIII", shared, offset)
            at = offset + first
            for _ in range(versions_of_it):
                _, _, _, name, step = struct.unpack_from("<IHHII", shared, at)
                versions.add(_text(shared, names + name))
                at += step
            offset += following
    return frozenset(needed), frozenset(versions)


def _text(data: bytes, start: int) -> str:
    return data[start : data.index(b"\0", start)].decode()


def temporary_folder() -> Path:
    """Return a new folder; the caller removes it."""
    return Path(tempfile.mkdtemp(prefix="smalti-wheel-"))
