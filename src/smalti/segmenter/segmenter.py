"""The object that most users want: pictures in, labels out."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from smalti.artifact.colours import colours_of
from smalti.errors import DataError, InputError, UsageError, VideoError
from smalti.jobs.stream import (
    MAX_AT_ONCE,
    Clock,
    Decoded,
    Engine,
    Preprocess,
    Segmented,
    choose_preprocess,
    read_entry,
    segment_all,
    share_threads,
)
from smalti.runtime.engine import Engine as LoadedEngine
from smalti.runtime.engine import load
from smalti.runtime.signature import Size
from smalti.segmenter.label_map import LabelMap, narrow
from smalti.segmenter.network import Network
from smalti.segmenter.sources import Source, read_source, source_name
from smalti.segmenter.tiles import Tiling, label_by_labels, label_by_scores
from smalti.vision.images import DEFAULT_MAX_PIXELS, check_max_pixels
from smalti.vision.palette import class_palette
from smalti.vision.preprocess import Resize, resize_labels
from smalti.vision.video.frames import Frame, FrameChoice, VideoReader
from smalti.vision.voc import Entry

OVERLAP_SHARE: Final = 8
"""Tiles overlap by their smaller side over this number, where the caller says nothing."""

OnBad = Callable[[Source, DataError | InputError], None]


class Segmenter:
    """Labels pictures with an offline model file.

    ``Segmenter("m.smalti")("photo.jpg")`` decodes the picture, turns it upright, scales it as the model says, runs the
    model, and returns a :class:`LabelMap` of the picture's own size. Safe to call from several threads. Use it as a
    context manager, or call :meth:`close`, to give memory and threads back early.

    Args:
        model: an offline model file, or an engine that is loaded already (which stays open when this is closed).
        threads: threads of one picture; ``None``: the CPUs this process may use.
        resize, input_size: how pictures meet the network, where not as the model says (see ``smalti infer --help``).
        tile: (height, width) in pixels of the pieces that larger pictures are labelled by, at their own resolution.
            A pixel's label is that of the tile in whose middle it is most; where the model ends in scores, tiles that
            overlap add theirs up before the largest is taken.
        overlap: pixels that neighbouring tiles share at least; ``None``: an eighth of the smaller side.
        labels: class names in place of those in the file.
        colours: ``#rrggbb`` or ``None`` for each class, in place of those in the file; a class without one has VOC's.
        output: the output to take where a model has several that could be the label map.
        max_pixels: larger pictures are refused from their header, before they are decoded.
        sha256: load the file only if this is its SHA-256.
        target: which program to take of a file that holds several.

    Raises:
        ModelFileError: the file cannot be used; its subclasses say why.
        UsageError: an argument is out of range, or the model does not label pictures.
        ResourceError: the system refuses memory or threads.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Engine,
        threads: int | None = None,
        *,
        resize: Resize | None = None,
        input_size: int | None = None,
        tile: tuple[int, int] | None = None,
        overlap: int | None = None,
        labels: Sequence[str] | None = None,
        colours: Sequence[str | None] | None = None,
        output: str | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        sha256: str | None = None,
        target: str | None = None,
    ) -> None:
        check_max_pixels(max_pixels)
        self._opened: LoadedEngine | None = None
        if isinstance(model, (str, os.PathLike)):
            self._opened = load(model, threads, sha256, concurrency=MAX_AT_ONCE, target=target)
            self.engine: Engine = self._opened
        else:
            if threads is not None or sha256 is not None or target is not None:
                raise UsageError("threads, sha256 and target belong to a file that is loaded here, not to an engine")
            self.engine = model
        try:
            self.network = Network(self.engine, output)
            self.tiling = None if tile is None else _tiling(self.engine, tile, overlap)
            if tile is None and overlap is not None:
                raise UsageError(f"an overlap of {overlap} pixels needs tiles: give tile=(height, width), or --tile")
            if self.tiling is not None and (resize is not None or input_size is not None):
                raise UsageError("tiles are cut from the picture at its own size: leave resize and input_size out")
            own_size = Resize.NONE if self.tiling is not None else resize
            self.preprocess: Preprocess = choose_preprocess(self.engine, own_size, input_size)
            if colours is None and isinstance(self.engine, LoadedEngine):
                colours = colours_of(self.engine.manifest)
        except BaseException:
            self.close()
            raise
        self.names: tuple[str, ...] = tuple(labels if labels is not None else self.engine.manifest.labels or ())
        self.palette = class_palette(colours)
        self.max_pixels = max_pixels

    # ---- one picture, or many ---------------------------------------------------------------------------------------

    def __call__(self, picture: Source, /) -> LabelMap:
        """Label a picture: a path, the bytes of a picture file, an RGB array uint8 [H, W, 3], or a PIL image.

        Raises:
            ImageError: the picture cannot be decoded, or is too large.
            InputError: it does not fit the model, or is of another kind.
        """
        for found in segment_all(self._label, [picture], self._read, self.preprocess, Clock()):
            if isinstance(found, tuple):
                raise found[1]
            return self.label_map(found, source_name(picture))
        raise AssertionError("one picture gives one result")

    def batch(self, pictures: Iterable[Source], *, on_bad: OnBad | None = None) -> Generator[LabelMap, None, None]:
        """Yield the label map of each picture, in order.

        Pictures are decoded ahead and several are labelled at the same time, each by its share of the threads; few are
        held at a time, so the memory does not grow with their number. ``on_bad`` is told of a picture that is no good,
        which is then passed over; without it the error is raised.

        Raises:
            ImageError, InputError: as calling this object, where there is no ``on_bad``.
        """
        count = len(pictures) if isinstance(pictures, Sized) else MAX_AT_ONCE
        label, at_once = self.sharing(count)
        results = segment_all(label, pictures, self._read, self.preprocess, Clock(), at_once=at_once)
        try:
            for found in results:
                if not isinstance(found, tuple):
                    yield self.label_map(found, source_name(found.entry))
                elif on_bad is not None:
                    on_bad(*found)
                else:
                    raise found[1]
        finally:
            results.close()

    def video(
        self, path: str | os.PathLike[str], *, start: int = 0, every: int = 1, max_frames: int | None = None
    ) -> Generator[LabelMap, None, None]:
        """Yield the label maps of the frames ``start``, ``start + every``, ... of a video file, in order.

        The ``name`` of a label map is the frame's number in eight digits, counted from 0. Frames are turned upright.
        The video is decoded in a process of its own, ahead of the labelling; the memory does not grow with its length.

        Raises:
            VideoError: no video, one that cannot be decoded, or a decoder that crashes or hangs; the label maps of the
                frames before that come first.
            InputError: the frames do not fit the model.
            UsageError: a number is out of range.
        """
        choice = FrameChoice(start, every, max_frames)
        with VideoReader(Path(path), choice, max_pixels=self.max_pixels) as frames:
            results = self.frames(frames, Clock())
            try:
                for found in results:
                    if isinstance(found, tuple):
                        raise found[1]
                    yield self.label_map(found, f"{found.entry.number:08}")
            finally:
                results.close()

    # ---- what jobs stand on -----------------------------------------------------------------------------------------

    def sharing(self, pictures: int) -> tuple[Callable[[NDArray[np.uint8]], NDArray[np.integer]], int]:
        """Return how to label one of that many pictures, and how many at the same time."""
        if self.tiling is not None:
            return self._label, 1
        return share_threads(self.network, self.preprocess, pictures)

    def entries(
        self, entries: Iterable[Entry], clock: Clock, *, pictures: int, pool: ThreadPoolExecutor | None = None
    ) -> Generator[Segmented[Entry] | tuple[Entry, DataError | InputError], None, None]:
        """Yield the result of each entry of a list of ``pictures``, as :func:`smalti.jobs.stream.segment_all` does."""
        label, at_once = self.sharing(pictures)
        read = partial(read_entry, max_pixels=self.max_pixels)
        return segment_all(label, entries, read, self.preprocess, clock, at_once=at_once, pool=pool)

    def frames(
        self, frames: Iterable[Frame], clock: Clock, *, pool: ThreadPoolExecutor | None = None
    ) -> Generator[Segmented[Frame] | tuple[Frame, DataError | InputError], None, None]:
        """Yield the result of each frame of a video, as :func:`smalti.jobs.stream.segment_all` does.

        Raises VideoError where ``frames`` does, after the results of all frames before.
        """
        broken: list[VideoError] = []

        def readable() -> Iterator[Frame]:
            try:
                yield from frames
            except VideoError as error:
                broken.append(error)

        label, at_once = self.sharing(MAX_AT_ONCE)
        yield from segment_all(label, readable(), _decoded, self.preprocess, clock, at_once=at_once, pool=pool)
        if broken:
            raise broken[0]

    def label_map(self, found: Segmented[Any], name: str | None = None, *, own_size: bool = True) -> LabelMap:
        """Return what a network said of a picture at the picture's own size, or at the size the network saw."""
        picture = found.picture if own_size else found.seen
        labels = resize_labels(narrow(found.labels), picture.shape[0], picture.shape[1])
        return LabelMap(labels, picture, self.names, self.palette, name)

    # ---- life -------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Give memory and threads back, if this object loaded the model. Idempotent."""
        if self._opened is not None:
            self._opened.close()

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Segmenter of {self.engine!r}, {self.preprocess.resize.value}>"

    def _read(self, source: Source) -> Any:
        return read_source(source, max_pixels=self.max_pixels)

    def _label(self, picture: NDArray[np.uint8]) -> NDArray[np.integer]:
        if self.tiling is None:
            return self.network(picture)
        if self.network.gives_scores:
            return label_by_scores(picture, self.tiling, self.network.scores)
        return label_by_labels(picture, self.tiling, self.network)


def _decoded(frame: Frame) -> Decoded:
    return Decoded(frame.picture)


def _tiling(engine: Engine, tile: tuple[int, int], overlap: int | None) -> Tiling:
    shared = min(tile) // OVERLAP_SHARE if overlap is None else overlap
    tiling = Tiling(*tile, shared)
    if not isinstance(engine, LoadedEngine):
        return tiling
    sides = engine.inputs[0].shape[1:3]
    if not all(_takes(size, side) for size, side in zip(sides, tile, strict=True)):
        limits = " x ".join(str(s) if isinstance(s, int) else f"{s.low} to {s.high}" for s in sides)
        raise UsageError(f"this model takes tiles of {limits} pixels, not {tile[0]} x {tile[1]}: choose another --tile")
    return replace(tiling, exact=all(isinstance(size, int) for size in sides))


def _takes(size: int | Size, side: int) -> bool:
    return side == size if isinstance(size, int) else size.high is None or side <= size.high
