"""Two graphs of one network compared: layers paired by structure, and where they depart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnx_wire as w
from fuzz.onnx_models import handle
from graph_builder import GraphBuilder
from shared_data import shared_dir
from smalti.cli.exit_codes import ExitCode
from smalti.cli.main import run
from smalti.comparing.graphs import GraphsOptions, compare_graphs
from smalti.comparing.pairs import Pairing, pair_layers
from smalti.compiling.pictures import PictureOptions, Preset
from smalti.compiling.source import import_file, read_graph
from smalti.errors import UsageError
from smalti.frontend.importing.importer import ImportOptions
from smalti.ir import ops
from smalti.passes.pipeline import run_pipeline
from smalti.vision.headers import ImageFormat
from smalti.vision.images import encode_picture

SIDE, BRANCHES = 12, 3


def array(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).normal(0, 0.4, shape).astype(np.float32)


def network(
    order: tuple[int, ...] = (0, 1, 2),
    dilation: int = 2,
    spread: bool = False,
    changed: float = 0.0,
    extra: bool = False,
    prefix: str = "",
    size: int = SIDE,
) -> bytes:
    """Return a model of a dilated convolution, branches that read it, and a convolution of them all."""
    first = array(0, 8, 3, 3, 3)
    if spread:
        whole = np.zeros((8, 3, 5, 5), np.float32)
        whole[:, :, ::2, ::2] = first
        first, dilation = whole, 1
    pad = 2 if spread else dilation
    settings = {"pads": [pad] * 4, "dilations": [dilation] * 2}
    nodes = [
        w.node("Conv", ["x", f"{prefix}first"], [f"{prefix}a"], **settings),
        w.node("Relu", [f"{prefix}a"], [f"{prefix}r"]),
    ]
    held = [w.array(f"{prefix}first", first)]
    top = f"{prefix}r"
    if extra:
        nodes.append(w.node("HardSigmoid", [top], [f"{prefix}hard"]))
        top = f"{prefix}hard"
    for branch in order:
        held.append(w.array(f"{prefix}k{branch}", array(branch + 1, 6, 8, 1, 1) + np.float32(changed * (branch == 1))))
        nodes.append(w.node("Conv", [top, f"{prefix}k{branch}"], [f"{prefix}b{branch}"]))
        nodes.append(w.node("Sigmoid", [f"{prefix}b{branch}"], [f"{prefix}s{branch}"]))
    names = [f"{prefix}s{branch}" for branch in sorted(order)]
    nodes += [
        w.node("Concat", names, [f"{prefix}all"], axis=1),
        w.node("Conv", [f"{prefix}all", "last"], [f"{prefix}y"]),
    ]
    held.append(w.array("last", array(9, 4, 6 * len(order), 1, 1)))
    x = w.value("x", w.FLOAT, [1, 3, size, size])
    return w.model(w.graph(nodes, [x], [w.value(f"{prefix}y")], held))


def paired(first: bytes, second: bytes) -> Pairing:
    return pair_layers(handle(first), handle(second))


def names(pairing: Pairing, second: bool = False) -> list[str]:
    return [(p.second if second else p.first).name for p in pairing.pairs]


def test_one_network_is_paired_whole_whatever_its_names_and_order_are() -> None:
    found = paired(network(), network(order=(2, 0, 1), prefix="other_"))
    assert (found.only_first, found.only_second) == ((), ())
    assert all(not p.settings and not p.written for p in found.pairs)
    branches = [(p.first.name, p.second.name) for p in found.pairs if "k" in str(p.first.inputs[-1].name)]
    assert len(found.pairs) >= 2 + BRANCHES
    for a, b in branches:
        assert a.rpartition("b")[2][:1] == b.rpartition("b")[2][:1], (a, b)


def test_a_lost_dilation_is_named_and_zeros_between_weights_are_none() -> None:
    lost = paired(network(), network(dilation=1))
    (pair,) = [p for p in lost.pairs if p.settings]
    assert pair is lost.pairs[0] or isinstance(pair.first.op, ops.Conv2d)
    assert any("dilation (2, 2), not (1, 1)" in text for text in pair.settings)
    spread = paired(network(), network(spread=True))
    assert [p.settings for p in spread.pairs if p.settings] == []
    (written,) = [p.written for p in spread.pairs if p.written]
    assert written[0] == "dilation (2, 2), not (1, 1)"
    assert "[3, 3, 3, 8], not [5, 5, 3, 8]: zeros stand between them" in written[1]


def test_other_weights_are_said() -> None:
    found = paired(network(), network(changed=0.5))
    (pair,) = [p for p in found.pairs if p.settings]
    assert pair.settings[0].startswith("weights differ by ")


def test_after_a_layer_that_only_one_has_the_walk_goes_on() -> None:
    found = paired(network(), network(extra=True, prefix="n_"))
    assert found.only_first == ()
    assert len(found.only_second) >= 1
    assert len(found.pairs) >= 2 + BRANCHES
    back = paired(network(extra=True), network())
    assert back.only_second == ()
    assert len(back.only_first) == len(found.only_second)


def test_graphs_that_have_nothing_in_common() -> None:
    other = w.model(w.graph([w.node("Neg", ["x"], ["y"])], [w.value("x", w.FLOAT, [1, 3, 4, 4])], [w.value("y")]))
    found = paired(network(), other)
    assert found.pairs == ()
    assert len(found.only_second) == 1


@pytest.fixture
def place(tmp_path: Path) -> Path:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(2):
        picture = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        (pictures / f"{number}.png").write_bytes(encode_picture(picture, ImageFormat.PNG))
    (tmp_path / "a.onnx").write_bytes(network())
    return tmp_path


def compared(place: Path, second: bytes | None, **more: Any) -> Any:
    if second is not None:
        (place / "b.onnx").write_bytes(second)
    said = {"pictures": PictureOptions(Preset.TF), **more}
    return compare_graphs(GraphsOptions(place / "a.onnx", place / "b.onnx", place / "pictures", **said))


def test_equal_networks_do_not_depart(place: Path) -> None:
    result = compared(place, network(order=(1, 2, 0), prefix="o_", spread=True))
    assert result.first_departing is None
    assert result.set_otherwise == ()
    assert result.images == 2
    (output,) = result.outputs
    assert (output.first, output.second) == ("y", "o_y")
    assert output.differences.diff2 < 1e-5
    assert output.differences.elements == 2 * 4 * SIDE * SIDE
    assert "written otherwise, and the same: 1 layers" in result.to_text()


def test_the_layer_where_they_depart_is_named(place: Path) -> None:
    result = compared(place, network(dilation=1))
    first = result.first_departing
    assert first is not None
    assert first is result.layers[0]
    assert any("dilation" in text for text in first.settings)
    assert first.layer.added == first.layer.differences.diff2 > 0.05
    assert f"first layer that departs: {first.layer.name} beside {first.other}" in result.to_text()
    json.dumps(result.to_json(), allow_nan=False)
    assert len(result.to_csv().splitlines()) == 1 + len(result.layers)


def test_two_formats_of_one_network(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A GraphDef that takes pictures gives the numbers of an ONNX model that takes numbers, channels first."""
    made = (
        GraphBuilder().placeholder("image", np.uint8, [1, None, None, 3]).node("Cast", "f", ["image"], DstT=np.float32)
    )
    made.const("scale", np.float32(1 / 127.5)).node("Mul", "m", ["f", "scale"]).const("one", np.float32(1))
    made.node("Sub", "n", ["m", "one"]).const("w", array(0, 8, 3, 3, 3).transpose(2, 3, 1, 0))
    made.node("Conv2D", "conv", ["n", "w"], strides=[1] * 4, padding="SAME").node("Relu", "act", ["conv"])
    (place / "a.pb").write_bytes(made.bytes())
    nodes = [w.node("Conv", ["x", "k"], ["c"], pads=[1] * 4), w.node("Relu", ["c"], ["y"])]
    x = w.value("x", w.FLOAT, [1, 3, SIDE, SIDE])
    model = w.model(w.graph(nodes, [x], [w.value("y")], [w.array("k", array(0, 8, 3, 3, 3))]))
    (place / "b.onnx").write_bytes(model)
    words = ["compare", "--graph", str(place / "a.pb"), "--other-graph", str(place / "b.onnx"), "--preset", "tf"]
    words += ["--image-dir", str(place / "pictures"), "--csv", str(place / "layers.csv")]
    assert run([*words, "--pair", "act=y", "--json"]) == ExitCode.OK
    shown = json.loads(capsys.readouterr().out)
    assert shown["first_departing"] is None
    assert shown["outputs"][0]["diff2"] < 1e-5
    assert shown["only_first"] == shown["only_second"] == []
    assert run(words) == ExitCode.OK
    assert "output act:0 beside y: diff2" in capsys.readouterr().out
    assert (place / "layers.csv").read_text().startswith("name,op,")


