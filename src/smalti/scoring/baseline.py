"""An accuracy table compared with an earlier one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from smalti.jobs.table import Fit, Table
from smalti.scoring.rows import AccuracyTable

ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class RowChange:
    """One row in both tables: mIoU and drop in points, flipped pixels as shares.

    ``increase`` is how much more is lost against float32 than before; for float32 itself, how much mIoU is lower.
    """

    mode: str
    shape_mutable: bool
    miou: float
    earlier_miou: float
    increase: float
    flipped: float
    earlier_flipped: float
    is_worse: bool

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "quant_mode": self.mode,
            "shape_mutable": self.shape_mutable,
            "miou": self.miou,
            "earlier_miou": self.earlier_miou,
            "increase_points": self.increase,
            "flipped_share": self.flipped,
            "earlier_flipped_share": self.earlier_flipped,
            "worse": self.is_worse,
        }


@dataclass(frozen=True, slots=True)
class BaselineResult:
    """All rows of the earlier table against the new ones; ``notes`` say what else differs."""

    baseline: str
    max_drop_increase: float
    changes: tuple[RowChange, ...]
    notes: tuple[str, ...]

    @property
    def is_worse(self) -> bool:
        """Whether any row lost more than allowed."""
        return any(change.is_worse for change in self.changes)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "baseline": self.baseline,
            "max_drop_increase_points": self.max_drop_increase,
            "rows": [change.to_json() for change in self.changes],
            "notes": list(self.notes),
            "worse": self.is_worse,
        }


def compare_tables(
    table: AccuracyTable, baseline: AccuracyTable, name: str, max_drop_increase: float
) -> BaselineResult:
    """Compare every row that both tables have.

    Args:
        table: the new one.
        baseline: the earlier one.
        name: of the earlier one, for reports.
        max_drop_increase: how many points of mIoU a mode may lose more than before.
    """
    changes, notes = [], []
    for what, mine, other in (
        ("the model", table.model, baseline.model),
        ("the graph", table.graph_sha256, baseline.graph_sha256),
        ("the set of pictures", table.pictures_sha256, baseline.pictures_sha256),
        ("the number of pictures", table.images, baseline.images),
    ):
        if mine != other:
            notes.append(f"{what} differs from the earlier table's")
    for row in table.rows:
        before = baseline.row(row.mode, row.shape_mutable)
        if before is None:
            notes.append(f"the earlier table has no {row.name}")
            continue
        now, then = table.drop(row), baseline.drop(before)
        increase = now - then
        if table.float32(row.shape_mutable) is row or not math.isfinite(increase):
            increase = 100 * (before.accuracy.miou - row.accuracy.miou)
        changes.append(
            RowChange(
                row.mode.value,
                row.shape_mutable,
                row.accuracy.miou,
                before.accuracy.miou,
                increase,
                row.flipped_share,
                before.flipped_share,
                increase > max_drop_increase + ROUNDING,
            )
        )
    gone = [r.name for r in baseline.rows if table.row(r.mode, r.shape_mutable) is None]
    notes += [f"{name} was not measured now" for name in gone]
    return BaselineResult(name, max_drop_increase, tuple(changes), tuple(notes))


def baseline_table(result: BaselineResult) -> Table:
    """Return one row for each row of both tables."""
    rows = tuple(
        (
            c.mode,
            "true" if c.shape_mutable else "false",
            f"{c.earlier_miou:.4f}",
            f"{c.miou:.4f}",
            f"{c.increase:+.3f}",
            f"{100 * c.earlier_flipped:.3f}",
            f"{100 * c.flipped:.3f}",
            "WORSE" if c.is_worse else "ok",
        )
        for c in result.changes
    )
    columns = (
        "Quant_Mode",
        "Shape_Mutable",
        "mIoU before",
        "mIoU now",
        "more lost",
        "flipped % before",
        "flipped % now",
        "",
    )
    title = f"against {result.baseline}; a mode may lose {result.max_drop_increase:g} points more than before"
    same = (1,) if len({c.shape_mutable for c in result.changes}) == 1 else ()
    return Table(title, columns, rows, left=(0, 1, 7), fit=Fit(leave=(5, *same, 6, 2, 3)))
