"""``smalti inspect``: what an offline model file is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smalti.cli.ui import JsonOption, ThreadsOption, draw, help_text, print_json
from smalti.delivery.inspect import facts_table, inspect, layers_table
from smalti.delivery.precision import ranges_table

HELP = help_text(
    "Tell what an offline model file is: inputs, target, sizes, steps, work and memory.",
    "Nothing in the file is executed, and it may be for another CPU than this one. The memory is what each request in "
    "flight needs at the size shown, known before anything runs. Of a file for several targets it tells what each "
    "program needs, and shows steps and memory of the one that would run here, or of --target.",
    examples=(
        "smalti inspect m.smalti",
        "smalti inspect m.smalti --size 375x500 --layers",
        "smalti inspect int8.smalti --ranges",
        "smalti inspect m.smalti --target x86-64-v2 --layers",
        "smalti inspect m.smalti --json",
    ),
)


def inspect_command(
    model: Annotated[Path, typer.Argument(help="Offline model file.", show_default=False)],
    size: Annotated[
        str | None,
        typer.Option("--size", help="Size to show, 513 or HEIGHTxWIDTH; default: the largest.", show_default=False),
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="Also list every step with its shape and work.")] = False,
    ranges: Annotated[
        bool, typer.Option("--ranges", help="Also list scale, zero point and range of every quantised tensor.")
    ] = False,
    target: Annotated[
        str | None,
        typer.Option("--target", help="Program to show; default: the one that would run here.", show_default=False),
    ] = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    seen = inspect(model, size, threads, target=target)
    if as_json:
        print_json(seen.to_json())
        return
    draw(facts_table(seen))
    if layers:
        draw(layers_table(seen))
    if ranges:
        draw(ranges_table(seen.manifest))
