"""Options that name a graph and its tensors: the file, the shapes of inputs, and values that become constants."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from smalti.errors import UsageError
from smalti.frontend.given import Plain, Shape

ModelOption = Annotated[
    Path,
    typer.Option(
        "--model",
        "--tf-model",
        help="ONNX model (.onnx), frozen GraphDef (.pb), or a folder that holds one.",
        show_default=False,
    ),
]
InputShapeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--input-shape",
        metavar="NAME=SIZES",
        help="Shape of an input: NAME=1x720x1280x3; ? leaves a size to the graph, scalar is no size. Repeatable.",
        show_default=False,
    ),
]
BindOption = Annotated[
    list[str] | None,
    typer.Option(
        "--bind",
        metavar="NAME=VALUE",
        help="Make a tensor a constant: is_training=false, rate=0.5, mean=104,117,123. Repeatable.",
        show_default=False,
    ),
]
DropDropoutOption = Annotated[
    bool,
    typer.Option("--drop-dropout", help="Take out dropout that a TensorFlow export left active, with its scale."),
]


@dataclass(frozen=True, slots=True)
class TensorOptions:
    """Where a graph begins and ends, and what its inputs are, as said on the command line."""

    inputs: Annotated[
        str | None, typer.Option("--inputs", help="Cut here: tensor names, with commas.", show_default=False)
    ] = None
    outputs: Annotated[
        str | None, typer.Option("--outputs", help="Cut here: tensor names, with commas.", show_default=False)
    ] = None
    input_shape: InputShapeOption = None
    bind: BindOption = None
    drop_dropout: DropDropoutOption = False


T = TypeVar("T")
_SCALAR = ("", "scalar")
_SIZE = re.compile(r"\?|[1-9][0-9]{0,9}")
_INTEGER = re.compile(r"[+-]?[0-9]{1,40}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_SHOWN = 60


def parse_shapes(texts: Sequence[str] | None) -> dict[str, Shape]:
    """Return the shapes of ``--input-shape``, by tensor name as it is written.

    Raises:
        UsageError: a text is not ``NAME=SIZES``, or a name stands there twice.
    """
    found: dict[str, Shape] = {}
    for text in texts or ():
        name, sizes = _split(text, "--input-shape", "NAME=1x720x1280x3")
        words = () if sizes.lower() in _SCALAR else sizes.lower().split("x")
        if not all(_SIZE.fullmatch(word) for word in words):
            raise UsageError(
                f"--input-shape {_cut(text)}: a shape is sizes with x between them, such as 1x720x1280x3, ? for a size "
                "that the graph decides, or the word scalar"
            )
        _add(found, name, tuple(None if word == "?" else int(word) for word in words), "--input-shape")
    return found


def parse_binds(texts: Sequence[str] | None) -> dict[str, Plain]:
    """Return the values of ``--bind``, by tensor name as it is written.

    Raises:
        UsageError: a text is not ``NAME=VALUE``, or a name stands there twice.
    """
    found: dict[str, Plain] = {}
    for text in texts or ():
        name, value = _split(text, "--bind", "is_training=false")
        words = [word.strip() for word in value.split(",")]
        items = tuple(_number(word, text) for word in words)
        _add(found, name, items if len(items) > 1 else items[0], "--bind")
    return found


def parse_names(text: str | None, option: str) -> tuple[str, ...] | None:
    """Return the tensor names of ``--inputs`` or ``--outputs``.

    Raises:
        UsageError: there are none.
    """
    if text is None:
        return None
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names:
        raise UsageError(f"{option} takes tensor names such as ImageTensor:0, with commas between them")
    return names


def _number(word: str, text: str) -> bool | int | float:
    if word.lower() in ("true", "false"):
        return word.lower() == "true"
    if _INTEGER.fullmatch(word):
        return int(word)
    if _NUMBER.fullmatch(word):
        return float(word)
    raise UsageError(f"--bind {_cut(text)}: a value is true, false, a number, or numbers with commas between them")


def _split(text: str, option: str, example: str) -> tuple[str, str]:
    name, equals, rest = text.rpartition("=")
    if not equals or not name.strip():
        raise UsageError(f"{option} takes a tensor's name, = and what it gets, such as {example}; not {_cut(text)!r}")
    return name.strip(), rest.strip()


def _add(found: dict[str, T], name: str, item: T, option: str) -> None:
    if name in found:
        raise UsageError(f"{option} names {_cut(name)} twice")
    found[name] = item


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
