"""``smalti build --quant-mode auto``: what it needs, and the build."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

from smalti.cli.heartbeat import Told
from smalti.cli.options.bounded import Bound
from smalti.cli.options.calibration import CalibrationArguments
from smalti.cli.ui import draw, note, progress_bar
from smalti.compiler import CompileOptions
from smalti.errors import UsageError
from smalti.jobs.pictures import PassedOver
from smalti.quant.modes import QuantMode
from smalti.quant.record import CalibrationRecord
from smalti.scoring.fastest import FastestOptions, FastestResult, build_fastest, fastest_table

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class FastestArguments:
    """What the user asked for: the bound, the pictures to measure, and those to calibrate on."""

    bound: Bound
    calibration: CalibrationArguments
    dump_dir: Path | None

    def __post_init__(self) -> None:
        if self.bound.max_miou_drop is None:
            raise UsageError(
                "--quant-mode auto takes the fastest mode within a bound on what is lost: add --max-miou-drop 0.002 "
                "(0.2 points of mIoU) with --image-dir, --eval-list and --gt-dir, pictures and masks to measure it "
                "on; without masks name a mode"
            )
        if self.dump_dir is not None:
            raise UsageError("--quant-mode auto builds several models: leave --dump-dir out, or name a mode")
        said = self.calibration
        if said.file_list is None and said.ranges is None and (given := _given(said)):
            raise UsageError(
                f"{given[0]} is about calibrating: --quant-mode auto calibrates on the pictures of --file-list (others "
                "than those of --eval-list), or takes --ranges"
            )
        measured = self.bound.eval_list
        if measured is not None and said.file_list is not None and _same(said.file_list, measured):
            raise UsageError(
                "--file-list and --eval-list are the same: calibrate and measure on different pictures, such as those "
                "of train.txt and val.txt"
            )

    def ranges(self) -> CalibrationArguments:
        """Return the calibration that the candidates share; without pictures or ranges, none."""
        said = self.calibration
        calibrates = said.file_list is not None or said.ranges is not None
        return replace(
            said,
            quant_mode=QuantMode.QINT8_MIXED_FLOAT16 if calibrates else QuantMode.FORCE_FLOAT32,
            image_dir=said.image_dir if said.file_list is not None else None,
        )

    def build(
        self,
        tf_model: Path,
        output_model_path: Path,
        options: CompileOptions,
        record: CalibrationRecord | None,
        tell: Told,
        passed_over: PassedOver,
        as_json: bool,
    ) -> FastestResult:
        """Build and measure the candidates; the table of them goes to the terminal, unless ``as_json``."""
        bound = self.bound
        if bound.image_dir is None or bound.gt_dir is None or bound.max_miou_drop is None:
            raise UsageError("--quant-mode auto needs --image-dir, --gt-dir and --max-miou-drop")
        search = FastestOptions(
            bound.image_dir, bound.gt_dir, bound.max_miou_drop, bound.eval_list, passed_over=passed_over
        )
        with progress_bar("measure", "pictures", tell) as progress:
            found = build_fastest(
                tf_model, output_model_path, options, search, record=record, progress=progress, tell=tell
            )
        if not as_json:
            draw(fastest_table(found))
        note(f"{found.chosen.mode.value} {found.chosen.why}")
        if found.load.is_noisy:
            note("the times were disturbed: choose again with nothing else running before you rely on it")
        return found


def _given(said: CalibrationArguments) -> list[str]:
    kept = ("quant_mode", "image_dir")
    names = [f.name for f in fields(said) if f.name not in kept and getattr(said, f.name) is not None]
    return [f"--{name.replace('_', '-')}" for name in names]


def _same(first: Path, second: Path) -> bool:
    return first.exists() and second.exists() and first.samefile(second)
