"""Whole runs over folders with a stand-in engine: every picture labelled or listed, nothing half-written."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from smalti.errors import DataError, ImageError, InputError, OutputError, ResourceError, UsageError
from smalti.jobs import outputs
from smalti.jobs.outputs import OutputFolder
from smalti.jobs.stream import Failure, OnError, Preprocess, Stage, choose_preprocess
from smalti.jobs.table import failures_table, stages_table
from smalti.labelling.infer import InferOptions, InferResult, JobOptions, OutputSize, infer
from smalti.labelling.summary import infer_summary
from smalti.scoring.evaluate import evaluate_folder, evaluate_model
from smalti.scoring.tables import accuracy_table
from smalti.vision.headers import ImageFormat
from smalti.vision.images import encode_mask, encode_picture, read_image, read_mask
from smalti.vision.preprocess import Resize


@dataclass
class FakeManifest:
    preprocess: Mapping[str, Any]
    labels: tuple[str, ...] | None = None


class FakeEngine:
    """Labels a pixel 1 where it is redder than 127, else 0."""

    def __init__(self, preprocess: Mapping[str, Any] | None = None, largest: int | None = None) -> None:
        self.manifest = FakeManifest(preprocess or {})
        self.threads = self.concurrency = 1
        self.largest = largest
        self.shapes: list[tuple[int, ...]] = []
        self.caller = threading.get_ident()

    def __call__(self, image: NDArray[np.uint8], /, *, threads: int | None = None) -> NDArray[np.int32]:
        assert image.dtype == np.uint8 and image.flags.c_contiguous
        assert threading.get_ident() == self.caller
        self.shapes.append(image.shape)
        if self.largest is not None and max(image.shape) > self.largest:
            raise InputError(f"an input side is over {self.largest}")
        return (image[..., 0] > 127).astype(np.int32)


def picture(seed: int, height: int = 20, width: int = 30) -> NDArray[np.uint8]:
    out = np.zeros((height, width, 3), dtype=np.uint8)
    out[seed % height :, : width // 2, 0] = 255
    return out


def fill(folder: Path, names: list[str], **size: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(names):
        form = ImageFormat.PNG if name.lower().endswith(".png") else ImageFormat.JPEG
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_picture(picture(index + 3, **size), form))


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_every_picture_gets_a_label_map_of_its_own_size(tmp_path: Path) -> None:
    fill(tmp_path / "in", ["b.png", "a.png", "c.PNG"])
    (tmp_path / "in" / "Thumbs.db").write_bytes(b"x")
    engine = FakeEngine({"input_size": 60, "resize": "fit"})
    seen: list[tuple[int, int]] = []
    result = infer(engine, tmp_path / "in", tmp_path / "out", progress=lambda done, total: seen.append((done, total)))
    assert files(tmp_path / "out") == ["a.png", "b.png", "c.png"]
    assert engine.shapes == [(40, 60, 3)] * 3 and seen == [(1, 3), (2, 3), (3, 3)]
    for name, source in (("a.png", "a.png"), ("c.png", "c.PNG")):
        want = read_image(tmp_path / "in" / source)[..., 0] > 127
        np.testing.assert_array_equal(read_mask(tmp_path / "out" / name), want)
    assert result.images == 3 and not result.failures and result.output_dir == tmp_path / "out"
    assert [stage.stage for stage in result.stages] == list(Stage)
    assert all(stage.count == 3 and stage.total >= 0 for stage in result.stages)
    json.dumps(result.to_json(), allow_nan=False)
    assert infer_summary(result)[0].startswith("stream: 3 images in ") and result.one_picture is None
    assert len(stages_table(result.stages, 1).rows) == 5


@pytest.mark.parametrize(
    ("said", "resize", "size", "shape"),
    [
        ({"input_size": 60, "resize": "fit"}, None, None, (40, 60, 3)),
        ({"input_size": 60, "resize": "stretch"}, None, None, (60, 60, 3)),
        ({"input_size": None, "resize": "none"}, None, None, (20, 30, 3)),
        ({"input_size": 60, "resize": "fit"}, Resize.NONE, None, (20, 30, 3)),
        ({"input_size": 60, "resize": "fit"}, Resize.STRETCH, 25, (25, 25, 3)),
        ({"input_size": None, "resize": "none"}, Resize.FIT, 15, (10, 15, 3)),
        (None, None, None, (20, 30, 3)),
    ],
)
def test_resize_policies(
    said: dict[str, Any] | None, resize: Resize | None, size: int | None, shape: tuple[int, ...], tmp_path: Path
) -> None:
    fill(tmp_path / "in", ["a.png"])
    engine = FakeEngine(said)
    options = InferOptions(resize=resize, input_size=size, output_size=OutputSize.INPUT)
    infer(engine, tmp_path / "in", tmp_path / "out", options=options)
    assert engine.shapes == [shape]
    assert read_mask(tmp_path / "out" / "a.png").shape == shape[:2]


def test_a_policy_without_its_size_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="--resize none"):
        choose_preprocess(FakeEngine(), Resize.FIT)
    with pytest.raises(UsageError, match="input size must be"):
        choose_preprocess(FakeEngine(), Resize.FIT, 0)


def test_pictures_of_one_stem_do_not_overwrite_each_other(tmp_path: Path) -> None:
    fill(tmp_path / "in", ["a.jpg", "a.png", "a.jpg.png", "b.jpg"])
    infer(FakeEngine(), tmp_path / "in", tmp_path / "out", options=InferOptions(overlay=True))
    assert files(tmp_path / "out") == [
        "a.jpg.png",
        "a.jpg.png.png",
        "a.png.png",
        "b.png",
        "overlay/a.jpg.jpg",
        "overlay/a.jpg.png.jpg",
        "overlay/a.png.jpg",
        "overlay/b.jpg",
    ]


def test_a_run_never_writes_over_its_pictures(tmp_path: Path) -> None:
    fill(tmp_path / "in", ["a.png"])
    before = (tmp_path / "in" / "a.png").read_bytes()
    (tmp_path / "link").symlink_to(tmp_path / "in")
    for out in (tmp_path / "in", tmp_path / "link", tmp_path / "in" / ".." / "in"):
        with pytest.raises(UsageError, match="choose another"):
            infer(FakeEngine(), tmp_path / "in", out)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.png").symlink_to(tmp_path / "in" / "a.png")
    with pytest.raises(UsageError, match="choose another"):
        infer(FakeEngine(), tmp_path / "elsewhere", tmp_path / "in")
    assert (tmp_path / "in" / "a.png").read_bytes() == before


def test_lists_of_ids_names_and_paths(tmp_path: Path) -> None:
    fill(tmp_path / "voc" / "JPEGImages", ["2007_000129.jpg", "two words.jpg", "sub/x.png", "d.jpeg", "e.jpg"])
    (tmp_path / "list.txt").write_text(
        "\ufeff2007_000129 -1\r\n\r\n  two words.jpg\r\nsub/x\r\nd.jpg\r\n"
        "JPEGImages/e.jpg SegmentationClass/e.png\r\nmissing\r\n../voc/JPEGImages/e.jpg\r\n/etc/passwd\r\n"
    )
    result = infer(FakeEngine(), tmp_path / "voc", tmp_path / "out", file_list=tmp_path / "list.txt")
    assert files(tmp_path / "out") == ["2007_000129.png", "d.png", "e.png", "sub/x.png", "two words.png"]
    assert [failure.to_json() for failure in result.failures] == [
        {"name": "missing", "reason": "no such picture"},
        {"name": "../voc/JPEGImages/e.jpg", "reason": "the line leads out of the folder"},
        {"name": "/etc/passwd", "reason": "the line leads out of the folder"},
    ]
    few = infer(FakeEngine(), tmp_path / "voc", tmp_path / "few", file_list=tmp_path / "list.txt", image_num=2)
    assert files(tmp_path / "few") == ["2007_000129.png", "two words.png"] and few.images == 2


def test_bad_pictures_are_listed_and_the_rest_is_done(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    good = [f"{index:03}.png" for index in range(20)]
    fill(folder, good)
    data = (folder / "000.png").read_bytes()
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "cut.png").write_bytes(data[:-20])
    (folder / "text.jpg").write_text("hello")
    (folder / "folder.jpg").mkdir()
    (folder / "dangling.png").symlink_to("nowhere")
    (folder / "loop.png").symlink_to("loop.png")
    os.mkfifo(folder / "pipe.png")
    bad = ["empty.jpg", "cut.png", "text.jpg", "folder.jpg", "dangling.png", "loop.png", "pipe.png"]
    long = "n" * 251 + ".png"
    (folder / long).write_bytes(data)
    (folder / "new\nline.png").write_bytes(data)
    undecodable = os.fsdecode(b"\xff\xfe.png")
    (folder / undecodable).write_bytes(data)
    result = infer(FakeEngine(), folder, tmp_path / "out")
    assert sorted(failure.name for failure in result.failures) == sorted(bad)
    assert result.images == 23 and len(files(tmp_path / "out")) == 23
    assert {long, "new\nline.png", undecodable} <= set(files(tmp_path / "out"))
    json.dumps(result.to_json()).encode("ascii")
    assert failures_table(result.failures, 3).footer == ("and 4 more", "")


def test_the_summary_counts_every_bad_picture_not_only_those_that_are_shown() -> None:
    shown = tuple(Failure(f"{index}.png", "the file is empty") for index in range(3))
    result = InferResult(0, shown, 1.0, (), 1, Preprocess(Resize.NONE, None), None, failed=70)
    assert ", 70 skipped" in infer_summary(result)[0]


def test_a_name_too_long_for_the_file_system_is_one_failure(tmp_path: Path) -> None:
    stem = "n" * 251
    fill(tmp_path / "in", ["a.png", f"{stem}.png", f"{stem}.jpg"])
    result = infer(FakeEngine(), tmp_path / "in", tmp_path / "out")
    assert len(result.failures) == 2 and all("name too long" in f.reason.lower() for f in result.failures)
    assert files(tmp_path / "out") == ["a.png"]


def test_names_are_shown_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a\n\x1b[31mb.png").write_bytes(b"bad")
    result = infer(FakeEngine(), tmp_path / "in", tmp_path / "out")
    assert result.failures[0].name == "a\\n\\x1b[31mb.png"


def test_stop_at_the_first_bad_picture(tmp_path: Path) -> None:
    fill(tmp_path / "in", ["a.png", "c.png"])
    (tmp_path / "in" / "b.png").write_bytes(b"bad")
    with pytest.raises(ImageError, match=r"^b\.png: not a JPEG, PNG"):
        infer(FakeEngine(), tmp_path / "in", tmp_path / "out", options=InferOptions(on_error=OnError.STOP))
    assert files(tmp_path / "out") == ["a.png"]


def test_a_picture_that_the_engine_refuses_is_listed(tmp_path: Path) -> None:
    fill(tmp_path / "in", ["a.png"], height=10, width=10)
    fill(tmp_path / "in", ["b.png"], height=10, width=40)
    result = infer(FakeEngine(largest=20), tmp_path / "in", tmp_path / "out")
    assert [failure.reason for failure in result.failures] == ["an input side is over 20"]
    assert files(tmp_path / "out") == ["a.png"]


def test_an_overlay_that_no_jpeg_can_hold_is_listed(tmp_path: Path) -> None:
    """The legend makes the tallest JPEG taller; the pictures after it must still be done."""
    source = tmp_path / "in"
    source.mkdir()
    for name, height, width in (("a-tall", 65500, 2), ("b-wide", 2, 65501), ("c-fine", 20, 30)):
        (source / f"{name}.png").write_bytes(encode_picture(picture(1, height, width), ImageFormat.PNG))
    result = infer(FakeEngine(), source, tmp_path / "out", options=InferOptions(overlay=True))
    assert [failure.name for failure in result.failures] == ["a-tall.png", "b-wide.png"]
    assert all("a JPEG has at most 65500 of a side" in failure.reason for failure in result.failures)
    assert (tmp_path / "out/overlay/c-fine.jpg").is_file() and (tmp_path / "out/c-fine.png").is_file()
    assert not (tmp_path / "out/a-tall.png").exists()


def test_nothing_is_saved_when_nothing_is_asked(tmp_path: Path) -> None:
    fill(tmp_path / "in", ["a.png"])
    result = infer(FakeEngine(), tmp_path / "in", None, options=InferOptions(save_img=False))
    assert result.images == 1 and result.output_dir is None and Stage.SAVE not in [s.stage for s in result.stages]
    with pytest.raises(UsageError, match="--output-dir"):
        infer(FakeEngine(), tmp_path / "in", None)


def test_folders_and_lists_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    fill(tmp_path / "in", ["a.png"])
    (tmp_path / "blank.txt").write_text("\n \n")
    (tmp_path / "twice.txt").write_text("a\na.png\n")
    (tmp_path / "file").write_text("x")
    out = tmp_path / "out"
    for image_dir, file_list, number, text in (
        (tmp_path / "missing", None, None, "there is no folder"),
        (tmp_path / "empty", None, None, "there is no picture"),
        (tmp_path / "in", tmp_path / "missing.txt", None, "there is no file list"),
        (tmp_path / "in", tmp_path / "blank.txt", None, "is empty"),
        (tmp_path / "in", tmp_path / "twice.txt", None, "names a.png twice"),
        (tmp_path / "in", None, 0, "at least 1"),
    ):
        with pytest.raises(UsageError, match=text):
            infer(FakeEngine(), image_dir, out, file_list=file_list, image_num=number)
    with pytest.raises(UsageError, match="is not a folder"):
        infer(FakeEngine(), tmp_path / "in", tmp_path / "file")


def test_two_jobs_do_not_write_to_one_folder(tmp_path: Path) -> None:
    fill(tmp_path / "in", ["a.png"])
    with OutputFolder(tmp_path / "out"):
        with pytest.raises(ResourceError, match="another job is writing"):
            infer(FakeEngine(), tmp_path / "in", tmp_path / "out")
    infer(FakeEngine(), tmp_path / "in", tmp_path / "out")
    assert files(tmp_path / "out") == ["a.png"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EDQUOT])
def test_a_refusing_disk_ends_the_run(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "in", ["a.png", "b.png", "c.png"])
    real, calls = os.replace, []

    def refuse(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == 2:
            raise OSError(code, os.strerror(code))
        real(source, target)

    monkeypatch.setattr(outputs.os, "replace", refuse)
    with pytest.raises(OutputError, match=r"cannot write .*b\.png: " + os.strerror(code)):
        infer(FakeEngine(), tmp_path / "in", tmp_path / "out")
    assert files(tmp_path / "out") == ["a.png"]
    monkeypatch.undo()
    assert infer(FakeEngine(), tmp_path / "in", tmp_path / "out").images == 3


KILLED = """
    import os, sys, signal
    from pathlib import Path
    sys.path.insert(0, {here!r})
    from test_infer_folder import FakeEngine
    from smalti.jobs import outputs
    from smalti.labelling.infer import infer
    real, calls = os.replace, []
    def replace(source, target):
        calls.append(target)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        real(source, target)
    outputs.os.replace = replace
    infer(FakeEngine(), Path({source!r}), Path({target!r}))
