"""``smalti export``: fetch a model or a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smalti.cli.ui import JsonOption, draw, fetch_bar, help_text, print_json
from smalti.delivery.export import ExportOptions, ExportResult, export
from smalti.fetch.registry import DATASETS, MODELS, Archive, DatasetEntry, ModelEntry
from smalti.jobs.table import Fit, Table

MODEL_NAMES = ", ".join(entry.name for entry in MODELS)
DATASET_NAMES = ", ".join(entry.name for entry in DATASETS)

HELP = help_text(
    "Fetch a trained model, a data set or both, from their publishers or from a mirror of yours.",
    f"Models: {MODEL_NAMES}. Data sets: {DATASET_NAMES}. A cut download is resumed by the next call; what is there "
    "already, whole and unchanged, is left alone. A folder appears under its final name only when it is complete.",
    examples=(
        "smalti export --list",
        "smalti export --model demo --dataset demo",
        "smalti export --model deeplabv3_mnv2_pascal_train_aug --output-dir models",
        "smalti export --dataset voc2012 --mirror /srv/mirror",
        "smalti export --model deeplabv3_mnv2_pascal_train_aug --mirror http://files.example --sha256 HEX",
    ),
)

MirrorOption = Annotated[
    str | None,
    typer.Option(
        "--mirror", help="Folder or http(s) address with the archives; default: the publishers.", show_default=False
    ),
]
ChecksumsOption = Annotated[
    list[str] | None,
    typer.Option("--sha256", help="SHA-256 of the archive, or NAME=HEX with both a model and a data set."),
]


def export_command(
    model: Annotated[str | None, typer.Option("--model", help="Name of a known model.", show_default=False)] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Name of a known data set.", show_default=False)
    ] = None,
    output_dir: Annotated[Path, typer.Option("--output-dir", help="Folder that receives them.")] = Path("data"),
    mirror: MirrorOption = None,
    sha256: ChecksumsOption = None,
    force: Annotated[bool, typer.Option("--force", help="Export again what is there already.")] = False,
    known: Annotated[bool, typer.Option("--list", help="List what is known, and fetch nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    if known:
        show_known(as_json)
        return
    with fetch_bar() as progress:
        result = export(ExportOptions(output_dir, model, dataset, mirror, tuple(sha256 or ()), force, progress))
    show_export(result, as_json)


def show_known(as_json: bool) -> None:
    """Print the registry."""
    entries: list[tuple[str, ModelEntry | DatasetEntry]] = [
        *(("model", entry) for entry in MODELS),
        *(("data set", entry) for entry in DATASETS),
    ]
    records = [
        {"name": entry.name, "kind": kind, "classes": len(entry.labels), "address": _address(entry)}
        for kind, entry in entries
    ]
    if as_json:
        print_json({"known": records})
        return
    rows = tuple(tuple(str(value) for value in record.values()) for record in records)
    fit = Fit(prose=(3,), leave=(2, 1))
    draw(Table("known models and data sets", ("name", "kind", "classes", "where from"), rows, (), (0, 1, 3), fit))


def _address(entry: ModelEntry | DatasetEntry) -> str:
    return entry.source.address if isinstance(entry.source, Archive) else "comes with this package"


def show_export(result: ExportResult, as_json: bool) -> None:
    """Print what an export made or found."""
    if as_json:
        print_json(result.to_json())
        return
    rows: list[tuple[str, str]] = []
    for item in result.items:
        state = "was there already" if item.was_cached else f"from {item.source}"
        rows += [(item.name, f"{item.root}, {state}"), ("SHA-256", f"{item.sha256}, vouched for by {item.trust.value}")]
    places = (
        ("graph", result.graph),
        ("VOC root", result.voc_root),
        ("file list", result.val_list),
        ("class names", result.labels),
    )
    rows += [(what, str(path)) for what, path in places if path is not None]
    draw(Table(f"exported in {result.seconds:.1f} s", ("", ""), tuple(rows), left=(0, 1), fit=Fit(prose=(1,))))
