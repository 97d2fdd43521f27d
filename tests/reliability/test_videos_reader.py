"""Frames come out of every container in order and upright; what is no video, or goes wrong, is said in words."""

from __future__ import annotations

import os
import re
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import video_kit as kit
from smalti.errors import SmaltiError, UsageError, VideoError
from smalti.vision.images import DEFAULT_MAX_PIXELS
from smalti.vision.video.files import is_video, video_kind
from smalti.vision.video.frames import MOST_FRAMES, FrameChoice, VideoReader
from smalti.vision.video.writer import VideoWriter


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit.write_video(tmp_path_factory.mktemp("video") / "clip.mp4", 30)


def _numbers(path: Path, choice: FrameChoice | None = None, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> list[int]:
    with VideoReader(path, choice or FrameChoice(), max_pixels=max_pixels) as reader:
        return [frame.number for frame in reader]


def _refused(path: Path, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> str:
    with pytest.raises(VideoError) as caught:
        _numbers(path, max_pixels=max_pixels)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", kit.CODECS)
def test_every_container_gives_its_frames_in_order(tmp_path: Path, suffix: str) -> None:
    path = kit.write_video(tmp_path / f"clip.{suffix}", 12)
    assert is_video(path)
    with VideoReader(path) as reader:
        facts = reader.facts
        found = list(reader)
        assert reader.passed == 12 and list(reader) == []
    assert (facts.height, facts.width, facts.rate, facts.kind, facts.missing) == (
        kit.HEIGHT,
        kit.WIDTH,
        25.0,
        kit.KINDS.get(suffix, suffix),
        0,
    )
    assert [frame.number for frame in found] == list(range(12))
    for frame in found:  # RGB, and the right one: a lossy codec stays near its picture, others are far from it
        distances = [np.abs(frame.picture.astype(int) - kit.frame(i)).mean() for i in range(12)]
        assert int(np.argmin(distances)) == frame.number and min(distances) < 12


def test_the_name_of_a_file_says_nothing(tmp_path: Path, clip: Path) -> None:
    for name in ("%03d.jpg", "http:clip", "-i", os.fsdecode(b"\xff\xfe.txt"), "a\nb"):
        path = tmp_path / name
        path.write_bytes(clip.read_bytes())
        assert _numbers(path) == list(range(30))


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (FrameChoice(start=27), [27, 28, 29]),
        (FrameChoice(every=10), [0, 10, 20]),
        (FrameChoice(start=5, every=7, max_frames=3), [5, 12, 19]),
        (FrameChoice(start=29, every=5), [29]),
        (FrameChoice(max_frames=1), [0]),
        (FrameChoice(start=30), []),
    ],
)
def test_a_choice_of_frames(clip: Path, choice: FrameChoice, expected: list[int]) -> None:
    assert _numbers(clip, choice) == expected
    assert choice.count(30) == len(expected)
    assert [choice.number(index) for index in range(len(expected))] == expected


