"""``smalti compare``: layer by layer against a reference."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smalti.cli.build import build_status
from smalti.cli.exit_codes import ExitCode
from smalti.cli.infer import InputSizeOption, ResizeOption
from smalti.cli.options.groups import grouped
from smalti.cli.options.labelling import LabelsOption
from smalti.cli.options.other_graph import OtherGraphOptions
from smalti.cli.options.pictures import (
    FileListOption,
    ImageDirOption,
    OnErrorOption,
    RecursiveOption,
    end_with_failures,
    note_left_out,
    show_passed_over,
)
from smalti.cli.ui import JsonOption, ThreadsOption, draw, help_text, note, print_json, progress_bar, say
from smalti.comparing.compare import DEFAULT_IMAGES, DEFAULT_THRESHOLD, NUMPY, CompareOptions, compare
from smalti.comparing.graphs import GraphsOptions, compare_graphs
from smalti.comparing.result import WORST, CompareResult
from smalti.comparing.tables import flips_table, layer_table
from smalti.errors import UsageError
from smalti.frontend.recognise import GRAPH_FILE
from smalti.jobs.outputs import write_text
from smalti.jobs.places import check_places
from smalti.jobs.stream import OnError
from smalti.vision.classes import read_classes

HELP = help_text(
    "Compare every layer of an offline model with a reference, or two graphs, and count the pixels that flip.",
    "diff1 is sum|d| / sum|r|, diff2 sqrt(sum d^2 / sum r^2), diff3 the largest |d| / |r|, diff4 the shares of values "
    "that are greater and less; added is diff2 less that of the layers read. The model is compiled again from the same "
    "graph, with its own precision and ranges and every layer as an output; what that changes is said.",
    "With --other-graph, say another export of one network, both graphs are compiled in float32, their layers paired "
    "by structure, whatever their names are, and the first that departs is named, with what is set otherwise.",
    "A picture that is no good is listed and passed over, and the exit code is then 3. With --maps a picture for each "
    "image shows the pixels that flip, coloured by the confidence that the reference had there.",
    examples=(
        "smalti compare --tf-model g.pb --model q8.smalti --image-dir VOC2012 --file-list val.txt",
        "smalti compare --tf-model g.pb --model q8.smalti --image-dir pictures --reference f32.smalti --maps flips",
        "smalti compare --tf-model g.pb --model f16.smalti --image-dir pictures --max-flipped 0.002 --json",
        "smalti compare --graph g.pb --other-graph g.onnx --preset tf --image-dir pictures --pair logits=output",
    ),
)


@grouped
def compare_command(
    tf_model: Annotated[
        Path,
        typer.Option("--graph", "--tf-model", help="Graph (.onnx, .pb) the model was built from.", show_default=False),
    ],
    image_dir: ImageDirOption,
    other: OtherGraphOptions,
    model: Annotated[Path | None, typer.Option("--model", help="Offline model file.", show_default=False)] = None,
    file_list: FileListOption = None,
    image_num: Annotated[int, typer.Option("--image-num", min=1, help="Only the first N pictures.")] = DEFAULT_IMAGES,
    recursive: RecursiveOption = False,
    on_error: OnErrorOption = OnError.SKIP,
    reference: Annotated[
        str,
        typer.Option("--reference", help="numpy, float32 (compiled), tensorflow, or another offline model file."),
    ] = NUMPY,
    threshold: Annotated[
        float, typer.Option("--threshold", min=0.0, help="diff2 above which a layer departs.")
    ] = DEFAULT_THRESHOLD,
    max_flipped: Annotated[
        float | None,
        typer.Option("--max-flipped", min=0.0, max=1.0, help="Exit code 9 if more than this share of pixels flips."),
    ] = None,
    maps: Annotated[
        Path | None, typer.Option("--maps", help="Folder for pictures of the flipped pixels.", show_default=False)
    ] = None,
    worst: Annotated[int, typer.Option("--worst", min=0, help="How many of the worst layers to list.")] = WORST,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Also write the layers to this file.", show_default=False)
    ] = None,
    ranges: Annotated[
        Path | None,
        typer.Option("--ranges", help="Calibration record the model was built with.", show_default=False),
    ] = None,
    labels: LabelsOption = None,
    resize: ResizeOption = None,
    input_size: InputSizeOption = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    if other.other_graph is not None:
        without = {
            "--model": model,
            "--max-flipped": max_flipped,
            "--maps": maps,
            "--ranges": ranges,
            "--labels": labels,
        }
        refused = [name for name, value in without.items() if value is not None]
        if refused or reference != NUMPY:
            raise UsageError(f"{(refused or ['--reference'])[0]} is about a model file: leave it or --other-graph out")
        chosen = GraphsOptions(
            tf_model,
            other.other_graph,
            image_dir,
            file_list,
            image_num,
            other.pairs(),
            other.pictures(),
            threshold,
            resize,
            input_size,
            threads,
            recursive,
            on_error,
        )
        _compare_graphs(chosen, csv, worst, as_json)
        return
    if model is None:
        raise UsageError("give the file to compare: --model, or --other-graph for a second graph")
    if other.given():
        raise UsageError(f"{other.given()[0]} is for two graphs: give --other-graph, or leave it out")
    options = CompareOptions(
        tf_model=tf_model,
        model=model,
        image_dir=image_dir,
        file_list=file_list,
        image_num=image_num,
        reference=reference,
        threshold=threshold,
        maps=maps,
        resize=resize,
        input_size=input_size,
        ranges=ranges,
        threads=threads,
        classes=read_classes(labels),
        recursive=recursive,
        on_error=on_error,
    )
    check_places({"--csv": csv}, (tf_model, tf_model / GRAPH_FILE, model, Path(reference), file_list, ranges, labels))
    with build_status() as status, progress_bar("compare", told=status) as progress:
        result = compare(options, progress, status)
    if csv is not None:
        write_text(csv, result.to_csv())
    note_left_out(result.left_out)
    if as_json:
        print_json(result.to_json())
    else:
        _show(result, worst)
    if max_flipped is not None and result.flips and result.total.share > max_flipped:
        note(f"smalti: {100 * result.total.share:.4f} % of pixels flip, more than {100 * max_flipped:.4f} %")
        raise typer.Exit(ExitCode.ACCURACY)
    end_with_failures(result.failures)


def _compare_graphs(options: GraphsOptions, csv: Path | None, worst: int, as_json: bool) -> None:
    files = (options.first, options.first / GRAPH_FILE, options.second, options.second / GRAPH_FILE, options.file_list)
    check_places({"--csv": csv}, files)
    with build_status() as status, progress_bar("compare", told=status) as progress:
        result = compare_graphs(options, progress, status)
    if csv is not None:
        write_text(csv, result.to_csv())
    note_left_out(result.left_out)
    if as_json:
        print_json(result.to_json())
    else:
        layers = [pair.layer for pair in result.layers]
        draw(layer_table(layers, f"{options.first.name} against {options.second.name}, {result.images} images"))
        if worst:
            farthest = sorted(layers, key=lambda layer: -layer.differences.diff2)
            draw(layer_table(farthest[:worst], "worst layers by diff2"))
        show_passed_over(result.failures)
        say(result.to_text())
    end_with_failures(result.failures)


def _show(result: CompareResult, worst: int) -> None:
    draw(layer_table(result.layers, f"{result.precision} against {result.reference}, {result.images} images"))
    if worst:
        draw(layer_table(result.worst[:worst], "worst layers by diff2"))
    if result.flips:
        draw(flips_table(result.total, result.labels))
    show_passed_over(result.failures)
    first = result.first_departing
    say(
        f"no layer departs: diff2 is at most {result.threshold:g}"
        if first is None
        else f"first layer with diff2 over {result.threshold:g}: {first.name} ({first.differences.diff2:.3g})"
    )
    say(f"taps: {result.taps.to_text()}")
    for name, reason in result.not_compared:
        say(f"not compared: {name}: {reason}")
    if result.maps is not None:
        say(f"pictures of the flips: {result.maps}")