"""


def test_a_killed_run_leaves_no_partial_file_and_the_next_one_completes(tmp_path: Path) -> None:
    fill(tmp_path / "in", ["a.png", "b.png", "c.png"])
    code = textwrap.dedent(KILLED).format(
        here=str(Path(__file__).parent), source=str(tmp_path / "in"), target=str(tmp_path / "out")
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=60, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = files(tmp_path / "out")
    assert [name for name in left if not name.startswith(".")] == ["a.png"] and len(left) in (2, 3)
    infer(FakeEngine(), tmp_path / "in", tmp_path / "out")
    infer(FakeEngine(), tmp_path / "in", tmp_path / "whole")
    assert files(tmp_path / "out") == files(tmp_path / "whole") == ["a.png", "b.png", "c.png"]
    for name in files(tmp_path / "out"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_an_interrupt_ends_the_decoding_thread(tmp_path: Path) -> None:
    fill(tmp_path / "in", [f"{index}.png" for index in range(9)])

    class Interrupted(FakeEngine):
        def __call__(self, image: NDArray[np.uint8], /, *, threads: int | None = None) -> NDArray[np.int32]:
            if len(self.shapes) == 2:
                raise KeyboardInterrupt
            return super().__call__(image)

    with pytest.raises(KeyboardInterrupt):
        infer(Interrupted(), tmp_path / "in", tmp_path / "out")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("smalti-")]
    assert files(tmp_path / "out") == ["0.png", "1.png"]


def make_masks(folder: Path, images: Path) -> None:
    folder.mkdir(parents=True)
    for path in images.iterdir():
        mask = (read_image(path)[..., 0] > 127).astype(np.uint8)
        mask[0] = 255
        (folder / f"{path.stem}.png").write_bytes(encode_mask(mask))


def test_streaming_and_files_give_the_same_accuracy(tmp_path: Path) -> None:
    fill(tmp_path / "in", ["a.png", "b.png", "c.png"])
    make_masks(tmp_path / "gt", tmp_path / "in")
    engine = FakeEngine({"input_size": 17, "resize": "fit"})
    infer(engine, tmp_path / "in", tmp_path / "out", options=InferOptions(output_size=OutputSize.INPUT))
    filed = evaluate_folder(tmp_path / "out", tmp_path / "gt", labels=("no", "yes"))
    streamed = evaluate_model(engine, tmp_path / "in", tmp_path / "gt", labels=("no", "yes"))
    assert filed.accuracy.confusion.tolist() == streamed.accuracy.confusion.tolist()
    assert 0.8 < filed.miou < 1 and filed.accuracy.images == 3 and filed.accuracy.pixels == 3 * 19 * 30
    assert streamed.stages and streamed.to_json()["preprocess"] == {"resize": "fit", "input_size": 17}
    table = accuracy_table(filed.accuracy)
    assert len(table.rows) == 2 and table.to_markdown().count("\n") == 7
    exact = evaluate_model(FakeEngine(), tmp_path / "in", tmp_path / "gt", labels=("no", "yes"))
    assert exact.miou == 1.0


def test_missing_and_bad_files_never_change_a_score_silently(tmp_path: Path) -> None:
    fill(tmp_path / "in", ["a.png", "b.png", "c.png", "d.png"])
    make_masks(tmp_path / "gt", tmp_path / "in")
    infer(FakeEngine(), tmp_path / "in", tmp_path / "out")
    (tmp_path / "out" / "b.png").unlink()
    (tmp_path / "out" / "c.png").write_bytes(encode_mask(np.full((20, 30), 7)))
    (tmp_path / "list.txt").write_text("a\nb\nc\nd\ne\n")
    with pytest.raises(DataError, match="b.png: label map: cannot read: No such file"):
        evaluate_folder(tmp_path / "out", tmp_path / "gt", tmp_path / "list.txt", labels=("no", "yes"))
    result = evaluate_folder(
        tmp_path / "out", tmp_path / "gt", tmp_path / "list.txt", labels=("no", "yes"), on_error=OnError.SKIP
    )
    assert [failure.name for failure in result.failures] == ["b.png", "c.png", "e"]
    assert result.accuracy.images == 2 and result.to_json()["failed"] == 3
    (tmp_path / "gt" / "d.png").unlink()
    with pytest.raises(DataError, match="d.png: mask: cannot read"):
        evaluate_model(FakeEngine(), tmp_path / "in", tmp_path / "gt", labels=("no", "yes"))


def test_without_a_list_the_label_maps_decide(tmp_path: Path) -> None:
    fill(tmp_path / "in", ["a.png", "b.png"])
    make_masks(tmp_path / "gt", tmp_path / "in")
    infer(FakeEngine(), tmp_path / "in", tmp_path / "out", image_num=1)
    assert evaluate_folder(tmp_path / "out", tmp_path / "gt", labels=("no", "yes")).accuracy.images == 1


def test_a_single_file_and_several_paths(tmp_path: Path) -> None:
    fill(tmp_path / "a", ["x.png", "y.png"])
    fill(tmp_path / "b", ["x.png"])
    one = infer(FakeEngine(), tmp_path / "a" / "x.png", tmp_path / "one")
    assert files(tmp_path / "one") == ["x.png"] and one.images == 1
    infer(FakeEngine(), [tmp_path / "a", tmp_path / "b" / "x.png"], tmp_path / "several")
    assert files(tmp_path / "several") == ["a/x.png", "a/y.png", "b/x.png"]
    with pytest.raises(UsageError, match="choose another"):
        infer(FakeEngine(), [tmp_path / "a", tmp_path / "b"], tmp_path)


@pytest.mark.parametrize("form", ["WEBP", "BMP", "TIFF"])
def test_pictures_of_other_kinds_are_labelled(tmp_path: Path, form: str) -> None:
    buffer = io.BytesIO()
    PIL.Image.fromarray(picture(3, 20, 30)).save(buffer, form, **({"lossless": True} if form == "WEBP" else {}))
    name = f"a.{form.lower()}"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(buffer.getvalue())
    (tmp_path / "in" / "b.gif").write_bytes(b"GIF89a")
    result = infer(FakeEngine(), tmp_path / "in", tmp_path / "out")
    assert (result.images, dict(result.other_kinds)) == (1, {"GIF": 1})
    assert result.to_json()["pictures_left_out"] == {"GIF": 1}
    (tmp_path / "png").mkdir()
    (tmp_path / "png" / "a.png").write_bytes(encode_picture(picture(3, 20, 30), ImageFormat.PNG))
    infer(FakeEngine(), tmp_path / "png", tmp_path / "want")
    assert (tmp_path / "out" / "a.png").read_bytes() == (tmp_path / "want" / "a.png").read_bytes()


def test_sub_folders_keep_their_names_and_the_job_goes_on(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "in" / "labels"
    fill(source, ["a.png", "deep/er/b.png", "deep/a.png"])
    (source / "deep" / "a.jpg").write_bytes(encode_picture(picture(1, 20, 30)))
    job = JobOptions("model")
    first = infer(FakeEngine(), source, out, recursive=True, job=job)
    want = ["a.png", "deep/a.jpg.png", "deep/a.png.png", "deep/er/b.png"]
    made = [name for name in files(out) if name.endswith(".png")]
    assert made == want and (first.images, first.resumed) == (4, 0)
    (out / "deep" / "er" / "b.png").unlink()
    fill(source, ["new/c.png"])
    again = infer(FakeEngine(), source, out, recursive=True, job=job)
    assert (again.images, again.resumed) == (5, 3)
    assert (out / "new" / "c.png").is_file() and (out / "deep" / "er" / "b.png").is_file()
    more = infer(FakeEngine(), [source, source / "a.png"], out, recursive=True, job=job)
    assert (more.images, more.resumed) == (5, 5)


def test_results_never_get_among_the_pictures_of_sub_folders(tmp_path: Path) -> None:
    source = tmp_path / "photos"
    fill(source, ["a.png", "sub/b.png", "photos/c.png"])
    job = JobOptions("model")
    for out, how in (
        (source, job),
        (source / "sub", job),
        (source / "labels", None),  # no journal would say what lies there
        (tmp_path, job),  # photos/c.png would become photos/photos/c.png
    ):
        with pytest.raises(UsageError, match="choose another"):
            infer(FakeEngine(), source, out, recursive=True, job=how)
    assert files(tmp_path) == ["photos/a.png", "photos/photos/c.png", "photos/sub/b.png"]
