"""Graphs that hold only a network get pictures before them and labels behind: the numbers are those made by hand."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from graph_builder import GraphBuilder
from smalti.cli.options.network import NetworkOptions
from smalti.compiler import CompileOptions
from smalti.compiling.about import describe
from smalti.compiling.pictures import (
    ChannelOrder,
    Fit,
    ImageLayout,
    LabelsFrom,
    OutputSize,
    PictureOptions,
    Preset,
)
from smalti.compiling.sizes import import_shaped
from smalti.compiling.source import graph_file
from smalti.errors import UsageError
from smalti.frontend.importing.importer import Imported
from smalti.ir import ops, reference
from smalti.passes.pipeline import run_pipeline
from smalti.target.host import resolve_targets

TARGETS = resolve_targets("generic")
CLASSES = 4
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RANDOM = np.random.default_rng(11)
KERNEL = RANDOM.standard_normal((3, 3, 3, CLASSES)).astype(np.float32)
ONE = RANDOM.standard_normal((3, 3, 3, 1)).astype(np.float32)
Pictures = NDArray[np.uint8]


def network(
    size: tuple[int | None, int | None] = (None, None),
    *,
    nchw: bool = False,
    stride: int = 1,
    weights: NDArray[np.float32] = KERNEL,
    dtype: Any = np.float32,
    last: str | None = None,
) -> bytes:
    """A network of one convolution: numbers in, scores out."""
    shape = [1, 3, *size] if nchw else [1, *size, 3]
    strides = [1, 1, stride, stride] if nchw else [1, stride, stride, 1]
    made = GraphBuilder().placeholder("x", dtype, shape)
    before = "x"
    if np.dtype(dtype) != np.float32:
        made.node("Cast", "f", ["x"], DstT=np.float32)
        before = "f"
    made.const("w", weights)
    made.node(
        "Conv2D", "scores", [before, "w"], strides=strides, padding="SAME", data_format="NCHW" if nchw else "NHWC"
    )
    if last is not None:
        made.node(last, "last", ["scores"])
    return made.bytes()


def picture(height: int, width: int, seed: int = 0) -> Pictures:
    return np.random.default_rng(seed).integers(0, 256, (1, height, width, 3), np.uint8)


def wrapped(data: bytes, size: int | None = None, mutable: bool = True, **options: Any) -> Imported:
    chosen = CompileOptions(TARGETS, input_size=size, shape_mutable=mutable, pictures=PictureOptions(**options))
    return import_shaped(data, chosen)


def labels(imported: Imported, image: Pictures) -> NDArray[np.int32]:
    """The label map by numpy, before the passes; what the passes make of the graph gives the same."""
    name = imported.graph.inputs[0].name
    found = reference.run(imported.graph, {name: image})[imported.graph.output_names[0]]
    assert found.dtype == np.int32
    again = reference.run(run_pipeline(imported.graph, check=True).graph, {name: image})
    assert np.mean(next(iter(again.values())) == found) > 0.995  # folding rounds weights, so ties may fall otherwise
    return found


def scores(data: bytes, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the network itself gives, by numpy."""
    graph = import_shaped(data, CompileOptions(TARGETS)).graph
    found: NDArray[np.float32] = reference.run(graph, {graph.inputs[0].name: x})[graph.output_names[0]]
    return found


