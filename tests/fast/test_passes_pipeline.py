"""The pipeline on a small network written as DeepLab's exporter writes it: levels, reports, dumps, stopping."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from passes_kit import Maker, graph_of, number, same_numbers, tensorflow_axis
from smalti.errors import CompilerError, OutputError, UsageError
from smalti.ir import ops
from smalti.ir.dims import Dim, maximum, symbol
from smalti.ir.graph import Graph, Level, Node
from smalti.ir.ops import BinaryFn, PoolFn, ReduceFn, ResizeFn, UnaryFn
from smalti.ir.text import constants, parse, to_text
from smalti.numerics import DType
from smalti.passes import pipeline
from smalti.passes.dump import DumpDir
from smalti.passes.pipeline import PIPELINE, Pass, PassReport, difference, histogram, run_pipeline
from tolerance import Tol

CROP = 33
RELU6 = UnaryFn.RELU6


def block(m: Maker, x: Node, rate: int, stride: int, residual: bool) -> Node:
    channels = number(x.type.shape[3])
    y = m.unary(RELU6, m.batch_norm(m.conv(x, 2 * channels, k=1)))
    if rate > 1:
        axes = [tensorflow_axis(s, rate, 3, True) for s in y.type.shape[1:3]]
        y = m.op(ops.SpaceToBatch((rate, rate), (*axes[0][0], *axes[1][0])), y)
        y = m.depthwise(y, pads=(0, 0, 0, 0))
        y = m.op(ops.BatchToSpace((rate, rate), (*axes[0][1], *axes[1][1])), y)
    else:
        y = m.depthwise(y, stride=(stride, stride))
    y = m.unary(RELU6, m.batch_norm(y))
    y = m.batch_norm(m.conv(y, channels, k=1))
    return m.binary(BinaryFn.ADD, y, x) if residual else y


def deeplab(crop: bool) -> Graph:
    """Return a network with DeepLab's parts; cropped to 33 x 33, or of any size."""
    m = Maker()
    h, w = symbol("H", 1, CROP if crop else None), symbol("W", 1, CROP if crop else None)
    image = m.input(1, h, w, 3, dtype=DType.UINT8, name="ImageTensor:0")
    x = m.op(ops.Cast(DType.FLOAT32), image)
    if crop:
        x = m.op(ops.Reshape((h, w, 3)), x)
        x = m.op(ops.Reshape((1, h, w, 3)), m.binary(BinaryFn.SUB, x, m.const([[[127.5] * 3]])))
        x = m.op(ops.Pad(((0, 0), (0, maximum(CROP - h, 0)), (0, maximum(CROP - w, 0)), (0, 0))), x)
        x = m.binary(BinaryFn.ADD, x, m.const([[[127.5] * 3]]))
    x = m.binary(BinaryFn.SUB, m.binary(BinaryFn.MUL, m.const(2 / 255), x), m.const(1.0))
    x = m.unary(RELU6, m.batch_norm(m.conv(x, 4, stride=(2, 2))))
    x = block(m, x, 1, 2, False)
    x = block(m, x, 2, 1, True)
    x = block(m, x, 4, 1, True)
    rows, columns = x.type.shape[1:3]
    if crop:
        pooled = m.op(ops.Pool(PoolFn.AVG, (number(rows), number(columns)), (1, 1)), x)
    else:
        pooled = m.op(ops.Reduce(ReduceFn.MEAN, (1, 2), True), x)
    pooled = m.relu(m.batch_norm(m.conv(pooled, 6, k=1)))
    pooled = m.op(ops.Resize(ResizeFn.BILINEAR, (rows, columns), align_corners=True), pooled)
    aspp = m.relu(m.batch_norm(m.conv(x, 6, k=1)))
    y = m.relu(m.batch_norm(m.conv(m.op(ops.Concat(3), pooled, aspp), 8, k=1)))
    logits = m.binary(BinaryFn.ADD, m.conv(y, 5, k=1), m.random(5))
    return graph_of(tail(m, logits, crop, h, w), logits)


