"""``smalti infer --video`` as a user meets it: what it prints, its exit codes, Ctrl-C, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest

import jobs_kit
import video_kit as kit
from small_segmenter import SIDE
from smalti.cli import ui
from smalti.cli import video as command
from smalti.cli.exit_codes import ExitCode
from smalti.cli.main import run
from smalti.labelling.video import VideoState
from smalti.vision.video.frames import VideoReader

SIZE = ["--resize", "stretch", "--input-size", str(SIDE), "--threads", "2"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    jobs_kit.make_model(folder)
    kit.write_video(folder / "clip.mp4", 12)
    (folder / "labels.txt").write_text("rest\nred #ff0000\nblue\ngreen\n")
    return folder


def _infer(place: Path, *more: str) -> int:
    return run(["infer", "--model", str(place / "m.smalti"), *SIZE, *more])


def _said(capsys: pytest.CaptureFixture[str]) -> str:
    shown = capsys.readouterr()
    return shown.out + shown.err


def test_a_video_in_and_label_maps_and_an_overlay_out(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video, labels = str(place / "clip.mp4"), str(place / "labels.txt")
    given = ["--video", video, "--output-dir", str(tmp_path), "--overlay", "--labels", labels, "--every", "2"]
    assert _infer(place, *given) == ExitCode.OK
    shown = _said(capsys)
    assert "for 2 frames at a time" in shown and "decode" not in shown
    assert re.search(r"6 frames in [\d.]+ s \([\d.]+ a second\) -> ", shown)
    assert f"overlay: {tmp_path}/clip.overlay.mp4 (6 frames)" in shown
    assert len(list(tmp_path.glob("*.png"))) == 6 and (tmp_path / "00000010.png").is_file()
    assert _infer(place, *given, "--json") == ExitCode.OK
    found = json.loads(capsys.readouterr().out)
    assert (found["frames"], found["resumed"], found["video"]["frames"], found["finished"]) == (6, 6, 12, True)
    assert _infer(place, *given, "--max-frames", "3") == ExitCode.USAGE
    assert "--max-frames (was all, is 3)" in _said(capsys)
    assert _infer(place, *given, "--max-frames", "3", "--restart") == ExitCode.OK


def test_a_video_in_place_of_a_folder_is_labelled(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _infer(place, "--image-dir", str(place / "clip.mp4"), "--output-dir", str(tmp_path)) == ExitCode.OK
    assert "12 frames" in _said(capsys)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--video", "V", "--image-dir", "."], "--image-dir: for pictures only; leave it out"),
        (["--video", "V", "--file-list", "a", "--image-num", "3"], "--file-list, --image-num: for pictures only"),
        (["--video", "V", "--retry-failed"], "--retry-failed: for pictures only"),
        (["--video", "V", "--export", "coco"], "leave --export out"),
        (["--image-dir", ".", "--every", "3", "--start", "1"], "--start, --every: for --video only; leave them out"),
        ([], "give pictures with --image-dir, or a video with --video"),
        (["--video", "V", "--start", "12"], "--start 12 is behind its end"),
    ],
)
def test_options_that_do_not_go_together(
    place: Path, tmp_path: Path, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(place / "clip.mp4") if option == "V" else option for option in options]
    assert _infer(place, *given, "--output-dir", str(tmp_path / "out")) == ExitCode.USAGE
    assert words in " ".join(_said(capsys).split())


def test_a_video_that_cannot_be_read_says_what_to_do(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "clip.mp4").write_bytes((place / "clip.mp4").read_bytes()[:2000])
    given = ["--video", str(tmp_path / "clip.mp4"), "--output-dir", str(tmp_path / "out")]
    assert _infer(place, *given) == ExitCode.BAD_DATA
    shown = _said(capsys)
    assert "the index (moov) is missing" in shown and "ffmpeg -i OLD" in shown


def test_a_cut_video_ends_with_its_own_exit_code(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = kit.index_first((place / "clip.mp4").read_bytes())
    (tmp_path / "clip.mp4").write_bytes(data[: 2 * len(data) // 3])
    given = ["--video", str(tmp_path / "clip.mp4"), "--output-dir", str(tmp_path / "out")]
    assert _infer(place, *given) == ExitCode.DONE_WITH_ERRORS
    assert re.search(r"the file is cut: \d+ bytes are missing at its end", _said(capsys))
    assert _infer(place, *given, "--on-error", "stop") == ExitCode.BAD_DATA


def test_fewer_frames_than_the_file_says(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "send(own.OPENED, said=30.0); [(send(own.FRAME, i), os.write(1, frame)) for i in range(9)]; send(own.END, 9)"
    monkeypatch.setattr("smalti.vision.video.frames.DECODER", kit.decoder(code))
    assert _infer(place, "--video", str(place / "clip.mp4"), "--output-dir", str(tmp_path)) == ExitCode.OK
    assert "says that it has 30 frames, and 9 could be decoded" in _said(capsys)


def test_more_frames_than_the_file_says_and_no_rate(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = "[(send(own.FRAME, i), os.write(1, frame)) for i in range(9)]"
    code = f"send(own.OPENED, said=2.0, rate=0.0); {frames}; send(own.END, 9)"
    given = ["--video", str(place / "clip.mp4"), "--output-dir", str(tmp_path), "--overlay"]
    monkeypatch.setattr("smalti.vision.video.frames.DECODER", kit.decoder(code))
    assert _infer(place, *given) == ExitCode.OK
    shown = _said(capsys)
    assert "9 frames in" in shown and "the overlay has 25 frames a second" in shown
    monkeypatch.undo()
    with VideoReader(tmp_path / "clip.overlay.mp4") as overlay:
        assert overlay.facts.rate == 25.0 and len(list(overlay)) == 9


def _long_job(place: Path, tmp_path: Path) -> tuple[Path, list[str]]:
    """Return the output folder of a job on 150 frames, and its command."""
    video, out = kit.write_video(tmp_path / "long.mp4", 150), tmp_path / "out"
    words = ["infer", "--model", str(place / "m.smalti"), *SIZE, "--video", str(video), "--output-dir", str(out)]
    return out, [sys.executable, "-c", jobs_kit.MAIN, *words, "--overlay"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_whole_files_and_the_next_run_goes_on(
    place: Path, tmp_path: Path, number: signal.Signals
) -> None:
    out, arguments = _long_job(place, tmp_path)
    process = jobs_kit.start(jobs_kit.slow(arguments))
    with process:
        jobs_kit.wait_for_results(out, 5)
        process.send_signal(number)
        _, shown = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED
    assert "give the same command again to go on; the overlay video, which has the frames so far" in shown
    done = len(list(out.glob("*.png")))
    assert 5 <= done < 150 and not list(out.glob(".*")) and jobs_kit.lost(out) == []
    with VideoReader(out / "long.overlay.mp4") as overlay:
        assert len(list(overlay)) == done
    again = jobs_kit.run(arguments)
    assert again.returncode == 0 and f"{done} frames were labelled by an earlier run" in again.stderr
    assert f"{150 - done} frames in" in again.stdout and len(list(out.glob("*.png"))) == 150


def test_a_killed_job_leaves_no_decoder_and_goes_on(place: Path, tmp_path: Path) -> None:
    out, arguments = _long_job(place, tmp_path)
    process = jobs_kit.start(jobs_kit.slow(arguments))
    with process:
        jobs_kit.wait_for_results(out, 5)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
        process.communicate(timeout=60)
    assert len(children) == 1
    jobs_kit.wait_until_gone(int(children[0]))
    assert jobs_kit.lost(out) == [] and not (out / "long.overlay.mp4").exists()
    again = jobs_kit.run(arguments)
    assert again.returncode == 0 and not list(out.glob(".*")) and len(list(out.glob("*.png"))) == 150
    with VideoReader(out / "long.overlay.mp4") as overlay:
        assert len(list(overlay)) == 150


def test_without_a_terminal_lines_say_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    told: list[str | None] = []

    class Beat:
        def __init__(self, line: object, tell: object) -> None:
            self.line = line

        def __enter__(self) -> None:
            told.append(self.line())  # type: ignore[operator]

        def __exit__(self, *error: object) -> None:
            told.append(self.line())  # type: ignore[operator]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ui, "heartbeat", Beat)
        for total in (300, None):
            with command.video_bar() as watch:
                watch(VideoState(20, 20, total))
                watch(VideoState(120, 20, total))
    assert told[0] is None and str(told[1]).startswith("infer: 120 of 300 frames, ")
    assert str(told[3]).startswith("infer: 120 frames, ") and "left" not in str(told[3])
    assert capsys.readouterr().err.count("20 frames were labelled by an earlier run") == 2


def test_names_that_no_terminal_takes(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = tmp_path / os.fsdecode(b"\xff\xfe\n" + b"n" * 245 + b".mp4")
    video.write_bytes((place / "clip.mp4").read_bytes())
    given = ["--video", str(video), "--output-dir", str(tmp_path / "out"), "--overlay", "--max-frames", "2"]
    assert _infer(place, *given) == ExitCode.OK
    assert "2 frames in" in _said(capsys)
    assert len(list((tmp_path / "out").glob("*.overlay.mp4"))) == 1