def enlarged(small: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Scores [h, w, C] resized bilinearly with half-pixel centres, by OpenCV."""
    channels = [np.ascontiguousarray(small[..., c]) for c in range(small.shape[2])]
    return np.stack([cv2.resize(c, (width, height), interpolation=cv2.INTER_LINEAR) for c in channels], -1)


@pytest.mark.parametrize(("side", "stride", "corners"), [
    (17, 4, True), (33, 8, True), (16, 4, False), (18, 4, False), (4, 2, False),
])  # fmt: skip
def test_results_lie_on_the_pixels_that_they_were_taken_at(side: int, stride: int, corners: bool) -> None:
    made = wrapped(network((side, side), stride=stride), preset=Preset.NONE)
    resizes = [node.op for node in made.graph.nodes() if isinstance(node.op, ops.Resize)]
    assert [(op.align_corners, op.half_pixel_centers) for op in resizes] == [(corners, not corners)]
    assert any(("corners on corners" if corners else "half-pixel centres") in note for note in made.report.notes)


def test_imagenet_numbers_channels_first() -> None:
    data, image = network(nchw=True), picture(17, 23)
    made = wrapped(data, preset=Preset.IMAGENET)
    assert [str(n.type) for n in made.graph.inputs] == ["uint8[1, H, W, 3]"]
    assert [str(n.type) for n in made.graph.outputs] == ["int32[1, H, W]"]
    x = ((image / np.float32(255) - np.float32(MEAN)) / np.float32(STD)).astype(np.float32)
    wanted = scores(data, x.transpose(0, 3, 1, 2)).argmax(1)
    assert np.mean(labels(made, image) == wanted) > 0.995
    assert any("RGB, NCHW" in note for note in made.report.notes)
    assert any("the largest of 4 channels of scores:0" in note for note in made.report.notes)
    assert made.report.inputs[0].type == "uint8[1, H, W, 3]" and made.report.outputs[0].type == "int32[1, H, W]"


def test_bgr_means_in_the_networks_order() -> None:
    data, image = network((9, 12)), picture(9, 12)
    made = wrapped(data, mean=(104, 117, 123), channel_order=ChannelOrder.BGR)
    wanted = scores(data, image[..., ::-1].astype(np.float32) - np.float32([104, 117, 123])).argmax(3)
    assert np.array_equal(labels(made, image), wanted)


@pytest.mark.parametrize(("preset", "factor", "shift"), [
    (Preset.TF, 1 / 127.5, -1), (Preset.ZERO_ONE, 1 / 255, 0), (Preset.NONE, 1, 0),
])  # fmt: skip
def test_the_first_convolution_reads_the_bytes_themselves(preset: Preset, factor: float, shift: float) -> None:
    made = wrapped(network((8, 8)), preset=preset)
    graph = run_pipeline(made.graph).graph
    assert [type(node.op).__name__ for node in graph.nodes()].count("Cast") == 0
    image = picture(8, 8)
    x = (image * np.float32(factor) + np.float32(shift)).astype(np.float32)
    assert np.mean(labels(made, image) == scores(network((8, 8)), x).argmax(3)) > 0.98


def test_scores_of_another_size_are_resized_with_the_search_for_the_largest() -> None:
    data = network((16, 20), stride=4)
    made = wrapped(data, preset=Preset.NONE)
    assert [type(node.op).__name__ for node in run_pipeline(made.graph).graph.nodes()].count("ResizeArgMax") == 1
    image = picture(16, 20)
    small = scores(data, image.astype(np.float32))[0]
    large = enlarged(small, 16, 20)
    assert np.mean(labels(made, image)[0] == large.argmax(2)) > 0.98
    kept = wrapped(data, preset=Preset.NONE, output_size=OutputSize.NETWORK)
    assert np.array_equal(labels(kept, image)[0], small.argmax(2))


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from([1, 8, 32]), st.booleans())
def test_open_sizes_are_padded_to_a_multiple_and_cut_again(height: int, width: int, multiple: int, grey: bool) -> None:
    value = 114 if grey else None
    data = network(nchw=True, stride=2)
    made = wrapped(data, preset=Preset.TF, pad_to_multiple=multiple, pad_value=value)
    image = picture(height, width)
    tall, wide = (-(-side // multiple) * multiple for side in (height, width))
    filled = np.full((1, tall, wide, 3), 127.5 if value is None else value, np.float32)
    filled[:, :height, :width] = image
    small = scores(data, (filled / np.float32(127.5) - 1).transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)[0]
    large = enlarged(small, tall, wide)
    found = labels(made, image)
    assert found.shape == (1, height, width)
    assert np.mean(found[0] == large.argmax(2)[:height, :width]) > 0.97


def test_skips_meet_where_sides_are_multiples() -> None:
    """Two halvings and two doublings: an odd side would not come back to itself."""
    made = GraphBuilder().placeholder("x", np.float32, [1, None, None, 3]).const("two", np.int32([2, 2]))
    for name, before in (("a", "x"), ("b", "a")):
        made.node("MaxPool", name, [before], ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="VALID")
    for name, before in (("up1", "b"), ("up2", "up1")):
        made.node("Shape", f"{name}/shape", [before]).const(f"{name}/from", np.int32([1])).const(
            f"{name}/to", np.int32([3])
        ).const(f"{name}/by", np.int32([1]))
        made.node("StridedSlice", f"{name}/hw", [f"{name}/shape", f"{name}/from", f"{name}/to", f"{name}/by"])
        made.node("Mul", f"{name}/twice", [f"{name}/hw", "two"])
        made.node("ResizeNearestNeighbor", name, [before, f"{name}/twice"])
    made.node("AddV2", "scores", ["up2", "x"])
    found = wrapped(made.bytes(), preset=Preset.ZERO_ONE, pad_to_multiple=4)
    for height, width in ((1, 1), (5, 7), (12, 8)):
        assert labels(found, picture(height, width)).shape == (1, height, width)


@pytest.mark.parametrize(("last", "said", "probable"), [
    (None, LabelsFrom.AUTO, False), (None, LabelsFrom.LOGITS, False), ("Sigmoid", LabelsFrom.AUTO, True),
    ("Sigmoid", LabelsFrom.PROBABILITIES, True), (None, LabelsFrom.PROBABILITIES, True),
])  # fmt: skip
@pytest.mark.parametrize("threshold", [0.5, 0.9])
def test_one_channel_has_a_threshold(last: str | None, said: LabelsFrom, probable: bool, threshold: float) -> None:
    data, image = network((12, 9), weights=ONE, last=last), picture(12, 9)
    made = wrapped(data, preset=Preset.TF, labels_from=said, threshold=threshold)
    found = scores(data, (image / np.float32(127.5) - 1).astype(np.float32))[..., 0]
    bound = threshold if probable else math.log(threshold / (1 - threshold))
    assert np.mean(labels(made, image) == (found > bound)) > 0.99
    assert any(
        f"above {threshold:g}, of the {'probabilities' if probable else 'logits'}" in n for n in made.report.notes
    )


def test_labels_of_the_graph_are_kept_and_other_outputs_left_out() -> None:
    made = GraphBuilder().placeholder("x", np.uint8, [1, None, None, 3]).node("Cast", "f", ["x"], DstT=np.float32)
    made.const("w", KERNEL).node("Conv2D", "scores", ["f", "w"], strides=[1, 1, 1, 1], padding="SAME")
    made.const("axis", np.int32(3)).node("ArgMax", "map", ["scores", "axis"], output_type=np.int64)
    made.node("Softmax", "probable", ["scores"])
    found = wrapped(made.bytes())
    assert found.graph.output_names == ("map:0",)
    assert any("outputs left out: probable:0" in note for note in found.report.notes)
    image = picture(6, 7)
    plain = reference.run(import_shaped(made.bytes(), CompileOptions(TARGETS)).graph, {"x:0": image})
    assert np.array_equal(labels(found, image), plain["map:0"])


def test_scores_are_kept_where_labels_are_not_wanted() -> None:
    made = wrapped(network((8, 8)), preset=Preset.NONE, labels_from=LabelsFrom.NONE)
    assert [str(n.type) for n in made.graph.outputs] == ["float32[1, 8, 8, 4]"]
    image = picture(8, 8)
    found = reference.run(made.graph, {"x:0": image})["scores:0"]
    assert np.array_equal(found, scores(network((8, 8)), image.astype(np.float32)))


def test_without_options_the_graph_stays_as_it_is() -> None:
    graph = import_shaped(network(), CompileOptions(TARGETS)).graph
    assert [str(n.type) for n in graph.inputs] == ["float32[1, H, W, 3]"]


def test_a_square_holds_pictures_of_every_proportion() -> None:
    data = network((16, 16))
    made = wrapped(data, preset=Preset.TF, resize=Fit.FIT)
    assert [(s.symbol, s.high) for s in made.report.limits] == [("H", 16), ("W", 16)]
    image = picture(10, 16)
    filled = np.zeros((1, 16, 16, 3), np.float32)
    filled[:, :10] = image / np.float32(127.5) - 1
    assert np.mean(labels(made, image) == scores(data, filled).argmax(3)[:, :10]) > 0.99


@pytest.mark.parametrize(("size", "given_size", "mutable", "options", "wanted"), [
    ((8, 8), None, True, {}, {"input_size": 8, "resize": "stretch"}),
    ((8, 12), None, True, {}, {"input_size": [8, 12], "resize": "stretch"}),
    ((8, 12), None, True, {"resize": Fit.NONE}, {"input_size": None, "resize": "none"}),
    ((8, 8), None, True, {"resize": Fit.FIT}, {"input_size": 8, "resize": "fit"}),
    ((8, 8), 6, True, {"resize": Fit.FIT}, {"input_size": 6, "resize": "fit"}),
    ((None, None), None, True, {}, {"input_size": None, "resize": "none"}),
    ((None, None), 33, True, {}, {"input_size": 33, "resize": "fit"}),
    ((None, None), 33, True, {"resize": Fit.STRETCH}, {"input_size": 33, "resize": "stretch"}),
    ((None, None), 33, False, {"pad_to_multiple": 8}, {"input_size": 33, "resize": "stretch"}),
])  # fmt: skip
def test_what_the_file_says_of_pictures(
    size: tuple[int | None, int | None],
    given_size: int | None,
    mutable: bool,
    options: dict[str, Any],
    wanted: dict[str, object],
) -> None:
    data = network(size)
    chosen = CompileOptions(
        TARGETS, input_size=given_size, shape_mutable=mutable, pictures=PictureOptions(preset=Preset.TF, **options)
    )
    made = import_shaped(data, chosen)
    said = describe(graph_file(data), made.graph, chosen, made.report)["preprocess"]
    built_in = said.pop("built_in")
    assert said == wanted
    assert PictureOptions.from_json(built_in) == chosen.pictures


@pytest.mark.parametrize(("data", "size", "options", "words"), [
    (network(), None, {}, "--preset imagenet, tf"),
    (network(dtype=np.uint8), None, {"preset": Preset.TF}, "takes the bytes of a picture"),
    (network(dtype=np.int32), None, {"preset": Preset.TF}, "no option about pictures makes"),
    (network((3, 3), nchw=True), None, {"preset": Preset.TF}, "say --layout nchw or nhwc"),
    (network(), None, {"preset": Preset.TF, "threshold": 0.4}, "has 4 channels, of which the largest is taken"),
    (network(nchw=True), None, {"preset": Preset.TF, "layout": ImageLayout.NHWC}, "the 3 channels of a picture with"),
    (network(), None, {"preset": Preset.TF, "resize": Fit.FIT}, "give --input-size"),
    (network((8, 12)), None, {"preset": Preset.TF, "resize": Fit.FIT}, "is for squares"),
    (network((8, 8)), 9, {"preset": Preset.TF, "resize": Fit.FIT}, "over the size of this graph"),
    (network((8, 12)), None, {"preset": Preset.TF, "pad_to_multiple": 32}, "is for open sizes"),
    (network(stride=2), None, {"preset": Preset.TF, "pad_to_multiple": 4, "output_size": OutputSize.NETWORK},
     "leaves no way to cut"),
])  # fmt: skip
def test_what_does_not_fit_says_what_does(data: bytes, size: int | None, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        wrapped(data, size, **options)


def test_a_fixed_size_cannot_keep_proportions() -> None:
    with pytest.raises(UsageError, match="sizes must be open"):
        wrapped(network(), 33, mutable=False, preset=Preset.TF, resize=Fit.FIT)


def test_several_scores_are_not_guessed_between() -> None:
    made = GraphBuilder().placeholder("x", np.float32, [1, 8, 8, 3])
    for name in ("main", "aux"):
        made.const(f"{name}/w", KERNEL)
        made.node("Conv2D", name, ["x", f"{name}/w"], strides=[1, 1, 1, 1], padding="SAME")
    with pytest.raises(UsageError, match=r"several outputs could be .* name one with --outputs"):
        wrapped(made.bytes(), preset=Preset.TF)
    chosen = CompileOptions(TARGETS, outputs=("main",), pictures=PictureOptions(preset=Preset.TF))
    assert import_shaped(made.bytes(), chosen).graph.output_names == ("main:0",)


@pytest.mark.parametrize(("options", "words"), [
    ({"scale": 0.0}, "--scale"), ({"mean": (1.0, 2.0)}, "--mean"), ({"std": (0.0,)}, "--std"),
    ({"std": (math.inf,)}, "--std"), ({"pad_to_multiple": 0}, "--pad-to-multiple"), ({"pad_value": 256}, "--pad-value"),
    ({"threshold": 1.0}, "--threshold"),
])  # fmt: skip
def test_numbers_out_of_range_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        PictureOptions(**options)


def test_the_command_line_takes_numbers_lists_and_fractions() -> None:
    assert NetworkOptions().pictures() is None
    found = NetworkOptions(scale="1/255", mean="0.485, 0.456,0.406", std="2e-1").pictures()
    assert found == PictureOptions(scale=1 / 255, mean=MEAN, std=(0.2,))
    factors, summands = found.arithmetic
    assert factors == (1 / 255 / 0.2,) * 3 and summands == tuple(0.0 - m / 0.2 for m in MEAN)
    assert NetworkOptions(threshold=0.3).pictures() == PictureOptions(threshold=0.3)
    for wrong in ("", "a", "1,,2", "1/0", "nan", "1;2"):
        with pytest.raises(UsageError, match="--mean takes numbers"):
            NetworkOptions(mean=wrong).pictures()
    with pytest.raises(UsageError, match="--scale takes one number"):
        NetworkOptions(scale="1,2,3").pictures()
