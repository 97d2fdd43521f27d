"""``smalti accuracy``: the accuracy table of a model."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from smalti.building.calibrate import DEFAULT_IMAGES
from smalti.cli.build import TargetOption, build_status
from smalti.cli.exit_codes import ExitCode
from smalti.cli.options.calibration import (
    DEFAULTS,
    ActivationOption,
    CalibAlgoOption,
    CalibNumOption,
    GranularityOption,
)
from smalti.cli.options.groups import grouped
from smalti.cli.options.inputs import BindOption, DropDropoutOption, InputShapeOption, parse_binds
from smalti.cli.options.inputs import parse_shapes as parse_input_shapes
from smalti.cli.options.labelling import LabelsOption
from smalti.cli.options.network import NetworkOptions
from smalti.cli.options.pictures import (
    FileListOption,
    ImageNumOption,
    OnErrorOption,
    OptionalImageDirOption,
    RecursiveOption,
    end_with_failures,
    note_left_out,
    show_passed_over,
)
from smalti.cli.run import displays, parse_shapes
from smalti.cli.sensitivity import CalibDirOption, CalibListOption
from smalti.cli.stopping import stop_at_once
from smalti.cli.ui import JsonOption, ThreadsOption, draw, fetch_bar, help_text, note, print_json, progress_bar, say
from smalti.fetch.registry import DEMO
from smalti.jobs.outputs import write_text
from smalti.jobs.places import check_places
from smalti.jobs.stream import OnError, Progress
from smalti.jobs.table import Table
from smalti.quant.modes import QuantMode, QuantOptions
from smalti.scoring.accuracy import TABLE_FILE, AccuracyOptions, accuracy, find_material
from smalti.scoring.baseline import BaselineResult, baseline_table, compare_tables
from smalti.scoring.html import WORST_IMAGES, html_report
from smalti.scoring.html_pictures import ReportSource
from smalti.scoring.report import accuracy_rows_table, to_csv, to_markdown
from smalti.scoring.rows import AccuracyTable, read_table
from smalti.target.host import resolve_target
from smalti.vision.classes import read_classes
from smalti.vision.palette import class_palette
from smalti.vision.voc import PicturePaths, inner_folder, list_pictures, output_names

_TABLE_WIDTH = 96
_PASSWORD: Final = re.compile(r"//[^/@\s]*@")
DEFAULT_MODES = "f32,f16,q8_f16"

HELP = help_text(
    "Build a model in several precisions, measure each against the masks, and print the accuracy table.",
    "Drop is in points of mIoU against force_float32 of the same shapes, flipped the share of pixels whose label is "
    "not that of force_float32, ms the median of single calls of the engine. The output folder keeps models, ranges, "
    "label maps and the table; a stopped run goes on from there, and finished rows are measured again only with "
    "--force or when anything they depend on has changed.",
    "A picture that is no good, or has no mask, is listed and passed over in every row, and the exit code is then 3.",
    "Without a name it measures the demo that comes with the package. With --baseline the exit code is 9 when a mode "
    "loses more than before.",
    examples=(
        "smalti accuracy",
        "smalti accuracy --model g.pb --image-dir VOC2012 --gt-dir VOC2012 --file-list val.txt --html report.html",
        "smalti accuracy --model deeplabv3_mnv2_pascal_train_aug --mirror /mnt/archives --shape-mutable true,false",
        "smalti accuracy --modes f32,q8_f16 --baseline earlier.json --max-drop-increase 0.05",
    ),
)


@grouped
def accuracy_command(
    *,
    context: typer.Context,
    model: Annotated[str, typer.Option("--model", help="Name of a known model, or a graph (.onnx, .pb).")] = DEMO,
    modes: Annotated[str, typer.Option("--modes", help="Precision modes with commas, or all.")] = DEFAULT_MODES,
    shape_mutable: Annotated[str, typer.Option("--shape-mutable", help="true, false, or both with a comma.")] = "true",
    input_shape: InputShapeOption = None,
    bind: BindOption = None,
    drop_dropout: DropDropoutOption = False,
    network: NetworkOptions,
    image_dir: OptionalImageDirOption = None,
    gt_dir: Annotated[
        Path | None, typer.Option("--gt-dir", help="Folder of masks, or a VOC root.", show_default=False)
    ] = None,
    file_list: FileListOption = None,
    image_num: ImageNumOption = None,
    recursive: RecursiveOption = False,
    on_error: OnErrorOption = OnError.SKIP,
    calib_dir: CalibDirOption = None,
    calib_list: CalibListOption = None,
    calib_num: CalibNumOption = None,
    calib_algo: CalibAlgoOption = None,
    weight_granularity: GranularityOption = None,
    activation: ActivationOption = None,
    labels: LabelsOption = None,
    mirror: Annotated[
        str | None, typer.Option("--mirror", help="Folder or address with the archives.", show_default=False)
    ] = None,
    sha256: Annotated[
        list[str] | None, typer.Option("--sha256", help="Digest of an archive: HEX or NAME=HEX.", show_default=False)
    ] = None,
    output_dir: Annotated[
        Path, typer.Option("--output-dir", help="Folder for models, label maps and the table.")
    ] = Path("accuracy"),
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a report in one file here.", show_default=False)
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", help="Write the table in Markdown here.", show_default=False)
    ] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write the table as CSV here.", show_default=False)] = None,
    worst_images: Annotated[
        int, typer.Option("--worst-images", min=0, help="Pictures for each row of the report.")
    ] = WORST_IMAGES,
    baseline: Annotated[
        Path | None,
        typer.Option("--baseline", help="Compare with this earlier accuracy.json.", show_default=False),
    ] = None,
    max_drop_increase: Annotated[
        float, typer.Option("--max-drop-increase", min=0.0, help="Points a mode may lose more than in --baseline.")
    ] = 0.1,
    force: Annotated[bool, typer.Option("--force", help="Measure again what is there already.")] = False,
    target: TargetOption = "native",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    classes = read_classes(labels)
    options = AccuracyOptions(
        target=resolve_target(target),
        output_dir=output_dir,
        model=model,
        modes=QuantMode.parse_list(modes),
        shape_modes=parse_shapes(shape_mutable),
        input_shapes=parse_input_shapes(input_shape),
        binds=parse_binds(bind),
        drop_dropout=drop_dropout,
        pictures=network.pictures(),
        quant=QuantOptions(
            calib_algo=calib_algo or DEFAULTS.calib_algo,
            weight_granularity=weight_granularity or DEFAULTS.weight_granularity,
            activation=activation or DEFAULTS.activation,
        ),
        image_dir=_paths(image_dir),
        gt_dir=gt_dir,
        file_list=file_list,
        image_num=image_num,
        recursive=recursive,
        on_error=on_error,
        calib_dir=calib_dir,
        calib_list=calib_list,
        calib_num=calib_num or DEFAULT_IMAGES,
        labels=classes.names,
        colours=classes.colours,
        mirror=mirror,
        sha256=tuple(sha256 or ()),
        threads=threads,
        force=force,
    )
    check_places(
        {"--html": html, "--markdown": markdown, "--csv": csv},
        (Path(model), file_list, calib_list, labels, baseline, output_dir / TABLE_FILE),
    )
    earlier = None if baseline is None else read_table(baseline)
    kept = f"finished rows are kept in {output_dir}: give the same command again to go on"
    with stop_at_once(kept), displays() as display:
        table = accuracy(
            options,
            fetch_progress=display(fetch_bar),
            progress=display(_bar),
            tell=display(build_status),
        )
    compared = None if earlier is None else compare_tables(table, earlier, str(baseline), max_drop_increase)
    for path, text in ((markdown, to_markdown), (csv, to_csv)):
        if path is not None:
            write_text(path, text(table))
    if html is not None:
        write_text(html, _report(table, options, worst_images, compared, context.obj or ()))
    _show(table, compared, as_json)
    if compared is not None and compared.is_worse:
        raise typer.Exit(ExitCode.ACCURACY)
    end_with_failures(table.failures)


def _paths(image_dir: Sequence[Path] | None) -> PicturePaths | None:
    """Return what ``--image-dir`` names: masks and calibration pictures may lie in a folder that stands alone."""
    if not image_dir:
        return None
    return image_dir[0] if len(image_dir) == 1 else tuple(image_dir)


def _bar() -> AbstractContextManager[Progress]:
    return progress_bar("measure")


def _report(
    table: AccuracyTable,
    options: AccuracyOptions,
    worst: int,
    compared: BaselineResult | None,
    arguments: Sequence[str],
) -> str:
    material = find_material(options)
    entries = list_pictures(material.image_dir, material.file_list, options.image_num, recursive=options.recursive)
    places = [material.image_dir] if isinstance(material.image_dir, Path) else material.image_dir
    source = ReportSource(
        options.output_dir,
        {name: entry for name, entry in zip(output_names(entries), entries, strict=True) if entry.path is not None},
        inner_folder(material.gt_dir, "SegmentationClass"),
        class_palette(options.colours),
        ", ".join(map(str, places)) + ("" if material.file_list is None else f", {material.file_list}"),
        f"{material.gt_dir}",
        _PASSWORD.sub("//", shlex.join(["smalti", *arguments])),
        datetime.now(timezone.utc),
    )
    extra: list[Table] = [] if compared is None else [baseline_table(compared)]
    return html_report(table, source, worst, extra)


def _show(table: AccuracyTable, compared: BaselineResult | None, as_json: bool) -> None:
    if as_json:
        print_json({**table.to_json(), "baseline": None if compared is None else compared.to_json()})
        return
    note_left_out(table.left_out)
    kept = sum(row.was_kept for row in table.rows)
    if kept:
        note(f"{kept} of {len(table.rows)} rows are kept from an earlier run")
    for row in table.rows:
        for warning in row.notes:
            note(f"{row.name}: {warning}")
    draw(accuracy_rows_table(table, with_model=Console().width >= _TABLE_WIDTH + len(table.model)))
    show_passed_over(table.failures)
    if compared is not None:
        draw(baseline_table(compared))
        for text in compared.notes:
            say(f"note: {text}")
