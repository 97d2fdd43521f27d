"""Jobs on videos: every frame labelled in order, stopped and gone on with, and never a half-written file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import jobs_kit
import smalti
import video_kit as kit
from smalti.errors import ImageError, InputError, OutputError, UsageError, VideoError
from smalti.jobs.stream import OnError
from smalti.labelling import video_job
from smalti.labelling.exports import ExportKind, ExportOptions
from smalti.labelling.job import InferOptions, OutputSize
from smalti.labelling.video import FrameChoice, VideoJob, VideoState, label_video
from smalti.vision.images import read_mask
from smalti.vision.overlay import lay_legend
from smalti.vision.palette import voc_palette
from smalti.vision.preprocess import Resize
from smalti.vision.video.frames import VideoReader

FRAMES = 30


@dataclass
class FakeManifest:
    preprocess: dict[str, object] = field(default_factory=dict)
    labels: tuple[str, ...] = ("rest", "red")


@dataclass
class FakeEngine:
    """Labels a pixel 1 where it is redder than 99, else 0; several calls at a time."""

    manifest: FakeManifest = field(default_factory=lambda: FakeManifest({"resize": "stretch", "input_size": 24}))
    threads: int = 4
    concurrency: int = 4
    calls: int = 0
    largest: int = 10_000
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, image: NDArray[np.uint8], /, *, threads: int | None = None) -> NDArray[np.int32]:
        with self.lock:
            self.calls += 1
            call = self.calls
        time.sleep(0.002 * (call % 3))  # later frames are ready before earlier ones
        if max(image.shape) > self.largest:
            raise InputError(f"an input side is over {self.largest}; build the model for larger ones")
        return (image[..., 0] > 99).astype(np.int32)


OVERLAY = InferOptions(overlay=True)
JOB = VideoJob("digest", sha256="00")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit.write_video(tmp_path_factory.mktemp("video") / "clip.mp4", FRAMES)


@pytest.fixture(scope="module")
def whole(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The digests of an unbroken run with an overlay."""
    out = tmp_path_factory.mktemp("whole")
    result = label_video(FakeEngine(), clip, out, options=OVERLAY, job=JOB)
    assert result.finished and result.frames == result.passed == FRAMES and result.problem is None
    return jobs_kit.results(out)


def _maps(out: Path) -> list[str]:
    return sorted(path.name for path in out.glob("*.png"))


def _names(numbers: range) -> list[str]:
    return [f"{number:08}.png" for number in numbers]


def _is_clean(out: Path) -> bool:
    return not jobs_kit.left_overs(out) and not list(out.glob(".*"))


# ---- what is written ------------------------------------------------------------------------------------------------


def test_frames_are_labelled_in_order_with_an_overlay_of_the_same_size_and_rate(
    clip: Path, tmp_path: Path, whole: dict[str, str]
) -> None:
    states: list[VideoState] = []
    engine = FakeEngine()
    job = replace(JOB, watch=states.append, report=tmp_path / "more.json")
    result = label_video(engine, clip, tmp_path / "out", options=OVERLAY, job=job)
    out = tmp_path / "out"
    assert jobs_kit.results(out) == whole and _is_clean(out)
    assert _maps(out) == _names(range(FRAMES)) and engine.calls == FRAMES
    assert states[0] == VideoState(0, 0, FRAMES) and states[-1] == VideoState(FRAMES, 0, FRAMES)
    assert [state.done for state in states] == sorted(state.done for state in states)
    assert result.overlay == out / "clip.overlay.mp4" and result.overlay_frames == FRAMES and result.at_once > 0
    with VideoReader(clip) as video, VideoReader(result.overlay) as overlay:
        assert overlay.facts == video.facts
        for frame, drawn in zip(video, overlay, strict=True):
            labels = read_mask(out / f"{frame.number:08}.png")
            assert labels.shape == frame.picture.shape[:2]
            assert set(np.unique(labels)) <= {0, 1}
            shown = smalti.LabelMap(labels, frame.picture, ("rest", "red"), voc_palette())
            expected = video_job.overlay_frame(shown).astype(int)
            assert np.abs(expected - drawn.picture).mean() < 14  # a lossy codec
    report = json.loads((out / "smalti-report.json").read_text())
    assert report == json.loads((tmp_path / "more.json").read_text())
    assert (report["done"], report["failed"], report["sha256"]) == (FRAMES, 0, "00")
    assert report["video"]["frames"] == FRAMES and report["options"]["--video"] == "clip.mp4"
    rows = (out / "smalti-report.csv").read_text().splitlines()
    assert rows[:2] == ["name,result,output,reason", "00000000,done,00000000.png,"] and len(rows) == FRAMES + 1
    assert json.dumps(result.to_json()) and result.to_json()["frames"] == FRAMES


