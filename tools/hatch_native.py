"""Build hook of hatch: adds what ``native_wheel`` stages to a wheel.  An editable installation uses the source tree."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class NativeBuildHook(BuildHookInterface[Any]):
    """Stages the C library before a wheel is written, and removes what was made for it afterwards."""

    PLUGIN_NAME = "custom"
    _made: Path | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel" or version == "editable":
            return
        native = _native_wheel(Path(self.root) / "tools" / "native_wheel.py")
        want = native.Want(os.environ.get("SMALTI_PREBUILT") or "auto")
        self._made = native.temporary_folder()
        try:
            staged = native.stage(Path(self.root) / "runtime-c", self._made, want)
        except BaseException:
            shutil.rmtree(self._made)
            raise
        self.app.display_info(staged.note)
        build_data["force_include"].update({str(path): name for name, path in staged.files.items()})
        if staged.tag is not None:
            build_data["pure_python"] = False
            build_data["tag"] = staged.tag

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if self._made is not None:
            shutil.rmtree(self._made)


def _native_wheel(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("native_wheel", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot read {path}")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their own module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
