"""``smalti infer --video``: label the frames of a video."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from smalti.cli.ui import Moved, draw, job_progress, print_json, say
from smalti.errors import UsageError
from smalti.jobs.table import stages_table
from smalti.labelling.job import InferOptions
from smalti.labelling.video import VideoResult, VideoState
from smalti.labelling.video_job import VideoWatch
from smalti.vision.voc import printable

VideoOption = Annotated[
    Path | None,
    typer.Option(
        "--video",
        help="Label the frames of a video file, in order, instead of pictures: 00000012.png is that of frame 12.",
        show_default=False,
    ),
]
StartOption = Annotated[int | None, typer.Option("--start", min=0, help="First frame of a video; default: 0.")]
EveryOption = Annotated[int | None, typer.Option("--every", min=1, help="Only every Nth frame of a video.")]
MaxFramesOption = Annotated[int | None, typer.Option("--max-frames", min=1, help="At most so many frames of a video.")]


def refuse_options(given: Mapping[str, bool], of: str) -> None:
    """Raise UsageError when one of the options was given: they are ``of`` something else than what is labelled."""
    wrong = [option for option, is_given in given.items() if is_given]
    if wrong:
        raise UsageError(f"{', '.join(wrong)}: for {of} only; leave {'them' if len(wrong) > 1 else 'it'} out")


@contextmanager
def video_bar() -> Iterator[VideoWatch]:
    """Give a function that moves a bar on standard error; lines where that is no terminal."""
    with job_progress("infer", "frames") as move:
        yield lambda state: move(_moved(state))


def _moved(state: VideoState) -> Moved:
    of = "" if state.total is None else f" of about {state.total:,}"
    return Moved(
        state.done,
        state.total,
        state.resumed,
        words=f"{state.done:,}{of} frames",
        earlier=f"{state.resumed} frames were labelled by an earlier run",
    )


def show_video(result: VideoResult, as_json: bool) -> None:
    """Print what a run on a video did."""
    if as_json:
        print_json(result.to_json())
        return
    if result.stages:
        draw(stages_table(result.stages, result.threads, result.at_once, unit="frames"))
    made = result.frames - result.resumed
    earlier = f" and {result.resumed} by earlier runs" if result.resumed else ""
    where = f" -> {printable(str(result.output_dir))}" if result.output_dir is not None else ""
    say(f"{made} frames in {result.seconds:.2f} s ({result.frames_per_second:.1f} a second){earlier}{where}")
    if result.overlay is not None:
        say(f"overlay: {printable(str(result.overlay))} ({result.overlay_frames} frames)")


def remarks(result: VideoResult) -> Iterator[str]:
    """Yield what is to be said about a video that is not as its file says."""
    facts = result.facts
    if result.problem is not None:
        yield result.problem
    elif result.fewer:
        yield (
            f"the file says that it has {facts.frames} frames, and {result.passed} could be decoded: it was trimmed, "
            "or is damaged; see whether a player shows its end"
        )
    if result.overlay is not None and facts.rate is None:
        yield "the file says no frame rate that can be: the overlay has 25 frames a second"


def how_to_go_on(options: InferOptions) -> str:
    """Return what the next run of a stopped job on a video does."""
    if not options.save_img:
        return "no label maps were to be saved, so the next run begins anew"
    again = "; the overlay video, which has the frames so far, is then written again" if options.overlay else ""
    return f"what is finished is kept: give the same command again to go on{again}"