def test_the_segmenter_yields_the_same_labels(clip: Path, tmp_path: Path) -> None:
    model = jobs_kit.make_model(tmp_path)
    with smalti.Segmenter(model, 2, resize=Resize.STRETCH, input_size=24) as segmenter:
        label_video(
            segmenter.engine, clip, tmp_path / "out", options=InferOptions(resize=Resize.STRETCH, input_size=24)
        )
        found = list(segmenter.video(clip))
        assert [f"{item.name}.png" for item in found] == _maps(tmp_path / "out") == _names(range(FRAMES))
        for item in found:
            assert np.array_equal(item.labels, read_mask(tmp_path / "out" / f"{item.name}.png"))
            assert np.array_equal(item.labels, segmenter(item.picture).labels)
        few = segmenter.video(clip, start=4, every=9, max_frames=2)
        assert [item.name for item in few] == ["00000004", "00000013"]
        begun = segmenter.video(clip)
        assert next(begun).name == "00000000"
        begun.close()


def test_a_choice_of_frames_keeps_their_numbers_and_the_speed(clip: Path, tmp_path: Path) -> None:
    choice = FrameChoice(start=3, every=5, max_frames=4)
    result = label_video(FakeEngine(), clip, tmp_path, choice=choice, options=OVERLAY, job=JOB)
    assert _maps(tmp_path) == _names(range(3, 20, 5)) and result.passed == 19 and not result.fewer
    assert result.overlay is not None
    with VideoReader(result.overlay) as overlay:
        assert overlay.facts.rate == 5.0 and len(list(overlay)) == 4
    rest = label_video(FakeEngine(), clip, tmp_path, choice=choice, options=OVERLAY, job=JOB)
    assert rest.resumed == rest.frames == 4


def test_an_overlay_alone_and_nothing_at_all(clip: Path, tmp_path: Path) -> None:
    options = InferOptions(save_img=False, overlay=True)
    for _ in range(2):  # without label maps there is nothing to go on from
        engine = FakeEngine()
        result = label_video(engine, clip, tmp_path, options=options, job=JOB)
        assert engine.calls == FRAMES and result.resumed == 0 and _maps(tmp_path) == []
        assert result.overlay == tmp_path / "clip.overlay.mp4" and result.overlay.is_file()
    result = label_video(FakeEngine(), clip, None, options=InferOptions(save_img=False))
    assert result.frames == FRAMES and result.output_dir is None and result.reports == ()


def test_a_turned_video_is_labelled_upright(clip: Path, tmp_path: Path) -> None:
    phone = tmp_path / "phone.mp4"
    phone.write_bytes(kit.turned(clip.read_bytes(), 90))
    result = label_video(FakeEngine(), phone, tmp_path / "out", options=OVERLAY)
    assert read_mask(tmp_path / "out" / "00000000.png").shape == (kit.WIDTH, kit.HEIGHT)
    assert result.overlay is not None
    with VideoReader(result.overlay) as overlay:
        assert (overlay.facts.height, overlay.facts.width) == (kit.WIDTH, kit.HEIGHT)


def test_the_legend_lies_over_the_lowest_rows_in_the_order_of_the_labels() -> None:
    picture = np.full((300, 400, 3), 200, np.uint8)
    labels = np.zeros((300, 400), np.uint8)
    labels[:250] = 2
    drawn = lay_legend(picture, labels, ("a", "b", "c"))
    assert drawn.shape == picture.shape and np.array_equal(drawn[:200], picture[:200])
    rows = np.flatnonzero((drawn != picture).any(axis=(1, 2)))
    assert rows.min() > 200 and rows.max() == 299
    few = labels.copy()
    few[:] = 2
    few[:20] = 0
    again = lay_legend(picture, few, ("a", "b", "c"))
    boxes = slice(rows.min(), None), slice(0, 18)
    assert np.array_equal(drawn[boxes], again[boxes])  # the first is label 0, the largest or not
    tiny = picture[:40, :40]
    assert lay_legend(tiny, labels[:40, :40], ("a", "b", "c")) is tiny


