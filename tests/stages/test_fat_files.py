"""One network compiled for several targets into one file: every program does what a file of its own would."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import smalti
from small_segmenter import SIDE, network
from smalti import compiler
from smalti.artifact.reader import open_model
from smalti.artifact.writer import model_chunks
from smalti.building.build import BuildResult, build, build_table
from smalti.building.calibrate import calibrate_model
from smalti.cli.exit_codes import ExitCode
from smalti.cli.main import run
from smalti.cli.options.bounded import Bound
from smalti.compiler import CompileOptions, compile_graph
from smalti.delivery.inspect import inspect
from smalti.errors import TargetError, UsageError
from smalti.jobs.pictures import PassedOver
from smalti.quant.modes import QuantMode, QuantOptions
from smalti.quant.record import CalibrationRecord
from smalti.target.host import arch, missing_features, native_target, resolve_targets
from smalti.target.target import Target
from tolerance import Tol, assert_close

IMAGE = np.random.default_rng(3).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
NAMES = ("x86-64-v4+vnni", "x86-64-v4", "x86-64-v3", "x86-64-v2")
FLOAT32, INT8 = QuantMode.FORCE_FLOAT32, QuantMode.QINT8_MIXED_FLOAT32
BOTH = resolve_targets("native,generic")
FOREIGN = "aarch64" if arch() == "x86_64" else "x86-64-v2"


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "g.pb"
    path.write_bytes(network())
    return path


@pytest.fixture(scope="module")
def record(graph: Path) -> CalibrationRecord:
    pictures = [np.random.default_rng(i).integers(0, 256, IMAGE.shape, np.uint8) for i in range(4)]
    return calibrate_model(graph, CompileOptions(resolve_targets("native"), QuantOptions(INT8)), pictures)


class Fat:
    """A file for all :data:`NAMES`, and one file for each of them."""

    def __init__(self, graph: Path, folder: Path, mode: QuantMode, record: CalibrationRecord) -> None:
        self.graph, self.folder, self.mode = graph, folder, mode
        self.record = record if mode is INT8 else None
        self.path = folder / f"fat-{mode.alias}.smalti"
        self.result = self.build(self.path, *NAMES)
        self.singles = {name: folder / f"{mode.alias}-{name}.smalti" for name in NAMES}
        self.single_results = {name: self.build(path, name) for name, path in self.singles.items()}

    def build(self, path: Path, *names: str) -> BuildResult:
        options = CompileOptions(tuple(map(Target.parse, names)), QuantOptions(self.mode), labels=("a", "b", "c", "d"))
        return build(self.graph, path, options, record=self.record)


@pytest.fixture(scope="module", params=[FLOAT32, INT8], ids=lambda mode: mode.alias)
def fat(
    request: pytest.FixtureRequest, graph: Path, record: CalibrationRecord, tmp_path_factory: pytest.TempPathFactory
) -> Fat:
    return Fat(graph, tmp_path_factory.mktemp("fat"), request.param, record)


def test_every_program_gives_the_bits_of_a_file_of_its_own(fat: Fat) -> None:
    ran = 0
    for name in NAMES:
        if missing_features(Target.parse(name).features):
            with pytest.raises(TargetError):
                smalti.load(fat.path, threads=2, target=name)
            continue
        with smalti.load(fat.path, 2, target=name) as program, smalti.load(fat.singles[name], 2) as single:
            assert program.target == single.target == name
            assert_close(program(IMAGE), single(IMAGE), Tol.EXACT)
            ran += 1
    if arch() == "x86_64":
        assert ran


@pytest.mark.skipif(arch() != "x86_64", reason="the programs are for x86-64")
def test_the_best_program_that_fits_runs(fat: Fat) -> None:
    best = next(name for name in NAMES if not missing_features(Target.parse(name).features))
    with smalti.load(fat.path, 1) as engine:
        assert engine.target == engine.manifest.target == best and best in repr(engine)


def test_manifests_are_those_of_files_of_their_own(fat: Fat) -> None:
    with open_model(fat.path) as file:
        assert file.targets == NAMES
        for program in file.programs():
            with open_model(fat.singles[program.manifest.target]) as single:
                report = dict(program.manifest.report)
                said = report.pop("constants")
                whole = single.manifest
                assert replace(program.manifest, report=report, entry=whole.entry, team=whole.team) == whole
                assert 0 < said["shared"] <= said["bytes"] <= single.constants.size


def test_constants_are_shared(fat: Fat) -> None:
    alone = {name: result.constant_bytes for name, result in fat.single_results.items()}
    assert max(alone.values()) <= fat.result.constant_bytes < sum(alone.values())
    facts = {facts.target: facts for facts in inspect(fat.path).programs}
    for program in fat.result.programs:
        seen = facts[program.target]
        assert (seen.code_bytes, seen.constant_bytes) == (program.code_bytes, program.constant_bytes)
        assert seen.shared_bytes == program.shared_bytes > 0
    if fat.mode is FLOAT32:
        assert facts["x86-64-v4"].shared_bytes == facts["x86-64-v4"].constant_bytes


def test_a_constant_is_placed_once_in_a_program_too() -> None:
    made = compile_graph(network(), CompileOptions(resolve_targets("generic")))
    unique = {value.tobytes() for value in made.plan.constants}
    assert len(made.constants) == sum(-(-len(raw) // 64) * 64 for raw in unique)


def test_one_target_is_a_plain_file(fat: Fat) -> None:
    with open_model(fat.singles["x86-64-v2"]) as file:
        constants = bytearray(file.constants.size)
        file.read_constants(memoryview(constants))
        plain = b"".join(bytes(chunk) for chunk in model_chunks(file.manifest, constants, file.code))
        assert "constants" not in file.manifest.report
    assert fat.singles["x86-64-v2"].read_bytes() == plain


def test_passes_run_once_and_code_is_made_for_each(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"run_pipeline": 0, "quantise": 0, "plan_graph": 0}
    for name in counts:

        def counted(*args: object, name: str = name, real: object = getattr(compiler, name), **more: object) -> object:
            counts[name] += 1
            return real(*args, **more)  # type: ignore[operator]

        monkeypatch.setattr(compiler, name, counted)
    seen: list[Target] = []
    targets = resolve_targets("x86-64-v2,x86-64-v3")
    made = compile_graph(graph.read_bytes(), CompileOptions(targets[::-1]), on_target=seen.append)
    assert counts == {"run_pipeline": 1, "quantise": 1, "plan_graph": 2}
    again = compile_graph(graph.read_bytes(), CompileOptions(targets))
    assert (again.programs, again.constants) == (made.programs, made.constants), "the order of targets does not matter"
    assert [t.name for t in seen] == ["x86-64-v3", "x86-64-v2"] == [p.manifest.target for p in made.programs]
    assert [plan.target.name for plan in made.plans] == ["x86-64-v3", "x86-64-v2"]


def test_targets_of_options() -> None:
    assert (
        set(BOTH) == set(resolve_targets("generic, native,generic")) == {native_target(), *resolve_targets("generic")}
    )
    assert resolve_targets("aarch64,x86-64-v2,x86-64-v4+vnni+bf16,x86-64-v4+bf16+vnni") == resolve_targets(
        "x86-64-v4+bf16+vnni,aarch64,x86-64-v2"
    )
    for text in ("", ",", "native,", "native,z80"):
        with pytest.raises(UsageError):
            resolve_targets(text)
    v2, v3 = Target.parse("x86-64-v2"), Target.parse("x86-64-v3")
    assert CompileOptions((v2,)).target is v2
    with pytest.raises(UsageError, match="needs one target, not x86-64-v2, x86-64-v3"):
        _ = CompileOptions((v2, v3)).target
    extensions = ("", "+bf16", "+dotprod", "+fp16", "+i8mm", "+bf16+dotprod", "+bf16+fp16", "+bf16+i8mm")
    many = [Target.parse(f"aarch64{extension}") for extension in extensions]
    many += [Target.parse(f"{t}+dotprod") for t in many if "dotprod" not in t.name]
    many += [Target.parse(f"x86-64-v{level}") for level in (2, 3, 4)]
    many += [Target.parse(f"x86-64-v4+{extension}") for extension in ("bf16", "vnni")]
    distinct = tuple(dict.fromkeys(many))
    assert len(distinct) > 16
    for wrong in ((), (v2, v3, v2), distinct):
        with pytest.raises(UsageError):
            CompileOptions(wrong)


def test_the_command_builds_several_targets(graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.smalti"
    command = ["build", "--tf-model", str(graph), "--output-model-path", str(path)]
    assert run([*command, "--target", "native,generic,generic", "--json"]) == ExitCode.OK
    shown = capsys.readouterr()
    made = json.loads(shown.out)
    assert "each is built once" in shown.err
    assert made["target"].split(",") == [p["target"] for p in made["programs"]] == [t.name for t in BOTH]
    with smalti.load(path, 1) as engine:
        assert engine.target == native_target().name
    assert run([*command, "--target", "generic,,"]) == ExitCode.USAGE


def test_the_summary_has_a_line_for_each_program(fat: Fat) -> None:
    text = "\n".join(" ".join(row) for row in build_table(fat.result).rows)
    assert all(re.search(rf"kB for {re.escape(name)}; \d+\.\d\d of its .* shared", text) for name in NAMES)
    (alone,) = [row[1] for row in build_table(fat.single_results["x86-64-v2"]).rows if row[0] == "code"]
    assert alone.endswith("kB for x86-64-v2")


def test_code_for_another_kind_of_cpu_is_built_but_not_run(
    graph: Path, tmp_path: Path, record: CalibrationRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.smalti"
    options = CompileOptions(resolve_targets(FOREIGN), QuantOptions(INT8))
    result = build(graph, path, options, record=record)
    assert result.target == FOREIGN and inspect(path).obstacle is not None
    with pytest.raises(TargetError, match=f"built for .*{FOREIGN}"):
        smalti.load(path)
    arguments = ["--image-dir", str(tmp_path), "--output-dir", str(tmp_path / "out")]
    assert run(["infer", "--model", str(path), *arguments]) == ExitCode.MODEL_FILE
    assert "build it again here with --target native" in " ".join(capsys.readouterr().err.split())
    bound = Bound(0.01, tmp_path, tmp_path / "list.txt", tmp_path)
    with pytest.raises(UsageError, match=rf"--max-miou-drop runs the network.*{FOREIGN}: add native to --target"):
        bound.apply(graph, options, record, lambda what: None, PassedOver())
