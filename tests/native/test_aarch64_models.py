"""Model files for Arm, run by the C library on emulated CPUs: the bits that AVX2 gives, and TensorFlow's labels."""

from __future__ import annotations

import subprocess
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

import smalti
from arm_kit import EVERY_FEATURE, Array, emulate, native_runner, require_emulator, run_file
from deeplab_golden import ANY_SIZE, IMAGE, LABELS, LABELS_EQUAL, graph_bytes, size_example
from small_segmenter import SIDE, network
from smalti.artifact.writer import write_programs
from smalti.building.calibrate import calibrate_model
from smalti.codegen.module import build_module
from smalti.compiler import CompileOptions, compile_graph
from smalti.llvm.backend import emit_assembly
from smalti.quant.modes import QuantMode, QuantOptions
from smalti.quant.record import CalibrationRecord
from smalti.target.host import missing_features, resolve_target
from smalti.target.target import Target
from tolerance import Tol, assert_close

AVX2 = "x86-64-v3"
INT8 = QuantMode.QINT8_MIXED_FLOAT32
TARGETS = {
    QuantMode.FORCE_FLOAT32: "aarch64",
    QuantMode.FORCE_FLOAT16: "aarch64+fp16",
    QuantMode.FORCE_BFLOAT16: "aarch64",
    QuantMode.QINT8_MIXED_FLOAT16: "aarch64+dotprod+i8mm",
    INT8: "aarch64",
    QuantMode.QINT16_MIXED_FLOAT32: "aarch64",
}
OLD_CPU, NEW_CPU = "cortex-a53", "neoverse-n1"
"""Without and with the dot product."""
THREADS = (1, 3)
REAL_SIZE = "97x131"
LOGITS_ERROR = 2 * 2.0**-7
"""Of the largest logit: two steps of bfloat16, whose products are rounded in another way where the CPU sums pairs."""


@pytest.fixture(scope="module", autouse=True)
def machine() -> None:
    """Skip where one of the two sides of every comparison cannot run."""
    require_emulator()
    native_runner()
    lacking = missing_features(Target.parse(AVX2).features)
    if lacking:
        pytest.skip(f"this CPU lacks {', '.join(lacking)}: there is nothing to compare with")


@lru_cache(maxsize=1)
def image() -> Array:
    return np.random.default_rng(8).integers(0, 256, (1, SIDE, SIDE, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> CalibrationRecord:
    path = tmp_path_factory.mktemp("graph") / "graph.pb"
    path.write_bytes(network())
    options = CompileOptions((resolve_target("native"),), QuantOptions(INT8))
    return calibrate_model(path, options, [image()[0]])


class Files:
    """Makes model files of the small network."""

    def __init__(self, folder: Path, record: CalibrationRecord) -> None:
        self.folder, self.record = folder, record

    def build(self, mode: QuantMode, *targets: str) -> Path:
        """Return a file with a program for each target, whose outputs are logits and labels."""
        path = self.folder / f"{mode.alias}-{'-'.join(targets)}.smalti"
        options = CompileOptions(tuple(map(Target.parse, targets)), QuantOptions(mode), outputs=OUTPUTS)
        made = compile_graph(network(), options, record=self.record if mode.quantised else None)
        write_programs(path, made.programs, made.constants)
        return path

    def of_avx2(self, mode: QuantMode) -> list[Array]:
        """Return what this machine computes."""
        with smalti.load(self.build(mode, AVX2), threads=1) as engine:
            return list(engine.run({"image:0": image()}).values())


OUTPUTS = ("c/logits/conv:0", "labels:0")


@pytest.fixture
def files(tmp_path: Path, record: CalibrationRecord) -> Files:
    return Files(tmp_path, record)


@pytest.mark.parametrize("mode", TARGETS, ids=lambda mode: mode.alias)
def test_every_precision_gives_the_bits_of_avx2(files: Files, mode: QuantMode) -> None:
    want = files.of_avx2(mode)
    assert len(np.unique(want[0])) > 100
    path = files.build(mode, TARGETS[mode])
    for threads in THREADS:
        for got, expected in zip(run_file(path, image(), want, threads=threads), want, strict=True):
            assert_close(got, expected, Tol.EXACT, f"{mode.value}, {threads} threads")


def test_pairs_of_bfloat16(files: Files) -> None:
    mode, target = QuantMode.FORCE_BFLOAT16, Target.parse("aarch64+bf16")
    (plan,) = compile_graph(network(), CompileOptions((target,), QuantOptions(mode))).plans
    assert "\tbfdot\t" in emit_assembly(build_module(plan).text, target)
    want = files.of_avx2(mode)
    got = run_file(files.build(mode, target.name), image(), want)
    assert np.abs(got[0] - want[0]).max() <= LOGITS_ERROR * np.abs(want[0]).max()


def info(path: Path, cpu: str) -> subprocess.CompletedProcess[str]:
    return emulate([str(native_runner()), str(path), "--info"], cpu)


def test_a_file_of_several_programs_runs_as_the_best_that_the_cpu_has(files: Files) -> None:
    path = files.build(INT8, "aarch64", "aarch64+dotprod", "aarch64+dotprod+i8mm", AVX2)
    want = files.of_avx2(INT8)
    chosen = {OLD_CPU: "aarch64", NEW_CPU: "aarch64+dotprod", EVERY_FEATURE: "aarch64+dotprod+i8mm"}
    for cpu, target in chosen.items():
        assert f"\ntarget {target}\n" in info(path, cpu).stdout
        assert_close(run_file(path, image(), want, cpu)[1], want[1], Tol.EXACT, f"labels on {cpu}")


def test_a_cpu_without_the_features_is_told_so(files: Files) -> None:
    path = files.build(INT8, "aarch64+dotprod")
    done = info(path, OLD_CPU)
    assert done.returncode == 5, "a signal, or another error"
    assert "aarch64+dotprod" in done.stderr and "lacks dotprod" in done.stderr
    assert info(path, NEW_CPU).returncode == 0
    foreign = info(files.build(INT8, AVX2), NEW_CPU)
    assert foreign.returncode == 5 and "x86_64" in foreign.stderr


def test_labels_of_a_real_network_are_tensorflows(tmp_path: Path) -> None:
    example = size_example(REAL_SIZE)
    path = tmp_path / "real.smalti"
    made = compile_graph(graph_bytes(ANY_SIZE), CompileOptions((Target.parse("aarch64"), Target.parse(AVX2))))
    write_programs(path, made.programs, made.constants)
    with smalti.load(path, threads=1) as engine:
        want = engine.run({IMAGE: example.image[None]})[LABELS]
    (got,) = run_file(path, example.image[None], [want])
    assert (got[0] == example.labels).mean() >= LABELS_EQUAL
    assert_close(got, want, Tol.EXACT, "labels")