# ---- stopped, broken, and gone on with ------------------------------------------------------------------------------


def _stops_after(frames: int) -> VideoJob:
    seen: list[None] = []

    def stop() -> bool:
        seen.append(None)
        return len(seen) >= frames

    return replace(JOB, stop=stop)


def test_a_stopped_job_goes_on_without_labelling_a_frame_twice(
    clip: Path, tmp_path: Path, whole: dict[str, str]
) -> None:
    engine = FakeEngine()
    done = 0
    for _ in range(3):
        result = label_video(engine, clip, tmp_path, options=OVERLAY, job=_stops_after(done + 6))
        assert not result.finished and result.resumed == done and result.reports == () and _is_clean(tmp_path)
        assert result.frames == len(_maps(tmp_path)) == done + 6 and result.overlay is not None
        done = result.frames
        with VideoReader(result.overlay) as overlay:
            assert len(list(overlay)) == done
    calls = engine.calls
    result = label_video(engine, clip, tmp_path, options=OVERLAY, job=JOB)
    assert result.finished and result.resumed == done and engine.calls - calls == FRAMES - done
    assert jobs_kit.results(tmp_path) == whole


def test_a_finished_job_is_not_done_again(clip: Path, tmp_path: Path, whole: dict[str, str]) -> None:
    for options in (OVERLAY, InferOptions()):
        out = tmp_path / ("overlay" if options.overlay else "maps")
        label_video(FakeEngine(), clip, out, options=options, job=JOB)
        before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.mp4")}
        engine = FakeEngine()
        result = label_video(engine, clip, out, options=options, job=JOB)
        assert (engine.calls, result.resumed, result.finished, result.passed) == (0, FRAMES, True, None)
        assert {path.name: path.stat().st_mtime_ns for path in out.glob("*.mp4")} == before
    assert jobs_kit.results(tmp_path / "overlay") == whole


def test_without_an_overlay_the_decoder_skips_what_is_done(clip: Path, tmp_path: Path) -> None:
    label_video(FakeEngine(), clip, tmp_path, job=_stops_after(10))
    engine = FakeEngine()
    result = label_video(engine, clip, tmp_path, job=JOB)
    assert (result.resumed, result.frames, engine.calls, result.passed) == (10, FRAMES, FRAMES - 10, FRAMES)
    assert _maps(tmp_path) == _names(range(FRAMES))