def test_what_cannot_be_compared_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="which is no picture: say how bytes become its numbers"):
        compared(place, network(), pictures=None)
    with pytest.raises(UsageError, match="pictures of 12 x 12 and 16 x 16, "):
        compared(place, network(size=16))
    result = compared(place, network(), outputs=(("y", "s1"),))
    assert "pair tensors with --pair" in result.outputs[0].reason
    words = ["compare", "--graph", str(place / "a.onnx"), "--image-dir", str(place / "pictures")]
    other = [*words, "--other-graph", str(place / "b.onnx")]
    for wrong, said in (
        (words, "--model, or --other-graph"),
        ([*words, "--model", "m.smalti", "--preset", "tf"], "--preset is for two graphs"),
        ([*other, "--max-flipped", "0.5"], "--max-flipped is about a model file"),
        ([*other, "--reference", "float32"], "--reference is about a model file"),
        ([*other, "--pair", "y"], "--pair takes two names"),
        ([*other, "--pair", "y=nothing", "--preset", "tf"], "nothing"),
    ):
        assert run(wrong) == ExitCode.USAGE, said
        assert said in capsys.readouterr().err


def test_two_exports_of_a_public_network_depart_at_the_resize() -> None:
    """The ONNX export has zeros between weights for dilations, which is the same, and resizes by other corners."""
    wild = shared_dir() / "wild"
    graphs = wild / "pb" / "deeplab_mnv2_dm05_portrait_513.pb", wild / "onnx" / "deeplab_mnv2_dm05_portrait_nchw.onnx"
    if not all(path.is_file() for path in graphs):
        pytest.skip("the two exports are not on this machine")
    first, second = (handle(path.read_bytes()) if path.suffix == ".onnx" else canonical(path) for path in graphs)
    found = pair_layers(first, second)
    assert len(found.pairs) > 55
    assert sum("dilation" in p.written[0] for p in found.pairs if p.written) == 10
    *first_layers, pair = [p for p in found.pairs if p.settings]
    assert {p.first.name for p in first_layers} <= {"MobilenetV2/Conv/Relu6:0"}, "bytes go in there, numbers here"
    assert pair.first.name == "ResizeBilinear_2:0"
    assert pair.settings == ("align_corners True, not False",)


def canonical(path: Path) -> Any:
    return run_pipeline(import_file(read_graph(path), ImportOptions()).graph).graph
