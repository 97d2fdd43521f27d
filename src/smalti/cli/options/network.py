"""Options for graphs that hold only a network: how pictures become what it takes, and labels what it gives."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

import typer

from smalti.compiling.pictures import (
    ChannelOrder,
    Fit,
    ImageLayout,
    LabelsFrom,
    OutputSize,
    PictureOptions,
    Preset,
)
from smalti.errors import UsageError

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """What was said on the command line; nothing, unless one of them is given."""

    preset: Annotated[
        Preset | None,
        typer.Option("--preset", help="Bytes to numbers: imagenet; tf (-1 to 1); zero-one; none.", show_default=False),
    ] = None
    scale: Annotated[
        str | None, typer.Option("--scale", help="(byte * scale - mean) / std is fed; default 1.", show_default=False)
    ] = None
    mean: Annotated[
        str | None,
        typer.Option("--mean", help="Of the scaled bytes: one number, or 3 with commas.", show_default=False),
    ] = None
    std: Annotated[
        str | None, typer.Option("--std", help="As --mean; what is divided by, default 1.", show_default=False)
    ] = None
    channel_order: Annotated[
        ChannelOrder | None,
        typer.Option("--channel-order", help="Of the network's input; default rgb.", show_default=False),
    ] = None
    layout: Annotated[
        ImageLayout | None,
        typer.Option("--layout", help="Of the network's input; default: by its shape.", show_default=False),
    ] = None
    resize: Annotated[
        Fit | None,
        typer.Option("--resize", help="fit: keep proportions and pad; stretch; none.", show_default=False),
    ] = None
    pad_to_multiple: Annotated[
        int | None,
        typer.Option("--pad-to-multiple", min=1, help="Pad open sizes up to a multiple.", show_default=False),
    ] = None
    pad_value: Annotated[
        int | None,
        typer.Option(
            "--pad-value", min=0, max=255, help="Byte in paddings; default: the network's 0.", show_default=False
        ),
    ] = None
    labels_from: Annotated[
        LabelsFrom | None,
        typer.Option("--labels-from", help="What the scores are; none keeps all outputs.", show_default=False),
    ] = None
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", help="Probability that makes label 1 of one channel; 0.5.", show_default=False),
    ] = None
    output_size: Annotated[
        OutputSize | None,
        typer.Option("--output-size", help="Of the label map; default image.", show_default=False),
    ] = None

    def pictures(self) -> PictureOptions | None:
        """Return what to put around a graph, or ``None`` where nothing was said.

        Raises:
            UsageError: a number is none, or out of range.
        """
        default = PictureOptions()
        if all(getattr(self, name) is None for name in self.__slots__):
            return None
        scales = _numbers("--scale", self.scale)
        if scales is not None and len(scales) != 1:
            raise UsageError("--scale takes one number; --std divides each channel by its own")
        return PictureOptions(
            self.preset,
            None if scales is None else scales[0],
            _numbers("--mean", self.mean),
            _numbers("--std", self.std),
            self.channel_order or default.channel_order,
            self.layout or default.layout,
            self.resize,
            self.pad_to_multiple or default.pad_to_multiple,
            self.pad_value,
            self.labels_from or default.labels_from,
            self.threshold,
            self.output_size or default.output_size,
        )


def _numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    """Return the numbers of a text: ``0.5``, ``0.485,0.456,0.406``, or a fraction such as ``1/255``."""
    if text is None:
        return None
    return tuple(_number(option, word.strip(), text) for word in text.split(","))


def _number(option: str, word: str, text: str) -> float:
    above, slash, below = word.partition("/")
    parts = (above.strip(), below.strip()) if slash else (above.strip(), "1")
    if not all(_NUMBER.fullmatch(part) for part in parts) or float(parts[1]) == 0:
        raise UsageError(
            f"{option} takes numbers with commas between them, such as 0.485,0.456,0.406 or 1/255, not "
            f"{text[:_SHOWN]!r}"
        )
    return float(parts[0]) / float(parts[1])
