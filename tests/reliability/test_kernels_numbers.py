"""NaN, infinities, subnormal numbers, and a host program that has changed the floating-point state."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import pytest

import smalti
from kernels.float_state import FLAGS, OUTPUTS, SPECIALS, STATES, control, control_register, image, network
from smalti.artifact.abi import TeamWord
from smalti.compiler import CompileOptions, compile_graph
from smalti.frontend.tensorflow.importer import ImportOptions, import_graph
from smalti.ir.reference import run
from smalti.passes.pipeline import run_pipeline
from smalti.quant.modes import QuantMode, QuantOptions
from smalti.runtime import team
from smalti.runtime.engine import Engine
from smalti.target.host import resolve_target
from soak.forks import forked
from stage_runners import save
from tolerance import Tol, assert_close

MODES = (QuantMode.FORCE_FLOAT32, QuantMode.FORCE_FLOAT16, QuantMode.FORCE_BFLOAT16)
SIDE = 9


@pytest.fixture(scope="module", params=MODES, ids=lambda mode: mode.value)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    options = CompileOptions((resolve_target("native"),), QuantOptions(request.param), outputs=OUTPUTS)
    path = tmp_path_factory.mktemp("state") / "model.smalti"
    save(compile_graph(network(), options), path)
    with smalti.load(path, threads=2) as loaded:
        yield loaded


def _bits(engine: Engine, x: Any) -> list[bytes]:
    outputs = engine.run({"x:0": x})
    return [outputs[name].tobytes() for name in OUTPUTS]


@pytest.mark.parametrize("state", STATES)
def test_bits_do_not_depend_on_the_hosts_state(engine: Engine, state: str) -> None:
    inputs = [image(None, SIDE), image("subnormal", SIDE), image("NaN", SIDE, 0.1)]
    engine.set_threads(1)
    want = [_bits(engine, x) for x in inputs]

    def case() -> str:
        for threads in (1, 2):
            engine.set_threads(threads)
            for x, bits in zip(inputs, want, strict=True):
                with control(STATES[state]):
                    got = _bits(engine, x)
                    after = control_register()
                if after & ~FLAGS != STATES[state] & ~FLAGS:
                    return f"the state is {after:x}, not {STATES[state]:x}"
                if got != bits:
                    return f"other bits with {threads} threads"
        return ""

    found = forked(case, 60)
    assert (found.kind, found.text) == ("ok", "")


def test_the_default_state_stays(engine: Engine) -> None:
    before = control_register()
    _bits(engine, image("NaN", SIDE, 0.1))
    assert control_register() & ~FLAGS == before & ~FLAGS


@pytest.mark.parametrize("kind", SPECIALS)
def test_special_numbers_anywhere(engine: Engine, kind: str) -> None:
    for share in (0.02, 1.0):
        x = image(kind, SIDE, share)
        engine.set_threads(1)
        alone = engine.run({"x:0": x})
        engine.set_threads(2)
        assert _bits(engine, x) == [alone[name].tobytes() for name in OUTPUTS]
        labels = alone["labels:0"]
        assert labels.min() >= 0 and labels.max() < x.shape[3]


@pytest.fixture(scope="module")
def precise(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    path = tmp_path_factory.mktemp("precise") / "model.smalti"
    save(compile_graph(network(), CompileOptions((resolve_target("native"),), outputs=OUTPUTS)), path)
    with smalti.load(path, threads=1) as loaded:
        yield loaded


@pytest.mark.parametrize("kind", SPECIALS)
def test_special_numbers_mean_what_they_mean_to_numpy(precise: Engine, kind: str) -> None:
    graph = run_pipeline(import_graph(network(), ImportOptions(outputs=OUTPUTS)).graph).graph
    x = image(kind, SIDE, 0.02)
    with np.errstate(all="ignore"):
        want = run(graph, {"x:0": x})
    got = precise.run({"x:0": x})
    assert_close(got["soft:0"], want["soft:0"], Tol.FLOAT(reduction=9 * 8 + 9 + 24, scale=8.0))
    finite = np.isfinite(want["soft:0"]).all(axis=3)
    assert finite.any() and (finite.all() or kind in ("NaN", "infinity", "minus infinity", "largest"))


def test_the_bits_would_depend_on_the_state_if_the_code_left_it(precise: Engine) -> None:
    x = image("subnormal", SIDE)
    want = _bits(precise, x)
    idle = team.function_address(ctypes.CDLL(None).sched_yield)
    with mock.patch.dict(team._FUNCTIONS, {TeamWord.SET: idle}), smalti.load(precise.path, threads=1) as careless:
        assert _bits(careless, x) == want
        for state in ("flush to zero", "round up"):
            with control(STATES[state]):
                assert _bits(careless, x) != want
