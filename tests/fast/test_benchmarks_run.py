"""Benchmarks: whole runs on a small graph, with no other engine installed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import cv2
import numpy as np
import pytest
from benchmarks import duel, job, kernels, peaks, peers, routes
from benchmarks.cuts import find_cuts
from benchmarks.engines.spec import EngineSpec
from benchmarks.images import Picture, load_pictures
from benchmarks.tiles import contests
from benchmarks.workers import Ends, EngineFailure, EngineProcess, SharedImages, convert

from graph_builder import GraphBuilder
from smalti.compiler import CompileOptions, compile_graph
from smalti.errors import UsageError
from smalti.quant.modes import QuantMode
from smalti.target.host import native_target
from stage_runners import save

F32, I32 = np.float32, np.int32


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segmentation graph for any size: a pixel's label is the channel that is brightest in its neighbourhood."""
    rng = np.random.default_rng(5)
    builder = (
        GraphBuilder()
        .placeholder("image", np.uint8, [1, None, None, 3])
        .node("Cast", "float", ["image"], SrcT=np.uint8, DstT=F32)
    )
    builder.const("w1", rng.standard_normal((3, 3, 3, 24)).astype(F32))
    builder.node("Conv2D", "c1", ["float", "w1"], T=F32, strides=[1, 1, 1, 1], padding="SAME", data_format="NHWC")
    builder.const("wd", rng.standard_normal((3, 3, 24, 1)).astype(F32))
    builder.node(
        "DepthwiseConv2dNative", "d", ["c1", "wd"], T=F32, strides=[1, 1, 1, 1], padding="SAME", data_format="NHWC"
    )
    builder.const("w2", rng.standard_normal((1, 1, 24, 5)).astype(F32))
    builder.node("Conv2D", "c2", ["d", "w2"], T=F32, strides=[1, 1, 1, 1], padding="SAME", data_format="NHWC")
    builder.const("axis", I32(3))
    builder.node("ArgMax", "labels", ["c2", "axis"], T=F32, Tidx=I32, output_type=I32)
    path = tmp_path_factory.mktemp("graph") / "small.pb"
    path.write_bytes(builder.bytes())
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(6)
    for i, shape in enumerate([(20, 30, 3), (24, 18, 3), (20, 30, 3)]):
        cv2.imwrite(str(folder / f"p{i}.png"), rng.integers(0, 256, shape, np.uint8))
    return folder


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No peer is installed."""

    def missing(package: str) -> str:
        raise PackageNotFoundError(package)

    def no_reference(*_: object) -> None:
        raise EngineFailure("tensorflow is not installed")

    monkeypatch.setattr(routes, "installed", missing)
    monkeypatch.setattr(peers, "Reference", no_reference)


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("size", ["32", "native"])
def test_engines_that_are_missing_are_listed(graph: Path, pictures: Path, tmp_path: Path, size: str) -> None:
    out = tmp_path / "out.json"
    arguments = ["--tf-model", str(graph), "--image-dir", str(pictures), "--images", "3", "--threads", "1"]
    arguments += ["--rounds", "2", "--per-round", "2", "--json", str(out), "--cache-dir", str(tmp_path / "cache")]
    arguments += ["--markdown", str(tmp_path / "page.md")]
    code = peers.main([*arguments, "--engines", "smalti,litert,openvino", "--input-size", size])
    report = json.loads(out.read_text())
    assert code == 1  # nothing to compare with
    assert (report["best_peer"], report["speedup"], report["speedup_ci95"]) == (None, None, None)
    smalti, *others = report["results"]
    assert smalti["engine"] == "smalti" and smalti["median_ms"] > 0 and smalti["first_ms"] > 0
    assert [len(r) for r in smalti["rounds_ms"]] == [2, 2]
    assert smalti["rss_mb"] > 5 and smalti["agree"] is None
    assert [r["engine"] for r in others] == ["litert", "openvino"]
    for other in others:
        assert "is not installed" in other["failed"] and other["median_ms"] is None
    assert report["job"]["sizes"] == ([[32, 32]] if size == "32" else [[20, 30], [24, 18]])
    assert set(smalti) >= {"engine", *peers.FIGURES}
    assert smalti["is_default"] and smalti["times_smalti"]["value"] == 1
    page = (tmp_path / "page.md").read_text()
    assert "| float32, its default |" in page and "LiteRT | not possible" in page and f"--input-size {size}" in page


def test_a_worker_tells_why_it_fails(pictures: Path, tmp_path: Path) -> None:
    loaded = load_pictures(pictures, None, 2, 16)
    shared = SharedImages(loaded)
    bad = tmp_path / "bad.smalti"
    bad.write_bytes(b"not a model")
    spec = EngineSpec("smalti", "static", str(bad), 1, "image:0", "labels:0", ((16, 16),))
    with EngineProcess(spec, shared, duel_cpus()) as process:
        with pytest.raises(EngineFailure, match="NotAModelError"):
            process.load(60)
        with pytest.raises(EngineFailure, match="KeyError"):
            process.ask("dance", 60)
    with EngineProcess(spec, shared, duel_cpus()) as process:
        process._process.kill()
        with pytest.raises(EngineFailure, match="ended with code"):
            process.load(60)
    shared.close()


def test_labels_come_back_as_the_engine_gave_them(graph: Path, pictures: Path, tmp_path: Path) -> None:
    loaded = load_pictures(pictures, None, 3, None)
    shared = SharedImages(loaded)
    job = _job(graph, loaded, tmp_path)
    (route,) = routes.routes("smalti", job)
    with EngineProcess(route.make(), shared, duel_cpus()) as process:
        process.load(60)
        maps = [process.labels(i) for i in range(3)]
        assert all(t > 0 for t in process.run(0, [1, 2]))
    assert [m.shape for m in maps] == [p.size for p in loaded]
    assert len(np.unique(maps[0])) > 2 and not np.array_equal(maps[0], maps[2])
    shared.close()


class _Process:
    def __init__(self, fails_in: int | None) -> None:
        self.pid = 0
        self.stopped = False
        self.seen: list[tuple[int, ...]] = []
        self._fails_in = fails_in

    def pause(self) -> None:
        self.stopped = True

    def resume(self) -> None:
        self.stopped = False

    def run(self, warm: int, images: Sequence[int]) -> list[float]:
        assert not self.stopped
        if len(self.seen) == self._fails_in:
            raise EngineFailure("ended")
        self.seen.append((warm, *images))
        return [1.0] * len(images)


def test_a_race_rotates_pictures_and_drops_who_fails(pictures: Path) -> None:
    loaded = load_pictures(pictures, None, 3, 16)
    shared = SharedImages(loaded)
    setting = duel.Setting(loaded, shared, duel_cpus(), lambda _: None)
    first, second = _Process(None), _Process(1)
    racers = [duel.Contender(n, p, "", 1.0, {}) for n, p in (("a", first), ("b", second))]  # type: ignore[arg-type]
    duel.race(racers, setting, rounds=3, per_round=2)
    assert first.seen == [(2, 0, 1), (1, 2, 0), (0, 1, 2)]
    assert second.seen == first.seen[:1]
    assert racers[0].failure is None and racers[1].failure == "round 2: ended"
    shared.close()


def test_a_paused_worker_goes_on(graph: Path, pictures: Path, tmp_path: Path) -> None:
    loaded = load_pictures(pictures, None, 2, 16)
    shared = SharedImages(loaded)
    job = _job(graph, loaded, tmp_path)
    (route,) = routes.routes("smalti", job)
    with EngineProcess(route.make(), shared, duel_cpus()) as process:
        process.load(60)
        process.pause()
        with pytest.raises(EngineFailure, match="no answer to run"):
            process.run(0, [1], timeout=0.3)
        process.resume()
    shared.close()


def test_too_few_pictures_are_refused(pictures: Path) -> None:
    with pytest.raises(UsageError, match="only 3 of 9"):
        load_pictures(pictures, None, 9, None)


def test_a_conversion_that_fails_leaves_nothing(graph: Path, tmp_path: Path) -> None:
    result = tmp_path / "cache" / "m.nothing"
    with pytest.raises(EngineFailure, match="no converter for .nothing"):
        convert(graph, result, Ends("image:0", "labels:0", None), None, 120)
    assert list(result.parent.iterdir()) == []


def test_kernels_on_a_small_graph(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peaks, "level_bytes", lambda _: dict.fromkeys(("L1", "L2", "L3", "DRAM"), 4096))
    monkeypatch.setattr(kernels, "measure_peaks", partial(peaks.measure_peaks, seconds=0.001, trials=2))
    monkeypatch.setattr(kernels.os, "sched_setaffinity", lambda *_: None)
    out = tmp_path / "k.json"
    arguments = ["--tf-model", str(graph), "--threads", "1", "--runs", "2", "--input-size", "40", "--json", str(out)]
    assert kernels.main([*arguments, "--assert", "0"]) == 0
    assert kernels.main([*arguments, "--assert", "1e9"]) == 1
    assert "FAILED" in capsys.readouterr().out
    (model,) = json.loads(out.read_text())["models"]
    assert {layer["kernel"] for layer in model["layers"]} >= {"f32_conv2d", "f32_depthwise", "f32_conv1x1"}
    pointwise = [layer for layer in model["layers"] if layer["pointwise"]]
    assert [layer["macs"] for layer in pointwise] == [40 * 40 * 24 * 5]
    assert model["pointwise_fma_percent"] > 0
    assert all(layer["ms"] >= 0 and layer["bytes"] > 0 for layer in model["layers"])


def test_every_tile_of_a_layer_is_measured(graph: Path) -> None:
    options = CompileOptions((native_target(),), shape_mutable=False, input_size=24)
    plan = compile_graph(graph.read_bytes(), options).plan
    found = list(contests(plan, threads=1, runs=1))
    assert {c.kernel for c in found} == {"f32_conv2d", "f32_depthwise", "f32_conv1x1"}
    for contest in found:
        assert [c.chosen for c in contest.candidates].count(True) == 1
        assert len(contest.candidates) > 3
        assert [c.milliseconds for c in contest.candidates] == sorted(c.milliseconds for c in contest.candidates)
        assert contest.loss >= 0 and contest.alone


@pytest.mark.parametrize("size", [32, None])
def test_a_whole_job_beside_the_engine(
    graph: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], size: int | None
) -> None:
    model, out = tmp_path / "small.smalti", tmp_path / "out.json"
    options = CompileOptions((native_target(),), shape_mutable=size is None, input_size=size)
    save(compile_graph(graph.read_bytes(), options), model)
    arguments = ["--model", str(model), "--image-dir", str(pictures), "--threads", "2", "--rounds", "2"]
    assert job.main([*arguments, "--json", str(out)]) == 0
    report = json.loads(out.read_text())
    assert (report["pictures"], report["threads"], len(report["shares"])) == (3, 2, 2)
    assert min(report["shares"]) <= report["share"] <= max(report["shares"])
    assert "% of the engine alone" in capsys.readouterr().out
    assert job.main([*arguments[:3], str(tmp_path / "nowhere")]) == 2


def duel_cpus() -> tuple[int, ...]:
    """Return one CPU to run workers on."""
    return peers.choose_cpus(1)


def _job(graph: Path, loaded: tuple[Picture, ...], cache: Path) -> routes.Job:
    return routes.Job(
        graph=graph,
        sha256="0" * 64,
        cuts=find_cuts(graph),
        sizes=tuple(dict.fromkeys(p.size for p in loaded)),
        input_size=None,
        threads=1,
        cache=cache,
        quant_mode=QuantMode.FORCE_FLOAT32,
        target="native",
    )
