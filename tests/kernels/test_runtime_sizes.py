"""Images too small for a graph are refused before anything runs, wherever the impossible size is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import smalti
from graph_builder import GraphBuilder
from smalti.artifact.writer import write_model
from smalti.compiler import CompileOptions, compile_graph
from smalti.errors import InputError
from smalti.target.host import resolve_targets


def _load(path: Path, builder: GraphBuilder, **options: object) -> smalti.Engine:
    compiled = compile_graph(
        builder.bytes(),
        CompileOptions(targets=resolve_targets("native"), **options),  # type: ignore[arg-type]
    )
    write_model(path, compiled.manifest, compiled.constants, compiled.code)
    return smalti.load(path, threads=2)


def _image(height: int, width: int) -> dict[str, np.ndarray]:
    return {"x": np.ones((1, height, width, 3), np.float32)}


def _windows(second: str) -> GraphBuilder:
    """Two windows, the first VALID, then a resize to a fixed size: nothing but the loops would show a bad size."""
    return (
        GraphBuilder()
        .placeholder("x", np.float32, [1, None, None, 3])
        .const("w", np.ones((5, 5, 3, 8), np.float32))
        .node("Conv2D", "first", ["x", "w"], strides=[1, 2, 2, 1], padding="VALID")
        .const("v", np.ones((3, 3, 8, 1), np.float32))
        .node("DepthwiseConv2dNative", "second", ["first", "v"], strides=[1, 1, 1, 1], padding=second)
        .const("size", np.array([9, 9], np.int32))
        .node("ResizeBilinear", "up", ["second", "size"], align_corners=True)
    )


@pytest.mark.parametrize(("padding", "smallest"), [("SAME", 5), ("VALID", 9)])
def test_windows_larger_than_the_image(tmp_path: Path, padding: str, smallest: int) -> None:
    engine = _load(tmp_path / "m", _windows(padding))
    for height, width in ((1, 1), (2, 2), (smallest - 1, smallest - 1), (smallest - 1, 40), (40, 1)):
        for ask in (engine.run, lambda arrays: engine.output_shapes({"x": arrays["x"].shape})):
            with pytest.raises(InputError, match="too small for this model"):
                ask(_image(height, width))
    # Every output of the first window is 75; the second sums all there are, one with SAME and nine with VALID.
    (up,) = engine.run(_image(smallest, smallest)).values()
    assert up.shape == (1, 9, 9, 8) and (up == (75 if padding == "SAME" else 9 * 75)).all()


def test_a_size_inside_a_fused_step(tmp_path: Path) -> None:
    builder = (
        GraphBuilder()
        .placeholder("x", np.float32, [1, None, None, 3])
        .node("Shape", "shape", ["x"])
        .const("one", np.array([1], np.int32))
        .const("three", np.array([3], np.int32))
        .node("StridedSlice", "whole", ["shape", "one", "three", "one"])
        .const("eight", np.array(8, np.int32))
        .node("FloorDiv", "eighth", ["whole", "eight"])
        .node("ResizeBilinear", "down", ["x", "eighth"], align_corners=True)
        .node("ResizeBilinear", "up", ["down", "whole"], align_corners=True)
        .const("axis", np.array(3, np.int32))
        .node("ArgMax", "labels", ["up", "axis"])
    )
    engine = _load(tmp_path / "m", builder)
    for height, width in ((7, 7), (7, 64), (64, 1)):
        with pytest.raises(InputError, match="too small for this model"):
            engine.run(_image(height, width))
    for size in (8, 17):
        (labels,) = engine.run(_image(size, size)).values()
        assert labels.shape == (1, size, size) and not labels.any()


def test_larger_than_a_fixed_size(tmp_path: Path) -> None:
    engine = _load(tmp_path / "m", _windows("VALID"), shape_mutable=False, input_size=20)
    assert engine.run(_image(20, 20))["up:0"].shape == (1, 9, 9, 8)
    for height, width in ((21, 20), (20, 21), (19, 20)):
        with pytest.raises(InputError, match=r"must have shape \[1, 20, 20, 3\], got .*--resize stretch"):
            engine.run(_image(height, width))
