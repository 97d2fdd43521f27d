"""What the wheel holds for C programs, with a compiler and without; and the tag it gets."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from package_kit import ROOT, native_wheel, need, run, shared_package
from smalti.delivery.native import ARCHIVE, SHARED

SOURCE = ROOT / "runtime-c"
# Segments of a library for Arm lie 64 KiB apart.
LARGEST_LIBRARY = {"x86_64": 100_000, "aarch64": 160_000}


@pytest.fixture(scope="module")
def kit() -> ModuleType:
    return native_wheel()


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder native/ of an installed wheel with libraries."""
    return shared_package(tmp_path_factory).root


@pytest.fixture(scope="module")
def made(package: Path) -> Path:
    return package / "lib"


def test_a_pure_wheel_holds_headers_sources_and_cmake_files(kit: ModuleType, tmp_path: Path) -> None:
    staged = kit.stage(SOURCE, tmp_path / "made", kit.Want.NEVER)
    assert staged.tag is None and not (tmp_path / "made").exists()
    held = {name.removeprefix("smalti/native/") for name in staged.files}
    every = {
        path.relative_to(SOURCE).as_posix()
        for folder in ("include", "src", "cmake", "tools")
        for path in (SOURCE / folder).iterdir()
    }
    assert held == {*every, "CMakeLists.txt", "smalti.pc.in", "LICENSE", "NOTICE"}
    assert "include/smalti.h" in held and any(name.startswith("src/") for name in held)


def test_a_wheel_with_libraries(kit: ModuleType, package: Path, tmp_path: Path) -> None:
    held = {path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()}
    pure = {name.removeprefix("smalti/native/") for name in kit.stage(SOURCE, tmp_path, kit.Want.NEVER).files}
    assert held - pure == {f"lib/{SHARED}", "lib/libsmalti.so", f"lib/{ARCHIVE}", "pkgconfig/smalti.pc"}
    tag = (package.parents[1] / "tag").read_text()
    assert re.fullmatch(rf"py3-none-(manylinux_2_\d+|linux)_{os.uname().machine}", tag)
    assert "@" not in (package / "pkgconfig" / "smalti.pc").read_text()


def test_the_library_exports_what_the_header_declares_and_is_small(made: Path) -> None:
    need("nm", "readelf")
    declared = set(
        re.findall(r"^SMALTI_API [\w *]*?\b(smalti_\w+)\(", (SOURCE / "include" / "smalti.h").read_text(), re.M)
    )
    listed = run("nm", "-D", "--defined-only", "-P", made / SHARED).splitlines()
    assert {line.split()[0] for line in listed} == declared and len(declared) > 20
    assert (made / SHARED).stat().st_size <= LARGEST_LIBRARY[os.uname().machine]
    told = run("readelf", "-dlW", made / SHARED)
    assert f"Library soname: [{SHARED}]" in told
    assert re.search(r"GNU_STACK .* RW ", told) and "BIND_NOW" in told and "RPATH" not in told


def test_two_builds_in_two_places_are_equal(kit: ModuleType, tmp_path: Path) -> None:
    need("cc", "ar")
    for name in ("one", "two"):
        source = tmp_path / name
        (source / "src").mkdir(parents=True)
        (source / "src" / "a.c").write_text(
            '#include "smalti.h"\nconst char *smalti_version(void) { return __FILE__; }\n'
        )
        shutil.copytree(SOURCE / "include", source / "include")
        shutil.copyfile(SOURCE / "smalti.pc.in", source / "smalti.pc.in")
        assert kit.stage(source, source / "made").tag is not None
    for name in (SHARED, ARCHIVE):
        assert (tmp_path / "one" / "made" / name).read_bytes() == (tmp_path / "two" / "made" / name).read_bytes()


@pytest.mark.parametrize("compiler", ["no-such-compiler", "false"])
def test_without_a_working_compiler_the_wheel_is_pure(
    kit: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: str
) -> None:
    monkeypatch.setenv("CC", compiler)
    staged = kit.stage(SOURCE, tmp_path)
    assert staged.tag is None and not any("/lib/" in name for name in staged.files)
    assert "no prebuilt C library" in staged.note and compiler in staged.note
    with pytest.raises(kit.NoLibraryError, match=compiler):
        kit.stage(SOURCE, tmp_path, kit.Want.ALWAYS)


@pytest.mark.parametrize(
    ("needed", "versions", "expected"),
    [
        ({"libc.so.6"}, {"GLIBC_2.2.5", "GLIBC_2.34"}, "manylinux_2_34_x86_64"),
        ({"libc.so.6", "libpthread.so.0", "ld-linux-x86-64.so.2"}, {"GLIBC_2.2.5"}, "manylinux_2_17_x86_64"),
        ({"libc.so.6"}, {"GLIBC_2.9", "GLIBC_2.28"}, "manylinux_2_28_x86_64"),
        # More than an old enough glibc is needed: only machines like this one can be promised.
        ({"libc.so.6"}, {"GLIBC_2.34", "GLIBC_ABI_DT_RELR"}, "linux_x86_64"),
        ({"libc.so.6", "libatomic.so.1"}, {"GLIBC_2.34"}, "linux_x86_64"),
        ({"libc.musl-x86_64.so.1"}, set(), "linux_x86_64"),
    ],
)
def test_the_tag_follows_from_the_symbols(
    kit: ModuleType, monkeypatch: pytest.MonkeyPatch, needed: set[str], versions: set[str], expected: str
) -> None:
    monkeypatch.setattr(kit, "needs", lambda data: (frozenset(needed), frozenset(versions)))
    monkeypatch.setattr(kit.os, "uname", lambda: SimpleNamespace(machine="x86_64"))
    head = b"\x7fELF\x02\x01".ljust(18, b"\0")
    assert kit.platform_tag(head + b"\x3e\0") == expected
    with pytest.raises(kit.NoLibraryError, match="code for aarch64, and this machine is x86_64"):
        kit.platform_tag(head + b"\xb7\0")
    with pytest.raises(kit.NoLibraryError, match="ELF machine 3"):
        kit.platform_tag(head + b"\x03\0")
    with pytest.raises(kit.NoLibraryError, match="64-bit"):
        kit.platform_tag(b"\x7fELF\x01\x01" + head[6:] + b"\x03\0")


def test_needs_are_those_that_readelf_shows(kit: ModuleType, made: Path) -> None:
    need("readelf")
    needed, versions = kit.needs((made / SHARED).read_bytes())
    assert needed == set(re.findall(r"Shared library: \[(.*?)\]", run("readelf", "-dW", made / SHARED)))
    assert versions == set(re.findall(r"Name: (\w+[\w.]*)  Flags", run("readelf", "-VW", made / SHARED)))
    assert any(name.startswith("libc.so") for name in needed)
