"""The calibration record: what was observed of every tensor, on which images, with which settings.

A record is all that a quantised build needs besides the graph, so the same graph and record give the same file.  As a
file it is JSON; one that a user writes by hand needs ``{"tensors": {NAME: {"low": L, "high": H}}}`` and no more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from smalti.errors import UsageError
from smalti.quant.modes import ActivationScheme, CalibAlgo, Granularity, QuantMode, QuantOptions

RECORD_FORMAT = "smalti-calibration-1"
MAX_RECORD_BYTES = 128 * 2**20
LARGEST = float(np.finfo(np.float32).max)
CHANNEL_FIELDS = ("channel_low", "channel_high", "channel_mean")
_TENSOR_FIELDS = ("low", "high", "seen_low", "seen_high", "clipped", *CHANNEL_FIELDS)
_RECORD_FIELDS = ("format", "producer", "graph", "settings", "preprocess", "images", "warnings", "tensors")
_SHA256_DIGITS = 64
_SHOWN = 60

T = TypeVar("T", QuantMode, CalibAlgo, Granularity, ActivationScheme)


@dataclass(frozen=True, slots=True)
class TensorStats:
    """What was observed of one float tensor.

    Attributes:
        low, high: the chosen range (before it is widened to hold zero).
        seen_low, seen_high: lowest and highest value seen.
        channel_low, channel_high, channel_mean: the same for each channel (last axis) over all images.
        clipped: share of the values that lie outside the chosen range, 0 to 1.
    """

    low: float
    high: float
    seen_low: float
    seen_high: float
    channel_low: tuple[float, ...] = field(default=(), repr=False)
    channel_high: tuple[float, ...] = field(default=(), repr=False)
    channel_mean: tuple[float, ...] = field(default=(), repr=False)
    clipped: float = 0.0


@dataclass(frozen=True, slots=True)
class SeenImage:
    """An image of the calibration set: its name in the list, and the SHA-256 of the file (or of a given array)."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class CalibrationRecord:
    """Ranges by tensor name (the name of the canonical graph's node), and where they come from.

    Attributes:
        tensors: the observations.
        options: precision mode and choices that the calibration was made for; ``None`` in a file written by hand.
        graph_name, graph_sha256: the graph; the digest is ``None`` in a file written by hand.
        preprocess: how pictures were brought to the network: ``resize``, and ``input_size``: a side or [height, width].
        images: the pictures, in order.
        warnings: what the check of the calibration set found, in words.
        producer: version that made the record.
    """

    tensors: Mapping[str, TensorStats]
    options: QuantOptions | None = None
    graph_name: str = ""
    graph_sha256: str | None = None
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    images: tuple[SeenImage, ...] = field(default=(), repr=False)
    warnings: tuple[str, ...] = ()
    producer: str | None = None

    def summary(self) -> dict[str, Any]:
        """Return what an offline model file keeps of the calibration, as plain JSON values (no names of pictures)."""
        algo = self.options.calib_algo.value if self.options else None
        return {
            "record_sha256": hashlib.sha256(self.to_json()).hexdigest(),
            "images": len(self.images),
            "images_sha256": hashlib.sha256("".join(i.sha256 for i in self.images).encode()).hexdigest(),
            "calib_algo": algo,
            "preprocess": dict(self.preprocess),
            "clipped": {name: s.clipped for name, s in sorted(self.tensors.items()) if s.clipped > 0.0},
            "warnings": list(self.warnings),
            "producer": self.producer,
        }

    def to_json(self) -> bytes:
        """Return the text of the record's file: equal records give equal bytes."""
        record: dict[str, Any] = {
            "format": RECORD_FORMAT,
            "producer": self.producer,
            "graph": {"name": self.graph_name, "sha256": self.graph_sha256},
            "settings": None if self.options is None else _settings(self.options),
            "preprocess": dict(self.preprocess),
            "images": [[image.name, image.sha256] for image in self.images],
            "warnings": list(self.warnings),
            "tensors": {
                name: {key: _plain(getattr(stats, key)) for key in _TENSOR_FIELDS}
                for name, stats in self.tensors.items()
            },
        }
        # One tensor a line: a person can read and edit the file.
        lines = [
            f"  {_compact(key)}: {_compact(value)}" for key, value in record.items() if key not in ("tensors", "images")
        ]
        lines.append(f'  "images": [{_block([_compact(i) for i in record["images"]])}]')
        tensors = [
            f"{_compact(name)}: {json.dumps(stats, allow_nan=False)}"
            for name, stats in sorted(record["tensors"].items())
        ]
        lines.append(f'  "tensors": {{{_block(tensors)}}}')
        return ("{\n" + ",\n".join(lines) + "\n}\n").encode("ascii")


