"""``smalti build`` hands its options on; what a build itself does is tested where it is made."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from graph_builder import GraphBuilder
from smalti.artifact.reader import open_model
from smalti.building.build import BuildProgress, BuildResult, BuiltProgram
from smalti.building.build import build as build_model
from smalti.cli import build
from smalti.cli.exit_codes import ExitCode
from smalti.cli.main import run
from smalti.compiler import CompileOptions
from smalti.errors import UnsupportedGraphError, UnsupportedNode, UsageError
from smalti.frontend.report import ImportReport, left_out
from smalti.passes.pipeline import PIPELINE
from smalti.quant.record import CalibrationRecord
from smalti.target.host import resolve_targets
from smalti.vision.classes import Classes, read_classes
from smalti.vision.palette import class_palette, voc_palette

REPORT = ImportReport((("Conv2D", 3),), 9, 7, (), (), (), (), ("argmax",), left_out([]), left_out([]), ())


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, CompileOptions, Path | None]]:
    """What build() was asked for, most recent last; no compiler runs."""
    calls: list[tuple[Path, CompileOptions, Path | None]] = []

    def fake(
        tf_model: Path,
        output: Path,
        options: CompileOptions,
        *,
        record: CalibrationRecord | None = None,
        dump_dir: Path | None = None,
        progress: BuildProgress | None = None,
    ) -> BuildResult:
        calls.append((output, options, dump_dir))
        programs = tuple(BuiltProgram(target.name, 4, 2, 1, 0) for target in options.targets)
        return BuildResult(output, "0" * 64, 3, 1, 0.5, programs, REPORT, options.quant_mode.value)

    monkeypatch.setattr(build, "build", fake)
    return calls


def test_defaults(built: list[tuple[Path, CompileOptions, Path | None]], capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run(["build", "--tf-model", "nets/small/frozen_inference_graph.pb", "--output-model-path", "m"]) == ExitCode.OK
    )
    assert built == [(Path("m"), CompileOptions(targets=resolve_targets("native"), name="small"), None)]
    shown = capsys.readouterr()
    assert "argmax" in shown.out and "0" * 64 in shown.out and not shown.err
    assert all(len(line.rstrip()) <= 80 for line in shown.out.splitlines())


def test_options(built: list[tuple[Path, CompileOptions, Path | None]], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--quant-mode",
        "force_float32",
        "--shape-mutable",
        "False",
        "--input-size",
        "321",
        "--batch-size",
        "2",
    ]
    arguments += ["--inputs", "a:0, b:0", "--outputs", "logits/semantic/BiasAdd:0"]
    arguments += ["--target", "generic", "--dump-dir", "dump", "--json"]
    assert run(["build", "--tf-model", "net.pb", "--output-model-path", "m", *arguments]) == ExitCode.OK
    assert built[0][1:] == (
        CompileOptions(
            targets=resolve_targets("generic"),
            shape_mutable=False,
            input_size=321,
            batch_size=2,
            inputs=("a:0", "b:0"),
            outputs=("logits/semantic/BiasAdd:0",),
            name="net",
        ),
        Path("dump"),
    )
    assert json.loads(capsys.readouterr().out)["report"]["operations"] == {"Conv2D": 3}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--output-model-path", "m"],
        ["--tf-model", "g.pb"],
        ["--tf-model", "g.pb", "--output-model-path", "m", "--target", "z80"],
        ["--tf-model", "g.pb", "--output-model-path", "m", "--quant-mode", "force_float8"],
        ["--tf-model", "g.pb", "--output-model-path", "m", "--shape-mutable", "perhaps"],
        ["--tf-model", "g.pb", "--output-model-path", "m", "--batch-size", "0"],
        ["--tf-model", "g.pb", "--output-model-path", "m", "--batch-size", "9" * 20],
        ["--tf-model", "g.pb", "--output-model-path", "m", "--inputs", " , "],
        ["--tf-model", "g.pb", "--output-model-path", "m", "--input-shape", "x=1x0x3"],
        ["--tf-model", "g.pb", "--output-model-path", "m", "--input-shape", "1x2x3"],
        ["--tf-model", "g.pb", "--output-model-path", "m", "--bind", "x=perhaps"],
        ["--tf-model", "g.pb", "--output-model-path", "m", "--bind", "x=1", "--bind", "x:0=2"],
    ],
    ids=" ".join,
)
def test_wrong_options(arguments: list[str], built: list[tuple[Path, CompileOptions, Path | None]]) -> None:
    assert run(["build", *arguments]) == ExitCode.USAGE
    assert not built


def test_shapes_and_values_by_name(built: list[tuple[Path, CompileOptions, Path | None]]) -> None:
    given = [
        "--input-shape",
        "x=1x720x?x3",
        "--input-shape",
        "rate=",
        "--bind",
        "is_training=false",
        "--bind",
        "m:1=1,2",
    ]
    assert run(["build", "--model", "net.pb", "--output-model-path", "m", *given]) == ExitCode.OK
    options = built[0][1]
    assert options.input_shapes == {"x:0": (1, 720, None, 3), "rate:0": ()}
    assert options.binds == {"is_training:0": False, "m:1": (1, 2)} and options.name == "net"


def test_stopping_at_a_pass_writes_no_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build, "build_passes", lambda *_arguments: REPORT)
    assert run(["build", "--tf-model", "g.pb", "--stop-at", "cse", "--json"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["operations"] == {"Conv2D": 3}
    ignored = ["--output-model-path", "/proc/nothing-is-written-here"]
    assert run(["build", "--tf-model", "g.pb", "--stop-at", "cse", *ignored]) == ExitCode.OK


def test_an_unsupported_graph_lists_its_nodes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_arguments: object, **_options: object) -> BuildResult:
        raise UnsupportedGraphError((UnsupportedNode("Foo", 2, "a/b", "unknown"),))

    monkeypatch.setattr(build, "build", refuse)
    assert run(["build", "--tf-model", "g.pb", "--output-model-path", "m", "--json"]) == ExitCode.BAD_DATA
    shown = capsys.readouterr()
    assert json.loads(shown.out)["error"]["problems"] == [
        {"op": "Foo", "count": 2, "first_node": "a/b", "reason": "unknown"}
    ]
    assert "Foo" in shown.err


def test_a_missing_or_foreign_graph(tmp_path: Path) -> None:
    (tmp_path / "g.pb").write_bytes(b"\xff" * 40)
    for path, code in ((tmp_path / "none.pb", ExitCode.USAGE), (tmp_path / "g.pb", ExitCode.BAD_DATA)):
        assert run(["build", "--tf-model", str(path), "--output-model-path", str(tmp_path / "m")]) == code
        assert not (tmp_path / "m").exists()


def test_labels_are_read_from_a_file(tmp_path: Path, built: list[tuple[Path, CompileOptions, Path | None]]) -> None:
    (tmp_path / "names.txt").write_text("sky\n\n  tall tree \r\nünter\n", encoding="utf-8")
    arguments = ["build", "--tf-model", "g.pb", "--output-model-path", "m", "--labels", str(tmp_path / "names.txt")]
    assert run(arguments) == ExitCode.OK
    assert built[0][1].labels == ("sky", "tall tree", "ünter") and built[0][1].colours is None


def test_classes_may_have_colours(tmp_path: Path, built: list[tuple[Path, CompileOptions, Path | None]]) -> None:
    path = tmp_path / "names.txt"
    path.write_text("sky\ntraffic light   #FF8000\nclass #1\n")
    assert read_classes(path) == Classes(("sky", "traffic light", "class #1"), (None, "#ff8000", None))
    assert run(["build", "--tf-model", "g.pb", "--output-model-path", "m", "--labels", str(path)]) == ExitCode.OK
    assert built[0][1].colours == (None, "#ff8000", None)
    palette = class_palette(built[0][1].colours)
    assert palette[1].tolist() == [255, 128, 0]
    np.testing.assert_array_equal(np.delete(palette, 1, axis=0), np.delete(voc_palette(), 1, axis=0))
    targets = resolve_targets("native")
    for labels, colours, message in (
        (None, ("#ff8000",), "1 colours, but 0 labels"),
        (("a", "b"), ("#ff8000",), "1 colours, but 2 labels"),
        (("a",), ("orange",), "six small hexadecimal digits"),
        (("a",), ("#FF8000",), "six small hexadecimal digits"),
    ):
        with pytest.raises(UsageError, match=message):
            CompileOptions(targets=targets, labels=labels, colours=colours)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "no class name"),
        (b"\n \n", "no class name"),
        (b"a\nb\na\n", "'a' stands there twice"),
        (b"a\nb\x1b[1m\n", "name 2 must be UTF-8 text"),
        (b"\xff\xfe\n", "is UTF-16: save it as UTF-8"),
        (b"\xff\n", "name 1 must be UTF-8 text"),
        (b"a" * 201, "at most 200"),
        (b"a\n#ff0000\n", "colour 2 has no name before it"),
        (b"a #ff0000\na #00ff00\n", "'a' stands there twice"),
    ],
)
def test_wrong_labels(tmp_path: Path, text: bytes, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes(text)
    with pytest.raises(UsageError, match=message):
        read_classes(path)
    with pytest.raises(UsageError, match="there is no file list"):
        read_classes(tmp_path / "none")
    for command in (
        ["eval", "--gt-dir", ".", "--pred-dir", "."],
        ["eval", "--gt-dir", ".", "--model", "m", "--image-dir", "."],
    ):
        assert run([*command, "--labels", str(path)]) == ExitCode.USAGE
        assert message in capsys.readouterr().err


def test_labels_must_be_as_many_as_the_classes(tmp_path: Path) -> None:
    graph = (
        GraphBuilder()
        .placeholder("x", np.float32, [1, 4, 4, 3])
        .const("axis", np.array(3, np.int32))
        .node("ArgMax", "classes", ["x", "axis"])
        .node("Identity", "labels", ["classes"])
    )
    (tmp_path / "g.pb").write_bytes(graph.bytes())
    options = CompileOptions(targets=resolve_targets("native"), labels=("one", "two"))
    said: list[str] = []
    with pytest.raises(UsageError, match="the graph has 3 classes, but there are 2 labels"):
        build_model(tmp_path / "g.pb", tmp_path / "m", options, progress=said.append)
    assert said == ["importing the graph"] and not (tmp_path / "m").exists()
    result = build_model(
        tmp_path / "g.pb", tmp_path / "m", replace(options, labels=("one", "two", "three")), progress=said.append
    )
    assert open_labels(result.path) == ("one", "two", "three")
    assert "generating code" in said[-2] and said[-1] == "writing the model file"
    assert len(said) == len(PIPELINE) + 4


def open_labels(path: Path) -> tuple[str, ...] | None:
    with open_model(path) as file:
        return file.manifest.labels
