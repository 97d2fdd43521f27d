"""Try a folder of graphs: which can be built, which label pictures, which operations the others lack.

``python tools/try_graphs.py FOLDER --record docs/graphs.json`` renews the rows of its ``.pb`` and ``.onnx`` files
in the record and keeps the others; ``scripts/docs`` then writes ``docs/graphs-known-to-work.md`` again. What a row
says of the origin of its file (``about``, ``source``, ``licence``) and the options it is built with is written into
the record by hand and kept. Beside ``a.pb`` there may be ``a.npz`` with arrays by the names of the graph's inputs
and outputs: the outputs are what another program gave for these inputs, and the row says how far ours are from
them.

Every graph is built by a process of its own, so that one that takes too much time or memory costs only its own row.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import smalti
from smalti.demo.generator import demo_image
from smalti.errors import SmaltiError
from smalti.vision.images import encode_picture

PICTURE = "picture.jpg"
MISSING = re.compile(r"^  (\w+) +x(\d+) ", re.MULTILINE)
GRAPHS = (".pb", ".onnx")
KEPT = ("about", "source", "licence", "options")


def try_graph(path: Path, options: list[str], work: Path, seconds: float) -> dict[str, Any]:
    """Build a graph, label a picture, and compare with the arrays beside it; return what a row says of that."""
    model = work / "model.smalti"
    model.unlink(missing_ok=True)
    command = ["build", "--model", str(path), "--output-model-path", str(model), "--json", *options]
    row: dict[str, Any] = {"bytes": path.stat().st_size, "builds": False, "missing": {}, "reason": ""}
    try:
        done = _smalti(command, seconds)
    except subprocess.TimeoutExpired:
        return {**row, "reason": f"not built within {seconds:g} seconds"}
    if done.returncode:
        said = done.stderr.replace(f"{path} ", "").removeprefix("smalti: ").strip()
        missing = {op: int(count) for op, count in MISSING.findall(said)}
        return {**row, "missing": missing, "reason": "" if missing else " ".join(said.split())}
    built = json.loads(done.stdout)
    report = built["report"]
    row |= {
        "builds": True,
        "nodes": report["nodes_used"],
        "steps": built["steps"],
        "file_bytes": built["file_bytes"],
        "inputs": [f"{t['name']} {t['type']}" for t in report["inputs"]],
        "outputs": [f"{t['name']} {t['type']}" for t in report["outputs"]],
    }
    return row | _labels(model, work, seconds) | _difference(model, path.with_suffix(".npz"))


def _labels(model: Path, work: Path, seconds: float) -> dict[str, Any]:
    """Say whether ``smalti infer`` labels a picture with the model, and if not, what it answers."""
    pictures = work / "pictures"
    pictures.mkdir(exist_ok=True)
    (pictures / PICTURE).write_bytes(encode_picture(demo_image(0)[0]))
    command = ["infer", "--model", str(model), "--image-dir", str(pictures), "--output-dir", str(work / "labels")]
    done = _smalti([*command, "--restart", "--threads", "1"], seconds)
    said = " ".join(done.stderr.rpartition("smalti: ")[2].split())
    return {"labels": done.returncode == 0, "labels_reason": said if done.returncode else ""}


def _difference(model: Path, arrays: Path) -> dict[str, Any]:
    """Return the largest difference from recorded outputs, as a share of their spread."""
    if not arrays.exists():
        return {}
    with np.load(arrays) as recorded, smalti.load(model, 1) as engine:
        inputs = {spec.name: recorded[spec.name] for spec in engine.inputs}
        try:
            outputs = engine.run(inputs)
        except SmaltiError as error:
            return {"difference": None, "difference_reason": str(error)}
        worst = 0.0
        for name, found in outputs.items():
            wanted = recorded[name].astype(np.float64)
            worst = max(worst, float(np.abs(found - wanted).max() / (np.ptp(wanted) or 1.0)))
    return {"difference": worst}


def _smalti(words: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "smalti", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--record", type=Path, required=True, help="JSON file to renew")
    parser.add_argument("--seconds", type=float, default=300.0, help="limit of one build")
    args = parser.parse_args()
    record = json.loads(args.record.read_text(encoding="utf-8")) if args.record.exists() else {"graphs": {}}
    record["smalti"] = smalti.__version__
    for path in sorted(path for path in args.folder.iterdir() if path.suffix in GRAPHS):
        earlier = record["graphs"].get(path.name, {})
        known = {key: earlier[key] for key in KEPT if key in earlier}
        with tempfile.TemporaryDirectory() as work:
            row = try_graph(path, known.get("options", []), Path(work), args.seconds)
        record["graphs"][path.name] = {**known, **row}
        state = "builds" if row["builds"] else row["reason"] or f"lacks {', '.join(row['missing'])}"
        print(f"{path.name}: {state}", flush=True)
        args.record.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