def short(value: float) -> float:
    """Return a float32 value as the double with the fewest digits that rounds to it (0.1, not 0.10000000149)."""
    return float(str(np.float32(value)))


def parse_record(data: bytes) -> CalibrationRecord:
    """Read a record.  The bytes may be anything.

    Raises:
        UsageError: they are no record; the message names the place.
    """
    if len(data) > MAX_RECORD_BYTES:
        raise UsageError(f"a calibration record has at most {MAX_RECORD_BYTES // 2**20} MB")
    try:
        record = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"this is no calibration record: {error}") from error
    top = _object(record, "the record", _RECORD_FIELDS)
    if "tensors" not in top:
        raise UsageError('a calibration record needs "tensors": {"NAME": {"low": ..., "high": ...}}')
    if top.get("format", RECORD_FORMAT) != RECORD_FORMAT:
        raise UsageError(f"this calibration record has the format {_shown(top['format'])}, not {RECORD_FORMAT!r}")
    graph = _object(top.get("graph") or {}, "graph", ("name", "sha256"))
    digest = graph.get("sha256")
    tensors = _object(top["tensors"], "tensors", None)
    if not tensors:
        raise UsageError("the calibration record names no tensor: give one that --save-ranges wrote")
    return CalibrationRecord(
        tensors={name: _tensor(name, value) for name, value in tensors.items()},
        options=None if top.get("settings") is None else _options(top["settings"]),
        graph_name=_text(graph.get("name", ""), "graph.name"),
        graph_sha256=None if digest is None else _digest(digest, "graph.sha256"),
        preprocess=_preprocess(top.get("preprocess") or {}),
        images=tuple(_image(item) for item in _list(top.get("images", []), "images")),
        warnings=tuple(_text(item, "warnings") for item in _list(top.get("warnings", []), "warnings")),
        producer=None if top.get("producer") is None else _text(top["producer"], "producer"),
    )


# ---- writing --------------------------------------------------------------------------------------------------------


def _settings(options: QuantOptions) -> dict[str, Any]:
    return {
        "quant_mode": options.mode.value,
        "calib_algo": options.calib_algo.value,
        "weight_granularity": options.weight_granularity.value,
        "activation": options.activation.value,
        "keep": list(options.keep),
    }


def _plain(value: float | tuple[float, ...]) -> float | list[float]:
    return list(value) if isinstance(value, tuple) else value


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, allow_nan=False)


def _block(lines: list[str]) -> str:
    return "\n    " + ",\n    ".join(lines) + "\n  " if lines else ""


# ---- reading --------------------------------------------------------------------------------------------------------


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{_shown(twice)} stands there twice")
    return found


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is no number that a range can have")


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _object(value: Any, place: str, known: tuple[str, ...] | None) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"calibration record: {place} must be an object, not {_shown(value)}")
    unknown = sorted(set(value) - set(known)) if known is not None else []
    if unknown:
        raise UsageError(
            f"calibration record: {place} has no field {_shown(unknown[0])}; it has {', '.join(known or ())}"
        )
    return value


def _list(value: Any, place: str) -> list[Any]:
    if not isinstance(value, list):
        raise UsageError(f"calibration record: {place} must be a list, not {_shown(value)}")
    return value


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise UsageError(f"calibration record: {place} must be text, not {_shown(value)}")
    return value


