"""``smalti bench``: measure a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from smalti.bench.bench import BenchOptions, bench
from smalti.bench.plot import write_plot
from smalti.bench.report import BenchReport, layers_csv
from smalti.bench.summary import summary_rows
from smalti.bench.tables import asked_tables, detail_tables, last_line
from smalti.bench.trace import chrome_trace
from smalti.cli.durations import parse_duration
from smalti.cli.exit_codes import ExitCode
from smalti.cli.infer import ModelOption
from smalti.cli.options.pictures import (
    FileListOption,
    OnErrorOption,
    RecursiveOption,
    end_with_failures,
    note_left_out,
    show_passed_over,
)
from smalti.cli.ui import JsonOption, ThreadsOption, draw, help_text, note, print_json, say
from smalti.jobs.outputs import write_text
from smalti.jobs.places import check_places
from smalti.jobs.stream import OnError
from smalti.jobs.table import Fit, Table
from smalti.vision.voc import PicturePaths, printable

HELP = help_text(
    "Measure an offline model: latency, throughput, start, memory, and where the time goes.",
    "The run ends when it has made --iterations requests and has lasted --duration. Inputs are generated and "
    "textured, eight in turns, or the pictures of --image-dir; a bad one is listed and passed over, and the exit code "
    "is then 3. A summary tells what was measured; --details adds the tables behind it. What the system does not tell "
    "is shown as n/a. Times are 4s, 500ms or 2m; a bare number is seconds.",
    f"With --compare or --against the exit code is {int(ExitCode.REGRESSION)} when this model is slower than the other "
    "by more than --max-regression percent and the 95 % interval of the ratio of medians lies wholly above that.",
    examples=(
        "smalti bench --model m.smalti",
        "smalti bench --model m.smalti --threads 1 --input-dims 1x513x513x3,1x375x500x3 --profile",
        "smalti bench --model m.smalti --image-dir photos --e2e --plot latency.svg",
        "smalti bench --model m.smalti --save base.json; smalti bench --model m.smalti --compare base.json",
        "smalti bench --model new.smalti --against old.smalti --max-regression 2",
    ),
)


def bench_command(
    model: ModelOption,
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help="Images in one request; default: as the model or shapes say.")
    ] = None,
    threads: ThreadsOption = None,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, help="Requests in flight, which share constants and code.")
    ] = 1,
    iterations: Annotated[int, typer.Option("--iterations", min=1, help="At least so many requests.")] = 100,
    duration: Annotated[
        str, typer.Option("--duration", help="At least so long: 4s, 500ms, 2m; seconds if bare.")
    ] = "3s",
    warmup: Annotated[str, typer.Option("--warmup", help="Unmeasured requests before, for so long.")] = "200ms",
    input_dims: Annotated[
        list[str] | None,
        typer.Option("--input-dims", help="Input shapes, such as 1x513x513x3; several with commas or repeated."),
    ] = None,
    run_config: Annotated[
        Path | None, typer.Option("--run-config", help="JSON file with shape groups, for models of several inputs.")
    ] = None,
    image_dir: Annotated[
        list[Path] | None,
        typer.Option(
            "--image-dir",
            "--images",
            metavar="PATH",
            help="Folder of pictures, or picture file, to use in turns instead of generated input. Repeatable.",
        ),
    ] = None,
    file_list: FileListOption = None,
    recursive: RecursiveOption = False,
    on_error: OnErrorOption = OnError.SKIP,
    devices: Annotated[str, typer.Option("--devices", help="cpu, or some CPUs only: cpu:0,2-3.")] = "cpu",
    profile: Annotated[bool, typer.Option("--profile", help="Also measure every step of the network.")] = False,
    e2e: Annotated[
        bool, typer.Option("--e2e", help="Also measure decode, resize, infer, colour and save of picture files.")
    ] = False,
    cold_starts: Annotated[
        int, typer.Option("--cold-starts", min=0, help="Fresh processes for the cold start; 0 for none.")
    ] = 3,
    compare: Annotated[
        Path | None, typer.Option("--compare", help="Report of an earlier run to compare with.", show_default=False)
    ] = None,
    against: Annotated[
        Path | None, typer.Option("--against", help="Other model to run in turns with this one.", show_default=False)
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--target", help="Program to measure; default: the one this CPU prefers.", show_default=False),
    ] = None,
    max_regression: Annotated[
        float, typer.Option("--max-regression", min=0, help="Percent that this model may be slower.")
    ] = 5.0,
    save: Annotated[Path | None, typer.Option("--save", help="File for the report as JSON.")] = None,
    csv: Annotated[
        Path | None,
        typer.Option("--csv", help="File for the latencies as CSV; with --profile, NAME.layers.csv has the steps."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Picture of the latencies: .svg, or .png with matplotlib.")
    ] = None,
    trace: Annotated[
        Path | None, typer.Option("--trace", help="Timeline as JSON for chrome://tracing or ui.perfetto.dev.")
    ] = None,
    details: Annotated[
        bool, typer.Option("--details", help="Also print every table of the run: load, device, memory, latencies.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    duration_ms, warmup_ms = (
        1e3 * parse_duration(text, option) for text, option in ((duration, "--duration"), (warmup, "--warmup"))
    )
    read = (model, against, run_config, file_list)
    layers = None if csv is None or not profile else csv.with_suffix(".layers.csv")
    check_places({"--save": save, "--csv": csv, "--csv for steps": layers, "--plot": plot, "--trace": trace}, read)
    check_places({"--csv": csv, "--plot": plot, "--trace": trace}, (compare,))
    report = bench(
        BenchOptions(
            model=model,
            batch=batch,
            threads=threads,
            concurrency=concurrency,
            iterations=iterations,
            duration_ms=duration_ms,
            warmup_ms=warmup_ms,
            input_dims=tuple(input_dims or ()),
            run_config=run_config,
            image_dir=_one_or_more(image_dir),
            file_list=file_list,
            recursive=recursive,
            on_error=on_error,
            devices=devices,
            profile=profile,
            end_to_end=e2e,
            cold_starts=cold_starts,
            compare=compare,
            against=against,
            max_regression=max_regression,
            plot=plot,
            target=target,
        )
    )
    _write(report, save, csv, plot, trace)
    if as_json:
        print_json(report.to_json())
    else:
        draw(Table("", ("", ""), summary_rows(report), left=(0, 1), fit=Fit(prose=(1,))))
        for table in [*(detail_tables(report) if details else []), *asked_tables(report)]:
            draw(table)
        show_passed_over(report.failures)
    note_left_out(report.left_out)
    for sentence in report.advice():
        note(f"note: {sentence}")
    if not as_json:
        say(last_line(report))
    if not report.passed:
        raise typer.Exit(ExitCode.REGRESSION)
    end_with_failures(report.failures)


def _one_or_more(image_dir: list[Path] | None) -> PicturePaths | None:
    return image_dir[0] if image_dir is not None and len(image_dir) == 1 else image_dir or None


def _write(report: BenchReport, save: Path | None, csv: Path | None, plot: Path | None, trace: Path | None) -> None:
    if save is not None:
        write_text(save, json.dumps(report.to_json(), indent=1, allow_nan=False) + "\n")
    if csv is not None:
        write_text(csv, report.to_csv())
        if report.layers:
            write_text(csv.with_suffix(".layers.csv"), layers_csv(report.layers))
    names = [group.name for group in report.groups]
    if plot is not None:
        latencies = {name: report.of(index, "total").tolist() for index, name in enumerate(names)}
        model = printable(Path(str(report.parameters["model"])).name)
        write_plot(plot, latencies, f"total latency of {model}, threads: {report.threads}")
    if trace is not None:
        write_text(trace, chrome_trace(report.result, names, report.layers))
