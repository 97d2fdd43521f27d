"""Graphs that were tried: each labels pictures, or the record says what it lacks and which way there is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from smalti.errors import UnsupportedGraphError

GRAPHS: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).resolve().parents[2] / "docs" / "graphs.json").read_text(encoding="utf-8")
)["graphs"]
A_WAY = re.compile(r" --[a-z]|engine\.run\(\)|: export the network|: give ")


def what_is_open(row: dict[str, Any]) -> list[str]:
    """Return what a row leaves a user of that graph without: words, or a way to go on."""
    if row.get("labels"):
        return []
    if row["missing"]:
        return [] if A_WAY.search(f" {UnsupportedGraphError.next_step}") else ["no option for missing operations"]
    said = row["labels_reason"] if row["builds"] else row["reason"]
    return [] if A_WAY.search(said) else [f"no way out of: {said!r}"]


@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_a_graph_labels_pictures_or_says_what_it_lacks(name: str) -> None:
    assert what_is_open(GRAPHS[name]) == []


def test_the_check_sees_a_refusal_without_a_way() -> None:
    good = next(row for row in GRAPHS.values() if row.get("labels_reason"))
    assert what_is_open(good | {"labels_reason": "this model takes floats"}) == [
        "no way out of: 'this model takes floats'"
    ]
    assert len(GRAPHS) >= 20 and any(row.get("labels") for row in GRAPHS.values())
