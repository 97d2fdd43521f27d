"""smalti config: where the C library is, with prebuilt libraries, without them, and from a source tree."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

import smalti
from smalti.cli import config
from smalti.cli.exit_codes import ExitCode
from smalti.cli.main import run
from smalti.delivery.native import NativeFiles, native_files
from smalti.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]


def package(folder: Path, *, prebuilt: bool) -> Path:
    """Make what an installed wheel has in smalti/, files empty."""
    names = ["include/smalti.h", "cmake/smaltiConfig.cmake", "CMakeLists.txt", "src/model.c"]
    if prebuilt:
        names += ["lib/libsmalti.so.0", "lib/libsmalti.so", "lib/libsmalti.a", "pkgconfig/smalti.pc"]
    for name in names:
        path = folder / "smalti" / "native" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder / "smalti"


def use(monkeypatch: pytest.MonkeyPatch, files: NativeFiles) -> None:
    monkeypatch.setattr(config, "native_files", lambda: files)


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run(["config", *words]) == ExitCode.OK
    return capsys.readouterr().out


def test_flags_of_a_wheel_with_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = package(tmp_path, prebuilt=True) / "native"
    use(monkeypatch, native_files(root.parent))
    word = str(root).replace(" ", "\\ ")
    assert said(capsys, "--cflags") == f"-I{word}/include\n"
    assert said(capsys, "--libs") == f"-L{word}/lib -Wl,-rpath,{word}/lib -lsmalti\n"
    assert said(capsys, "--libs", "--cflags") == f"-I{word}/include -L{word}/lib -Wl,-rpath,{word}/lib -lsmalti\n"
    static = said(capsys, "--cflags", "--libs", "--static")
    assert static == f"-I{word}/include -DSMALTI_STATIC {word}/lib/libsmalti.a -pthread\n"
    folders = said(capsys, "--pkg-config-dir", "--source-dir", "--include-dir", "--cmake-dir").splitlines()
    assert folders == [f"{root}/cmake", f"{root}/include", f"{root}", f"{root}/pkgconfig"]
    assert "pkg-config file" in said(capsys)


def test_a_pure_wheel_has_headers_and_says_how_to_get_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = package(tmp_path, prebuilt=False) / "native"
    use(monkeypatch, native_files(root.parent))
    word = str(root).replace(" ", "\\ ")
    assert said(capsys, "--cflags", "--cmake-dir") == f"-I{word}/include\n{root}/cmake\n"
    assert "CMake builds them from the sources" in said(capsys)
    record = json.loads(said(capsys, "--json"))
    assert record["prebuilt"] is False and record["libs"] is None and record["pkg_config_dir"] is None
    for words in (["--libs"], ["--pkg-config-dir"], ["--cflags", "--libs", "--static"]):
        assert run(["config", *words]) == ExitCode.USAGE
        shown = capsys.readouterr()
        assert shown.out == "" and "its wheel was made without a C compiler" in shown.err
        assert f"-Dsmalti_DIR={shlex.quote(f'{root}/cmake')}" in shown.err
        assert f"cmake -S {shlex.quote(str(root))} -B build" in shown.err


def test_half_a_set_of_libraries_does_not_count(tmp_path: Path) -> None:
    root = package(tmp_path, prebuilt=True) / "native"
    (root / "lib" / "libsmalti.a").unlink()
    assert native_files(root.parent).library_dir is None


def test_a_source_tree_is_found(tmp_path: Path) -> None:
    (tmp_path / "runtime-c" / "include").mkdir(parents=True)
    (tmp_path / "runtime-c" / "include" / "smalti.h").touch()
    files = native_files(tmp_path / "src" / "smalti")
    assert files == NativeFiles(tmp_path / "runtime-c", is_source_tree=True)
    with pytest.raises(UsageError, match="it uses a source tree"):
        files.libs()


def test_this_checkout_is_found() -> None:
    """The tests run from the source tree or from an installation; both have the header of this version."""
    files = native_files()
    text = (files.include_dir / "smalti.h").read_text()
    major, minor, patch = smalti.__version__.split(".")
    for name, value in (("MAJOR", major), ("MINOR", minor), ("PATCH", patch)):
        assert f"#define SMALTI_VERSION_{name} {value}\n" in text
    assert (files.cmake_dir / "smaltiConfig.cmake").is_file()


def test_a_broken_installation_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is not in .*native: install Smalti again"):
        native_files(tmp_path / "lib" / "smalti")


def test_paths_are_escaped_as_pkg_config_does(tmp_path: Path) -> None:
    files = native_files(package(tmp_path / "a b'c", prebuilt=True))
    assert shlex.split(files.cflags()) == [f"-I{files.include_dir}"]
    assert f"-L{files.library_dir}" in shlex.split(files.libs())


def test_the_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(said(capsys, "--help").split())
    assert "cc main.c $(smalti config --cflags --libs)" in text and "smalti config --cmake-dir" in text
