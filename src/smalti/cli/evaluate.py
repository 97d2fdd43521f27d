"""``smalti eval``: compare label maps with masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer

from smalti.cli.exit_codes import ExitCode
from smalti.cli.infer import (
    InputSizeOption,
    MaxPixelsOption,
    ResizeOption,
    Sha256Option,
)
from smalti.cli.options.labelling import LabelsOption
from smalti.cli.options.pictures import (
    FileListOption,
    ImageNumOption,
    OptionalImageDirOption,
    RecursiveOption,
    note_left_out,
)
from smalti.cli.stopping import stop_at_once
from smalti.cli.ui import JsonOption, ThreadsOption, draw, help_text, note, print_json, progress_bar, say
from smalti.errors import UsageError
from smalti.jobs.stream import MAX_AT_ONCE, OnError
from smalti.jobs.table import failures_table, stages_table
from smalti.runtime.engine import load
from smalti.scoring.evaluate import EvalResult, evaluate_folder, evaluate_model
from smalti.scoring.tables import accuracy_table, confusion_table, eval_summary
from smalti.vision.classes import read_classes
from smalti.vision.images import DEFAULT_MAX_PIXELS
from smalti.vision.preprocess import Resize

NOTHING_KEPT: Final = "an accuracy is only of use over all images, so nothing is kept"

HELP = help_text(
    "Measure label maps against masks: IoU of each class, mean IoU, pixel accuracy.",
    "One confusion matrix is counted over all images; pixels that a mask labels 255 are left out; a label map of "
    "another size is scaled to its mask. Give --pred-dir for label maps in files, or --model and --image-dir to label "
    "the pictures now, without files in between.",
    "A missing or bad file ends the run; with --on-error skip it is listed, and the exit code is then 3.",
    examples=(
        "smalti eval --pred-dir labels --gt-dir VOC2012/SegmentationClass --file-list val.txt",
        "smalti eval --model m.smalti --image-dir VOC2012 --gt-dir VOC2012 --file-list val.txt --json",
    ),
)


def eval_command(
    gt_dir: Annotated[
        Path,
        typer.Option(
            "--gt-dir", help="Folder of masks, or a VOC root with SegmentationClass in it.", show_default=False
        ),
    ],
    pred_dir: Annotated[
        Path | None, typer.Option("--pred-dir", help="Folder of label maps (PNG).", show_default=False)
    ] = None,
    model: Annotated[
        Path | None, typer.Option("--model", help="Offline model file, to label the pictures now.", show_default=False)
    ] = None,
    image_dir: OptionalImageDirOption = None,
    file_list: FileListOption = None,
    image_num: ImageNumOption = None,
    recursive: RecursiveOption = False,
    labels: LabelsOption = None,
    confusion: Annotated[bool, typer.Option("--confusion", help="Also show the confusion matrix.")] = False,
    resize: ResizeOption = None,
    input_size: InputSizeOption = None,
    on_error: Annotated[OnError, typer.Option("--on-error", help="What a bad image does to the run.")] = OnError.STOP,
    max_pixels: MaxPixelsOption = DEFAULT_MAX_PIXELS,
    threads: ThreadsOption = None,
    sha256: Sha256Option = None,
    as_json: JsonOption = False,
) -> None:
    names = read_classes(labels).names
    if (pred_dir is None) == (model is None):
        raise UsageError("give either --pred-dir, or --model with --image-dir")
    if pred_dir is not None:
        if image_dir:
            raise UsageError("--image-dir goes with --model, not with --pred-dir")
        if recursive:
            raise UsageError("--recursive goes with --model; with --pred-dir, name the files with --file-list")
        with stop_at_once(NOTHING_KEPT), progress_bar("eval") as progress:
            result = evaluate_folder(
                pred_dir,
                gt_dir,
                file_list,
                image_num,
                labels=names,
                on_error=on_error,
                progress=progress,
            )
    else:
        result = _evaluate_now(
            model,
            image_dir,
            gt_dir,
            file_list,
            image_num,
            recursive,
            names,
            resize,
            input_size,
            on_error,
            max_pixels,
            threads,
            sha256,
        )
    note_left_out(result.left_out)
    show_eval(result, as_json, confusion)
    if result.failures:
        raise typer.Exit(ExitCode.DONE_WITH_ERRORS)


def _evaluate_now(
    model: Path | None,
    image_dir: list[Path] | None,
    gt_dir: Path,
    file_list: Path | None,
    image_num: int | None,
    recursive: bool,
    names: tuple[str, ...] | None,
    resize: Resize | None,
    input_size: int | None,
    on_error: OnError,
    max_pixels: int,
    threads: int | None,
    sha256: str | None,
) -> EvalResult:
    if model is None or not image_dir:
        raise UsageError("--model needs --image-dir: the folder of pictures to label")
    with (
        stop_at_once(NOTHING_KEPT),
        load(model, threads, sha256, concurrency=MAX_AT_ONCE) as engine,
        progress_bar("eval") as progress,
    ):
        note(f"target: {engine.manifest.target}; threads: {engine.threads_reason}")
        result = evaluate_model(
            engine,
            image_dir,
            gt_dir,
            file_list,
            image_num,
            recursive=recursive,
            labels=names,
            resize=resize,
            input_size=input_size,
            on_error=on_error,
            max_pixels=max_pixels,
            progress=progress,
        )
        return replace(result, target=engine.manifest.target)


def show_eval(result: EvalResult, as_json: bool, confusion: bool = False) -> None:
    """Print an evaluation."""
    if as_json:
        print_json(result.to_json())
        return
    draw(accuracy_table(result.accuracy))
    if confusion:
        draw(confusion_table(result.accuracy))
    if result.stages and result.threads is not None:
        draw(stages_table(result.stages, result.threads, result.at_once, result.load))
    if result.failures:
        draw(failures_table(result.failures))
    say(eval_summary(result))
