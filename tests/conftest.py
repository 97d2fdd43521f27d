"""What every test finds: a terminal of 80 columns without colours, and what a run makes once for all its tests."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from shared_objects import SharedObjects
from smalti.codegen import assemble
from smalti.demo import dataset

os.environ["COLUMNS"] = "80"
os.environ.pop("FORCE_COLOR", None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests where workers share them: one that is begun last leaves the other workers idle."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: item.path.parent.name != "stages")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Look for no garbage while thousands of tests are made, nor among them later.

    It took a quarter of that time, and a tenth of the time of tests that generate code.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A temporary folder that is the same in all workers of a run."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session", autouse=True)
def made_once(run_folder: Path) -> Iterator[None]:
    """Let the tests of a run share object code and the demo's pictures, and the processes they start keep bytecode."""
    objects = run_folder / "objects"
    objects.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assemble, "emit_object", SharedObjects(objects))
        patch.setattr(dataset, "demo_image", cache(dataset.demo_image))
        # Without bytecode every process that a test starts compiles the whole package anew.
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        # No test pulls the plug, so none has to wait for the disk; a bad descriptor still raises.
        patch.setattr(os, "fsync", os.fstat)
        yield