def tail(m: Maker, logits: Node, crop: bool, h: int | Dim, w: int | Dim) -> Node:
    size = (CROP, CROP) if crop else (h, w)
    for _ in range(2):
        logits = m.op(ops.Resize(ResizeFn.BILINEAR, size, align_corners=True), logits)
    labels = m.op(ops.ArgMax(3, DType.INT64), logits)
    if crop:
        labels = m.op(ops.Slice((0, 0, 0), (1, h, w), (1, 1, 1)), labels)
        labels = m.op(ops.Reshape((1, h, w, 1)), labels)
        labels = m.op(ops.Resize(ResizeFn.NEAREST, (h, w), align_corners=True), labels)
        labels = m.op(ops.Reshape((1, h, w)), labels)
    return m.op(ops.Cast(DType.INT32), labels)


@pytest.mark.parametrize("crop", [True, False], ids=["crop", "any size"])
def test_nothing_of_tensorflow_is_left(crop: bool) -> None:
    before = deeplab(crop)
    result = run_pipeline(before, check=True)
    counts = histogram(result.graph)
    del counts["Constant"]
    assert counts == {
        "Conv2d": 12 + 3, "Input": 1, "Reduce": 1, "Reshape": 1, "ResizeArgMax": 1
    }  # fmt: skip
    assert result.graph.level is Level.CANONICAL
    for size in ((33, 33), (21, 30), (1, 7)):
        sizes = dict(zip("HW", size, strict=True))
        logits = [replace(g, outputs=g.outputs[1:], output_names=("logits:0",)) for g in (before, result.graph)]
        same_numbers(logits[0], logits[1], Tol.FLOAT(reduction=400, scale=100), sizes)
    text = "\n".join(result.notes)
    for words in ("2 pairs became", "127.5", "13 batch norms", "10 activations", "2 sums", "image pooling", "argmax"):
        assert words in text


@pytest.mark.parametrize("crop", [True, False], ids=["crop", "any size"])
def test_labels_are_those_of_the_logits(crop: bool) -> None:
    graph = run_pipeline(deeplab(crop)).graph
    m = Maker()
    logits = graph.outputs[1]
    h, w = graph.inputs[0].type.shape[1:3]
    slow = replace(graph, outputs=(tail(m, logits, crop, h, w), logits))
    same_numbers(slow, graph, Tol.EXACT, {"H": 29, "W": 18})


def test_the_result_is_the_same_every_time() -> None:
    first, second = (run_pipeline(deeplab(True)).graph for _ in range(2))
    assert to_text(first) == to_text(second)
    assert to_text(parse(to_text(first), constants(first))) == to_text(first)


def test_a_canonical_graph_is_a_fixed_point() -> None:
    graph = run_pipeline(deeplab(False)).graph
    for step in PIPELINE:
        after, _ = step.function(graph)
        assert to_text(after) == to_text(graph), step.name


@pytest.mark.parametrize("name", [p.name for p in PIPELINE])
def test_every_pass_can_be_the_last(name: str) -> None:
    before = deeplab(True)
    result = run_pipeline(before, stop_at=name, check=True)
    assert result.reports[-1].name == name
    assert list(result.timings) == [p.name for p in PIPELINE[: len(result.reports)]]
    done = [p.name for p in PIPELINE].index(name) >= [p.name for p in PIPELINE].index("canonical")
    assert result.graph.level is (Level.CANONICAL if done else Level.IMPORTED)
    same_numbers(
        replace(before, outputs=before.outputs[1:], output_names=("logits:0",)),
        replace(result.graph, outputs=result.graph.outputs[1:], output_names=("logits:0",)),
        Tol.FLOAT(reduction=400, scale=100),
        {"H": 9, "W": 14},
    )


def test_an_unknown_pass_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"no pass named 'nothing'.*atrous"):
        run_pipeline(deeplab(True), stop_at="nothing")


def test_every_pass_has_its_own_name_and_a_reason() -> None:
    assert len({p.name for p in PIPELINE}) == len(PIPELINE)
    assert all(20 < len(p.why) < 110 for p in PIPELINE)


