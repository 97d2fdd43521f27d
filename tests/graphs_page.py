"""The page of networks that were tried, written from the record of ``tools/try_graphs.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HEAD = """# Networks that were tried

Generated from the record of a run, [graphs.json](graphs.json): `tools/try_graphs.py FOLDER --record docs/graphs.json`
tries the `.pb` and `.onnx` files of a folder and renews their rows, `scripts/docs` writes this page again.

*builds*: `smalti build` makes a model file, with default options or those of the row. *labels*: `smalti infer` labels
pictures with it; a network that takes float arrays, or gives no classes for each pixel, is run with `engine.run()`
instead. *difference*: the largest difference of an output from TensorFlow's for one random picture, as a share of the
spread of its values.
"""
PUBLIC = """## Public files

Not part of this repository; they are where the third column says, under the licence that it states.

| file | what it is | from | builds | labels | what it lacks, or why not |
|---|---|---|---|---|---|
"""
ONNX = ".onnx"
MODELS = """## Public ONNX models

How far their numbers are from those of ONNX Runtime is in [onnx.md](onnx.md).

| file | what it is | from | builds | labels | what it lacks, or why not |
|---|---|---|---|---|---|
"""
KERAS = """## Keras

`keras.applications` with random weights, frozen as [freezing.md](freezing.md) tells. They take float32 pictures and
give the scores of 1000 classes, so there is no label map: what is checked is that they build and that numbers agree.

| network | size | nodes | steps | file MB | builds | difference |
|---|---|---:|---:|---:|---|---:|
"""
KERAS_SOURCE = "keras.applications"
CUT = "`--outputs` can end the graph before these, `--inputs` can begin it behind them"
ROAD = ": call engine"


def graphs_markdown(path: Path) -> str:
    """Return the page."""
    record = json.loads(path.read_text(encoding="utf-8"))
    graphs = record["graphs"]
    public = {name: row for name, row in graphs.items() if row["source"] != KERAS_SOURCE}
    rows = "".join(_public(name, row) for name, row in public.items() if not name.endswith(ONNX))
    models = "".join(_public(name, row) for name, row in public.items() if name.endswith(ONNX))
    keras = "".join(_keras(row) for row in graphs.values() if row["source"] == KERAS_SOURCE)
    versions = record["versions"]
    tried = (
        f"Tried with Smalti {record['smalti']}, TensorFlow {versions['tensorflow']} and Keras {versions['keras']}.\n"
    )
    return "\n".join([HEAD, tried, PUBLIC + rows, MODELS + models, KERAS + keras])


def _public(name: str, row: dict[str, Any]) -> str:
    missing = ", ".join(f"`{op}` x{count}" for op, count in sorted(row["missing"].items()))
    why = f"{missing}; {CUT}" if missing else _first(row["reason"]) or _first(row.get("labels_reason", ""))
    options = f", with `{' '.join(row['options'])}`" if row.get("options") else ""
    origin = f"[{row['source']}](https://github.com/{row['source']}), {row['licence']}"
    cells = [f"`{name}`", row["about"], origin, _flag(row["builds"]) + options, _flag(row.get("labels")), why]
    return f"| {' | '.join(cells)} |\n"


def _keras(row: dict[str, Any]) -> str:
    size = "" if not row["builds"] else row["inputs"][0].partition("[1, ")[2].partition(", 3]")[0].replace(", ", " x ")
    difference = row.get("difference")
    shown = "" if difference is None else f"{difference:.0e}"
    numbers = [str(row.get("nodes", "")), str(row.get("steps", "")), f"{row.get('file_bytes', 0) / 1e6:.1f}"]
    return f"| {row['about']} | {size} | {' | '.join(numbers)} | {_flag(row['builds'])} | {shown} |\n"


def _flag(value: bool | None) -> str:
    return "" if value is None else "yes" if value else "no"


def _first(text: str) -> str:
    """Return a message up to its advice."""
    if ": export the network" in text:
        return text.partition(": ")[0]
    shown, road, _ = text.partition(ROAD)
    return f"{shown}: `engine.run()` in Python runs it" if road else shown
