"""``smalti knobs``: the environment variables."""

from __future__ import annotations

from typing import Any

from smalti import knobs
from smalti.cli.ui import JsonOption, draw, help_text, print_json
from smalti.jobs.table import Fit, Table

HELP = help_text(
    "List the environment variables that Smalti reads, with their present values.",
    examples=("smalti knobs", "SMALTI_THREADS=1 smalti knobs --json"),
)


def knobs_command(as_json: JsonOption = False) -> None:
    records: list[dict[str, Any]] = [
        {
            "name": knob.name,
            "value": knob.get(),
            "default": knob.default,
            "low": knob.low,
            "high": knob.high,
            "affects_output": knob.affects_output,
            "doc": knob.doc,
        }
        for knob in knobs.ALL
    ]
    if as_json:
        print_json({"knobs": records})
        return
    rows = tuple(
        (str(record["name"]), _text(record["value"]), f"{record['low']} to {record['high']}", str(record["doc"]))
        for record in records
    )
    fit = Fit(prose=(3,), leave=(2,))
    draw(Table("environment variables", ("name", "value", "range", "what it does"), rows, left=(0, 3), fit=fit))


def _text(value: int | None) -> str:
    return "-" if value is None else str(value)
