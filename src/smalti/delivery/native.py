"""Where the C library of this installation is, and what a compiler needs to use it."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import smalti
from smalti.errors import UsageError

SHARED: Final = "libsmalti.so.0"
ARCHIVE: Final = "libsmalti.a"
_PACKAGE: Final = Path(smalti.__file__).resolve().parent
# pkg-config escapes the same ones with a backslash.
_SPECIAL: Final = re.compile(r"[^\w@%+=:,./~-]")


@dataclass(frozen=True, slots=True)
class NativeFiles:
    """The C library of an installation.

    Attributes:
        root: folder with CMakeLists.txt, src and include.
        is_source_tree: it is that of a checkout (an editable installation), not of an installed wheel.
    """

    root: Path
    is_source_tree: bool

    @property
    def include_dir(self) -> Path:
        """Folder of smalti.h and smalti.hpp."""
        return self.root / "include"

    @property
    def cmake_dir(self) -> Path:
        """Folder of smaltiConfig.cmake: what ``smalti_DIR`` is set to."""
        return self.root / "cmake"

    @property
    def library_dir(self) -> Path | None:
        """Folder of the prebuilt libraries, or None where there are none."""
        folder = self.root / "lib"
        return folder if all((folder / name).is_file() for name in (SHARED, ARCHIVE)) else None

    @property
    def pkg_config_dir(self) -> Path | None:
        """Folder of smalti.pc, or None where there are no prebuilt libraries."""
        return self.root / "pkgconfig" if self.library_dir is not None else None

    def cflags(self, static: bool = False) -> str:
        """Return the flags to compile with."""
        return f"-I{_escaped(self.include_dir)}{' -DSMALTI_STATIC' if static else ''}"

    def libs(self, static: bool = False) -> str:
        """Return the flags to link with; a program finds the shared library where it is now.

        Raises:
            UsageError: there is no prebuilt library.
        """
        folder = _escaped(self.need(self.library_dir))
        if static:
            return f"{folder}/{ARCHIVE} -pthread"
        return f"-L{folder} -Wl,-rpath,{folder} -lsmalti"

    def need(self, folder: Path | None) -> Path:
        """Return a folder that exists only beside prebuilt libraries.

        Raises:
            UsageError: there are none; the message says how to get them.
        """
        if folder is not None:
            return folder
        why = "it uses a source tree" if self.is_source_tree else "its wheel was made without a C compiler"
        root = shlex.quote(str(self.root))
        raise UsageError(
            f"this installation has no prebuilt C library ({why}). A CMake project with "
            f"-Dsmalti_DIR={shlex.quote(str(self.cmake_dir))} builds it by itself. For anything else install it once: "
            f"cmake -S {root} -B build && cmake --build build && cmake --install build --prefix DIR, "
            "then PKG_CONFIG_PATH=DIR/lib/pkgconfig pkg-config --cflags --libs smalti"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values; what there is not is null."""
        library, pkg_config = self.library_dir, self.pkg_config_dir
        return {
            "version": smalti.__version__,
            "prebuilt": library is not None,
            "include_dir": str(self.include_dir),
            "source_dir": str(self.root),
            "cmake_dir": str(self.cmake_dir),
            "library_dir": None if library is None else str(library),
            "pkg_config_dir": None if pkg_config is None else str(pkg_config),
            "cflags": self.cflags(),
            "libs": None if library is None else self.libs(),
            "static_cflags": self.cflags(static=True),
            "static_libs": None if library is None else self.libs(static=True),
        }


def native_files(package: Path = _PACKAGE) -> NativeFiles:
    """Find the C library: in the installed package, or in the source tree that an editable installation points to.

    Raises:
        UsageError: there is neither.
    """
    for root, is_source_tree in ((package / "native", False), (package.parents[1] / "runtime-c", True)):
        if (root / "include" / "smalti.h").is_file():
            return NativeFiles(root, is_source_tree)
    raise UsageError(f"the C library is not in {package / 'native'}: install Smalti again")


def _escaped(path: Path) -> str:
    return _SPECIAL.sub(lambda match: "\\" + match[0], str(path))
