"""The figures of docs/reliability.md, written from what `scripts/soak --json docs/soak.json` recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- figures of docs/soak.json -->\n", "<!-- end of the figures -->\n"


_HIDDEN = ("pass", "failures", "seconds", "wrong", "skipped")


def with_figures(page: str, record: Path) -> str:
    """Return the page with the table between its two marks written again."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{figures(json.loads(record.read_text(encoding='utf-8')))}\n{END}{after}"


def figures(record: dict[str, Any]) -> str:
    """Return one row for each check of a record: whether it held, and its figures."""
    lines = ["| suite | check | result | figures |", "|---|---|---|---|"]
    for suite, result in record["suites"].items():
        for check, found in result["checks"].items():
            state = "skipped" if found.get("skipped") else "holds" if found["pass"] else "**does not hold**"
            shown = "; ".join(f"{k} {_text(v)}" for k, v in found.items() if k not in _HIDDEN and v not in ([], {}))
            lines.append(f"| {suite} | {check} | {state} | {shown.replace('|', '/')} |")
    seeds = ", ".join(f"{name} {found.get('seed', record.get('seed'))}" for name, found in record["suites"].items())
    lines += ["", f"Seeds: {seeds}."]
    return "\n".join(lines) + "\n"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{k} {_text(v)}" for k, v in value.items()) + ")"
    if isinstance(value, list):
        return ", ".join(_text(v) for v in value)
    return " ".join(str(value).split())
