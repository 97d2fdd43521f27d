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
_WIDTH, _PANEL, _HEAD, _LEFT, _TOP, _BOTTOM = 860, 200, 36, 64, 38, 56
_PLOT_WIDTH, _SERIES_WIDTH = 470, 210
_SERIES_LEFT = _WIDTH - _SERIES_WIDTH - 30
_TITLE_CHARACTERS, _NAME_CHARACTERS = 90, 60
_TICKS = 4
_COLOURS = {"median": "#1b7837", "p90": "#b07d00", "p99": "#b2182b"}
_BAR, _DOT, _INK = "#6a8caf", "#35507a", "#333333"


@dataclass(frozen=True, slots=True)
class _Panel:
    """One group: histogram counts between ``edges`` (milliseconds), the values in time order, marked percentiles."""

    title: str
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
    title = _cut(title, _TITLE_CHARACTERS)
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
    low, high = found.minimum, max(float(np.percentile(values, 99.5)), found.minimum * 1.02 + 1e-6)
    counts, edges = np.histogram(np.minimum(values, high), bins=_BINS, range=(low, high))
    marks = {"median": found.median, "p90": found.p90, "p99": min(found.p99, high)}
    count = "1 request" if values.size == 1 else f"{values.size:,} requests"
    return _Panel(f"{_cut(name, _NAME_CHARACTERS)}: {count}", counts.astype(np.int64), edges, values, marks)


def _cut(text: str, most: int) -> str:
    """Return the text without its middle where it has more characters than fit."""
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[:half]}…{text[len(text) - half :]}"


def _marked(panel: _Panel) -> list[tuple[str, float, str]]:
    """Return the colour of each marked percentile, where it lies, and what is said of it."""
    return [(_COLOURS[name], value, f"{name} {value:.2f} ms") for name, value in panel.marks.items()]


def _whole_ticks(most: int) -> list[int]:
    """Return whole numbers from 0 to ``most`` at equal distances, as far as there are any."""
    step = max(1, -(-most // _TICKS))
    return [*range(0, most - step // 2, step), most] if most else [0]


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
        parts += _svg_series(panel, _SERIES_LEFT, top)
    return "\n".join([*parts, "</svg>", ""])


def _svg_histogram(panel: _Panel, left: int, top: int) -> list[str]:
    base, room = top + _PANEL, _PANEL - _HEAD
    low, high = float(panel.edges[0]), float(panel.edges[-1])
    tallest = max(1, int(panel.counts.max()))
    width = _PLOT_WIDTH / len(panel.counts)
    parts = [
        f'<rect x="{left + i * width:.1f}" y="{base - room * count / tallest:.1f}" width="{width * 0.92:.1f}" '
        f'height="{room * count / tallest:.1f}" fill="{_BAR}"/>'
        for i, count in enumerate(panel.counts.tolist())
        if count
    ]
    # What the lines mean stands above them, so that none goes through it.
    for place, (colour, value, text) in enumerate(_marked(panel)):
        x = left + _PLOT_WIDTH * (value - low) / (high - low)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top + _HEAD}" y2="{base}" stroke="{colour}"/>')
        parts.append(f'<text x="{left + place * _PLOT_WIDTH // 3}" y="{top + 27}" fill="{colour}">{text}</text>')
    parts.append(f'<text x="{left}" y="{top + 12}">{escape(panel.title)}</text>')
    ticks = [low + (high - low) * i / _TICKS for i in range(_TICKS + 1)]
    parts += _svg_across(left, base, _PLOT_WIDTH, [(f"{v:.4g}", (v - low) / (high - low)) for v in ticks], "ms")
    counts = [(f"{v:,}", v / tallest) for v in _whole_ticks(tallest)]
    return [*parts, *_svg_up(left, base, room, counts, "requests")]


def _svg_series(panel: _Panel, left: int, top: int) -> list[str]:
    base, room = top + _PANEL, _PANEL - _HEAD
    high = float(panel.values.max())
    step = max(1, panel.values.size // 2000)
    last = max(1, panel.values.size - 1)
    parts = [
        f'<circle cx="{left + _SERIES_WIDTH * i / last:.1f}" cy="{base - room * float(panel.values[i]) / high:.1f}" '
        f'r="1.3" fill="{_DOT}"/>'
        for i in range(0, panel.values.size, step)
    ]
    parts.append(f'<text x="{left}" y="{top + 12}">in time order</text>')
    ticks = [(f"{v:,}", v / last) for v in _whole_ticks(panel.values.size - 1)]
    parts += _svg_across(left, base, _SERIES_WIDTH, ticks, "requests")
    return [*parts, *_svg_up(left, base, room, [(f"{high * i / 2:.4g}", i / 2) for i in range(3)], "ms")]


def _svg_across(left: int, base: int, width: int, ticks: Sequence[tuple[str, float]], unit: str) -> list[str]:
    """Return an axis from left to right with numbers below it; where they stand is from 0 to 1."""
    parts = [f'<line x1="{left}" x2="{left + width}" y1="{base}" y2="{base}" stroke="{_INK}"/>']
    parts += [
        f'<text x="{left + width * place:.1f}" y="{base + 15}" text-anchor="middle">{text}</text>'
        for text, place in ticks
    ]
    return [*parts, f'<text x="{left + width / 2:.1f}" y="{base + 30}" text-anchor="middle">{unit}</text>']


def _svg_up(left: int, base: int, room: int, ticks: Sequence[tuple[str, float]], unit: str) -> list[str]:
    """Return an axis upwards with numbers beside it."""
    parts = [f'<line x1="{left}" x2="{left}" y1="{base - room}" y2="{base}" stroke="{_INK}"/>']
    parts += [
        f'<text x="{left - 5}" y="{base - room * place + 4:.1f}" text-anchor="end">{text}</text>'
        for text, place in ticks
    ]
    x, y = left - 46, base - room // 2
    return [*parts, f'<text x="{x}" y="{y}" text-anchor="middle" transform="rotate(-90 {x} {y})">{unit}</text>']


def _png(panels: Sequence[_Panel], title: str) -> bytes:
    figures = importlib.import_module("matplotlib.figure")
    figure = figures.Figure(figsize=(9, 0.6 + 2.9 * max(1, len(panels))), dpi=110, layout="constrained")
    figure.suptitle(title, fontsize=10)
    axes = figure.subplots(max(1, len(panels)), 2, squeeze=False, width_ratios=(2, 1))
    for panel, (shape, series) in zip(panels, axes, strict=False):
        shape.stairs(panel.counts, panel.edges, fill=True, color=_BAR)
        for colour, value, text in _marked(panel):
            shape.axvline(value, color=colour, label=text)
        shape.set_title(panel.title, fontsize=9, loc="left", pad=22)
        shape.set_xlabel("ms")
        shape.set_ylabel("requests")
        shape.ticklabel_format(axis="x", useOffset=False)
        shape.locator_params(axis="x", nbins=6)
        shape.locator_params(axis="y", integer=True)
        # Above the bars: a legend among them has lines through it.
        shape.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, borderaxespad=0.2)
        series.plot(panel.values, ".", markersize=2, color=_DOT)
        series.set_title("in time order", fontsize=9, loc="left")
        series.set_ylim(bottom=0, top=1.05 * float(panel.values.max()))
        series.locator_params(axis="x", nbins=5, integer=True)
        series.set_xlabel("requests")
        series.set_ylabel("ms")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
