"""Runs the kernel tests with code for aarch64, each call emulated.  Not part of the suite; takes some minutes:

ARM_TARGETS=aarch64,aarch64+dotprod PYTHONPATH=src:tests pytest -p arm_plugin tests/kernels/test_kernels_int8_conv.py
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Mapping

import arm_kit
from kernels import harness
from kernels.guard import Fill, Side
from smalti.llvm.link import Blob
from smalti.target import host
from smalti.target import target as targets
from smalti.target.target import Target

_TARGETS = tuple(Target.parse(name) for name in os.environ.get("ARM_TARGETS", "aarch64").split(","))


def _levels_of(arch: str) -> tuple[Target, ...]:
    return _TARGETS if arch == "aarch64" else ()


def _missing_features(features: Iterable[str], _: host.Host | None = None) -> tuple[str, ...]:
    return tuple(sorted(set(features) - {f for target in _TARGETS for f in target.features}))


def _run_compiled(
    compiled: harness.Compiled,
    inputs: Mapping[str, arm_kit.Array],
    threads: int = 1,
    side: Side = Side.RIGHT,
    repeat: int = 1,
    fill: Fill = Fill.NAN,
) -> list[arm_kit.Array]:
    region = compiled.code
    code = ctypes.string_at(region.address, region.size)
    blob = Blob(code, {compiled.text.entry: compiled.entry - region.address})
    return arm_kit.run_cases([arm_kit.Case(compiled.plan, compiled.text, blob, inputs, threads, side)])[0]


def pytest_configure() -> None:
    """Put code for aarch64 and its emulation in the place of this machine's, before any test module is read."""
    arm_kit.require_emulator()
    host.arch = lambda: "aarch64"
    host.missing_features = _missing_features
    host.levels_of = targets.levels_of = _levels_of
    targets.known_extensions = lambda level: ()
    harness.run_compiled = _run_compiled
