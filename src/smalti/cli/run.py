"""``smalti run``: the whole road with one command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from smalti.apps.road import RunOptions, run, run_table
from smalti.building.calibrate import DEFAULT_IMAGES
from smalti.cli.build import TargetOption, build_status
from smalti.cli.options.labelling import LabelsOption
from smalti.cli.ui import JsonOption, ThreadsOption, draw, fetch_bar, help_text, note, print_json, progress_bar, say
from smalti.errors import UsageError
from smalti.fetch.registry import DEMO
from smalti.quant.modes import QuantMode
from smalti.scoring.tables import accuracy_table
from smalti.target.host import resolve_target
from smalti.vision.classes import read_classes

HELP = help_text(
    "Fetch a known model and its data, build it in several precisions, and print mIoU and milliseconds.",
    "Without --model it runs the demo that comes with the package, without a download. What was fetched before is used "
    "again. Label maps and overlay pictures are written to --output-dir.",
    examples=(
        "smalti run",
        "smalti run --model deeplabv3_mnv2_pascal_train_aug",
        "smalti run --model deeplabv3_mnv2_pascal_train_aug --mirror /mnt/archives --shape-mutable true,false",
        "smalti run --quant-mode f32,q8_f16",
    ),
)


def run_command(
    model: Annotated[str, typer.Option("--model", help="Name of a known model, as in `smalti export`.")] = DEMO,
    mirror: Annotated[
        str | None, typer.Option("--mirror", help="Folder or address with the archives.", show_default=False)
    ] = None,
    sha256: Annotated[
        list[str] | None, typer.Option("--sha256", help="Digest of an archive: HEX or NAME=HEX.", show_default=False)
    ] = None,
    shape_mutable: Annotated[
        str, typer.Option("--shape-mutable", help="true, false, or both with a comma: a row of the table for each.")
    ] = "true",
    quant_mode: Annotated[
        str | None,
        typer.Option(
            "--quant-mode",
            help="Precision modes with commas, or all: a row of the table for each. Default: all for the demo, else "
            "f32,f16,q8_f16.",
            show_default=False,
        ),
    ] = None,
    calib_num: Annotated[
        int, typer.Option("--calib-num", min=1, help="Training pictures to calibrate int8 and int16 with.")
    ] = DEFAULT_IMAGES,
    image_num: Annotated[int | None, typer.Option("--image-num", min=1, help="Only the first N pictures.")] = None,
    labels: LabelsOption = None,
    output_dir: Annotated[Path, typer.Option("--output-dir", help="Folder for data, model and pictures.")] = Path(
        "output"
    ),
    target: TargetOption = "native",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    options = RunOptions(
        target=resolve_target(target),
        output_dir=output_dir,
        model=model,
        mirror=mirror,
        sha256=tuple(sha256 or ()),
        shape_modes=parse_shapes(shape_mutable),
        quant_modes=None if quant_mode is None else QuantMode.parse_list(quant_mode),
        calib_num=calib_num,
        threads=threads,
        image_num=image_num,
        classes=read_classes(labels),
    )
    with displays() as display:
        result = run(
            options,
            fetch_progress=display(fetch_bar),
            build_progress=display(build_status),
            image_progress=display(partial(progress_bar, "infer")),
        )
    if as_json:
        print_json(result.to_json())
        return
    note(f"target: {result.target}; threads: {result.threads_reason}")
    draw(accuracy_table(result.rows[0].accuracy.accuracy))
    draw(run_table(result))
    say(f"label maps and overlay pictures: {result.output_dir}")


@contextmanager
def displays() -> Iterator[Callable[[Callable[[], AbstractContextManager[Any]]], Callable[..., None]]]:
    """Give a function that makes progress functions of displays; a display ends when another one begins."""
    with ExitStack() as stack:
        current: list[tuple[object, Callable[..., None]]] = []

        def display(opens: Callable[[], AbstractContextManager[Any]]) -> Callable[..., None]:
            def show(*what: object) -> None:
                if not current or current[0][0] is not opens:
                    stack.close()
                    current[:] = [(opens, stack.enter_context(opens()))]
                current[0][1](*what)

            return show

        yield display


def parse_shapes(text: str) -> tuple[bool, ...]:
    """Return the shape modes of ``true``, ``false`` or ``true,false``.

    Raises:
        UsageError: the text is none of these.
    """
    known = {"true": True, "false": False}
    words = [word.strip().lower() for word in text.split(",")]
    if not words or any(word not in known for word in words) or len(set(words)) != len(words):
        raise UsageError(f"--shape-mutable takes true, false or true,false; not {text!r}")
    return tuple(known[word] for word in words)
