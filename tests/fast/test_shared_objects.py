"""Object code that tests share is what LLVM would have made for just that module and target."""

from __future__ import annotations

from pathlib import Path

import pytest

import shared_objects
from model_kit import LABEL_MODULE, REVERSE_MODULE
from shared_objects import SharedObjects
from smalti.codegen import assemble
from smalti.llvm.backend import emit_object
from smalti.target.host import arch
from smalti.target.target import generic


def test_the_same_bytes_as_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    targets = (generic(arch()), generic("aarch64" if arch() == "x86_64" else "x86_64"))
    wanted = {
        (module, target): emit_object(module, target) for module in (LABEL_MODULE, REVERSE_MODULE) for target in targets
    }
    assert len(set(wanted.values())) == 4
    shared = SharedObjects(tmp_path)
    assert {key: shared(*key) for key in wanted} == wanted
    assert len(list(tmp_path.iterdir())) == 4
    # From here on nothing is made: another process would find them, too.
    monkeypatch.delattr(shared_objects, "emit_object")
    assert {key: SharedObjects(tmp_path)(*key) for key in wanted} == wanted


def test_models_of_this_run_go_through_it() -> None:
    assert isinstance(assemble.emit_object, SharedObjects)
