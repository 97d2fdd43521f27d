"""``smalti build``: compile a graph."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from smalti.building.build import build, build_passes, build_table
from smalti.building.hints import speed_hint
from smalti.cli.heartbeat import Told, heartbeat
from smalti.cli.options.bounded import Bound, EvalListOption, GtDirOption, MaxDropOption
from smalti.cli.options.calibration import (
    ActivationOption,
    BuildModeOption,
    CalibAlgoOption,
    CalibFileListOption,
    CalibImageDirOption,
    CalibNumOption,
    CalibrationArguments,
    GranularityOption,
    RangesOption,
    SaveRangesOption,
    find_ranges,
    parse_mode,
    read_ranges,
)
from smalti.cli.options.calibration import (
    QuantModeOption as QuantModeOption,
)
from smalti.cli.options.fastest import AUTO, FastestArguments
from smalti.cli.options.groups import grouped
from smalti.cli.options.inputs import ModelOption, TensorOptions, parse_binds, parse_names, parse_shapes
from smalti.cli.options.limits import LimitOptions
from smalti.cli.options.network import NetworkOptions
from smalti.cli.options.pictures import (
    OnErrorOption,
    RecursiveOption,
    end_with_failures,
    note_left_out,
    show_passed_over,
)
from smalti.cli.ui import JsonOption, Toggle, draw, help_text, note, print_json, say
from smalti.compiler import CompileOptions
from smalti.errors import UsageError
from smalti.frontend.recognise import GRAPH_FILE
from smalti.jobs.pictures import PassedOver
from smalti.jobs.places import check_places
from smalti.jobs.stream import OnError
from smalti.target.host import resolve_targets
from smalti.vision.classes import read_classes

HELP = help_text(
    "Compile an ONNX model or a frozen TensorFlow graph into an offline model file.",
    "The file holds packed constants and machine code for --target. With --shape-mutable true (the default) one file "
    "takes every image size up to the graph's own limit, at the speed of a fixed one. If the graph has operations that "
    "Smalti does not know, one error lists them all.",
    "--input-shape gives an input its shape, where the graph leaves it open; sizes that are numbers are fixed, and "
    "pictures are then scaled to exactly that height and width. --bind makes a tensor a constant, such as the "
    "is_training of a graph that was frozen with its training branches.",
    "What a file is, its bytes tell. Values that an ONNX model keeps in a second file are read from the model's own "
    "folder.",
    "A graph that holds only a network, as ONNX models mostly do, takes numbers and gives scores. --preset (or "
    "--scale, --mean and --std) says how the bytes of a picture become those numbers; the model file then takes "
    "pictures and gives labels. --labels-from none keeps the scores.",
    "--target takes several names with commas: the file then holds a program for each, shares constants between them, "
    "and whoever loads it gets the best that the CPU can run. Code for another kind of CPU than this one can be built "
    "here too; it is not run.",
    "The qint modes choose the ranges of their integers by running the float32 network on pictures (--image-dir), with "
    "a word about pictures that are too few or too much alike; a bad picture is listed and passed over, and the exit "
    "code is then 3. --save-ranges keeps what was found: with it, --ranges "
    "makes the same file again without pictures.",
    "--quant-mode auto builds the model in several modes, measures their mIoU and, in turns, their times on this CPU, "
    "and writes the fastest that loses no more than --max-miou-drop. Modes in integers take part where --file-list or "
    "--ranges is given.",
    examples=(
        "smalti build --tf-model frozen_inference_graph.pb --output-model-path m.smalti",
        "smalti build --model network.onnx --output-model-path m.smalti",
        "smalti build --model network.onnx --output-model-path m.smalti --preset imagenet --pad-to-multiple 32",
        "smalti build --tf-model g.pb --output-model-path m.smalti --shape-mutable false --input-size 513",
        "smalti build --tf-model g.pb --output-model-path logits.smalti --outputs logits/semantic/BiasAdd:0",
        "smalti build --model g.pb --output-model-path m.smalti --input-shape x=1x720x1280x3 --bind is_training=false",
        "smalti build --tf-model g.pb --output-model-path m.smalti --labels classes.txt",
        "smalti build --tf-model g.pb --output-model-path m.smalti --target x86-64-v4+vnni,x86-64-v3,x86-64-v2,aarch64",
        "smalti build --tf-model g.pb --output-model-path m.smalti --dump-dir dump",
        "smalti build --tf-model g.pb --output-model-path q.smalti --quant-mode q8_f16 --image-dir VOC2012 "
        "--file-list train.txt --save-ranges r.json",
        "smalti build --tf-model g.pb --output-model-path q.smalti --ranges r.json",
        "smalti build --tf-model g.pb --output-model-path q.smalti --quant-mode q8_f16 --image-dir VOC2012 "
        "--file-list train.txt --max-miou-drop 0.002 --gt-dir VOC2012 --eval-list val.txt",
        "smalti build --tf-model g.pb --output-model-path m.smalti --quant-mode auto --max-miou-drop 0.002 "
        "--image-dir VOC2012 --file-list train.txt --gt-dir VOC2012 --eval-list val.txt",
    ),
)

ShapeMutableOption = Annotated[
    Toggle,
    typer.Option("--shape-mutable", case_sensitive=False, help="true: any image size; false: one fixed square."),
]
TargetOption = Annotated[
    str,
    typer.Option("--target", help="native, generic, x86-64-v2, x86-64-v3, x86-64-v4 (with +vnni, +bf16) or aarch64."),
]
TargetsOption = Annotated[
    str,
    typer.Option(
        "--target",
        help="native, generic, x86-64-v2, x86-64-v3, x86-64-v4 (with +vnni, +bf16) or aarch64 (with +bf16, +dotprod, "
        "+fp16, +i8mm); several with commas.",
    ),
]
InputSizeOption = Annotated[
    int | None,
    typer.Option(
        "--input-size", min=1, help="Side of the fixed square, or that images are scaled to.", show_default=False
    ),
]


@grouped
def build_command(
    *,
    tf_model: ModelOption,
    output_model_path: Annotated[
        Path | None, typer.Option("--output-model-path", help="Offline model file to write.", show_default=False)
    ] = None,
    quant_mode: BuildModeOption = None,
    shape_mutable: ShapeMutableOption = Toggle.TRUE,
    input_size: InputSizeOption = None,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", min=1, max=2**31 - 1, help="Images in one call; default: any number."),
    ] = None,
    tensors: TensorOptions,
    network: NetworkOptions,
    target: TargetsOption = "native",
    name: Annotated[
        str | None, typer.Option("--name", help="Name in reports; default: the folder's or file's.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels", help="Text file of classes to store, one a line: name, or name #rrggbb.", show_default=False
        ),
    ] = None,
    image_dir: CalibImageDirOption = None,
    file_list: CalibFileListOption = None,
    recursive: RecursiveOption = False,
    on_error: OnErrorOption = OnError.SKIP,
    calib_num: CalibNumOption = None,
    calib_algo: CalibAlgoOption = None,
    weight_granularity: GranularityOption = None,
    activation: ActivationOption = None,
    ranges: RangesOption = None,
    save_ranges: SaveRangesOption = None,
    max_miou_drop: MaxDropOption = None,
    gt_dir: GtDirOption = None,
    eval_list: EvalListOption = None,
    limits: LimitOptions,
    dump_dir: Annotated[
        Path | None, typer.Option("--dump-dir", help="Write the graph after every pass here.", show_default=False)
    ] = None,
    stop_at: Annotated[
        str | None, typer.Option("--stop-at", help="Stop after this pass and write no model.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    is_auto = quant_mode is not None and quant_mode.lower() == AUTO
    mode = None if is_auto or quant_mode is None else parse_mode(quant_mode)
    pictures = tuple(image_dir) if image_dir else None
    arguments = CalibrationArguments(
        mode,
        pictures,
        file_list,
        calib_num,
        calib_algo,
        weight_granularity,
        activation,
        ranges,
        save_ranges,
        recursive or None,
    )
    bound = Bound(max_miou_drop, gt_dir, eval_list, pictures)
    fastest = FastestArguments(bound, arguments, dump_dir) if is_auto else None
    if fastest is not None:
        arguments = fastest.ranges()
    passed_over = PassedOver(on_error)
    check_places(
        {} if stop_at is not None else {"--output-model-path": output_model_path, "--save-ranges": save_ranges},
        (tf_model, tf_model / GRAPH_FILE, labels, file_list, ranges, eval_list),
    )
    read = read_ranges(arguments)
    targets = resolve_targets(target)
    if len(targets) < len(target.split(",")):
        note(f"--target {target} is {', '.join(map(str, targets))}: each is built once")
    classes = read_classes(labels)
    options = CompileOptions(
        targets=targets,
        quant=arguments.quant_options(read),
        shape_mutable=bool(shape_mutable),
        input_size=input_size,
        batch_size=batch_size,
        inputs=parse_names(tensors.inputs, "--inputs"),
        outputs=parse_names(tensors.outputs, "--outputs"),
        input_shapes=parse_shapes(tensors.input_shape),
        binds=parse_binds(tensors.bind),
        drop_dropout=tensors.drop_dropout,
        name=name or model_name(tf_model),
        labels=classes.names,
        colours=classes.colours,
        limits=limits.limits(),
        pictures=network.pictures(),
    )
    if stop_at is not None:
        report = build_passes(tf_model, options, stop_at, dump_dir)
        print_json(report.to_json()) if as_json else say(report.to_text())
        return
    if output_model_path is None:
        raise UsageError("give the file to write with --output-model-path (or --stop-at, to write none)")
    record = find_ranges(arguments, read, tf_model, options, passed_over)
    if fastest is not None:
        with build_status() as showing:
            found = fastest.build(tf_model, output_model_path, options, record, showing, passed_over, as_json)
        note_left_out(passed_over.left_out)
        if as_json:
            print_json({**found.built.to_json(), "auto": found.to_json(), **passed_over.to_json()})
        else:
            draw(build_table(found.built))
            show_passed_over(passed_over.failures)
        end_with_failures(passed_over.failures)
        return
    with build_status() as showing:
        options = bound.apply(tf_model, options, record, showing, passed_over, as_json)
        result = build(tf_model, output_model_path, options, record=record, dump_dir=dump_dir, progress=showing)
    note_left_out(passed_over.left_out)
    if as_json:
        print_json({**result.to_json(), **(passed_over.to_json() if pictures else {})})
    else:
        draw(build_table(result))
        show_passed_over(passed_over.failures)
    hint = speed_hint(options.quant_mode, targets[0]) if target == "native" else None
    if hint is not None:
        note(f"hint: {hint}")
    end_with_failures(passed_over.failures)


def model_name(path: Path) -> str:
    """Return the name of a model in reports: the folder of a file with the usual name, else the file's."""
    inside_folder = path.name == GRAPH_FILE and path.resolve().parent.name
    return path.resolve().parent.name if inside_folder else path.stem


@contextmanager
def build_status() -> Iterator[Told]:
    """Give a function that shows what a build is doing on standard error; where that is no terminal, lines tell."""
    console = Console(stderr=True)
    if not console.is_terminal:
        told = Told()
        with heartbeat(told.line, note):
            yield told
        return
    with console.status("") as status:
        yield Told(shows=lambda what: status.update(escape(what)))
