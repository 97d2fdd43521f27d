"""Smalti: an offline model file."""

from __future__ import annotations

import smalti
from benchmarks.engines.spec import EngineSpec


def load(spec: EngineSpec) -> smalti.Engine:
    """Load the model file."""
    return smalti.load(spec.file, threads=spec.threads)


def version() -> str:
    """Return the version of the library in use."""
    return smalti.__version__


def detail(engine: smalti.Engine) -> str:
    """Return what the engine says about itself."""
    return f"{engine.manifest.target}, {engine.threads} threads"
