"""The whole job on picture files: decode, resize, infer, colour, save, and each part's share of the time."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from smalti.bench.inputs import is_image_model, textured_picture
from smalti.bench.stats import StopRule, Summary, summarise
from smalti.errors import ImageError, UsageError
from smalti.jobs.outputs import OutputFolder
from smalti.jobs.pictures import PassedOver
from smalti.jobs.stream import OnError, Preprocess, choose_preprocess, read_entry
from smalti.labelling.infer import InferOptions, infer
from smalti.runtime.engine import Engine
from smalti.vision.images import encode_mask, encode_picture
from smalti.vision.preprocess import resize_labels, resize_picture, target_size
from smalti.vision.voc import Entry, PicturePaths, find_pictures

PARTS = ("decode", "resize", "infer", "colour", "save")
GENERATED = 8
GENERATED_SIZE = (375, 500)


@dataclass(frozen=True, slots=True)
class EndToEnd:
    """Milliseconds of each part of the job on one picture, done one after another.

    ``pipelined`` are the images per second of ``smalti infer``, which decodes the next pictures beside inference.
    ``generated`` tells that there was no picture folder.
    """

    images: int
    generated: bool
    parts: dict[str, Summary]
    total: Summary
    seconds: float
    pipelined: float

    @property
    def images_per_second(self) -> float:
        """Pictures a second, one part after another."""
        return self.images / self.seconds

    def share(self, part: str) -> float:
        """Return a part's share of the whole time, 0 to 1."""
        return self.parts[part].mean / self.total.mean

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "images": self.images,
            "generated": self.generated,
            "parts": {
                part: {**found.to_json(), "percent": 100 * self.share(part)} for part, found in self.parts.items()
            },
            "total": self.total.to_json(),
            "images_per_s": self.images_per_second,
            "pipelined_images_per_s": self.pipelined,
        }


def measure_end_to_end(
    engine: Engine,
    image_dir: PicturePaths | None,
    file_list: Path | None,
    rule: StopRule,
    *,
    recursive: bool = False,
    passed_over: PassedOver | None = None,
) -> EndToEnd:
    """Label picture files until the rule is met, one part after another, then once more as ``smalti infer`` does.

    Without a folder, eight generated JPEGs of 375 x 500 are used.  Results go to a temporary folder.  ``passed_over``
    is told of pictures that are no good, which do not count.

    Raises:
        UsageError: the model does not label pictures, or there are none.
        ImageError: no picture can be decoded, or one cannot and there is no ``passed_over``, or it is to stop there.
        OutputError: the disk refuses.
    """
    if not is_image_model(engine.manifest):
        raise UsageError("this model does not map one picture to one label map: leave --e2e away")
    preprocess = choose_preprocess(engine)
    with tempfile.TemporaryDirectory(prefix="smalti-bench-") as name:
        scratch = Path(name)
        folder = image_dir if image_dir is not None else _generate(scratch / "in")
        entries = find_pictures(folder, file_list, recursive=recursive)
        given = PassedOver(OnError.STOP) if passed_over is None else passed_over
        with OutputFolder(scratch / "out") as out:
            for entry in entries[:2]:
                _one_good(engine, entry, preprocess, out, given)
            rows, seconds = _repeat(engine, entries, preprocess, out, rule, given)
        number = min(len(rows) + len(given.failures), len(entries))
        run = infer(
            engine,
            folder,
            scratch / "piped",
            file_list=file_list,
            image_num=number,
            recursive=recursive,
            options=InferOptions(save_img=True),
        )
    columns = [summarise(column) for column in zip(*rows, strict=True)]
    total = summarise([sum(row) for row in rows])
    parts = {part: found for part, found in zip(PARTS, columns, strict=True) if found is not None}
    if total is None:
        raise UsageError("no picture was labelled: give --image-dir pictures that the model takes")
    return EndToEnd(len(rows), image_dir is None, parts, total, seconds, run.images / run.seconds)


def _repeat(
    engine: Engine,
    entries: Sequence[Entry],
    preprocess: Preprocess,
    out: OutputFolder,
    rule: StopRule,
    passed_over: PassedOver,
) -> tuple[list[tuple[float, ...]], float]:
    """Return the milliseconds of the parts for picture after picture, and the seconds of all of them."""
    rows: list[tuple[float, ...]] = []
    begin, lost = time.perf_counter(), 0.0
    for tried in count():
        start = time.perf_counter()
        row = _one_good(engine, entries[tried % len(entries)], preprocess, out, passed_over)
        if row is None:
            lost += time.perf_counter() - start
            if tried + 1 == len(entries):
                passed_over.check(len(rows))
            continue
        rows.append(row)
        if rule.is_met(len(rows), time.perf_counter() - begin - lost):
            break
    return rows, time.perf_counter() - begin - lost


def _one_good(
    engine: Engine, entry: Entry, preprocess: Preprocess, out: OutputFolder, passed_over: PassedOver
) -> tuple[float, ...] | None:
    """Do the whole job on one picture, or tell ``passed_over`` that it is no good and return None."""
    try:
        return _one(engine, entry, preprocess, out)
    except ImageError as error:
        passed_over.add(entry, error)
        return None


def _one(engine: Engine, entry: Entry, preprocess: Preprocess, out: OutputFolder) -> tuple[float, ...]:
    """Do the whole job on one picture and return the milliseconds of its parts."""
    moments = [time.perf_counter()]
    picture = read_entry(entry).picture
    moments.append(time.perf_counter())
    height, width = picture.shape[:2]
    seen = resize_picture(picture, *target_size(height, width, preprocess.resize, preprocess.input_size))
    moments.append(time.perf_counter())
    labels = engine(seen)
    moments.append(time.perf_counter())
    mask = encode_mask(resize_labels(labels, height, width))
    moments.append(time.perf_counter())
    out.write(f"{entry.stem}.png", mask)
    moments.append(time.perf_counter())
    return tuple(1e3 * (after - before) for before, after in zip(moments[:-1], moments[1:], strict=True))


def _generate(folder: Path) -> Path:
    folder.mkdir()
    for index in range(GENERATED):
        (folder / f"{index}.jpg").write_bytes(encode_picture(textured_picture(*GENERATED_SIZE, seed=index)))
    return folder
