"""Options of a comparison of two graphs: the other one, tensors to be the same, how pictures become numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from smalti.cli.options.network import NetworkOptions
from smalti.compiling.pictures import ChannelOrder, ImageLayout, PictureOptions, Preset
from smalti.errors import UsageError


@dataclass(frozen=True, slots=True)
class OtherGraphOptions:
    """What was said of a second graph; nothing, unless ``--other-graph`` is given."""

    other_graph: Annotated[
        Path | None,
        typer.Option("--other-graph", help="Compare with this graph (.onnx, .pb), in float32.", show_default=False),
    ] = None
    pair: Annotated[
        list[str] | None,
        typer.Option(
            "--pair",
            metavar="A=B",
            help="Tensor of --graph and of --other-graph that are to be the same. Repeatable; default: their outputs.",
            show_default=False,
        ),
    ] = None
    preset: Annotated[
        Preset | None,
        typer.Option(
            "--preset",
            help="Bytes to numbers, for a graph that takes numbers: imagenet; tf; zero-one; none.",
            show_default=False,
        ),
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
        typer.Option("--channel-order", help="Of a network's input; default rgb.", show_default=False),
    ] = None
    layout: Annotated[
        ImageLayout | None,
        typer.Option("--layout", help="Of a network's input; default: by its shape.", show_default=False),
    ] = None

    def pictures(self) -> PictureOptions | None:
        """Return how pictures become what a network takes, or ``None`` where nothing was said.

        Raises:
            UsageError: a number is none, or out of range.
        """
        said = NetworkOptions(self.preset, self.scale, self.mean, self.std, self.channel_order, self.layout)
        return said.pictures()

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Return the tensors of ``--pair``.

        Raises:
            UsageError: a text is not ``A=B``.
        """
        found = []
        for text in self.pair or ():
            first, equals, second = (part.strip() for part in text.partition("="))
            if not (first and equals and second):
                raise UsageError(f"--pair takes two names of tensors, such as logits=output, not {text[:60]!r}")
            found.append((first, second))
        return tuple(found)

    def given(self) -> list[str]:
        """Return the options that were given and say nothing without a second graph."""
        return [f"--{name.replace('_', '-')}" for name in self.__slots__ if getattr(self, name) is not None]
