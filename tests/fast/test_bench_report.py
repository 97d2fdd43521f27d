"""Reports of ``smalti bench``: JSON, CSV, tables, comparisons, exit codes; no test looks at how long a thing took."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_kit import label_parts, reverse_parts
from smalti.bench import plot
from smalti.bench.bench import BenchOptions, bench
from smalti.bench.compare import Verdict, compare_reports, judge, read_report
from smalti.bench.layers import Layer, LayerTable
from smalti.bench.limits import Precision
from smalti.bench.loop import LoopResult, Record
from smalti.bench.peak import Arithmetic, Peaks
from smalti.bench.plot import write_plot
from smalti.bench.report import BenchReport, saved_of
from smalti.bench.stats import Ratio
from smalti.bench.tables import bench_tables, last_line, layer_table
from smalti.bench.trace import chrome_trace
from smalti.cli.exit_codes import ExitCode
from smalti.cli.main import run
from smalti.errors import DataError, UsageError
from smalti.jobs.watch import Load
from smalti.runtime.profile import Profile
from tolerance import Tol, assert_close

SECTIONS = [
    "format",
    "parameters",
    "times",
    "device",
    "model",
    "utilisation",
    "performance",
    "profile",
    "e2e",
    "comparison",
    "advice",
    "failed",
    "failures",
    "pictures_left_out",
    "passed",
]
QUICK = ["--duration", "0", "--warmup", "0", "--iterations", "9", "--cold-starts", "0", "--threads", "1"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return label_parts(batch_size=None).write(tmp_path_factory.mktemp("m") / "label.smalti")


@pytest.fixture(scope="module")
def report(model: Path) -> BenchReport:
    dims = ("1x8x9x3,1x20x30x3",)
    options = BenchOptions(
        model, threads=1, iterations=20, duration_ms=0, warmup_ms=0, input_dims=dims, cold_starts=0, batch=2
    )
    return bench(options)


def with_times(report: BenchReport, times: Sequence[float]) -> BenchReport:
    """Return the report as if both groups' requests had taken these milliseconds."""
    records = tuple(Record(i % 2, 0, 10 * i, 0.5, ms, 0.25) for i, ms in enumerate(np.repeat(times, 2)))
    return replace(report, result=LoopResult(records, 2.0, 0))


def test_the_json_has_every_section_in_order(report: BenchReport) -> None:
    record = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert list(record) == SECTIONS
    found = record["performance"]
    assert found["iterations"] == 20 and found["batch"] == 2
    assert [group["name"] for group in found["groups"]] == ["2x8x9x3", "2x20x30x3"]
    for group in found["groups"]:
        assert group["iterations"] == 10 and len(group["samples_ms"]["compute"]) == 10
        assert list(group["latency_ms"]) == ["pre", "compute", "post", "total"]
        assert list(group["latency_ms"]["total"]) == ["count", "min", "max", "mean", "median", "p90", "p95", "p99"]
    assert found["images_per_s"] == 2 * found["throughput_qps"]
    assert {tensor["role"] for tensor in record["model"]["tensors"]} == {"input", "output"}
    assert record["model"]["tensors"][0]["shape"] == [2, 8, 9, 3] and record["model"]["tensors"][0]["bytes"] == 432
    assert record["model"]["tensors"][1]["shape"] == [2, 8, 9]
    assert record["times"]["workspace_bytes"] >= 0 and record["times"]["constant_bytes"] >= 0
    assert record["device"]["cpus"] and record["device"]["reason"]
    assert record["e2e"] is None and record["comparison"] is None and record["passed"] is True


def test_numbers_follow_from_the_requests(report: BenchReport) -> None:
    made = with_times(report, [4.0, 6.0])
    assert (made.iterations, made.requests_per_second, made.images_per_second) == (4, 2.0, 4.0)
    assert made.compute_seconds == 0.02 and made.of(None, "total").tolist() == [4.75, 4.75, 6.75, 6.75]
    assert made.traces() == [(4, {"pre": 0.5, "compute": 5.0, "post": 0.25, "total": 5.75})]
    many = with_times(report, [1.0] * 600)
    assert many.trace_runs == 120 and [count for count, _ in many.traces()] == [120] * 10


def test_the_csv_has_a_line_for_each_group_and_part(report: BenchReport) -> None:
    rows = list(csv.DictReader(io.StringIO(with_times(report, [4.0, 6.0]).to_csv())))
    assert [(row["group"], row["part"]) for row in rows][:5] == [
        *(("2x8x9x3", part) for part in ("pre", "compute", "post", "total")),
        ("2x20x30x3", "pre"),
    ]
    assert float(rows[1]["median"]) == 5.0 and rows[1]["count"] == "2"


