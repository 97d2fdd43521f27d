"""``smalti build --quant-mode auto`` on a small network: real builds and accuracies, made-up times."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import smalti
from small_segmenter import CLASSES, LABELS, SIDE, network
from smalti.artifact.reader import open_model
from smalti.building.calibrate import calibrate_model
from smalti.cli.exit_codes import ExitCode
from smalti.cli.main import run
from smalti.compiler import CompileOptions
from smalti.errors import DataError, UsageError
from smalti.jobs.timing import Timing
from smalti.jobs.watch import Load
from smalti.quant.modes import QuantMode, QuantOptions
from smalti.scoring import fastest
from smalti.scoring.fastest import NO_CALIBRATION, FastestOptions, build_fastest
from smalti.target.host import resolve_targets
from smalti.vision.headers import ImageFormat
from smalti.vision.images import encode_mask, encode_picture

F32, F16, BF16 = QuantMode.FORCE_FLOAT32, QuantMode.FORCE_FLOAT16, QuantMode.FORCE_BFLOAT16
Q8_F32 = QuantMode.QINT8_MIXED_FLOAT32
MODES = (F32, F16, Q8_F32)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VOC root with the graph in it: six pictures, masks of what float32 says, two lists."""
    folder = tmp_path_factory.mktemp("fastest")
    (folder / "g.pb").write_bytes(network())
    random = np.random.default_rng(3)
    for part in ("JPEGImages", "SegmentationClass"):
        (folder / part).mkdir()
    model = folder / "f32.smalti"
    assert run(["build", "--tf-model", str(folder / "g.pb"), "--output-model-path", str(model)]) == ExitCode.OK
    engine = smalti.load(model)
    for index in range(6):
        picture = random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        (folder / "JPEGImages" / f"p{index}.png").write_bytes(encode_picture(picture, ImageFormat.PNG))
        (folder / "SegmentationClass" / f"p{index}.png").write_bytes(encode_mask(engine(picture)))
    engine.close()
    (folder / "train.txt").write_text("p0\np1\np2\n")
    (folder / "val.txt").write_text("p3\np4\np5\n")
    return folder


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> dict[int, float]:
    """Milliseconds by the place of a candidate, given in place of a measurement; 5 where nothing is said."""
    said: dict[int, float] = {}

    def in_turns(labellers: Sequence[Any], pictures: Sequence[Any], *_: object) -> list[Timing]:
        for label in labellers:
            assert label(pictures[0]).shape == (SIDE, SIDE)
        return [Timing((said.get(i, 5.0),) * 9, Load(1.0, 0.0)) for i in range(len(labellers))]

    monkeypatch.setattr(fastest, "time_in_turns", in_turns)
    return said


def options(targets: str = "native") -> CompileOptions:
    return CompileOptions(resolve_targets(targets), shape_mutable=False, labels=LABELS)


def search(place: Path, drop: float, modes: tuple[QuantMode, ...] = MODES) -> FastestOptions:
    return FastestOptions(place, place, drop, place / "val.txt", modes=modes, threads=1)


