"""``smalti infer``: label pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from smalti.cli.exit_codes import ExitCode
from smalti.cli.options.labelling import (
    ExportOption,
    LabelsOption,
    MinAreaOption,
    OutputOption,
    OverlapOption,
    TileOption,
    ToleranceOption,
    export_bar,
    parse_kinds,
    parse_tile,
)
from smalti.cli.options.pictures import (
    FileListOption,
    ImageNumOption,
    OnErrorOption,
    OptionalImageDirOption,
    RecursiveOption,
    note_left_out,
)
from smalti.cli.stopping import stop_between_pictures
from smalti.cli.ui import (
    JsonOption,
    Moved,
    ThreadsOption,
    Toggle,
    draw,
    help_text,
    job_progress,
    note,
    print_json,
    say,
)
from smalti.cli.video import (
    EveryOption,
    MaxFramesOption,
    StartOption,
    VideoOption,
    how_to_go_on,
    refuse_options,
    remarks,
    show_video,
    video_bar,
)
from smalti.errors import UsageError
from smalti.jobs.stream import MAX_AT_ONCE, OnError
from smalti.jobs.table import Table, failures_table, stages_table
from smalti.labelling.exports import ExportOptions
from smalti.labelling.guard import check_report
from smalti.labelling.infer import InferOptions, InferResult, JobOptions, JobState, OutputSize, infer
from smalti.labelling.job import Watch
from smalti.labelling.summary import infer_summary
from smalti.labelling.video import FrameChoice, VideoJob, VideoResult, label_video
from smalti.runtime.engine import Engine, load
from smalti.vision.classes import read_classes
from smalti.vision.images import DEFAULT_MAX_PIXELS
from smalti.vision.preprocess import Resize
from smalti.vision.video.files import is_video
from smalti.vision.voc import printable

HELP = help_text(
    "Label every picture of a folder with an offline model.",
    "Each label map is a palette PNG of the picture's size: the pixel index is the label, and it looks coloured. "
    "Pictures are JPEG, PNG, WebP, BMP or TIFF; a bad one is reported and skipped, and the exit code is then 3. Two "
    "pictures of one name, a.jpg and a.png, give a.jpg.png and a.png.png.",
    "--image-dir takes a folder or a picture file, and may be given several times: label maps are then named from the "
    "folder that holds all paths. With --recursive those of sub-folders lie in sub-folders of the same names; links to "
    "folders, hidden folders and results of earlier runs are passed by.",
    "A run that was stopped, by Ctrl-C or by anything worse, goes on when the same command is given again: the output "
    "folder holds a journal of what is finished. A job with another model or other options is refused there; --restart "
    "starts afresh. At the end smalti-report.json and smalti-report.csv in the output folder list what was done.",
    "With --video the frames of a video are labelled, in order: numbered label maps, with --overlay also an overlay "
    "video. A damaged video ends the run; the frames before the place are kept.",
    examples=(
        "smalti infer --model m.smalti --image-dir photos --output-dir labels",
        "smalti infer --model m.smalti --image-dir photos --image-dir more/one.jpg --recursive --output-dir labels",
        "smalti infer --model m.smalti --video clip.mp4 --output-dir labels --overlay",
        "smalti infer --model m.smalti --image-dir VOC2012 --file-list val.txt --output-dir labels --overlay",
        "smalti infer --model m.smalti --image-dir photos --save-img false --json",
        "smalti infer --model m.smalti --image-dir aerial --output-dir labels --tile 513 --overlap 64",
        "smalti infer --model m.smalti --image-dir photos --output-dir labels --export coco,csv --min-area 50",
        "smalti infer --model m.smalti --image-dir photos --output-dir labels --retry-failed --report failed.json",
    ),
)

ModelOption = Annotated[Path, typer.Option("--model", help="Offline model file.", show_default=False)]
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
    image_dir: OptionalImageDirOption = None,
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", help="Folder for the label maps.", show_default=False)
    ] = None,
    video: VideoOption = None,
    start: StartOption = None,
    every: EveryOption = None,
    max_frames: MaxFramesOption = None,
    file_list: FileListOption = None,
    image_num: ImageNumOption = None,
    recursive: RecursiveOption = False,
    save_img: Annotated[
        Toggle, typer.Option("--save-img", case_sensitive=False, help="Write the label maps.")
    ] = Toggle.TRUE,
    overlay: Annotated[
        bool,
        typer.Option(
            "--overlay",
            help="Also write overlay/NAME.jpg, the classes on the picture with a legend; of a video NAME.overlay.mp4.",
        ),
    ] = False,
    resize: ResizeOption = None,
    input_size: InputSizeOption = None,
    output_size: Annotated[
        OutputSize, typer.Option("--output-size", help="Size of the label maps: the picture's, or the network's input.")
    ] = OutputSize.ORIGINAL,
    on_error: OnErrorOption = OnError.SKIP,
    restart: Annotated[
        bool, typer.Option("--restart", help="Start afresh where --output-dir holds a stopped or another job.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try pictures again that an earlier run of this job has skipped.")
    ] = False,
    labels: LabelsOption = None,
    output: OutputOption = None,
    tile: TileOption = None,
    overlap: OverlapOption = None,
    export: ExportOption = None,
    min_area: MinAreaOption = 0.0,
    tolerance: ToleranceOption = 0.0,
    report: Annotated[
        Path | None,
        typer.Option("--report", help="Also write the report here: .json, or .csv with a line for every picture."),
    ] = None,
    max_pixels: MaxPixelsOption = DEFAULT_MAX_PIXELS,
    threads: ThreadsOption = None,
    sha256: Sha256Option = None,
    as_json: JsonOption = False,
) -> None:
    if report is not None:
        check_report(report, (model,))
    classes = read_classes(labels)
    options = InferOptions(
        resize,
        input_size,
        output_size,
        bool(save_img),
        overlay,
        on_error,
        max_pixels,
        parse_tile(tile),
        overlap,
        classes.names,
        output,
        ExportOptions(parse_kinds(export), min_area, tolerance),
        classes.colours,
        time_one=True,
    )
    if video is None and image_dir is not None and file_list is None and len(image_dir) == 1 and is_video(image_dir[0]):
        video, image_dir = image_dir[0], None
    if video is not None:
        pictures_only = {"--image-dir": image_dir, "--file-list": file_list, "--image-num": image_num}
        refuse_options(
            {
                **{option: value is not None for option, value in pictures_only.items()},
                "--retry-failed": retry_failed,
                "--recursive": recursive,
            },
            "pictures",
        )
        with load(model, threads, sha256, concurrency=MAX_AT_ONCE) as engine:
            choice = FrameChoice(start or 0, every or 1, max_frames)
            labelled = _label_video(engine, video, output_dir, choice, options, restart, report)
        _end_video(labelled, options, as_json)
        return
    if image_dir is None:
        raise UsageError("nothing to label: give pictures with --image-dir, or a video with --video")
    frames_only = {"--start": start, "--every": every, "--max-frames": max_frames}
    refuse_options({option: value is not None for option, value in frames_only.items()}, "--video")
    with load(model, threads, sha256, concurrency=MAX_AT_ONCE) as engine, job_bar() as watch, export_bar() as exporting:
        note(f"target: {engine.target}; threads: {engine.threads_reason}")
        with stop_between_pictures() as stop:
            result = infer(
                engine,
                image_dir,
                output_dir,
                file_list=file_list,
                image_num=image_num,
                recursive=recursive,
                options=options,
                job=JobOptions(
                    engine.digest,
                    engine.target,
                    restart,
                    retry_failed,
                    report,
                    watch,
                    stop,
                    exporting,
                    engine.file_sha256(),
                ),
            )
    _tell_left_out(result.left_out)
    note_left_out(result.other_kinds)
    show_infer(result, as_json)
    if not result.finished:
        left = f"with {result.left} pictures left" if result.left else "before all annotations were written"
        note(f"smalti: stopped {left}; {_how_to_go_on(result)}")
        raise typer.Exit(ExitCode.INTERRUPTED)
    if result.failures:
        raise typer.Exit(ExitCode.DONE_WITH_ERRORS)


def _label_video(
    engine: Engine,
    video: Path,
    output_dir: Path | None,
    choice: FrameChoice,
    options: InferOptions,
    restart: bool,
    report: Path | None,
) -> VideoResult:
    note(f"target: {engine.target}; threads: {engine.threads_reason}")
    with video_bar() as watch, stop_between_pictures() as stop:
        job = VideoJob(engine.digest, engine.target, restart, report, watch, stop, engine.file_sha256())
        return label_video(engine, video, output_dir, choice=choice, options=options, job=job)


def _end_video(result: VideoResult, options: InferOptions, as_json: bool) -> None:
    """Print what was done, and end with the exit code that says so."""
    _tell_left_out(result.left_out)
    show_video(result, as_json)
    for text in remarks(result):
        note(f"smalti: {text}")
    if not result.finished:
        note(f"smalti: stopped; {how_to_go_on(options)}")
        raise typer.Exit(ExitCode.INTERRUPTED)
    if result.problem is not None:
        raise typer.Exit(ExitCode.DONE_WITH_ERRORS)


def _tell_left_out(outputs: Sequence[str]) -> None:
    if outputs:
        note(f"outputs of the model that are no label map and were left out: {printable(', '.join(outputs))}")


@contextmanager
def job_bar() -> Iterator[Watch]:
    """Give a function that moves a bar on standard error: done, failed, left, time left; lines without a terminal."""
    with job_progress("infer", "pictures") as move:
        yield lambda state: move(_moved(state))


def _moved(state: JobState) -> Moved:
    return Moved(
        state.done + state.failed,
        state.total,
        state.resumed,
        words=f"{state.done} done, {state.failed} failed, {state.left} left",
        earlier=f"{state.resumed} of {state.total} pictures were finished by an earlier run",
        more=f", {state.failed:,} failed" if state.failed else "",
    )


def show_infer(result: InferResult, as_json: bool) -> None:
    """Print what an inference run did."""
    if as_json:
        print_json(result.to_json())
        return
    if result.stages:
        draw(stages_table(result.stages, result.threads, result.at_once, result.load))
    if result.failures:
        draw(_failures(result))
    for line in infer_summary(result):
        say(line)
    for path in result.exported.paths:
        say(f"annotations: {path}")
    if result.exported.kept:
        say(f"{result.exported.kept} labelme files were corrected since and are kept; --restart writes them anew")
    if result.reports and result.failures:
        say(f"report: {', '.join(str(path) for path in result.reports)}")


def _failures(result: InferResult) -> Table:
    table = failures_table(result.failures)
    hidden = result.failed - len(result.failures)
    if hidden <= 0:
        return table
    more = result.failed - len(table.rows)
    return replace(table, title=f"{result.failed} skipped", footer=(f"and {more} more", ""))


def _how_to_go_on(result: InferResult) -> str:
    if result.output_dir is None:
        return "nothing was to be saved, so the next run begins anew"
    return "what is finished is kept: give the same command again to go on"