def test_the_tables_come_in_the_order_of_the_sections(report: BenchReport) -> None:
    titles = [table.title.partition(":")[0] for table in bench_tables(report)]
    assert titles == [
        "Parameter Information",
        "Load",
        "Device Information",
        "Model Information",
        "Utilisation Summary",
        "Performance Summary",
        "latency of all requests, ms",
        "input shape group 0",
        "input shape group 1",
        "Trace averages of 100 runs, ms",
    ]
    for table in bench_tables(report):
        assert all(len(row) == len(table.columns) for row in table.rows)
    unreadable = replace(report, utilisation=replace(report.utilisation, power_w=None, temperature_c=None))
    power = next(row for row in bench_tables(unreadable)[4].rows if row[0].startswith("power"))
    assert set(power[1:]) == {"n/a"}
    assert last_line(report) == "PASSED: 20 requests without an error; there was nothing to compare with"


def test_advice(report: BenchReport) -> None:
    quiet = replace(report, utilisation=replace(report.utilisation, load=Load(1.0, 0.0)))
    quiet = replace(quiet, device=replace(quiet.device, governor=None, usable=2))
    assert with_times(quiet, [5.0] * 100).advice() == ()

    def said(changed: BenchReport) -> str:
        return " ".join(changed.advice())

    assert "likely to be faster" in said(with_times(replace(quiet, threads=8), [5.0] * 100))
    assert "latency does not" in said(with_times(replace(quiet, threads=2, concurrency=2), [5.0] * 100))
    assert "20 % slower" in said(with_times(quiet, [5.0] * 50 + [6.0] * 50))
    assert "p99 is 3.0 times" in said(with_times(quiet, [5.0, 15.0, 15.0, *[5.0] * 37]))
    assert "say little" in said(with_times(quiet, [5.0] * 20))
    busy = replace(quiet.utilisation, load=Load(40.0, 9.0, is_noisy=True))
    busy_advice = said(with_times(replace(quiet, utilisation=busy), [5.0] * 100))
    assert "other processes took 40 %" in busy_advice and "hypervisor took 9 %" in busy_advice
    slow = replace(quiet.device, governor="powersave")
    assert "powersave" in said(with_times(replace(quiet, device=slow), [5.0] * 100))


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.8, 0.9, Verdict.FASTER),
        (0.9, 1.2, Verdict.SAME),
        (1.01, 1.04, Verdict.SLOWER),
        (1.01, 1.2, Verdict.SLOWER),
        (1.06, 1.2, Verdict.REGRESSION),
    ],
)
def test_a_regression_needs_the_whole_interval_above_the_allowance(low: float, high: float, verdict: Verdict) -> None:
    assert judge(Ratio((low + high) / 2, low, high), 5.0) is verdict


def saved(report: BenchReport, path: Path) -> Path:
    path.write_text(json.dumps(report.to_json()))
    return path


def test_a_comparison_of_saved_reports(report: BenchReport, tmp_path: Path) -> None:
    noise = np.random.default_rng(2).uniform(0.99, 1.01, 200)
    base = read_report(saved(with_times(report, 5 * noise), tmp_path / "base.json"))
    same = compare_reports(saved_of(with_times(report, 5 * noise[::-1])), base, 5)
    assert not same.is_regression and [group.verdict for group in same.groups] == [Verdict.SAME] * 2
    slower = compare_reports(saved_of(with_times(report, 6 * noise)), base, 5)
    assert slower.is_regression
    assert_close(np.array(slower.groups[0].ratio.value), np.array(1.2), Tol.ULP(4))
    assert not compare_reports(saved_of(with_times(report, 6 * noise)), base, 25).is_regression
    assert compare_reports(saved_of(with_times(report, 4 * noise)), base, 0).groups[0].verdict is Verdict.FASTER
    failed = replace(report, comparison=slower)
    assert (
        not failed.passed
        and last_line(failed).startswith("FAILED: slower than ")
        and failed.to_json()["passed"] is False
    )
    assert "by more than 5 %: 1.200 x the time [" in last_line(failed)
    passed = replace(report, comparison=same)
    assert last_line(passed).startswith("PASSED: not slower than ") and "base.json by more than 5 %" in last_line(
        passed
    )
    other = compare_reports(saved_of(replace(with_times(report, 5 * noise), threads=7)), base, 5)
    assert other.notes == ("the number of threads differs: 7 now, 1 in the report",)
    with pytest.raises(UsageError, match="other input shapes"):
        compare_reports(saved_of(replace(report, groups=report.groups[:1])), base, 5)