def test_a_crash_of_the_decoder_keeps_what_was_labelled(
    clip: Path, tmp_path: Path, whole: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("smalti.vision.video.frames.DECODER", kit.decoder_that(kit.CRASH, 17))
        with pytest.raises(VideoError, match=r"clip\.mp4: the decoder crashed \(SIGSEGV\) after frame 16"):
            label_video(FakeEngine(), clip, tmp_path, options=OVERLAY, job=JOB)
    assert _maps(tmp_path) == _names(range(17)) and _is_clean(tmp_path)
    assert not (tmp_path / "smalti-report.json").exists()
    with VideoReader(tmp_path / "clip.overlay.mp4") as overlay:
        assert len(list(overlay)) == 17
    engine = FakeEngine()
    result = label_video(engine, clip, tmp_path, options=OVERLAY, job=JOB)
    assert result.resumed == 17 and engine.calls == FRAMES - 17 and jobs_kit.results(tmp_path) == whole


def test_missing_and_damaged_label_maps(clip: Path, tmp_path: Path, whole: dict[str, str]) -> None:
    label_video(FakeEngine(), clip, tmp_path, options=OVERLAY, job=JOB)
    (tmp_path / "00000012.png").unlink()
    result = label_video(FakeEngine(), clip, tmp_path, options=OVERLAY, job=JOB)
    assert result.resumed == 12 and jobs_kit.results(tmp_path) == whole
    (tmp_path / "clip.overlay.mp4").unlink()
    engine = FakeEngine()
    assert label_video(engine, clip, tmp_path, options=OVERLAY, job=JOB).resumed == FRAMES
    assert engine.calls == 0 and jobs_kit.results(tmp_path) == whole
    map_ = tmp_path / "00000003.png"
    map_.write_bytes(bytes(map_.stat().st_size))
    (tmp_path / "clip.overlay.mp4").unlink()
    with pytest.raises(ImageError, match=r"00000003\.png: .*; --restart writes it anew"):
        label_video(FakeEngine(), clip, tmp_path, options=OVERLAY, job=JOB)
    result = label_video(FakeEngine(), clip, tmp_path, options=OVERLAY, job=replace(JOB, restart=True))
    assert result.resumed == 0 and jobs_kit.results(tmp_path) == whole


def test_lines_of_a_journal_that_say_nonsense_are_passed_over(
    clip: Path, tmp_path: Path, whole: dict[str, str]
) -> None:
    label_video(FakeEngine(), clip, tmp_path, options=OVERLAY, job=_stops_after(9))
    facts = clip.stat()
    source = [facts.st_size, facts.st_mtime_ns]
    with (tmp_path / jobs_kit.JOURNAL).open("a") as journal:
        for name, sizes in (
            ("9" * 5000, [3]),
            ("00000009", [2**70]),
            ("00000009", [-1]),
            ("00000009", []),
            ("00000011", [3]),
            ("end", [2**70]),
            ("end", []),
            ("x", [1]),
        ):
            journal.write(json.dumps({"name": name, "source": source, "output": name, "sizes": sizes}) + "\n")
    result = label_video(FakeEngine(), clip, tmp_path, options=OVERLAY, job=JOB)
    assert result.resumed == 9 and jobs_kit.results(tmp_path) == whole


def test_the_segmenter_yields_what_comes_before_a_crash(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smalti.vision.video.frames.DECODER", kit.decoder_that(kit.CRASH, 17))
    found: list[str | None] = []
    with smalti.Segmenter(FakeEngine()) as segmenter, pytest.raises(VideoError, match="after frame 16"):
        found.extend(item.name for item in segmenter.video(clip))
    assert len(found) == 17


def test_a_video_that_has_changed_is_labelled_anew(tmp_path: Path) -> None:
    path = kit.write_video(tmp_path / "clip.avi", 4)
    label_video(FakeEngine(), path, tmp_path / "out", job=JOB)
    os.utime(path, ns=(0, 0))
    assert label_video(FakeEngine(), path, tmp_path / "out", job=JOB).resumed == 0


def test_another_job_in_the_folder_is_refused(clip: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.mp4"
    other.write_bytes(clip.read_bytes())
    label_video(FakeEngine(), clip, tmp_path / "out", job=JOB)
    for video, choice, words in (
        (other, FrameChoice(), r"--video \(was clip\.mp4, is other\.mp4\)"),
        (clip, FrameChoice(every=2), r"--every \(was 1, is 2\)"),
        (clip, FrameChoice(max_frames=3), r"--max-frames \(was all, is 3\)"),
    ):
        with pytest.raises(UsageError, match=words):
            label_video(FakeEngine(), video, tmp_path / "out", choice=choice, job=JOB)


# ---- refused --------------------------------------------------------------------------------------------------------


def test_a_bad_video_leaves_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_text("hello")
    with pytest.raises(VideoError, match="not a video file"):
        label_video(FakeEngine(), path, tmp_path / "out", job=JOB)
    assert not (tmp_path / "out").exists()


def test_a_cut_video_is_labelled_as_far_as_it_goes(tmp_path: Path, clip: Path) -> None:
    path = tmp_path / "cut.mp4"
    data = kit.index_first(clip.read_bytes())
    path.write_bytes(data[: 2 * len(data) // 3])
    result = label_video(FakeEngine(), path, tmp_path / "out", job=JOB)
    assert result.finished and result.problem is not None and "bytes are missing at its end" in result.problem
    assert 0 < result.frames < FRAMES and result.fewer and result.passed == result.frames
    assert "bytes are missing" in json.loads((tmp_path / "out" / "smalti-report.json").read_text())["problem"]
    with pytest.raises(VideoError, match="the file is cut"):
        label_video(FakeEngine(), path, tmp_path / "strict", options=InferOptions(on_error=OnError.STOP))
    assert not (tmp_path / "strict").exists()


def test_options_and_places_that_do_not_fit(clip: Path, tmp_path: Path) -> None:
    for options, words in (
        (InferOptions(export=ExportOptions((ExportKind.COCO,))), "leave --export out"),
        (InferOptions(output_size=OutputSize.INPUT), "leave --output-size at original"),
    ):
        with pytest.raises(UsageError, match=words):
            label_video(FakeEngine(), clip, tmp_path, options=options)
    with pytest.raises(UsageError, match="give --output-dir"):
        label_video(FakeEngine(), clip, None)
    with pytest.raises(UsageError, match="--start 30 is behind its end"):
        label_video(FakeEngine(), clip, tmp_path / "none", choice=FrameChoice(start=FRAMES))
    (tmp_path / "clip.mp4").symlink_to(tmp_path / "out" / "clip.overlay.mp4")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "clip.overlay.mp4").write_bytes(clip.read_bytes())
    with pytest.raises(UsageError, match="--overlay would be written over"):
        label_video(FakeEngine(), tmp_path / "clip.mp4", tmp_path / "out", options=OVERLAY)
    (tmp_path / "out" / "00000000.png").write_bytes(clip.read_bytes())
    with pytest.raises(UsageError, match="could be written over"):
        label_video(FakeEngine(), tmp_path / "out" / "00000000.png", tmp_path / "out")


def test_frames_that_do_not_fit_the_model(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="frame 0: an input side is over 20"):
        label_video(FakeEngine(largest=20), clip, tmp_path, options=OVERLAY, job=JOB)
    assert _maps(tmp_path) == [] and not list(tmp_path.glob("*.mp4")) and _is_clean(tmp_path)


def test_left_overs_of_a_killed_job_are_removed(clip: Path, tmp_path: Path) -> None:
    (tmp_path / ".0123456789abcdef.smalti-tmp.mp4").write_bytes(b"half")
    label_video(FakeEngine(), clip, tmp_path, options=OVERLAY, job=JOB)
    assert _is_clean(tmp_path)


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
import test_infer_video as t
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
try:
    t.label_video(t.FakeEngine(), Path(sys.argv[1]), Path(sys.argv[2]), options=t.OVERLAY)
except t.OutputError as error:
    print(error)
"""


def test_a_full_disk_leaves_no_half_overlay(clip: Path, tmp_path: Path) -> None:
    """The encoder says nothing of it: the video is looked at again when it is ended."""
    run = _python(FULL_DISK, clip, tmp_path)
    assert f"{tmp_path}/clip.overlay.mp4 could not be written whole: look whether the disk is full" in run.stdout
    assert not list(tmp_path.glob("*.mp4")) and _is_clean(tmp_path)
    assert issubclass(OutputError, smalti.SmaltiError)


MEMORY = """
import resource, sys
from pathlib import Path
import test_infer_video as t
result = t.label_video(t.FakeEngine(), Path(sys.argv[1]), Path(sys.argv[2]), options=t.OVERLAY, job=t.JOB)
for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
    print(resource.getrusage(who).ru_maxrss // 1024)
"""


def test_the_memory_does_not_grow_with_the_number_of_frames(tmp_path: Path) -> None:
    """A frame has 0.7 MB: 160 more of them would be 115 MB, if they were kept, and twice that with what is drawn."""
    short, long = (kit.write_video(tmp_path / f"{n}.mp4", n, 400, 600) for n in (60, 220))
    few = [int(line) for line in _python(MEMORY, short, tmp_path / "short").stdout.split()]
    many = [int(line) for line in _python(MEMORY, long, tmp_path / "long").stdout.split()]
    assert len(_maps(tmp_path / "long")) == 220
    assert many[0] - few[0] < 40 and many[1] - few[1] < 40, (few, many)


def _python(code: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    paths = [str(jobs_kit.SOURCE), str(Path(kit.__file__).parent), str(Path(__file__).parent)]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\nsys.path[:0] = {paths!r}\n{textwrap.dedent(code)}", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done
