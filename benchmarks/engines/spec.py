"""What a worker is told: which engine, which files, how many threads, how to finish labels outside the engine."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Size = tuple[int, int]
ENGINE_DEFAULT = ""
"""As ``floats``: nothing is asked for, the engine takes what it takes for anyone."""


@dataclass(frozen=True, slots=True)
class ResizeStage:
    """A bilinear resize from one (height, width) to another."""

    source: Size
    result: Size
    align_corners: bool
    half_pixel_centers: bool


@dataclass(frozen=True, slots=True)
class Upsampling:
    """The resizes that follow the logits for images of one size."""

    image: Size
    stages: tuple[ResizeStage, ...]


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """One way to run a model.

    Attributes:
        engine: module of ``benchmarks.engines``.
        mode: the engine's own choice between ways to run, e.g. ``per-size``.
        file: model file for every image size.
        threads: threads of one run.
        input, output: tensor names.
        sizes: every image size that will come.
        upsampling: given when the engine stops at the logits; the labels are then made in numpy.
        floats: type of the arithmetic in floats, for engines that leave the choice (``f32``, ``f16`` or ``bf16``;
            nothing: the engine's own default).
    """

    engine: str
    mode: str
    file: str
    threads: int
    input: str
    output: str
    sizes: tuple[Size, ...]
    upsampling: tuple[Upsampling, ...] = ()
    floats: str = "f32"

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> EngineSpec:
        """Return the specification that :meth:`to_json` wrote."""
        ups = tuple(
            Upsampling(_size(u["image"]), tuple(ResizeStage(**_stage(s)) for s in u["stages"]))
            for u in data["upsampling"]
        )
        return cls(**{**data, "sizes": tuple(_size(s) for s in data["sizes"]), "upsampling": ups})


class RunsImages(Protocol):
    """A loaded engine."""

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Label an image ``[H, W, 3]``: int32 ``[H, W]``."""
        ...


def _size(values: Any) -> Size:
    return int(values[0]), int(values[1])


def _stage(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "source": _size(data["source"]), "result": _size(data["result"])}
