"""``smalti config``: how to compile and link C and C++ programs that run offline model files."""

from __future__ import annotations

from typing import Annotated

import typer

from smalti.cli.ui import JsonOption, draw, help_text, print_json, say_whole
from smalti.delivery.native import NativeFiles, native_files
from smalti.jobs.table import Fit, Table

HELP = help_text(
    "Tell a C or C++ build where the library is that runs offline model files without Python.",
    "Headers, sources, a CMake package and, where the wheel was made with a C compiler, prebuilt libraries come with "
    "this package. --cflags and --libs print one line for a compiler; the others print a folder each, in the order "
    "of this help. Without prebuilt libraries CMake builds them from the sources, and --libs says what else to do. "
    "Nothing here needs a compiler.",
    "A program linked with --libs finds the library where this package is now; one linked with --static needs none.",
    examples=(
        "cc main.c $(smalti config --cflags --libs)",
        "cc -static main.c $(smalti config --cflags --libs --static)",
        'cmake -B build -Dsmalti_DIR="$(smalti config --cmake-dir)"',
        'cmake -B build -S "$(smalti config --source-dir)"',
        'export PKG_CONFIG_PATH="$(smalti config --pkg-config-dir)"',
        "smalti config --json",
    ),
)


def config_command(
    cflags: Annotated[bool, typer.Option("--cflags", help="Flags to compile with.")] = False,
    libs: Annotated[bool, typer.Option("--libs", help="Flags to link with.")] = False,
    static: Annotated[bool, typer.Option("--static", help="Flags for the static library.")] = False,
    cmake_dir: Annotated[
        bool, typer.Option("--cmake-dir", help="Folder of the CMake package, for smalti_DIR.")
    ] = False,
    include_dir: Annotated[bool, typer.Option("--include-dir", help="Folder of smalti.h and smalti.hpp.")] = False,
    source_dir: Annotated[
        bool, typer.Option("--source-dir", help="Folder of the sources, with CMakeLists.txt.")
    ] = False,
    pkg_config_dir: Annotated[
        bool, typer.Option("--pkg-config-dir", help="Folder of smalti.pc, for PKG_CONFIG_PATH.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    files = native_files()
    if as_json:
        print_json(files.to_json())
        return
    lines = [" ".join([*([files.cflags(static)] if cflags else []), *([files.libs(static)] if libs else [])])]
    lines += (
        [str(files.cmake_dir)] * cmake_dir + [str(files.include_dir)] * include_dir + [str(files.root)] * source_dir
    )
    if pkg_config_dir:
        lines.append(str(files.need(files.pkg_config_dir)))
    lines = [line for line in lines if line]
    if lines:
        say_whole("\n".join(lines))
    else:
        draw(_table(files))


def _table(files: NativeFiles) -> Table:
    record = files.to_json()
    rows = [
        ("headers", record["include_dir"]),
        ("sources", record["source_dir"]),
        ("CMake package", record["cmake_dir"]),
        ("libraries", record["library_dir"] or "none prebuilt; CMake builds them from the sources"),
    ]
    if record["prebuilt"]:
        rows.append(("pkg-config file", record["pkg_config_dir"]))
    return Table(f"the C library of Smalti {record['version']}", ("", ""), tuple(rows), (), (0, 1), Fit(prose=(1,)))