def _digest(value: Any, place: str) -> str:
    text = _text(value, place)
    if len(text) != _SHA256_DIGITS or set(text) - set("0123456789abcdef"):
        raise UsageError(f"calibration record: {place} must be 64 hexadecimal digits, not {_shown(text)}")
    return text


def _number(value: Any, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UsageError(f"calibration record: {place} must be a number, not {_shown(value)}")
    if not abs(value) <= LARGEST:  # not for NaN, nor for integers of any length
        raise UsageError(f"calibration record: {place} must be a finite float32 number")
    return float(value)


def _tensor(name: str, value: Any) -> TensorStats:
    place = f"tensor {_shown(name)}"
    fields = _object(value, place, _TENSOR_FIELDS)
    missing = [key for key in ("low", "high") if key not in fields]
    if missing:
        raise UsageError(f"calibration record: {place} has no {' and no '.join(missing)}")
    low, high = (_number(fields[key], f"{place}, {key}") for key in ("low", "high"))
    seen_low, seen_high = (
        _number(fields.get(f"seen_{k}", v), f"{place}, seen_{k}") for k, v in (("low", low), ("high", high))
    )
    for text, first, last in (("low", low, high), ("seen_low", seen_low, seen_high)):
        if first > last:
            raise UsageError(
                f"calibration record: {place}: {text} {first} is above {text.replace('low', 'high')} {last}"
            )
    lists = [_list(fields.get(key, []), f"{place}, {key}") for key in CHANNEL_FIELDS]
    if len({len(items) for items in lists}) != 1:
        raise UsageError(f"calibration record: {place}: {', '.join(CHANNEL_FIELDS)} must be equally long")
    channels = [
        tuple(_number(v, f"{place}, {key}") for v in items) for key, items in zip(CHANNEL_FIELDS, lists, strict=True)
    ]
    clipped = _number(fields.get("clipped", 0.0), f"{place}, clipped")
    if not 0.0 <= clipped <= 1.0:
        raise UsageError(f"calibration record: {place}: clipped must be 0 to 1, not {clipped}")
    return TensorStats(low, high, seen_low, seen_high, channels[0], channels[1], channels[2], clipped)


def _options(value: Any) -> QuantOptions:
    known = ("quant_mode", "calib_algo", "weight_granularity", "activation", "keep")
    fields = _object(value, "settings", known)
    missing = [key for key in known if key not in fields]
    if missing:
        raise UsageError(f"calibration record: settings has no {', '.join(missing)}")
    return QuantOptions(
        mode=_choice(QuantMode, fields["quant_mode"], "settings.quant_mode"),
        calib_algo=_choice(CalibAlgo, fields["calib_algo"], "settings.calib_algo"),
        weight_granularity=_choice(Granularity, fields["weight_granularity"], "settings.weight_granularity"),
        activation=_choice(ActivationScheme, fields["activation"], "settings.activation"),
        keep=tuple(_text(item, "settings.keep") for item in _list(fields["keep"], "settings.keep")),
    )


def _choice(kind: type[T], value: Any, place: str) -> T:
    for member in kind:
        if member.value == value:
            return member
    known = ", ".join(str(member.value) for member in kind)
    raise UsageError(f"calibration record: {place} must be one of {known}; not {_shown(value)}")


def _preprocess(value: Any) -> dict[str, Any]:
    fields = _object(value, "preprocess", ("resize", "input_size"))
    size, resize = fields.get("input_size"), fields.get("resize")
    sides = size if isinstance(size, list) and len(size) == len(("height", "width")) else [size]
    if size is not None and not all(type(side) is int and 0 < side <= LARGEST for side in sides):
        raise UsageError(
            f"calibration record: preprocess.input_size must be a size or [height, width], not {_shown(size)}"
        )
    if resize is not None:
        _text(resize, "preprocess.resize")
    return fields


def _image(value: Any) -> SeenImage:
    items = _list(value, "images")
    if len(items) != len(("name", "sha256")):
        raise UsageError(f"calibration record: an image is a name and a SHA-256, not {_shown(value)}")
    return SeenImage(_text(items[0], "images"), _digest(items[1], "images"))
