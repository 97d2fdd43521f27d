"""Calibration without an engine: from the outputs of a tapped graph to a record, and whether a record fits a graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti import __version__
from smalti.errors import UsageError
from smalti.ir.graph import Graph
from smalti.numerics import DType
from smalti.quant.checks import check_calibration
from smalti.quant.modes import QuantOptions
from smalti.quant.observers import Observer, Tapped, TensorObserver, observed_nodes
from smalti.quant.ranges import choose_range, clipped_share
from smalti.quant.record import CalibrationRecord, SeenImage, TensorStats, short

SHOWN_NAMES = 5


@dataclass(frozen=True, slots=True)
class Source:
    """Where a record comes from: the graph, and how pictures are brought to it."""

    graph_name: str
    graph_sha256: str
    preprocess: Mapping[str, Any]


def calibrate(
    tapped: Tapped,
    options: QuantOptions,
    source: Source,
    runs: Iterable[tuple[SeenImage, Sequence[NDArray[Any]]]],
) -> CalibrationRecord:
    """Return the record of what a tapped graph gives.

    Args:
        tapped: a graph with taps (see :func:`smalti.quant.observers.tap`).
        options: how ranges are chosen.
        source: what the record says about its origin.
        runs: for each image its name and the outputs of the tapped graph, in order; whoever runs it is the caller's
            business.

    Raises:
        UsageError: there are no images.
        DataError: the network computes values that are infinite or not a number.
    """
    observer = Observer(tapped)
    images: list[SeenImage] = []
    for image, outputs in runs:
        observer.add(outputs)
        images.append(image)
    if not images:
        raise UsageError("calibration needs at least one image")
    tensors = {tensor.name: tensor_stats(tensor, options) for tensor in observer.tensors}
    return CalibrationRecord(
        tensors=tensors,
        options=options,
        graph_name=source.graph_name,
        graph_sha256=source.graph_sha256,
        preprocess=dict(source.preprocess),
        images=tuple(images),
        warnings=check_calibration(observer, images, tensors),
        producer=__version__,
    )


def tensor_stats(tensor: TensorObserver, options: QuantOptions) -> TensorStats:
    """Return what a record keeps of a tensor; all numbers are float32 values in their shortest decimal form."""
    dtype = options.mode.quantised or DType.UINT8
    low, high = choose_range(tensor.low, tensor.high, tensor.histogram, options.calib_algo, options.activation, dtype)
    return TensorStats(
        low=short(low),
        high=short(high),
        seen_low=short(tensor.low),
        seen_high=short(tensor.high),
        channel_low=_shortest(tensor.channel_low),
        channel_high=_shortest(tensor.channel_high),
        channel_mean=_shortest(tensor.channel_mean),
        clipped=round(clipped_share(low, high, tensor.histogram), 6),
    )


def check_record(record: CalibrationRecord, graph: Graph, graph_sha256: str) -> None:
    """Check that a record belongs to a canonical graph.

    Raises:
        UsageError: it was made from another graph, or names tensors or channels that this one does not have.
    """
    if record.graph_sha256 not in (None, graph_sha256):
        raise UsageError(
            f"these ranges were made for another graph ({record.graph_name or 'unnamed'}, SHA-256 "
            f"{str(record.graph_sha256)[:12]}...; this one has {graph_sha256[:12]}...): calibrate again"
        )
    channels = {node.name: node.type.shape[-1] for node in observed_nodes(graph)}
    unknown = sorted(set(record.tensors) - set(channels))
    if unknown:
        names = ", ".join(ascii(name) for name in unknown[:SHOWN_NAMES])
        more = len(unknown) - SHOWN_NAMES
        raise UsageError(
            f"the ranges name tensors that this graph does not have: {names}{f' and {more} more' if more > 0 else ''}; "
            "names are those of --dump-dir's last dump, and a graph that is cut has fewer"
        )
    for name, stats in record.tensors.items():
        if stats.channel_mean and len(stats.channel_mean) != channels[name]:
            raise UsageError(
                f"the ranges have {len(stats.channel_mean)} channels for {name}, the graph {channels[name]}"
            )


def _shortest(values: NDArray[Any]) -> tuple[float, ...]:
    return tuple(short(v) for v in np.asarray(values, np.float32))
