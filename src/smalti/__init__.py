"""Smalti: a compiler and engine for TensorFlow segmentation networks on ordinary CPUs.

``smalti.load(path)`` returns an :class:`Engine` that labels images; it needs numpy only.
"""

from __future__ import annotations

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
)
from smalti.runtime.engine import Engine, load
from smalti.runtime.profile import Profile, StepProfile
from smalti.runtime.signature import TensorSpec

__version__ = "0.1.0"

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
    "ModelFileError",
    "ModelVersionError",
    "NotAModelError",
    "OutputError",
    "Profile",
    "ResourceError",
    "SmaltiError",
    "StepProfile",
    "TargetError",
    "TensorSpec",
    "UnsupportedGraphError",
    "UsageError",
    "__version__",
    "load",
]
