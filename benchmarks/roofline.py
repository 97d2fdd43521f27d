"""The roofline as a picture: every step's rate over its arithmetic intensity, below the machine's limits."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from benchmarks.layers import Layers
from benchmarks.peaks import Peaks
from smalti.errors import UsageError

_MARKERS = "osD^vP*X"


def draw_roofline(path: Path, peaks: Peaks, models: Sequence[Layers]) -> None:
    """Write the picture (the suffix of ``path`` is its format).

    Raises:
        UsageError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise UsageError("--plot needs matplotlib: pip install 'smalti[bench]'")
    import matplotlib  # noqa: PLC0415 - optional

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415 - optional

    figure, axes = plt.subplots(figsize=(9, 6))
    low, high = 0.1, 1000.0
    for memory, colour in zip(peaks.memory, ("0.75", "0.6", "0.4", "0.2"), strict=True):
        ends = [(x, min(peaks.best_gflops, memory.read * x)) for x in (low, peaks.best_gflops / memory.read, high)]
        axes.plot([x for x, _ in ends], [y for _, y in ends], color=colour, linewidth=1)
        axes.annotate(f"{memory.level} {memory.read:.0f} GB/s", (low, memory.read * low), fontsize=8, color=colour)
    axes.axhline(peaks.best_gflops, color="0.2", linewidth=1, linestyle="--")
    axes.annotate(f"{peaks.best_gflops:.0f} GFLOP/s", (high / 8, peaks.best_gflops * 1.03), fontsize=8)
    kernels = sorted({layer.kernel for model in models for layer in model.layers if layer.macs})
    colours = {kernel: f"C{i % 10}" for i, kernel in enumerate(kernels)}
    for model, marker in zip(models, _MARKERS, strict=False):
        for kernel in kernels:
            chosen = [la for la in model.layers if la.kernel == kernel and la.macs and la.milliseconds > 0]
            axes.scatter(
                [2 * la.macs / la.bytes for la in chosen],
                [la.gflops for la in chosen],
                s=[20 + 600 * la.milliseconds / model.milliseconds for la in chosen],
                color=colours[kernel],
                marker=marker,
                alpha=0.6,
                label=f"{kernel} ({model.model})",
            )
    axes.set(
        xscale="log",
        yscale="log",
        xlim=(low, high),
        xlabel="operations per byte that must move",
        ylabel="GFLOP/s",
        title=f"Roofline, {peaks.threads} threads (area: share of the time)",
    )
    axes.legend(fontsize=7)
    axes.grid(alpha=0.3, which="both")
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)
