"""``smalti sensitivity``: what each layer costs when it is quantised."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from smalti.cli.build import (
    InputSizeOption,
    ShapeMutableOption,
    TargetOption,
    build_status,
    model_name,
)
from smalti.cli.options.calibration import (
    ActivationOption,
    CalibAlgoOption,
    CalibNumOption,
    CalibrationArguments,
    GranularityOption,
    RangesOption,
    find_ranges,
    parse_mode,
    read_ranges,
)
from smalti.cli.options.groups import grouped
from smalti.cli.options.inputs import (
    BindOption,
    DropDropoutOption,
    InputShapeOption,
    ModelOption,
    parse_binds,
    parse_shapes,
)
from smalti.cli.options.labelling import LabelsOption
from smalti.cli.options.network import NetworkOptions
from smalti.cli.options.pictures import (
    FileListOption,
    ImageDirOption,
    OnErrorOption,
    RecursiveOption,
    end_with_failures,
    note_left_out,
    show_passed_over,
)
from smalti.cli.ui import JsonOption, ThreadsOption, Toggle, draw, help_text, print_json, progress_bar
from smalti.comparing.sensitivity import sensitivity, sensitivity_table
from smalti.comparing.trials import PictureSet
from smalti.compiler import CompileOptions
from smalti.errors import UsageError
from smalti.frontend.recognise import GRAPH_FILE
from smalti.jobs.outputs import write_text
from smalti.jobs.pictures import PassedOver
from smalti.jobs.places import check_places
from smalti.jobs.stream import OnError
from smalti.quant.modes import QuantMode
from smalti.target.host import resolve_target
from smalti.vision.classes import read_classes

DEFAULT_IMAGES = 32
DEFAULT_MODE = QuantMode.QINT8_MIXED_FLOAT16
TRAIN_LIST = Path("ImageSets") / "Segmentation" / "train.txt"

CalibDirOption = Annotated[
    Path | None,
    typer.Option("--calib-dir", help="Pictures to calibrate on; default: --image-dir.", show_default=False),
]
CalibListOption = Annotated[
    Path | None,
    typer.Option("--calib-list", help="Their file list; default: train.txt of a VOC root.", show_default=False),
]
LayerModeOption = Annotated[
    QuantMode | None,
    typer.Option(
        "--quant-mode",
        parser=parse_mode,
        metavar="MODE",
        show_default=False,
        help=f"Precision, by name or short name; default: {DEFAULT_MODE.value}, or that of --ranges.",
    ),
]

HELP = help_text(
    "Measure what each layer costs: a build for every layer in which it alone is quantised.",
    "With --gt-dir rows are sorted by the mIoU they lose, else by the error of the logits against force_float32. With "
    "--without there is also a build for every layer in which all others are quantised. With --state a stopped job "
    "goes on where it was.",
    examples=(
        "smalti sensitivity --tf-model g.pb --image-dir VOC2012 --gt-dir VOC2012 --file-list val.txt --by-block",
        "smalti sensitivity --tf-model g.pb --image-dir pictures --ranges ranges.json --csv layers.csv --state s.json",
    ),
)


@grouped
def sensitivity_command(
    *,
    tf_model: ModelOption,
    image_dir: ImageDirOption,
    gt_dir: Annotated[
        Path | None,
        typer.Option("--gt-dir", help="Folder of masks, or a VOC root; without: logits alone.", show_default=False),
    ] = None,
    file_list: FileListOption = None,
    image_num: Annotated[int, typer.Option("--image-num", min=1, help="Only the first N pictures.")] = DEFAULT_IMAGES,
    recursive: RecursiveOption = False,
    on_error: OnErrorOption = OnError.SKIP,
    quant_mode: LayerModeOption = None,
    by_block: Annotated[bool, typer.Option("--by-block", help="Blocks of layers instead of layers.")] = False,
    without: Annotated[bool, typer.Option("--without", help="Also quantise all but each layer.")] = False,
    calib_dir: CalibDirOption = None,
    calib_list: CalibListOption = None,
    calib_num: CalibNumOption = None,
    calib_algo: CalibAlgoOption = None,
    weight_granularity: GranularityOption = None,
    activation: ActivationOption = None,
    ranges: RangesOption = None,
    shape_mutable: ShapeMutableOption = Toggle.TRUE,
    input_size: InputSizeOption = None,
    input_shape: InputShapeOption = None,
    bind: BindOption = None,
    drop_dropout: DropDropoutOption = False,
    network: NetworkOptions,
    labels: LabelsOption = None,
    target: TargetOption = "native",
    state: Annotated[
        Path | None, typer.Option("--state", help="File that remembers scores.", show_default=False)
    ] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Also write the rows to this file.", show_default=False)
    ] = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    check_places(
        {"--state": state, "--csv": csv}, (tf_model, tf_model / GRAPH_FILE, file_list, calib_list, ranges, labels)
    )
    mode = quant_mode or (DEFAULT_MODE if ranges is None else None)
    folder, names = None, None
    if ranges is None and mode is not None and mode.quantised is not None:
        folder, names = calibration_pictures(image_dir, calib_dir, calib_list)
    arguments = CalibrationArguments(mode, folder, names, calib_num, calib_algo, weight_granularity, activation, ranges)
    passed_over = PassedOver(on_error)
    read = read_ranges(arguments)
    options = CompileOptions(
        targets=(resolve_target(target),),
        quant=arguments.quant_options(read),
        shape_mutable=bool(shape_mutable),
        input_size=input_size,
        input_shapes=parse_shapes(input_shape),
        binds=parse_binds(bind),
        drop_dropout=drop_dropout,
        name=model_name(tf_model),
        labels=read_classes(labels).names,
        pictures=network.pictures(),
    )
    record = find_ranges(arguments, read, tf_model, options, passed_over)
    data = PictureSet(image_dir, gt_dir, file_list, image_num, recursive, passed_over)
    with build_status() as status, progress_bar("sensitivity", "layers", status) as progress:
        result = sensitivity(
            tf_model,
            options,
            record,
            data,
            by_block=by_block,
            without=without,
            state=state,
            threads=threads,
            progress=progress,
            tell=status,
        )
    if csv is not None:
        write_text(csv, result.to_csv())
    note_left_out(passed_over.left_out)
    if as_json:
        print_json({**result.to_json(), **passed_over.to_json()})
    else:
        draw(sensitivity_table(result))
        show_passed_over(passed_over.failures)
    end_with_failures(passed_over.failures)


def calibration_pictures(
    image_dir: Sequence[Path], calib_dir: Path | None, calib_list: Path | None
) -> tuple[tuple[Path, ...], Path | None]:
    """Return the folder and the list of calibration pictures, which are not those that accuracy is measured on.

    Raises:
        UsageError: nothing says which they are.
    """
    folders = tuple(image_dir) if calib_dir is None else (calib_dir,)
    if calib_list is not None or (calib_dir is not None and not (calib_dir / TRAIN_LIST).is_file()):
        return folders, calib_list
    if len(folders) == 1 and (folders[0] / TRAIN_LIST).is_file():
        return folders, folders[0] / TRAIN_LIST
    raise UsageError("this mode must be calibrated: give pictures with --calib-dir or --calib-list, or --ranges")