@pytest.mark.parametrize(
    "damage",
    [
        lambda r: "text",
        lambda r: [],
        lambda r: {**r, "format": "other"},
        lambda r: {key: value for key, value in r.items() if key != "device"},
        lambda r: {**r, "performance": {"groups": [{"name": "a", "inputs": None, "samples_ms": {"compute": []}}]}},
        lambda r: {**r, "performance": {"groups": [{"name": "a", "inputs": None, "samples_ms": {"compute": [-1]}}]}},
        lambda r: {**r, "performance": {"groups": [{"name": "a", "inputs": None, "samples_ms": {"compute": ["x"]}}]}},
        lambda r: {**r, "performance": 3},
    ],
)
def test_damaged_reports_are_refused(report: BenchReport, tmp_path: Path, damage: Any) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps(damage(report.to_json())))
    with pytest.raises(DataError, match="report"):
        read_report(path)


def test_exit_codes_of_comparisons(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["bench", "--model", str(model), "--input-dims", "1x8x9x3", *QUICK]
    base = tmp_path / "base.json"
    assert run([*arguments, "--save", str(base), "--csv", str(tmp_path / "t.csv")]) == ExitCode.OK
    record = json.loads(base.read_text())
    assert list(record) == SECTIONS and (tmp_path / "t.csv").read_text().startswith("group,part,count")
    capsys.readouterr()
    for factor, code in ((1e-3, ExitCode.REGRESSION), (1e3, ExitCode.OK)):
        for group in record["performance"]["groups"]:
            group["samples_ms"]["compute"] = [factor * ms for ms in group["samples_ms"]["compute"]]
        (tmp_path / "changed.json").write_text(json.dumps(record))
        assert run([*arguments, "--compare", str(tmp_path / "changed.json"), "--json"]) == code
        shown = json.loads(capsys.readouterr().out)
        assert shown["passed"] is (code == ExitCode.OK)
        record = json.loads(base.read_text())
    assert run([*arguments, "--compare", str(base), "--max-regression", "1000"]) == ExitCode.OK
    assert run([*arguments, "--against", str(model), "--max-regression", "1000"]) == ExitCode.OK
    assert "in turns with" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (["--devices", "gpu"], ExitCode.USAGE),
        (["--plot", "a.bmp"], ExitCode.USAGE),
        (["--input-dims", "1x8"], ExitCode.BAD_DATA),
        (["--input-dims", "1x9999x8x3"], ExitCode.BAD_DATA),
        (["--compare", "none.json"], ExitCode.USAGE),
        (["--compare", "a.json", "--against", "b.smalti"], ExitCode.USAGE),
        (["--run-config", "none.json"], ExitCode.USAGE),
        (["--file-list", "list.txt"], ExitCode.USAGE),
        (["--image-dir", "nowhere"], ExitCode.USAGE),
        (["--batch", "0"], ExitCode.USAGE),
        (["--threads", "0"], ExitCode.USAGE),
        (["--concurrency", "99999"], ExitCode.USAGE),
        (["--max-regression", "-1"], ExitCode.USAGE),
        (["--duration", "nan"], ExitCode.USAGE),
        (["--duration", "3 fortnights"], ExitCode.USAGE),
        (["--warmup", "-1s"], ExitCode.USAGE),
        (["--duration", "25h"], ExitCode.USAGE),
        (["--against", "none.smalti"], ExitCode.MODEL_FILE),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_options(
    more: list[str], code: ExitCode, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dims = [] if "--input-dims" in more else ["--input-dims", "1x8x9x3"]
    assert run(["bench", "--model", str(model), *dims, *QUICK, *more]) == code


def test_a_model_that_is_no_image_model(tmp_path: Path) -> None:
    path = reverse_parts().write(tmp_path / "r.smalti")
    assert run(["bench", "--model", str(path), *QUICK, "--concurrency", "2"]) == ExitCode.OK
    assert run(["bench", "--model", str(path), *QUICK, "--e2e"]) == ExitCode.USAGE


def layers(ms: Sequence[float], rate: float | None) -> LayerTable:
    peaks = Peaks({} if rate is None else {Arithmetic.FLOAT32: rate})
    precision = Precision("float32", "float32", Arithmetic.FLOAT32)
    made = tuple(
        Layer(
            i + 1,
            f"scope/layer_{i}/with/a/long/name:0",
            "Conv2d",
            "k",
            (1, 2),
            v,
            v / sum(ms),
            1_000_000,
            4_000,
            precision,
            peaks.compute_ms(precision.arithmetic, 1_000_000),
        )
        for i, v in enumerate(ms)
    )
    return LayerTable("g", 3, 2, sum(ms), peaks, made, Profile((), 0, 2), 0)


def test_the_profile_is_sorted_by_time_and_says_only_what_can_be_true() -> None:
    table = layers([0.5, 2.0, 1e-5], 10.0)
    assert [row["number"] for row in table.to_json()["layers"]] == [2, 1, 3]
    # 2 * 1e6 operations in 2 ms are 1 GFLOP/s, of 10.
    assert table.to_json()["layers"][0]["percent_of_limit"] == 10.0
    hidden = table.to_json()["layers"][2]
    assert table.untimed == 1 and hidden["gflops"] is None and hidden["percent_of_limit"] is None
    shown = layer_table(table)
    rows = [dict(zip(shown.columns, row, strict=True)) for row in shown.rows]
    assert rows[0]["name"] == "scope/layer_1/with/a/long/name" and rows[0]["limit"] == "float32"
    assert rows[2]["GOP/s"] == rows[2]["% of limit"] == rows[2]["GB/s"] == "n/a"
    assert shown.footer[1] == "sum" and rows[0]["kernel"] == "k" and rows[0]["precision"] == "f32 x f32"
    unknown = layers([0.5, 1e-5], None)
    assert unknown.untimed == 0 and unknown.limit_ms is None
    assert unknown.to_json()["limit_gflops"] is None and layer_table(unknown).rows[0][9] == "n/a"


def test_the_timeline_is_valid_trace_events(report: BenchReport) -> None:
    made = with_times(report, [4.0, 6.0])
    record = json.loads(chrome_trace(made.result, ["a", "b"], ()))
    events = [event for event in record["traceEvents"] if event["ph"] == "X"]
    assert [event["name"] for event in events[:3]] == ["pre", "compute", "post"] and len(events) == 12
    assert events[1]["ts"] == 500.0 and events[1]["dur"] == 4000.0 and events[1]["args"]["group"] == "a"


def test_a_plot_is_valid_svg(tmp_path: Path) -> None:
    values = np.random.default_rng(1).gamma(2, 1, 300).tolist()
    write_plot(tmp_path / "p.svg", {"a <b> & c": values, "one": [2.0]}, "title & more")
    root = ElementTree.parse(tmp_path / "p.svg").getroot()
    texts = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "title & more" in texts and "a <b> & c: 300 requests" in texts
    assert sum(text.startswith("p99 ") for text in texts) == 2


def texts_of(root: ElementTree.Element) -> list[tuple[str, float, float, float, float]]:
    """Return each text that stands upright, with its box: left, top, right, bottom; letters are taken as wide."""
    found = []
    for text in root.iter("{http://www.w3.org/2000/svg}text"):
        size = float(text.get("font-size", "11"))
        said, x, y = text.text or "", float(text.get("x", "nan")), float(text.get("y", "nan"))
        width = 0.62 * size * len(said)
        left = x - width * {"middle": 0.5, "end": 1.0}.get(text.get("text-anchor", ""), 0.0)
        if text.get("transform") is None:
            found.append((said, left, y - size, left + width, y + 0.3 * size))
        else:
            found.append((said, x - size, y - width / 2, x, y + width / 2))
    return found


@pytest.mark.parametrize("values", [[2.0], [1234.5] * 9, list(np.random.default_rng(3).gamma(2, 500, 12_345))])
def test_nothing_in_a_plot_is_clipped_or_crossed(values: list[float], tmp_path: Path) -> None:
    write_plot(tmp_path / "p.svg", {"a group of a long name " * 9: values, "b": values}, "a long title " * 20)
    root = ElementTree.parse(tmp_path / "p.svg").getroot()
    width, height = float(root.get("width", "0")), float(root.get("height", "0"))
    boxes = texts_of(root)
    for said, left, top, right, bottom in boxes:
        assert 0 <= left and right <= width and 0 <= top and bottom <= height, said
    for line in root.iter("{http://www.w3.org/2000/svg}line"):
        x1, x2, y1, y2 = (float(line.get(name, "nan")) for name in ("x1", "x2", "y1", "y2"))
        for said, left, top, right, bottom in boxes:
            assert x2 < left or x1 > right or y2 < top or y1 > bottom, f"a line goes through {said!r}"
    said = [box[0] for box in boxes]
    tallest = np.histogram(np.minimum(values, np.percentile(values, 99.5)), bins=60)[0].max()
    assert said.count("requests") == 4 and said.count("ms") == 4
    assert len(values) > 9 or f"{tallest:,}" in said
    assert "a long title " * 20 not in said and any("…" in text for text in said)


def test_a_png_plot_needs_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plot.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install .*\.svg"):
        write_plot(tmp_path / "p.png", {"a": [1.0]}, "t")
    with pytest.raises(UsageError, match=r"\.svg or \.png"):
        write_plot(tmp_path / "p.txt", {"a": [1.0]}, "t")
