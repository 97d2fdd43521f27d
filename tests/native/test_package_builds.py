"""C and C++ programs built against the installed package: by hand, with pkg-config, with CMake in its several ways."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

import smalti
from package_kit import (
    ARM_COMPILER,
    ARM_LIBRARIES,
    ROOT,
    cmake_build,
    need,
    need_arm,
    need_link,
    run,
    shared_package,
    staged,
)
from smalti.cli.exit_codes import ExitCode
from smalti.delivery.native import NativeFiles

PROGRAM = """\
#include <stdio.h>
#include "smalti.h"
int main(void) { puts(smalti_version()); return smalti_abi_version() != SMALTI_ABI_VERSION; }
"""
PROJECT = """\
cmake_minimum_required(VERSION 3.16)
project(program LANGUAGES {language})
find_package(smalti 0.1 CONFIG REQUIRED)
find_package(smalti CONFIG REQUIRED)
message(STATUS "smalti ${{smalti_VERSION}} prebuilt ${{smalti_PREBUILT}}")
add_executable(shared program.{suffix})
target_link_libraries(shared PRIVATE smalti::smalti)
add_executable(static program.{suffix})
target_link_libraries(static PRIVATE smalti::static)
"""
RANGES_SINCE = (3, 19)
VERSION = f"{smalti.__version__}\n"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> NativeFiles:
    return shared_package(tmp_path_factory)


@pytest.fixture(scope="module")
def pure(tmp_path_factory: pytest.TempPathFactory) -> NativeFiles:
    return staged(tmp_path_factory.mktemp("pure"), prebuilt=False)


def project(folder: Path, language: str = "C") -> Path:
    suffix = {"C": "c", "CXX": "cpp"}[language]
    need("c++" if language == "CXX" else "cc")
    (folder / f"program.{suffix}").write_text(PROGRAM)
    (folder / "CMakeLists.txt").write_text(PROJECT.format(language=language, suffix=suffix))
    return folder


def linked(program: Path) -> bool:
    """Return whether a program needs the shared library."""
    return "libsmalti.so.0" in run("readelf", "-dW", program)


def test_by_hand(installed: NativeFiles, tmp_path: Path) -> None:
    need("readelf")
    need_link("-static")
    (tmp_path / "x.c").write_text(PROGRAM)
    flags = {
        "shared": f"{installed.cflags()} x.c {installed.libs()}",
        "static": f"{installed.cflags(static=True)} x.c {installed.libs(static=True)}",
        "whole": f"-static {installed.cflags(static=True)} x.c {installed.libs(static=True)}",
    }
    for name, words in flags.items():
        run("cc", "-Wall", "-Werror", *words.split(), "-o", name, cwd=tmp_path)
        assert run(tmp_path / name) == VERSION
        assert linked(tmp_path / name) == (name == "shared")


def test_pkg_config(installed: NativeFiles, tmp_path: Path) -> None:
    need("pkg-config")
    (tmp_path / "x.c").write_text(PROGRAM)
    env = {"PKG_CONFIG_PATH": str(installed.pkg_config_dir)}
    assert run("pkg-config", "--modversion", "smalti", env=env) == VERSION
    words = run("pkg-config", "--cflags", "--libs", "smalti", env=env).split()
    run("cc", "x.c", *words, "-o", "x", cwd=tmp_path)
    assert run(tmp_path / "x") == VERSION
    assert "-pthread" in run("pkg-config", "--static", "--libs", "smalti", env=env)


@pytest.mark.parametrize("language", ["C", "CXX"])
def test_cmake_takes_the_prebuilt_libraries(installed: NativeFiles, tmp_path: Path, language: str) -> None:
    said = cmake_build(project(tmp_path, language), tmp_path / "b", f"-Dsmalti_DIR={installed.cmake_dir}")
    assert f"smalti {smalti.__version__} prebuilt TRUE" in said
    for name in ("shared", "static"):
        assert run(tmp_path / "b" / name) == VERSION
        assert linked(tmp_path / "b" / name) == (name == "shared")


@pytest.mark.parametrize("language", ["C", "CXX"])
def test_cmake_builds_a_pure_package_from_its_sources(pure: NativeFiles, tmp_path: Path, language: str) -> None:
    need("cc")
    # One target, so that one library is compiled; the path is found from the prefix.
    target = {"C": "shared", "CXX": "static"}[language]
    options = (f"-DCMAKE_PREFIX_PATH={pure.root}", "-DCMAKE_BUILD_TYPE=Debug")
    said = cmake_build(project(tmp_path, language), tmp_path / "b", *options, targets=[target])
    assert f"smalti {smalti.__version__} prebuilt FALSE" in said
    assert run(tmp_path / "b" / target) == VERSION


def test_cmake_builds_from_sources_where_asked(installed: NativeFiles, tmp_path: Path) -> None:
    need("cmake", "cc", "make")
    words = ("-S", project(tmp_path), "-B", tmp_path / "b", f"-Dsmalti_DIR={installed.cmake_dir}")
    assert "prebuilt FALSE" in run("cmake", *words, "-DSMALTI_FROM_SOURCE=ON")


def test_cmake_refuses_another_version(installed: NativeFiles, tmp_path: Path) -> None:
    need("cmake", "cc", "make")
    folder = project(tmp_path)
    text = (folder / "CMakeLists.txt").read_text()
    old = tuple(map(int, re.findall(r"\d+", run("cmake", "--version"))[:2])) < RANGES_SINCE
    for wanted in ("0.2", "1.0", "0.1.99", "0.0", *(() if old else ("0.1.1...0.2", "0.0...<0.1"))):
        (folder / "CMakeLists.txt").write_text(text.replace("smalti 0.1 CONFIG", f"smalti {wanted} CONFIG"))
        said = run("cmake", "-S", folder, "-B", tmp_path / "b", f"-Dsmalti_DIR={installed.cmake_dir}", code=1)
        assert "considered but not" in said and "version: 0.1.0" in said, wanted
    for wanted in ("0.1.0 EXACT", "0", *(() if old else ("0.1...0.3", "0.1...<0.2"))):
        (folder / "CMakeLists.txt").write_text(text.replace("smalti 0.1 CONFIG", f"smalti {wanted} CONFIG"))
        run("cmake", "-S", folder, "-B", tmp_path / "b", f"-Dsmalti_DIR={installed.cmake_dir}")


def test_a_cross_build_leaves_the_libraries_of_this_machine_alone(installed: NativeFiles, tmp_path: Path) -> None:
    need_arm()
    options = ("-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64", f"-DCMAKE_C_COMPILER={ARM_COMPILER}")
    options += ("-DCMAKE_BUILD_TYPE=Debug",)
    said = cmake_build(
        project(tmp_path), tmp_path / "b", *options, f"-Dsmalti_DIR={installed.cmake_dir}", targets=["static"]
    )
    assert "prebuilt FALSE" in said
    assert run("qemu-aarch64", "-L", ARM_LIBRARIES, tmp_path / "b" / "static") == VERSION


def test_installed_by_cmake_and_moved(tmp_path: Path) -> None:
    need("cmake", "cc", "make", "pkg-config")
    cmake_build(ROOT / "runtime-c", tmp_path / "b", "-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_INSTALL_LIBDIR=lib/here")
    run("cmake", "--install", tmp_path / "b", "--prefix", tmp_path / "first")
    shutil.move(tmp_path / "first", tmp_path / "moved")
    prefix = tmp_path / "moved"
    assert (prefix / "lib/here/libsmalti.so.0").is_file() and (prefix / "include/smalti.h").is_file()
    for text in ("LICENSE", "NOTICE"):
        assert (prefix / "share/doc/smalti" / text).read_bytes() == (ROOT / text).read_bytes()
    run(prefix / "bin/smalti-run", code=ExitCode.USAGE)
    said = cmake_build(project(tmp_path), tmp_path / "b2", f"-Dsmalti_DIR={prefix}/lib/here/cmake/smalti")
    assert "prebuilt TRUE" in said
    for name in ("shared", "static"):
        assert run(tmp_path / "b2" / name) == VERSION
    env = {"PKG_CONFIG_PATH": f"{prefix}/lib/here/pkgconfig", "LD_LIBRARY_PATH": f"{prefix}/lib/here"}
    words = run("pkg-config", "--cflags", "--libs", "smalti", env=env).split()
    run("cc", "program.c", *words, "-o", "x", cwd=tmp_path)
    assert run(tmp_path / "x", env=env) == VERSION
