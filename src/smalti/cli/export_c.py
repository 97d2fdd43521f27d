"""``smalti export-c``: a model as an object file and a header, to link into a C or C++ program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smalti.cli.ui import JsonOption, draw, help_text, print_json
from smalti.delivery.export_c import export_c
from smalti.jobs.table import Fit, Table

HELP = help_text(
    "Turn an offline model file into an object file and a header, for C and C++ programs that read no file at run "
    "time.",
    "NAME.o holds code and constants as they are in the file, NAME.h declares NAME_model for smalti_model_open_static, "
    "and main.c, CMakeLists.txt and README.md show their use; no compiler is needed to write them. A file with "
    "programs for several CPUs keeps them all, and the linked program takes the best for its CPU; one for two "
    "architectures gives an object file for each.",
    examples=(
        "smalti export-c deeplab.smalti -o native",
        "smalti export-c m.smalti -o native --name deeplab",
        "cc native/main.c native/deeplab.o $(smalti config --cflags --libs --static)",
    ),
)


def export_c_command(
    model: Annotated[Path, typer.Argument(help="Offline model file, for any CPU.", show_default=False)],
    output_dir: Annotated[Path, typer.Option("--output-dir", "-o", help="Folder to write to.", show_default=False)],
    name: Annotated[
        str | None, typer.Option("--name", help="Name of files and symbols; default: the model file's.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also replace main.c, CMakeLists.txt and README.md that are there already.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    result = export_c(model, output_dir, name, force)
    if as_json:
        print_json(result.to_json())
        return
    rows = tuple((f.path.name, "kept (--force)" if f.was_kept else f"{f.bytes:,}") for f in result.files)
    title = f"{output_dir}: {result.name}, {result.precision}, for {', '.join(result.targets)}"
    draw(Table(title, ("file", "bytes"), rows, fit=Fit(names=(0,))))
