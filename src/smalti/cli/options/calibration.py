"""The options of precision modes and of their calibration, for the commands that build."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated

import typer

from smalti.building.calibrate import DEFAULT_IMAGES, calibrate_folder, check_ranges, load_record, write_record
from smalti.cli.ui import note, progress_bar
from smalti.compiler import CompileOptions
from smalti.errors import UsageError
from smalti.jobs.pictures import PassedOver
from smalti.quant.modes import ActivationScheme, CalibAlgo, Granularity, QuantMode, QuantOptions
from smalti.quant.record import CalibrationRecord
from smalti.vision.voc import printable

DEFAULTS = QuantOptions()
_FROM_PICTURES = ("--image-dir", "--file-list", "--calib-num", "--calib-algo", "--recursive")


def parse_mode(text: str | QuantMode) -> QuantMode:
    """Return the precision mode of a name or short name.

    Raises:
        UsageError: there is no such mode; the message lists them.
    """
    return text if isinstance(text, QuantMode) else QuantMode.parse(text)


_MODES = "Precision, by name or short name: " + ", ".join(f"{m.value} ({m.alias})" for m in QuantMode) + "."
QuantModeOption = Annotated[QuantMode, typer.Option("--quant-mode", parser=parse_mode, metavar="MODE", help=_MODES)]
BuildModeOption = Annotated[
    str | None,
    typer.Option(
        "--quant-mode",
        metavar="MODE",
        show_default=False,
        help=f"{_MODES} Default: {DEFAULTS.mode.value}, or that of --ranges. auto: the fastest on this CPU that loses "
        "no more than --max-miou-drop.",
    ),
]
CalibImageDirOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--image-dir",
        "--images",
        metavar="PATH",
        help="Folder of pictures to calibrate on, VOC root, or picture file, for the qint modes. Repeatable.",
        show_default=False,
    ),
]
CalibFileListOption = Annotated[
    Path | None,
    typer.Option(
        "--file-list", help="Text file, one id or name a line; default: every picture, sorted.", show_default=False
    ),
]
CalibNumOption = Annotated[
    int | None,
    typer.Option(
        "--calib-num",
        min=1,
        help=f"Calibrate on the first N pictures; default: {DEFAULT_IMAGES}.",
        show_default=False,
    ),
]
CalibAlgoOption = Annotated[
    CalibAlgo | None,
    typer.Option(
        "--calib-algo",
        help=f"How ranges are chosen from what the pictures give; default: {DEFAULTS.calib_algo.value}.",
        show_default=False,
    ),
]
GranularityOption = Annotated[
    Granularity | None,
    typer.Option(
        "--weight-granularity",
        help=f"Scales of weights: for each channel, or for the layer; default: {DEFAULTS.weight_granularity.value}.",
        show_default=False,
    ),
]
ActivationOption = Annotated[
    ActivationScheme | None,
    typer.Option(
        "--activation",
        help=f"Ranges of tensors: where they lie, or even around zero; default: {DEFAULTS.activation.value}.",
        show_default=False,
    ),
]
RangesOption = Annotated[
    Path | None,
    typer.Option(
        "--ranges", help="Ranges of an earlier build, or your own (JSON); no pictures then.", show_default=False
    ),
]
SaveRangesOption = Annotated[
    Path | None,
    typer.Option("--save-ranges", help="Write the ranges here, for --ranges.", show_default=False),
]


@dataclass(frozen=True, slots=True)
class CalibrationArguments:
    """What was said on the command line; ``None``: nothing."""

    quant_mode: QuantMode | None = None
    image_dir: tuple[Path, ...] | None = None
    file_list: Path | None = None
    calib_num: int | None = None
    calib_algo: CalibAlgo | None = None
    weight_granularity: Granularity | None = None
    activation: ActivationScheme | None = None
    ranges: Path | None = None
    save_ranges: Path | None = None
    recursive: bool | None = None

    def quant_options(self, record: CalibrationRecord | None) -> QuantOptions:
        """Return the precision mode and its choices: what was said, else the record's, else the defaults.

        Raises:
            UsageError: options contradict each other or the mode.
        """
        base = DEFAULTS
        if record is not None:
            if record.options is None and self.quant_mode is None:
                raise UsageError(
                    f"the ranges in {_shown(self.ranges)} do not say for which mode they are: add --quant-mode, for "
                    f"instance {QuantMode.QINT8_MIXED_FLOAT16.value}"
                )
            base = record.options or DEFAULTS
        options = replace(
            base,
            mode=self.quant_mode or base.mode,
            calib_algo=self.calib_algo or base.calib_algo,
            weight_granularity=self.weight_granularity or base.weight_granularity,
            activation=self.activation or base.activation,
        )
        self._check(options.mode)
        return options

    def _check(self, mode: QuantMode) -> None:
        given = self._given()
        if mode.quantised is None and given:
            quantising = ", ".join(m.value for m in QuantMode if m.quantised is not None)
            raise UsageError(
                f"{mode.value} quantises nothing, so it has no use for {', '.join(given)}; the modes that do are "
                f"{quantising}"
            )
        from_pictures = [n for n in given if n in _FROM_PICTURES]
        if self.ranges is not None and from_pictures:
            raise UsageError(f"--ranges gives the ranges that {from_pictures[0]} is to find: leave one of them out")
        if mode.quantised is not None and self.ranges is None and self.image_dir is None:
            raise UsageError(
                f"{mode.value} chooses the ranges of its integers from pictures: add --image-dir FOLDER, a folder of "
                "pictures or a VOC root, about 100 of the kind that will be labelled (--file-list picks some of "
                "them); or --ranges FILE, which an earlier build wrote with --save-ranges"
            )

    def _given(self) -> list[str]:
        names = [f.name for f in fields(self) if f.name != "quant_mode" and getattr(self, f.name) is not None]
        return [f"--{name.replace('_', '-')}" for name in names]


def read_ranges(arguments: CalibrationArguments) -> CalibrationRecord | None:
    """Return the record of ``--ranges``, if any.

    Raises:
        UsageError: the file is no record.
    """
    return None if arguments.ranges is None else load_record(arguments.ranges)


def find_ranges(
    arguments: CalibrationArguments,
    record: CalibrationRecord | None,
    tf_model: Path,
    options: CompileOptions,
    passed_over: PassedOver,
) -> CalibrationRecord | None:
    """Return the ranges for a build: those read, or new ones from pictures; ``None`` for modes that need none.

    They are written to ``--save-ranges``, and what is odd about the pictures is said on standard error.

    Raises:
        UsageError: the ranges do not fit the graph, or a folder or list is not usable.
        ImageError: no picture can be read, or one cannot and ``passed_over`` is to stop there.
    """
    if options.quant.mode.quantised is None:
        return None
    if record is not None:
        check_ranges(record, tf_model, options)
    elif arguments.image_dir is not None:
        with progress_bar("calibrate") as progress:
            record = calibrate_folder(
                tf_model,
                options,
                arguments.image_dir,
                file_list=arguments.file_list,
                image_num=arguments.calib_num or DEFAULT_IMAGES,
                recursive=bool(arguments.recursive),
                passed_over=passed_over,
                progress=progress,
            )
    if record is None:
        return None
    for warning in record.warnings:
        note(f"calibration: {printable(warning)}")
    if arguments.save_ranges is not None:
        write_record(arguments.save_ranges, record)
    return record


def _shown(path: Path | None) -> str:
    return printable(str(path))
