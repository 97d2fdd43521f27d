"""Smalti: a compiler and engine for segmentation networks (ONNX, TensorFlow) on ordinary CPUs.

``smalti.Segmenter(path)`` labels pictures: files, bytes, arrays. ``smalti.load(path)`` returns the :class:`Engine`
below it, which takes arrays and needs numpy only. ``smalti.from_torch(module, example, path)`` builds a model file from
a network of PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from smalti.errors import (
    ArchiveError,
    CompilerError,
    DamagedModelError,
    DataError,
    FetchError,
    GraphError,
    ImageError,
    InputError,
    ModelFileError,
    ModelVersionError,
    NotAModelError,
    OutputError,
    ResourceError,
    SmaltiError,
    TargetError,
    UnsupportedGraphError,
    UsageError,
    VideoError,
)
from smalti.runtime.engine import Engine, load
from smalti.runtime.profile import Profile, StepProfile
from smalti.runtime.signature import TensorSpec

if TYPE_CHECKING:
    from smalti.building.pytorch import from_torch
    from smalti.segmenter.label_map import LabelMap
    from smalti.segmenter.segmenter import Segmenter

__version__ = "0.1.0"

# Imported when first asked for: an engine alone needs neither pictures nor the compiler.
_LATER: Final = {
    "LabelMap": "smalti.segmenter.label_map",
    "Segmenter": "smalti.segmenter.segmenter",
    "from_torch": "smalti.building.pytorch",
}

__all__ = [
    "ArchiveError",
    "CompilerError",
    "DamagedModelError",
    "DataError",
    "Engine",
    "FetchError",
    "GraphError",
    "ImageError",
    "InputError",
    "LabelMap",
    "ModelFileError",
    "ModelVersionError",
    "NotAModelError",
    "OutputError",
    "Profile",
    "ResourceError",
    "Segmenter",
    "SmaltiError",
    "StepProfile",
    "TargetError",
    "TensorSpec",
    "UnsupportedGraphError",
    "UsageError",
    "VideoError",
    "__version__",
    "from_torch",
    "load",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_LATER[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
