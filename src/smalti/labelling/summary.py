"""What a labelling job did, in a few lines: the stream, and one picture through the engine alone."""

from __future__ import annotations

from smalti.jobs.watch import legend, marked
from smalti.labelling.infer import InferResult


def infer_summary(result: InferResult) -> tuple[str, ...]:
    """Return how long one picture takes in the engine, how fast the whole stream of them was, and where it went.

    Times that other load disturbed are marked; the legend stands below the table of stages, and here where there is
    none.
    """
    said = "" if result.stages else legend([result.load])
    return (*_one_picture(result), _stream(result), *([said] if said else []))


def _one_picture(result: InferResult) -> list[str]:
    one = result.one_picture
    if one is None:
        return []
    threads = f"{result.threads} thread{'s' if result.threads != 1 else ''}"
    calls = "1 call" if len(one.ms) == 1 else f"median of {len(one.ms)} calls"
    return [f"one picture: {marked(f'{one.median:.2f}', result.load)} ms, engine alone, {threads}, {calls}"]


def _stream(result: InferResult) -> str:
    made = result.images - result.resumed
    earlier = f" and {result.resumed} by earlier runs" if result.resumed else ""
    skipped = f", {result.failed} skipped" if result.failed else ""
    left = f", {result.left} left" if result.left else ""
    where = f" -> {result.output_dir}" if result.output_dir is not None else ""
    seconds = marked(f"{result.seconds:.2f}", result.load)
    rate = marked(f"{result.stream_images_per_second:.1f}", result.load)
    files = "reading and saving" if result.output_dir is not None else "reading"
    return f"stream: {made} images in {seconds} s, {rate} a second with {files}{earlier}{skipped}{left}{where}"