def test_reports_add_up() -> None:
    before = deeplab(False)
    result = run_pipeline(before)
    total = dict(histogram(before))
    for report in result.reports:
        for name, change in report.difference.items():
            total[name] = total.get(name, 0) + change
        assert report.nodes == sum(total.values())
        assert report.seconds >= 0
    assert {name: count for name, count in total.items() if count} == histogram(result.graph)
    assert difference({"A": 2, "B": 1}, {"A": 2, "C": 3}) == {"B": -1, "C": 3}


def test_an_instrument_sees_every_graph() -> None:
    seen: list[tuple[int, str]] = []

    def look(number: int, graph: Graph, report: PassReport | None) -> None:
        seen.append((number, "start" if report is None else report.name))

    run_pipeline(deeplab(False), "cse", look)
    assert seen == [(0, "start"), (1, "constants"), (2, "cse")]


def test_the_dump_folder_holds_a_file_for_each_pass(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "dump"
    result = run_pipeline(deeplab(True), instrument=DumpDir(folder))
    names = sorted(p.name for p in folder.iterdir())
    assert names == ["00_imported.txt", *(f"{i:02d}_{p.name}.txt" for i, p in enumerate(PIPELINE, start=1))]
    text = (folder / "05_atrous.txt").read_text(encoding="utf-8")
    assert "# SpaceToBatch -2 (2->0)" in text
    assert "# note: SpaceToBatch/BatchToSpace: 2 pairs became dilated convolutions" in text
    last = (folder / names[-1]).read_text(encoding="utf-8")
    assert last.endswith(to_text(result.graph))


def test_a_dump_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        run_pipeline(deeplab(True), instrument=DumpDir(tmp_path / "file" / "dump"))


def test_a_broken_pass_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(graph: Graph) -> tuple[Graph, tuple[str, ...]]:
        nodes = graph.outputs
        return replace(graph, outputs=(replace(nodes[0], type=replace(nodes[0].type, dtype=DType.INT8)), nodes[1])), ()

    monkeypatch.setattr(pipeline, "PIPELINE", (Pass("broken", broken, "to see it found"), *PIPELINE))
    with pytest.raises(CompilerError, match="pass broken: .*breaks"):
        run_pipeline(deeplab(True), check=True)


def test_a_graph_of_another_level_is_refused() -> None:
    graph = run_pipeline(deeplab(True)).graph
    with pytest.raises(CompilerError, match="the graph is canonical, not imported"):
        run_pipeline(graph, check=True)


def test_the_documentation_lists_every_pass() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "pipeline.md").read_text(encoding="utf-8")
    rows = [f"| {i} | `{p.name}` | {p.why} |" for i, p in enumerate(PIPELINE, start=1)]
    assert "\n".join(rows) in text


CHAIN = 500


def long_chain(kind: str) -> Graph:
    m = Maker()
    h, w = symbol("H"), symbol("W")
    x = m.const(1.0) if kind == "constants" else m.input(1, h, w, 3)
    if kind == "transpose":
        x = m.op(ops.Transpose((0, 3, 1, 2)), x)
    if kind == "blocks":
        x = m.op(ops.SpaceToBatch((2, 2), (0, h % 2, 0, w % 2)), x)
    if kind in ("scales", "blocks"):
        x = m.conv(x, 3)
    for i in range(CHAIN):
        if kind == "scales":
            x = m.binary(BinaryFn.MUL, x, m.const(1.001))
        elif kind == "reshapes":
            x = m.op(ops.Reshape((1, h, w, 3) if i % 2 else (h * w, 3)), x)
        else:
            x = m.unary(UnaryFn.TANH, x)
    if kind == "blocks":
        x = m.op(ops.BatchToSpace((2, 2), (0, h % 2, 0, w % 2)), x)
    return graph_of(x)


@pytest.mark.parametrize("kind", ["constants", "transpose", "blocks", "scales", "reshapes"])
def test_long_chains_take_time_in_proportion(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smalti.passes.rewrite.MAX_VISITS", 16 * CHAIN)
    graph = long_chain(kind)
    assert len(run_pipeline(graph).graph.nodes()) <= CHAIN + 4
