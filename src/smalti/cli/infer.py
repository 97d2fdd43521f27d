"""``smalti infer``: label pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smalti.apps.infer import InferOptions, InferResult, OutputSize, infer
from smalti.apps.report import failures_table, infer_summary, stages_table
from smalti.apps.stream import OnError
from smalti.cli.exit_codes import ExitCode
from smalti.cli.ui import JsonOption, ThreadsOption, Toggle, draw, help_text, note, print_json, progress_bar, say
from smalti.runtime.engine import load
from smalti.vision.images import DEFAULT_MAX_PIXELS
from smalti.vision.preprocess import Resize

HELP = help_text(
    "Label every picture of a folder with an offline model.",
    "Each label map is a palette PNG of the picture's size: the pixel index is the label, and it looks coloured. "
    "Pictures are JPEG or PNG; a bad one is reported and skipped, and the exit code is then 3. Two pictures of one "
    "name, a.jpg and a.png, give a.jpg.png and a.png.png.",
    examples=(
        "smalti infer --model m.smalti --image-dir photos --output-dir labels",
        "smalti infer --model m.smalti --image-dir VOC2012 --file-list val.txt --output-dir labels --overlay",
        "smalti infer --model m.smalti --image-dir photos --save-img false --json",
    ),
)

ModelOption = Annotated[Path, typer.Option("--model", help="Offline model file.", show_default=False)]
ImageDirOption = Annotated[
    Path,
    typer.Option("--image-dir", help="Folder of pictures, or a VOC root with JPEGImages in it.", show_default=False),
]
FileListOption = Annotated[
    Path | None, typer.Option("--file-list", help="Text file, one id or name a line; default: every picture.")
]
ImageNumOption = Annotated[int | None, typer.Option("--image-num", min=1, help="Only the first N pictures.")]
ResizeOption = Annotated[
    Resize | None,
    typer.Option(
        "--resize",
        help="fit: longer side to the input size; stretch: to the square; none: own size. Default: as the model says.",
    ),
]
InputSizeOption = Annotated[
    int | None, typer.Option("--input-size", min=1, help="Size for fit and stretch; default: what the model says.")
]
MaxPixelsOption = Annotated[
    int, typer.Option("--max-pixels", min=1, help="Refuse larger pictures from their header, before decoding.")
]
Sha256Option = Annotated[
    str | None, typer.Option("--sha256", help="Load the model file only if this is its SHA-256.", show_default=False)
]


def infer_command(
    model: ModelOption,
    image_dir: ImageDirOption,
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", help="Folder for the label maps.", show_default=False)
    ] = None,
    file_list: FileListOption = None,
    image_num: ImageNumOption = None,
    save_img: Annotated[
        Toggle, typer.Option("--save-img", case_sensitive=False, help="Write the label maps.")
    ] = Toggle.TRUE,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Also write overlay/NAME.jpg: the classes on the picture, with a legend.")
    ] = False,
    resize: ResizeOption = None,
    input_size: InputSizeOption = None,
    output_size: Annotated[
        OutputSize, typer.Option("--output-size", help="Size of the label maps: the picture's, or the network's input.")
    ] = OutputSize.ORIGINAL,
    on_error: Annotated[OnError, typer.Option("--on-error", help="What a bad picture does to the run.")] = OnError.SKIP,
    max_pixels: MaxPixelsOption = DEFAULT_MAX_PIXELS,
    threads: ThreadsOption = None,
    sha256: Sha256Option = None,
    as_json: JsonOption = False,
) -> None:
    options = InferOptions(resize, input_size, output_size, bool(save_img), overlay, on_error, max_pixels)
    with load(model, threads, sha256) as engine, progress_bar("infer") as progress:
        note(f"threads: {engine.threads_reason}")
        result = infer(
            engine,
            image_dir,
            output_dir,
            file_list=file_list,
            image_num=image_num,
            options=options,
            progress=progress,
        )
    show_infer(result, as_json)
    if result.failures:
        raise typer.Exit(ExitCode.DONE_WITH_ERRORS)


def show_infer(result: InferResult, as_json: bool) -> None:
    """Print what an inference run did."""
    if as_json:
        print_json(result.to_json())
        return
    draw(stages_table(result.stages, result.threads))
    if result.failures:
        draw(failures_table(result.failures))
    say(infer_summary(result))
