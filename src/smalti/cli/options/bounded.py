"""``smalti build --max-miou-drop``: which layers stay in float so that accuracy is kept, and why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from smalti.cli.heartbeat import Told
from smalti.cli.ui import draw, note, progress_bar
from smalti.comparing.sensitivity import choose_kept_layers, kept_table
from smalti.comparing.trials import PictureSet
from smalti.compiler import CompileOptions
from smalti.errors import UsageError
from smalti.jobs.pictures import PassedOver
from smalti.quant.record import CalibrationRecord
from smalti.target.host import runnable_target

MaxDropOption = Annotated[
    float | None,
    typer.Option(
        "--max-miou-drop",
        help="Keep the fewest layers in the mode's float type so that mIoU drops by no more than this share "
        "(0.002 is 0.2 points) against float32; with --quant-mode auto, what a mode may lose. Needs --gt-dir.",
        show_default=False,
    ),
]
GtDirOption = Annotated[
    Path | None,
    typer.Option("--gt-dir", help="Masks for --max-miou-drop, or a VOC root.", show_default=False),
]
EvalListOption = Annotated[
    Path | None,
    typer.Option(
        "--eval-list",
        help="Names of the pictures in --image-dir that --max-miou-drop measures; not those of the calibration.",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True)
class Bound:
    """What the user asked for."""

    max_miou_drop: float | None
    gt_dir: Path | None
    eval_list: Path | None
    image_dir: tuple[Path, ...] | None

    def __post_init__(self) -> None:
        if self.max_miou_drop is None:
            if self.gt_dir is not None or self.eval_list is not None:
                raise UsageError("--gt-dir and --eval-list belong to --max-miou-drop")
        elif self.gt_dir is None or self.eval_list is None or self.image_dir is None:
            raise UsageError(
                "--max-miou-drop measures accuracy: give pictures and masks with --image-dir, --eval-list and --gt-dir"
            )

    def apply(
        self,
        tf_model: Path,
        options: CompileOptions,
        record: CalibrationRecord | None,
        tell: Told,
        passed_over: PassedOver,
        as_json: bool = False,
    ) -> CompileOptions:
        """Return the options with the layers to keep; a table of why goes to the terminal, unless ``as_json``."""
        if self.max_miou_drop is None or self.image_dir is None:
            return options
        measured = replace(options, targets=(runnable_target(options.targets, "--max-miou-drop"),))
        with progress_bar("choose layers", "layers", tell) as progress:
            kept = choose_kept_layers(
                tf_model,
                measured,
                record,
                PictureSet(self.image_dir, self.gt_dir, self.eval_list, passed_over=passed_over),
                self.max_miou_drop,
                progress=progress,
                tell=tell,
            )
        if not as_json:
            draw(kept_table(kept))
        note(kept.why)
        return replace(options, quant=replace(options.quant, keep=kept.names))
