"""The distribution of latencies as a picture: SVG written here, PNG with matplotlib where that is installed."""

from __future__ import annotations

import importlib
import importlib.util
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from smalti.bench.stats import summarise
from smalti.errors import UsageError
from smalti.jobs.outputs import write_file

_BINS = 60
_WIDTH, _PANEL, _LEFT, _TOP, _BOTTOM = 860, 190, 60, 34, 44
_PLOT_WIDTH = 2 * (_WIDTH - 3 * _LEFT) // 3
_COLOURS = {"median": "#1b7837", "p90": "#d9a400", "p99": "#b2182b"}
_BAR, _DOT, _INK = "#6a8caf", "#35507a", "#333333"


@dataclass(frozen=True, slots=True)
class _Panel:
    """One group: histogram counts between ``edges`` (milliseconds), the values in time order, marked percentiles."""

    name: str
    counts: NDArray[np.int64]
    edges: NDArray[np.float64]
    values: NDArray[np.float64]
    marks: Mapping[str, float]


def write_plot(path: Path, latencies: Mapping[str, Sequence[float]], title: str) -> None:
    """Write the distribution of each group's latencies (milliseconds) as ``.svg`` or ``.png``.

    Each group has a histogram with median, 90th and 99th percentile, and its latencies in time order beside it.

    Raises:
        UsageError: another suffix, or PNG without matplotlib.
        OutputError: the disk refuses.
    """
    check_plot_path(path)
    panels = [_panel(name, np.asarray(values, dtype=np.float64)) for name, values in latencies.items() if len(values)]
    drawn = _svg(panels, title).encode() if path.suffix.lower() == ".svg" else _png(panels, title)
    write_file(path, drawn)


def check_plot_path(path: Path) -> None:
    """Check before a long run that its picture can be drawn.

    Raises:
        UsageError: another suffix than .svg and .png, or PNG without matplotlib.
    """
    suffix = path.suffix.lower()
    if suffix not in (".svg", ".png"):
        raise UsageError(f"--plot writes .svg or .png files, not {path.name!r}")
    if suffix == ".png" and importlib.util.find_spec("matplotlib") is None:
        raise UsageError("a PNG plot needs matplotlib: pip install matplotlib, or give --plot a name with .svg")


def _panel(name: str, values: NDArray[np.float64]) -> _Panel:
    found = summarise(values)
    if found is None:
        raise UsageError(f"the group {name} has no latencies to draw")
    # The slowest 0.5 % may lie far out; they are in the right picture and in the last bar of the left one.
    low, high = found.minimum, max(float(np.percentile(values, 99.5)), found.minimum * 1.001 + 1e-6)
    counts, edges = np.histogram(np.minimum(values, high), bins=_BINS, range=(low, high))
    marks = {"median": found.median, "p90": found.p90, "p99": min(found.p99, high)}
    return _Panel(name, counts.astype(np.int64), edges, values, marks)


def _svg(panels: Sequence[_Panel], title: str) -> str:
    height = _TOP + len(panels) * (_PANEL + _BOTTOM)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="11" fill="{_INK}">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="20" font-size="14">{escape(title)}</text>',
    ]
    for index, panel in enumerate(panels):
        top = _TOP + index * (_PANEL + _BOTTOM)
        parts += _svg_histogram(panel, _LEFT, top)
        parts += _svg_series(panel, _LEFT + _PLOT_WIDTH + _LEFT, top, _WIDTH - 2 * _LEFT - _PLOT_WIDTH - 20)
    return "\n".join([*parts, "</svg>", ""])


def _svg_histogram(panel: _Panel, left: int, top: int) -> list[str]:
    base, room = top + _PANEL, _PANEL - 30
    low, high = float(panel.edges[0]), float(panel.edges[-1])
    tallest = max(1, int(panel.counts.max()))
    width = _PLOT_WIDTH / len(panel.counts)
    parts = [
        f'<rect x="{left + i * width:.1f}" y="{base - room * count / tallest:.1f}" width="{width * 0.92:.1f}" '
        f'height="{room * count / tallest:.1f}" fill="{_BAR}"/>'
        for i, count in enumerate(panel.counts.tolist())
        if count
    ]
    for row, (name, value) in enumerate(panel.marks.items()):
        x = left + _PLOT_WIDTH * (value - low) / (high - low)
        colour = _COLOURS[name]
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top + 24}" y2="{base}" stroke="{colour}"/>')
        label = f"{name} {value:.2f} ms"
        parts.append(f'<text x="{left + _PLOT_WIDTH - 110}" y="{top + 34 + 14 * row}" fill="{colour}">{label}</text>')
    parts.append(f'<text x="{left}" y="{top + 12}">{escape(panel.name)}: {panel.values.size} requests</text>')
    parts += _svg_axis(left, base, _PLOT_WIDTH, low, high, "ms")
    return parts


def _svg_series(panel: _Panel, left: int, top: int, width: int) -> list[str]:
    base, room = top + _PANEL, _PANEL - 30
    low, high = 0.0, float(panel.values.max())
    step = max(1, panel.values.size // 2000)
    count = max(1, panel.values.size - 1)
    parts = [
        f'<circle cx="{left + width * i / count:.1f}" cy="{base - room * float(panel.values[i]) / high:.1f}" r="1.3" '
        f'fill="{_DOT}"/>'
        for i in range(0, panel.values.size, step)
    ]
    parts.append(f'<text x="{left}" y="{top + 12}">in time order, 0 to {high:.2f} ms</text>')
    parts += _svg_axis(left, base, width, low, float(panel.values.size), "requests")
    return parts


def _svg_axis(left: int, base: int, width: int, low: float, high: float, unit: str) -> list[str]:
    parts = [f'<line x1="{left}" x2="{left + width}" y1="{base}" y2="{base}" stroke="{_INK}"/>']
    for i in range(5):
        x, value = left + width * i / 4, low + (high - low) * i / 4
        text = f"{value:.4g}" + (f" {unit}" if i == 4 else "")
        parts.append(f'<text x="{x:.1f}" y="{base + 15}" text-anchor="middle">{text}</text>')
    return parts


def _png(panels: Sequence[_Panel], title: str) -> bytes:
    figures = importlib.import_module("matplotlib.figure")
    figure = figures.Figure(figsize=(9, 0.6 + 2.6 * max(1, len(panels))), dpi=110, layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(max(1, len(panels)), 2, squeeze=False, width_ratios=(2, 1))
    for panel, (shape, series) in zip(panels, axes, strict=False):
        shape.stairs(panel.counts, panel.edges, fill=True, color=_BAR)
        for name, value in panel.marks.items():
            shape.axvline(value, color=_COLOURS[name], label=f"{name} {value:.2f} ms")
        shape.set_title(f"{panel.name}: {panel.values.size} requests", fontsize=9)
        shape.set_xlabel("ms")
        shape.legend(fontsize=8)
        series.plot(panel.values, ".", markersize=2, color=_DOT)
        series.set_ylim(bottom=0)
        series.set_xlabel("requests")
        series.set_ylabel("ms")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
