"""Every table of every command in terminals of 80 and 60 columns and in pipes: no word and no number is broken."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich import box
from rich.cells import cell_len
from rich.table import Table as RichTable

from model_kit import label_parts
from smalti.apps.road import run_table
from smalti.bench.bench import BenchOptions, bench
from smalti.bench.cold import ColdStart
from smalti.bench.compare import Comparison, GroupComparison, Verdict
from smalti.bench.e2e import EndToEnd
from smalti.bench.layers import Layer, LayerTable
from smalti.bench.limits import Precision
from smalti.bench.peak import Arithmetic, Peaks
from smalti.bench.report import BenchReport
from smalti.bench.stats import Ratio, summarise
from smalti.bench.summary import summary_rows
from smalti.bench.tables import bench_tables
from smalti.building.build import build_table
from smalti.cli import export_c, ui
from smalti.cli.export import show_export
from smalti.cli.main import run
from smalti.comparing import sensitivity
from smalti.comparing.maps import EDGES, Flips
from smalti.comparing.tables import flips_table
from smalti.comparing.tables import layer_table as compared_table
from smalti.delivery.inspect import facts_table, layers_table
from smalti.delivery.precision import ranges_table
from smalti.jobs.stream import Failure
from smalti.jobs.table import Fit, Table, failures_table, stages_table
from smalti.jobs.timing import Timing
from smalti.jobs.watch import Load
from smalti.quant.modes import QuantMode
from smalti.runtime.profile import Profile
from smalti.scoring.baseline import baseline_table
from smalti.scoring.fastest import NO_CALIBRATION, Candidate, fastest_table
from smalti.scoring.report import accuracy_rows_table, classes_table
from smalti.scoring.tables import accuracy_table, confusion_table
from smalti.vision.palette import VOC_LABELS

DIGEST = "0123456789abcdef" * 4
PATH = "/srv/models/deeplabv3_mnv2_pascal_train_aug/2012_06_14/frozen_inference_graph_optimised.smalti"
LAYER_NAMES = [
    "MobilenetV2/Conv/Relu6:0",
    *(f"MobilenetV2/expanded_conv_{i}/{part}:0" for i in range(1, 17) for part in ("depthwise/Relu6", "project/add")),
    "concat_projection/Relu:0",
    "logits/semantic/BiasAdd:0",
]
LONGEST_WHOLE_WORD = 30
NOISY = Load(45.6, 7.8, is_noisy=True)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def made(**values: Any) -> Any:
    return SimpleNamespace(**values)


def check_unbroken(text: str, tables: Sequence[Table], width: int) -> None:
    """Raise AssertionError where a line is too wide, or has a piece of a word or number of the tables."""
    plain = _COLOUR.sub("", text)
    for line in plain.split("\n"):
        assert cell_len(line.rstrip()) <= width or line.strip() == DIGEST, f"a line of {cell_len(line)}: {line!r}"
    whole = [word.rstrip(",;") for table in tables for text in _texts(table) for word in text.split()]
    said = [word for table in tables for index in table.fit.names for word in _prefixes(table, index)]
    known = {*whole, *said, *"below SHA-256: not shown in columns: --json has all … …/ stands for".split(), str(width)}
    long = [word for word in whole if len(word) > LONGEST_WHOLE_WORD]
    names = {row[index] for table in tables for index in table.fit.names for row in table.rows}
    for shown in plain.split():
        word = shown.rstrip(",;")
        if set(word) <= set("─-") or word in known:
            continue
        is_cut = "…" in word and any(_is_cut_of(word, name) for name in (*names, *long))
        is_piece = any(f"/{word}" in f"/{name}/" if word[-1] == "/" else name.endswith(f"/{word}") for name in long)
        is_listed = any(f",{word}," in f",{name}," for name in whole)
        assert is_cut or is_piece or is_listed, f"{shown!r} is a piece of something:\n{plain}"
    numbers = {number for word in known for number in _NUMBER.findall(word)}
    assert set(_NUMBER.findall(plain)) <= numbers
    for table in tables:
        _check_columns(table, plain)


def _is_cut_of(word: str, name: str) -> bool:
    """Return whether a word is a name without some of its pieces."""
    pieces = [piece for piece in word.rstrip(",").split("…")]
    at = 0
    for piece in pieces:
        at = name.find(piece, at)
        if at < 0:
            return False
        at += len(piece)
    return True


def _check_columns(table: Table, plain: str) -> None:
    """Check that the numbers of every column are there, unless the lines below say that it left."""
    gone = " ".join(plain.split("not shown in")[1:])
    words = set(plain.split())
    for index, heading in enumerate(table.columns):
        left = index in table.fit.leave and (heading in gone or table.columns.count(heading) > 1)
        if left or index in table.fit.names + table.fit.prose:
            continue
        assert {word for row in table.rows for word in row[index].split()} <= words, heading


def _prefixes(table: Table, index: int) -> set[str]:
    parts = [row[index].split("/") for row in table.rows]
    return {"/".join(name[: i + 1]) + "/" for name in parts for i in range(len(name) - 1)}


def _texts(table: Table) -> list[str]:
    return [table.title, table.legend, *table.columns, *table.footer, *(cell for row in table.rows for cell in row)]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> BenchReport:
    model = label_parts(batch_size=None).write(tmp_path_factory.mktemp("m") / "label.smalti")
    dims = ("1x8x9x3,1x20x30x3",)
    options = BenchOptions(model, threads=1, iterations=12, duration_ms=0, warmup_ms=0, input_dims=dims, cold_starts=0)
    return bench(options)


def full_report(report: BenchReport) -> BenchReport:
    """Return a report with every section, long names and large numbers."""
    times = summarise(np.array([1234.5678, 98765.4321, 23456.789] * 9))
    assert times is not None
    groups = tuple(
        GroupComparison(f"1x{n}x{n}x3", 1234.567, 1333.333, 12000, 12000, Ratio(1.0123, 1.0012, 1.0234), verdict)
        for n, verdict in enumerate(Verdict, 1024)
    )
    return replace(
        report,
        parameters={**report.parameters, "model": PATH, "input_dims": "1x1025x2049x3,1x513x513x3,1x375x500x3"},
        cold=ColdStart(times, times, times, times, times),
        layers=(profile(),),
        end_to_end=EndToEnd(
            12345, True, dict.fromkeys(("decode", "resize", "infer", "colour"), times), times, 9.5, 46.7
        ),
        comparison=Comparison(PATH, True, 5.0, groups),
    )


def profile() -> LayerTable:
    rates = {Arithmetic.FLOAT32: 235.7, Arithmetic.BYTES: 942.8, Arithmetic.BFLOAT16: 471.4}
    peaks = Peaks(rates, ((1 << 18, 194.3e9), (1 << 26, 23.9e9)))
    precision = Precision("uint8", "int8", Arithmetic.BYTES)
    layers = tuple(
        Layer(
            i, name, "Conv2d", "i8_expand_depthwise", (1, 1025, 2049, 1280), 12.3456, 0.02, 10**9, 10**8, precision, 9.9
        )
        for i, name in enumerate(LAYER_NAMES, 1)
    )
    words = (f"Most time above the limit: {LAYER_NAMES[3]} (0.29 of 1.74 ms), {LAYER_NAMES[5]} (0.27 of 1.60 ms).",)
    return LayerTable(
        "1x1025x2049x3", 20, 2, 456.789, peaks, layers, Profile((), 0, 2), 0, "qint8_mixed_float16", words
    )


def accuracy() -> Any:
    labels = tuple(VOC_LABELS)
    confusion = np.full((len(labels), len(labels)), 1_234_567, dtype=np.int64)
    shares = np.full(len(labels), 0.876543)
    return made(
        confusion=confusion, labels=labels, iou=shares, class_accuracy=shares, miou=0.7654, pixel_accuracy=0.9456,
        images=1449, pixels=123_456_789,
    )  # fmt: skip


def accuracies() -> Any:
    rows = tuple(
        made(mode=mode, shape_mutable=flag, accuracy=accuracy(), flipped_share=0.012345, ms=1234.56, file_bytes=10**8,
             iou=lambda label: 0.876543,
             cpu="AMD EPYC 9R14 96-Core Processor", threads=2, name=mode.value, load=NOISY)
        for mode in QuantMode for flag in (True, False)
    )  # fmt: skip
    return made(
        rows=rows,
        model="deeplabv3_mnv2_pascal_train_aug",
        images=1449,
        failures=(Failure("a.jpg", "the file is empty"),),
        drop=lambda row: 1.234,
        labels=tuple(VOC_LABELS),
    )


def candidates() -> Any:
    timing = Timing((1234.5,), NOISY)
    rows = [
        *(Candidate(mode, "12.34 times as slow", timing, None, 0.7654, 0.0123, 123_456_789) for mode in QuantMode),
        Candidate(QuantMode.QINT8_MIXED_FLOAT16, NO_CALIBRATION),
    ]
    return made(candidates=rows, max_miou_drop=0.002, images=1449, target="x86-64-v4+vnni+bf16", threads=2, load=NOISY)


def bench_cases(report: BenchReport) -> list[Table]:
    whole = full_report(report)
    return [Table("", ("", ""), summary_rows(whole), left=(0, 1), fit=Fit(prose=(1,))), *bench_tables(whole)]


def scores() -> list[Table]:
    changes = [
        made(mode=mode.value, shape_mutable=True, earlier_miou=0.765, miou=0.7543, increase=1.2, earlier_flipped=0.0123,
             flipped=0.0234, is_worse=True)
        for mode in QuantMode
    ]  # fmt: skip
    table = accuracies()
    built = made(file_bytes=12345678, seconds=1234.5)
    rows = tuple(
        made(
            quant_mode=m,
            shape_mutable=False,
            accuracy=accuracy(),
            one_picture=Timing((1234.5,), NOISY),
            build=built,
            infer=made(images=9, stream_images_per_second=1234.5, load=NOISY),
            build_load=NOISY,
        )
        for m in QuantMode
    )
    return [
        accuracy_table(accuracy()),
        confusion_table(accuracy()),
        accuracy_rows_table(table),
        accuracy_rows_table(table, with_model=False),
        classes_table(table),
        baseline_table(made(changes=changes, baseline=PATH, max_drop_increase=0.1)),
        run_table(made(rows=rows, model=PATH, threads=2)),
        fastest_table(candidates()),
    ]


def jobs() -> list[Table]:
    stage = made(stage=made(value="post-processing"), mean=1234.56, median=1234.56, p95=12345.67, total=1e9)
    reason = "the JPEG is cut: its last scan ends 12,345 bytes before the end of the file, so pixels are missing"
    failures = [Failure(f"2007_{n:06d}_a_long_name_of_a_picture_{'x' * n}.jpg", reason) for n in range(30)]
    return [stages_table([stage] * 4, 2, 8), stages_table([stage] * 4, 2, 8, NOISY), failures_table(failures)]


def comparisons() -> list[Table]:
    d = made(diff1=0.00123, diff2=0.0123, diff3=123.4, greater=0.35, less=0.65, cosine=0.99999)
    layers = [made(dtype="float32", name=name, added=-0.00012, differences=d) for name in LAYER_NAMES]
    flips = Flips("all", 123_456_789, 1_234_567, (12_345,) * len(EDGES), ((15, 18, 123_456), (20, 16, 1_234)))
    result = []
    for miou in (0.7654, None):
        score = made(miou=miou, logit_error=0.1234, flipped=0.01234)
        rows = [made(name=name, only=score, without=score) for name in LAYER_NAMES]
        found = made(rows=rows, float32=score, none=score, full=score, mode="qint8_mixed_float16", images=1449)
        result.append(sensitivity.sensitivity_table(found))
    trials = [
        made(kept=n, miou=0.7654, drop=0.0123, holds=True, what=f"with {LAYER_NAMES[n]} in float") for n in (1, 9)
    ]
    kept = made(trials=trials, max_miou_drop=0.002, images=1449, why=f"{LAYER_NAMES[2]} stays in float16")
    titled = compared_table(layers, f"qint8_mixed_float16 against {PATH}, 1449 images")
    return [titled, flips_table(flips, VOC_LABELS), *result, sensitivity.kept_table(kept)]


def files() -> list[Table]:
    tensor = made(name="SemanticPredictions:0", dtype="int32", shape="[1, H<=1025, W<=2049]", type="int32[1, H, W]")
    said = {
        name: {"dtype": "uint8", "scale": 0.0235294, "zero_point": 128, "range": [-6.12345, 6.54321]}
        for name in LAYER_NAMES
    }
    manifest = made(
        graph={"sha256": DIGEST, "bytes": 10**8, "name": "deeplab"}, producer={"llvm": "22.1.0"}, labels=VOC_LABELS,
        batch_size=None, preprocess={"input_size": 513}, target="x86-64-v4+bf16+vnni", features=("avx512bw", "fma"),
        precision="qint8_mixed_float16", quantisation={"tensors": said, "keep": LAYER_NAMES, "float_type": "float16"},
    )  # fmt: skip
    steps = [
        made(kernel="i8_expand_depthwise", shape=(1, 1025, 2049, 1280), macs=10**10, bytes=10**9, name=n)
        for n in LAYER_NAMES
    ]
    seen = made(
        manifest=manifest, path=PATH, file_bytes=10**8, sizes={"H": 1025, "W": 2049}, programs=[1], obstacle=None,
        section_bytes={"manifest": 18221, "constants": 9 * 10**8}, inputs=[tensor], outputs=[tensor], macs=10**11,
        layers=steps, workspace_bytes=10**9, threads=2,
    )  # fmt: skip
    found = ["pre-processing: the first convolution reads the uint8 image itself, (image - 127.5) * 0.00784314"]
    imported = made(
        nodes_used=744, nodes_in_file=1766, inputs=[tensor], outputs=[tensor], recognised=found, limits=[], notes=[],
        dropped_asserts=[made(holds=True)], before_inputs=made(count=0), after_outputs=made(count=0),
    )  # fmt: skip
    program = made(target="x86-64-v4+bf16+vnni", steps=43, code_bytes=123456, constant_bytes=10**8, shared_bytes=10**7)
    built = made(
        report=imported, precision="qint8_mixed_float16", programs=[program, program], constant_bytes=10**8, path=PATH,
        file_bytes=10**8, seconds=123.4, sha256=DIGEST, labels=VOC_LABELS, colours=3,
    )  # fmt: skip
    return [facts_table(seen), layers_table(seen), ranges_table(manifest), build_table(built)]


def commands(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """Return calls that draw the tables which are made inside of a command."""
    item = made(name="deeplabv3", root=PATH, was_cached=False, source=f"http://files.example{PATH}", sha256=DIGEST,
                trust=made(value="its publisher"))  # fmt: skip
    exported = made(items=[item], graph=PATH, voc_root=PATH, val_list=PATH, labels=PATH, seconds=12.3)
    file = made(path=Path(PATH), was_kept=False, bytes=123456789)
    written = made(files=[file], name="deeplab", precision="qint8_mixed_float16", targets=("x86-64-v4+vnni", "aarch64"))
    monkeypatch.setattr(export_c, "export_c", lambda *arguments: written)
    return [
        lambda: show_export(exported, False),
        lambda: run(["export", "--list"]),
        lambda: run(["knobs"]),
        lambda: run(["config"]),
        lambda: run(["export-c", PATH, "-o", "native"]),
    ]


@pytest.fixture(params=[80, 60])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("COLUMNS", str(request.param))
    return int(request.param)


@pytest.fixture(params=["terminal", "pipe"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    if request.param == "terminal":
        monkeypatch.setenv("FORCE_COLOR", "1")
    else:
        monkeypatch.delenv("FORCE_COLOR", raising=False)
    return str(request.param)


@pytest.mark.parametrize("tables", [scores, jobs, comparisons, files])
def test_tables_keep_words_and_numbers_whole(
    tables: Callable[[], list[Table]], width: int, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for table in tables():
        ui.draw(table)
        text = capsys.readouterr().out
        assert ("\x1b[" in text) is (place == "terminal")
        check_unbroken(text, [table], width)


def test_the_tables_of_bench(report: BenchReport, width: int, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    for table in bench_cases(report):
        ui.draw(table)
        check_unbroken(capsys.readouterr().out, [table], width)


def test_the_tables_inside_of_commands(
    width: int, place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn: list[Table] = []
    fit = ui.fit
    monkeypatch.setattr(ui, "fit", lambda table, width: (drawn.append(table), fit(table, width))[1])
    for show in commands(monkeypatch):
        drawn.clear()
        show()
        assert drawn
        check_unbroken(capsys.readouterr().out, drawn, width)


def fold(table: Table, width: int) -> str:
    """Return the table as a plain rich table shows it, which folds cells wherever their column ends."""
    shown = RichTable(title=table.title, box=box.SIMPLE_HEAD)
    for column in table.columns:
        shown.add_column(column, overflow="fold")
    for row in table.rows:
        shown.add_row(*row)
    console = ui.ResultConsole(highlight=False, width=width)
    with console.capture() as capture:
        console.print(shown)
    return capture.get()


@pytest.mark.parametrize("width", [80, 60])
def test_the_check_finds_folded_cells(report: BenchReport, width: int) -> None:
    found = 0
    for table in [*scores(), *comparisons(), *files(), *bench_cases(report)]:
        try:
            check_unbroken(fold(table, width), [table], width)
        except AssertionError:
            found += 1
    assert found >= 12
    scored = Table("t", ("mIoU",), (("0.8766",),))
    with pytest.raises(AssertionError, match="piece"):
        check_unbroken("t\nmIoU\n0.876\n6\n", [scored], width)


def test_the_summary_of_a_run_has_ten_lines_at_most(
    report: BenchReport, width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    many = replace(full_report(report), groups=report.groups * 3)
    for case in (report, full_report(report), many):
        rows = summary_rows(case)
        assert len(rows) <= 10
        if width == 80:
            ui.draw(Table("", ("", ""), rows, left=(0, 1), fit=Fit(prose=(1,))))
            lines = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
            assert len(lines) == len(rows), lines
    said = dict(summary_rows(full_report(report)))
    assert {"model", "precision", "threads", "time", "rate", "limit", "steadiness", "other load"} <= said.keys()
    assert "of the machine's limits" in said["limit"] and "--profile" in dict(summary_rows(report))["limit"]