@pytest.mark.parametrize(
    ("given", "option"),
    [({"start": -1}, "--start"), ({"every": 0}, "--every"), ({"max_frames": 0}, "--max-frames")]
    + [({"every": MOST_FRAMES}, "--every"), ({"max_frames": MOST_FRAMES + 1}, "--max-frames")],
)
def test_a_choice_out_of_range_names_the_option(given: dict[str, int], option: str) -> None:
    with pytest.raises(UsageError, match=option):
        FrameChoice(**given)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_frames_are_turned_upright(tmp_path: Path, clip: Path, degrees: int) -> None:
    path = tmp_path / "phone.mp4"
    path.write_bytes(kit.turned(clip.read_bytes(), degrees))
    with VideoReader(clip) as plain, VideoReader(path) as reader:
        expected = np.rot90(next(iter(plain)).picture, -degrees // 90)
        found = next(iter(reader)).picture
        assert (reader.facts.height, reader.facts.width) == found.shape[:2] == expected.shape[:2]
    assert np.array_equal(found, expected)


# ---- no video, or a damaged one -------------------------------------------------------------------------------------

PLAYLISTS = {
    "hls": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{clip}\n#EXT-X-ENDLIST\n",
    "concat": b"ffconcat version 1.0\nfile '{clip}'\n",
    "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
    "y4m": b"YUV4MPEG2 W64 H48 F25:1\nFRAME\n" + bytes(64 * 48 * 3 // 2),
    "jpeg": b"\xff\xd8\xff\xe0" + bytes(64),
    "heic": b"\0\0\0\x18ftypheic" + bytes(64),
    "text": b"hello",
    "empty": b"",
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_what_is_no_video_is_refused_before_a_decoder_sees_it(
    tmp_path: Path, clip: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smalti.vision.video.frames.DECODER", ("/nowhere",))
    path = tmp_path / "clip.mp4"
    path.write_bytes(PLAYLISTS[name].replace(b"{clip}", os.fsencode(clip)))
    assert not is_video(path)
    assert re.search("the file is empty" if name == "empty" else "not a video file", _refused(path))


def test_a_playlist_in_a_container_opens_no_other_file(tmp_path: Path, clip: Path) -> None:
    """What begins as MPEG-TS is read as that, whatever follows."""
    path = tmp_path / "list.ts"
    packet = b"G" + bytes(187)
    path.write_bytes(packet * 6 + PLAYLISTS["hls"].replace(b"{clip}", os.fsencode(clip)))
    assert is_video(path)
    assert "cannot be decoded" in _refused(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        assert not is_video(path)
        assert "not a regular file" in _refused(path)
    assert "No such file" in _refused(tmp_path / "none.mp4")
    assert not is_video(tmp_path / "none.mp4") and not is_video(Path("a\0b"))
    with pytest.raises(VideoError, match="zero byte"):
        VideoReader(Path("a\0b"))


def test_an_mp4_without_its_index_was_not_ended(tmp_path: Path, clip: Path) -> None:
    path = tmp_path / "cut.mp4"
    path.write_bytes(clip.read_bytes()[:5000])
    assert "the index (moov) is missing" in _refused(path)


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv"])
def test_a_cut_video_gives_what_is_there_and_says_so(tmp_path: Path, suffix: str) -> None:
    path = kit.write_video(tmp_path / f"cut.{suffix}", 30)
    data = kit.index_first(path.read_bytes()) if suffix == "mp4" else path.read_bytes()
    path.write_bytes(data)
    with VideoReader(path) as reader:
        assert reader.facts.missing == 0 and len(list(reader)) == 30
    path.write_bytes(data[: len(data) // 2])
    with VideoReader(path) as reader:
        assert reader.facts.missing == len(data) - len(data) // 2
        assert 0 < len(list(reader)) < 30


def test_a_video_without_frames(tmp_path: Path) -> None:
    path = kit.write_video(tmp_path / "none.avi", 3)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"movi") + 4])
    assert re.search("not one frame|cannot be decoded", _refused(path))


def test_damage_in_the_middle_is_no_crash(tmp_path: Path, clip: Path) -> None:
    data = bytearray(clip.read_bytes())
    data[3000:5000] = bytes(2000)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    assert len(_numbers(path)) <= 30


def test_a_frame_over_the_limit_is_refused_before_it_is_decoded(tmp_path: Path, clip: Path) -> None:
    assert "64 x 48 pixels are more than the limit of 3000 (--max-pixels)" in _refused(clip, max_pixels=3000)
    path = kit.write_video(tmp_path / "huge.avi", 2)
    path.write_bytes(kit.other_size(path.read_bytes(), 15_000, 16_000))
    assert "16000 x 15000 pixels are more than the limit" in _refused(path)
    with pytest.raises(UsageError, match="limit of pixels"):
        VideoReader(clip, max_pixels=0)


def test_pictures_that_change_their_size_come_in_that_of_the_first(tmp_path: Path) -> None:
    """OpenCV scales them; a version that did not would be refused, as the decoder of the next test is."""
    first, second = kit.write_video(tmp_path / "a.ts", 10), kit.write_video(tmp_path / "b.ts", 10, 80, 96)
    path = tmp_path / "both.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    with VideoReader(path) as reader:
        shapes = {frame.picture.shape for frame in reader}
    assert shapes == {(kit.HEIGHT, kit.WIDTH, 3)} and reader.passed == 20


# ---- decoders that go wrong -----------------------------------------------------------------------------------------

BEGIN = "send(own.OPENED); send(own.FRAME, 0); os.write(1, frame); "
WRONG = {
    "crash": (BEGIN + kit.CRASH, r"crashed \(SIGSEGV\) after frame 0"),
    "crash at once": (kit.CRASH, r"crashed \(SIGSEGV\) before the first frame"),
    "exit": (BEGIN + "os._exit(3)", "ended with code 3 after frame 0"),
    "half a frame": ("send(own.OPENED); send(own.FRAME, 0); os.write(1, frame[:99])", "ended with code 0"),
    "hang": (BEGIN + kit.HANG, r"did not answer for 0\.3 s after frame 0, and was ended"),
    "closed and hanging": (BEGIN + "os.close(1); " + kit.HANG, "stopped answering after frame 0"),
    "nonsense": ("os.write(1, bytes(1000))", "went wrong before the first frame"),
    "no first word": ("send(own.FRAME, 0); os.write(1, frame)", "went wrong"),
    "a huge size": ("send(own.OPENED, 0, 2**31, 2**31)", "went wrong"),
    "no size": ("send(own.OPENED, 0, 0, 0)", "went wrong"),
    "a huge frame": (BEGIN + "send(own.FRAME, 1, 2**31, 2**31)", "went wrong after frame 0"),
    "a frame of nothing": (BEGIN + "send(own.FRAME, 1, 0, 64)", "went wrong after frame 0"),
    "the same frame": (BEGIN + "send(own.FRAME, 0); os.write(1, frame)", "went wrong after frame 0"),
    "another size": (BEGIN + "send(own.OTHER_SIZE, 1, 80, 96)", "frame 1 has 96 x 80 pixels, which those before"),
    "memory": (BEGIN + "send(own.NO_MEMORY, 1)", "wants more memory than a video of --max-pixels"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_decoder_that_goes_wrong_is_an_error_in_words(clip: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smalti.vision.video.frames._END_SECONDS", 0.3)
    code, words = WRONG[name]
    with pytest.raises(VideoError, match=words), VideoReader(clip, decoder=kit.decoder(code)) as reader:
        frames = iter(reader)
        assert next(frames).number == 0
        reader._patience = 0.3 if name == "hang" else reader._patience
        next(frames)


def test_a_decoder_that_is_at_work_is_not_taken_for_hung(clip: Path) -> None:
    work = "[(time.sleep(0.3), send(own.AT_WORK, i)) for i in range(5)]; "
    code = f"send(own.OPENED); {work} send(own.FRAME, 0); os.write(1, frame); send(own.END, 1)"
    with VideoReader(clip, decoder=kit.decoder(code)) as reader:
        reader._patience = 1.0
        assert [frame.number for frame in reader] == [0]


@pytest.mark.parametrize(
    ("rate", "said", "expected"),
    [("float('nan')", "float('inf')", (None, None)), ("-1.0", "-5.0", (None, None)), ("90000.0", "1e30", (None, None))]
    + [("29.97", "300.0", (29.97, 300))],
)
def test_what_a_container_says_is_not_believed(
    clip: Path, rate: str, said: str, expected: tuple[float | None, int | None]
) -> None:
    code = f"send(own.OPENED, rate={rate}, said={said}); send(own.END, 1)"
    with VideoReader(clip, decoder=kit.decoder(code)) as reader:
        assert (reader.facts.rate, reader.facts.frames) == expected


def test_a_decoder_ends_with_its_reader(clip: Path) -> None:
    before = threading.active_count()
    reader = VideoReader(clip)
    process = reader._process
    assert next(iter(reader)).number == 0 and process.poll() is None
    reader.close()
    reader.close()
    assert process.returncode is not None and process.stdout is not None and process.stdout.closed
    assert threading.active_count() == before


def test_a_decoder_ends_with_the_process_that_started_it(clip: Path) -> None:
    """A killed job closes the pipe that the decoder listens to, which is all that it sees of it."""
    with VideoReader(clip, decoder=kit.decoder_that(kit.HANG, 3)) as reader:
        assert [next(iter(reader)).number for _ in range(3)] == [0, 1, 2]
        process = reader._process
        assert process.stdin is not None and process.poll() is None
        process.stdin.close()
        end = time.monotonic() + 20
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        assert process.returncode == 0


def test_the_decoders_noise_does_not_come_through(
    tmp_path: Path, clip: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(clip.read_bytes())
    data[3000:5000] = bytes(2000)
    (tmp_path / "noisy.mp4").write_bytes(data)
    _numbers(tmp_path / "noisy.mp4")
    assert capfd.readouterr() == ("", "")


def test_there_is_no_process_to_decode_in(clip: Path) -> None:
    with pytest.raises(SmaltiError, match="no process to decode in: No such file"):
        VideoReader(clip, decoder=("/nowhere/python",))


@pytest.mark.parametrize("head", [b"", b"G", b"G" * 187, bytes(1024), b"RIFF0000WAVE", b"RIFF0000WEBP"])
def test_other_beginnings_are_no_video(head: bytes) -> None:
    assert video_kind(head) is None


# ---- writing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(48, 64), (49, 65), (2, 2)])
def test_a_written_video_reads_back(tmp_path: Path, height: int, width: int) -> None:
    path = tmp_path / "w.mp4"
    writer = VideoWriter(str(path), height, width, 12.5)
    for index in range(5):
        writer.add(kit.frame(index, height, width))
    writer.close()
    with VideoReader(path) as reader:
        assert (reader.facts.height, reader.facts.width, reader.facts.rate) == (height & -2, width & -2, 12.5)
        assert len(list(reader)) == writer.frames == 5


@pytest.mark.parametrize(("height", "width"), [(1, 64), (48, 8192), (9000, 48)])
def test_frames_that_the_codec_does_not_take(tmp_path: Path, height: int, width: int) -> None:
    with pytest.raises(UsageError, match="leave --overlay out"):
        VideoWriter(str(tmp_path / "w.mp4"), height, width, 25)
    assert list(tmp_path.iterdir()) == []
