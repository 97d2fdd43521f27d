"""How a picture becomes what a network takes, and its scores become labels, where the graph holds only the network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from smalti.errors import UsageError

CHANNELS: Final = 3
MAX_MULTIPLE: Final = 4096
DEFAULT_THRESHOLD: Final = 0.5
_BYTE: Final = 255


class Preset(str, Enum):
    """Usual ways to make numbers of the bytes of a picture."""

    IMAGENET = "imagenet"
    TF = "tf"
    ZERO_ONE = "zero-one"
    NONE = "none"


class Fit(str, Enum):
    """How pictures are brought to the size of a network."""

    FIT = "fit"
    STRETCH = "stretch"
    NONE = "none"


class ChannelOrder(str, Enum):
    """The order in which a network takes the colours of a pixel."""

    RGB = "rgb"
    BGR = "bgr"


class ImageLayout(str, Enum):
    """Where a network has its channels."""

    AUTO = "auto"
    NHWC = "nhwc"
    NCHW = "nchw"


class LabelsFrom(str, Enum):
    """What an output is that labels are made of."""

    AUTO = "auto"
    LOGITS = "logits"
    PROBABILITIES = "probabilities"
    NONE = "none"


class OutputSize(str, Enum):
    """The size of the label map: that of the picture as the network sees it, or that of the network's own output."""

    IMAGE = "image"
    NETWORK = "network"


_PRESETS: Final[dict[Preset, tuple[float, tuple[float, ...], tuple[float, ...]]]] = {
    Preset.IMAGENET: (1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    Preset.TF: (1 / 127.5, (1.0,), (1.0,)),
    Preset.ZERO_ONE: (1 / 255, (0.0,), (1.0,)),
    Preset.NONE: (1.0, (0.0,), (1.0,)),
}
_DEFAULT: Final = _PRESETS[Preset.NONE]


@dataclass(frozen=True, slots=True)
class PictureOptions:
    """What a build puts around a network: pictures uint8 [1, H, W, 3] go in, labels int32 [1, H, W] come out.

    A pixel becomes ``(byte * scale - mean) / std``.

    Attributes:
        preset: ``scale``, ``mean`` and ``std`` by a name: ``imagenet`` (1/255, and ImageNet's mean and deviation),
            ``tf`` (-1 to 1), ``zero-one``, ``none`` (the bytes); the three attributes below win over it.
        scale: what the bytes are multiplied with.
        mean, std: one number, or one for each channel in the network's order; of the scaled bytes.
        channel_order: the order of the colours that the network takes.
        layout: where the network has its channels; ``auto``: by the shape of its input.
        resize: ``fit`` scales the longer side of a picture to the size and pads the rest, ``stretch`` both sides;
            ``None``: ``stretch`` where the network takes one size alone, else ``fit`` where a size is given.
        pad_to_multiple: of what the sides of an open size must be a multiple; pictures are padded at the bottom and
            the right, and the label map is cut again.
        pad_value: the byte that stands in paddings; ``None``: what the network takes as zero.
        labels_from: what the scores are; they differ in the threshold of a single channel. ``auto``: probabilities
            behind a sigmoid, else logits. ``none`` leaves all outputs as they are.
        threshold: the probability above which a pixel of a network with one channel has label 1; ``None``: 0.5. Of
            several channels the largest is taken.
        output_size: the size of the label map.

    Raises:
        UsageError: a number is out of range, or not one or three.
    """

    preset: Preset | None = None
    scale: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channel_order: ChannelOrder = ChannelOrder.RGB
    layout: ImageLayout = ImageLayout.AUTO
    resize: Fit | None = None
    pad_to_multiple: int = 1
    pad_value: int | None = None
    labels_from: LabelsFrom = LabelsFrom.AUTO
    threshold: float | None = None
    output_size: OutputSize = OutputSize.IMAGE

    def __post_init__(self) -> None:
        if self.scale is not None and not (math.isfinite(self.scale) and self.scale != 0):
            raise UsageError(f"--scale must be a number other than zero, such as 0.00392157, not {self.scale}")
        for name, values in (("--mean", self.mean), ("--std", self.std)):
            if values is not None and (len(values) not in (1, CHANNELS) or not all(map(math.isfinite, values))):
                raise UsageError(f"{name} takes one number, or three with commas between them, not {values}")
        if self.std is not None and not all(value > 0 for value in self.std):
            raise UsageError(f"--std takes numbers above zero, not {self.std}")
        if not 1 <= self.pad_to_multiple <= MAX_MULTIPLE:
            raise UsageError(f"--pad-to-multiple must be 1 to {MAX_MULTIPLE}, not {self.pad_to_multiple}")
        if self.pad_value is not None and not 0 <= self.pad_value <= _BYTE:
            raise UsageError(f"--pad-value is a byte of the picture, 0 to {_BYTE}, not {self.pad_value}")
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise UsageError(f"--threshold is a probability between 0 and 1, not {self.threshold}")

    @property
    def says_numbers(self) -> bool:
        """Whether it is said how bytes become the numbers of a network."""
        return any(said is not None for said in (self.preset, self.scale, self.mean, self.std))

    @property
    def arithmetic(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Factors and summands of the bytes, one of each or three."""
        scale, mean, std = _DEFAULT if self.preset is None else _PRESETS[self.preset]
        scale = scale if self.scale is None else self.scale
        mean, std = mean if self.mean is None else self.mean, std if self.std is None else self.std
        width = max(len(mean), len(std))
        means, stds = mean * width if len(mean) == 1 else mean, std * width if len(std) == 1 else std
        factors = tuple(scale / s for s in stds)
        return factors, tuple(0.0 - m / s for m, s in zip(means, stds, strict=True))

    def to_json(self) -> dict[str, Any]:
        """Return plain values: what was said, by name."""
        said = {name: getattr(self, name) for name in self.__slots__}
        return {name: _plain(value) for name, value in said.items() if value is not None}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> PictureOptions:
        """Return the options that :meth:`to_json` gave.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
            UsageError: a number is out of range.
        """
        preset, resize = said.get("preset"), said.get("resize")
        return cls(
            None if preset is None else Preset(preset),
            said.get("scale"),
            _numbers(said.get("mean")),
            _numbers(said.get("std")),
            ChannelOrder(said["channel_order"]),
            ImageLayout(said["layout"]),
            None if resize is None else Fit(resize),
            int(said["pad_to_multiple"]),
            said.get("pad_value"),
            LabelsFrom(said["labels_from"]),
            said.get("threshold"),
            OutputSize(said["output_size"]),
        )


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return list(value) if isinstance(value, tuple) else value


def _numbers(values: Any) -> tuple[float, ...] | None:
    return None if values is None else tuple(float(value) for value in values)
