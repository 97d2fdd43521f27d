"""The calibration record: what was observed of every tensor, on which images, with which settings.

A record is all that a quantised build needs besides the graph, so the same graph and record give the same file.  As a
file it is JSON; one that a user writes by hand needs ``{"tensors": {NAME: {"low": L, "high": H}}}`` and no more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from smalti.errors import UsageError
from smalti.quant.modes import ActivationScheme, CalibAlgo, Granularity, QuantMode, QuantOptions
from smalti.strict_json import (
    Fields,
    JsonFault,
    anything,
    choice,
    document,
    list_of,
    map_of,
    number,
    optional,
    shown,
    text,
)

RECORD_FORMAT = "smalti-calibration-1"
MAX_RECORD_BYTES = 128 * 2**20
LARGEST = float(np.finfo(np.float32).max)
CHANNEL_FIELDS = ("channel_low", "channel_high", "channel_mean")
_TENSOR_FIELDS = ("low", "high", "seen_low", "seen_high", "clipped", *CHANNEL_FIELDS)
_SHA256_DIGITS = 64


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
        top = document(data, max_bytes=MAX_RECORD_BYTES)
    except JsonFault as fault:
        raise UsageError(f"this is no calibration record: {fault}") from fault
    if "tensors" not in top:
        raise UsageError('a calibration record needs "tensors": {"NAME": {"low": ..., "high": ...}}')
    if top.get("format", RECORD_FORMAT) != RECORD_FORMAT:
        raise UsageError(f"this calibration record has the format {shown(top['format'])}, not {RECORD_FORMAT!r}")
    try:
        record = _record(top)
    except JsonFault as fault:
        raise UsageError(f"calibration record: {fault}") from fault
    if not record.tensors:
        raise UsageError("the calibration record names no tensor: give one that --save-ranges wrote")
    return record


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


def _record(value: Any) -> CalibrationRecord:
    take = Fields(value)
    take.get("format", text, RECORD_FORMAT)
    graph_name, graph_sha256 = take.get("graph", _graph, ("", None))
    record = CalibrationRecord(
        tensors=take("tensors", map_of(_tensor)),
        options=take.get("settings", optional(_options), None),
        graph_name=graph_name,
        graph_sha256=graph_sha256,
        preprocess=take.get("preprocess", _preprocess, {}),
        images=take.get("images", list_of(_image), ()),
        warnings=take.get("warnings", list_of(text), ()),
        producer=take.get("producer", optional(text), None),
    )
    take.finish()
    return record


def _graph(value: Any, where: str) -> tuple[str, str | None]:
    take = Fields({} if value is None else value, where)
    graph = take.get("name", text, ""), take.get("sha256", optional(_digest), None)
    take.finish()
    return graph


def _digest(value: Any, where: str) -> str:
    digest = text(value, where)
    if len(digest) != _SHA256_DIGITS or set(digest) - set("0123456789abcdef"):
        raise JsonFault(f"{where} must be 64 hexadecimal digits, not {shown(digest)}")
    return digest


def _float32(value: Any, where: str) -> float:
    found = number(value, where)
    if not abs(found) <= LARGEST:
        raise JsonFault(f"{where} must be a finite float32 number")
    return found


def _tensor(value: Any, where: str) -> TensorStats:
    take = Fields(value, where)
    take.need("low", "high")
    low, high = take("low", _float32), take("high", _float32)
    stats = TensorStats(
        low,
        high,
        take.get("seen_low", _float32, low),
        take.get("seen_high", _float32, high),
        take.get("channel_low", list_of(_float32), ()),
        take.get("channel_high", list_of(_float32), ()),
        take.get("channel_mean", list_of(_float32), ()),
        take.get("clipped", _float32, 0.0),
    )
    take.finish()
    for key, first, last in (("low", low, high), ("seen_low", stats.seen_low, stats.seen_high)):
        if first > last:
            raise JsonFault(f"{where}: {key} {first} is above {key.replace('low', 'high')} {last}")
    if len({len(stats.channel_low), len(stats.channel_high), len(stats.channel_mean)}) != 1:
        raise JsonFault(f"{where}: {', '.join(CHANNEL_FIELDS)} must be equally long")
    if not 0.0 <= stats.clipped <= 1.0:
        raise JsonFault(f"{where}.clipped must be 0 to 1, not {stats.clipped}")
    return stats


def _options(value: Any, where: str) -> QuantOptions:
    take = Fields(value, where)
    take.need("quant_mode", "calib_algo", "weight_granularity", "activation", "keep")
    options = QuantOptions(
        mode=take("quant_mode", choice(QuantMode)),
        calib_algo=take("calib_algo", choice(CalibAlgo)),
        weight_granularity=take("weight_granularity", choice(Granularity)),
        activation=take("activation", choice(ActivationScheme)),
        keep=take("keep", list_of(text)),
    )
    take.finish()
    return options


def _preprocess(value: Any, where: str) -> dict[str, Any]:
    take = Fields({} if value is None else value, where)
    take.get("resize", optional(text), None)
    size = take.get("input_size", anything, None)
    take.finish()
    sides = size if isinstance(size, list) and len(size) == len(("height", "width")) else [size]
    if size is not None and not all(type(side) is int and 0 < side <= LARGEST for side in sides):
        raise JsonFault(f"{where}.input_size must be a size or [height, width], not {shown(size)}")
    return dict(value or {})


def _image(value: Any, where: str) -> SeenImage:
    if not isinstance(value, list) or len(value) != len(("name", "sha256")):
        raise JsonFault(f"{where}: an image is a name and a SHA-256, not {shown(value)}")
    return SeenImage(text(value[0], where), _digest(value[1], where))
