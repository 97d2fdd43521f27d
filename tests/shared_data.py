"""Where the shared real-world models and images are, when this machine has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared_dir() -> Path:
    """Return the folder with mirror/, models/ and golden/, or skip the test that asked."""
    override = os.environ.get("SMALTI_SHARED")
    path = Path(override) if override else Path(__file__).resolve().parents[2] / "shared"
    if not (path / "golden" / "expected.json").is_file():
        pytest.skip(f"real models and images are not on this machine (no {path.name}/golden beside the checkout)")
    return path