def test_the_fastest_within_the_bound_is_written(place: Path, tmp_path: Path, times: dict[int, float]) -> None:
    grey = np.full((SIDE, SIDE, 3), 120, np.uint8)  # ranges of a grey picture cut most of what the others compute
    record = calibrate_model(place / "g.pb", options_of(Q8_F32), [grey])
    times.update({0: 8.0, 1: 4.0, 2: 2.0})
    told: list[str] = []
    seen: list[tuple[int, int]] = []
    out = tmp_path / "m" / "auto.smalti"
    found = build_fastest(
        place / "g.pb", out, options(), search(place, 0.95), record=record, tell=told.append,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert found.chosen.mode is Q8_F32 and found.images == 3 and found.built.path == out
    assert seen == [(1, 3), (2, 3), (3, 3)] * 3 and "timing the candidates in turns" in told
    with open_model(out) as file:
        assert file.manifest.precision == "qint8_mixed_float32"
    with smalti.load(out, sha256=found.built.sha256) as engine:
        assert engine(np.zeros((SIDE, SIDE, 3), np.uint8)).max() < CLASSES
    assert [each.miou for each in found.candidates][0] == 1 and found.candidates[0].drop == 0
    assert all(each.file_bytes > 0 and each.timing is not None for each in found.candidates)
    lost = found.candidates[2].drop
    assert lost > 0
    kept = build_fastest(place / "g.pb", out, options(), search(place, lost / 2), record=record)
    assert kept.chosen.mode is not Q8_F32 and "loses more than" in kept.candidates[2].why


def options_of(mode: QuantMode) -> CompileOptions:
    return CompileOptions(resolve_targets("native"), QuantOptions(mode), shape_mutable=False, labels=LABELS)


def test_without_ranges_modes_in_integers_are_named_and_left_out(
    place: Path, tmp_path: Path, times: dict[int, float]
) -> None:
    times[0] = 1.0
    found = build_fastest(place / "g.pb", tmp_path / "m", options(), search(place, 0.01, (Q8_F32, BF16)))
    assert [each.mode for each in found.candidates] == [F32, BF16, Q8_F32] and found.chosen.mode is F32
    assert found.candidates[2].why == NO_CALIBRATION and found.candidates[2].timing is None


def test_the_file_is_for_every_target_that_was_asked_for(place: Path, tmp_path: Path, times: dict[int, float]) -> None:
    times[1] = 1.0
    found = build_fastest(place / "g.pb", tmp_path / "m", options("generic,aarch64"), search(place, 0.9, (F16,)))
    assert {program.target for program in found.built.programs} == {t.name for t in resolve_targets("generic,aarch64")}
    assert found.built.precision == "force_float16" and found.target in {t.name for t in resolve_targets("generic")}


def test_what_cannot_be_chosen_by(place: Path, tmp_path: Path, times: dict[int, float]) -> None:
    out = tmp_path / "m"
    for drop in (-0.1, 1.0, 2.0):
        with pytest.raises(UsageError, match="--max-miou-drop"):
            build_fastest(place / "g.pb", out, options(), search(place, drop))
    with pytest.raises(UsageError, match="is a folder"):
        build_fastest(place / "g.pb", tmp_path, options(), search(place, 0.1))
    void = tmp_path / "void"
    (void / "SegmentationClass").mkdir(parents=True)
    for index in (3, 4, 5):
        (void / "SegmentationClass" / f"p{index}.png").write_bytes(encode_mask(np.full((SIDE, SIDE), 255, np.uint8)))
    nothing = FastestOptions(place, void, 0.1, place / "val.txt", threads=1)
    with pytest.raises(DataError, match="hold no class"):
        build_fastest(place / "g.pb", out, options(), nothing)
    assert not out.exists()


def test_the_command(place: Path, tmp_path: Path, times: dict[int, float], capsys: pytest.CaptureFixture[str]) -> None:
    times.update({0: 8.0, 1: 7.0, 2: 6.0, 3: 2.0, 4: 3.0})
    out, ranges = str(tmp_path / "m.smalti"), str(tmp_path / "r.json")
    begin = ["build", "--tf-model", str(place / "g.pb"), "--output-model-path", out, "--quant-mode", "auto"]
    measured = ["--max-miou-drop", "0.9", "--image-dir", str(place), "--gt-dir", str(place)]
    lists = ["--eval-list", str(place / "val.txt"), "--file-list", str(place / "train.txt")]
    assert run([*begin, *measured, *lists, "--save-ranges", ranges]) == ExitCode.OK
    shown = capsys.readouterr()
    assert "chosen: the fastest" in shown.out and "precision   qint8_mixed_float16" in shown.out
    assert "qint8_mixed_float16 chosen: the fastest" in shown.err
    saved = Path(out).read_bytes()
    assert run([*begin, *measured, *lists[:2], "--ranges", ranges, "--json"]) == ExitCode.OK
    said = json.loads(capsys.readouterr().out)
    assert said["precision"] == said["auto"]["quant_mode"] == "qint8_mixed_float16" and said["path"] == out
    assert len(said["auto"]["candidates"]) == 5 and Path(out).read_bytes() == saved
    assert run([*begin, *measured, *lists[:2], "--json"]) == ExitCode.OK
    said = json.loads(capsys.readouterr().out)
    assert said["auto"]["quant_mode"] == "force_float16"
    assert [each["why"] for each in said["auto"]["candidates"][3:]] == [NO_CALIBRATION] * 2
