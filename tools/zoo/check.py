"""Build every ONNX file of some folders and compare it with ONNX Runtime.

``python tools/zoo/check.py FOLDER ... --record docs/zoo.json`` builds each file in float32 with default options, and
runs both engines on the same random inputs in [0, 1]: three seeds, and three sizes where sizes are open.  Of each file
it writes the largest difference as a share of the largest output, and how many pixels have the same label: the arg-max
over the channels of outputs [N, C, H, W].  ``own`` is how far ONNX Runtime with its optimisations is from itself
without them.  ``sizes`` has the sizes, and what ``output_shapes`` said of those that a file does not take.
``scripts/docs`` then writes ``docs/zoo.md`` again.

A last sigmoid or softmax is left out, by both engines, and with it what only moves its numbers about.  ONNX Runtime's
sigmoid is an approximation that is off by all of a number below 1e-6, and on random inputs a detector answers with
nothing else; a softmax that is saturated hides every difference.

Every graph is built and run by a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import smalti

SEEDS = (1, 2, 3)
OPEN_SIDES = ((320, 320), (97, 131), (321, 487))
"""What open heights and widths become: multiples of 32, and sizes that are a multiple of nothing."""
OTHER_OPEN = 1
MAP_RANK = 4
LAST = ("Sigmoid", "Softmax")
MOVES = ("Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
VERSIONS = {
    "onnxruntime": "ONNX Runtime",
    "torch": "PyTorch",
    "torchvision": "torchvision",
    "segmentation-models-pytorch": "segmentation_models_pytorch",
    "monai": "MONAI",
}


def input_shapes(specs: list[tuple[str, list[Any]]], sides: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the inputs where open sizes are filled in: the last two are height and width."""
    found = {}
    for name, shape in specs:
        sizes = [size if isinstance(size, int) and size > 0 else OTHER_OPEN for size in shape]
        for axis, side in zip((-2, -1), sides, strict=True):
            if len(shape) == MAP_RANK and not (isinstance(shape[axis], int) and shape[axis] > 0):
                sizes[axis] = side
        found[name] = tuple(sizes)
    return found


def compare(ours: NDArray[Any], theirs: NDArray[Any]) -> tuple[float, int, int]:
    """Return the largest difference over the largest output, pixels with the same label, and pixels."""
    if ours.shape != theirs.shape:
        raise SystemExit(f"{list(ours.shape)} where ONNX Runtime has {list(theirs.shape)}")
    wanted = theirs.astype(np.float64)
    difference = float(np.abs(ours - wanted).max() / (np.abs(wanted).max() or 1.0))
    if ours.ndim != MAP_RANK or ours.shape[1] == 1:
        return difference, 0, 0
    same = ours.argmax(1) == theirs.argmax(1)
    return difference, int(same.sum()), same.size


def one(path: Path, model: Path) -> dict[str, Any]:
    """Compare a built model with ONNX Runtime."""
    onnxruntime = import_module("onnxruntime")
    states = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    refusals = (states.Fail, states.InvalidArgument, states.RuntimeException)

    def session(plain: bool) -> Any:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        if plain:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    peer, plain = session(False), session(True)
    specs = [(node.name, node.shape) for node in peer.get_inputs()]
    names = [node.name for node in peer.get_outputs()]
    fixed = all(isinstance(size, int) for _, shape in specs for size in shape)
    row: dict[str, Any] = {"difference": 0.0, "own": 0.0, "same": 0, "pixels": 0, "sizes": {}}
    with smalti.load(model, 2) as engine:
        kinds = {spec.name: spec.dtype for spec in engine.inputs}
        for sides in OPEN_SIDES[:1] if fixed else OPEN_SIDES:
            shapes = input_shapes(specs, sides)
            shown = " x ".join(str(size) for size in next(iter(shapes.values()))[-2:])
            try:
                engine.output_shapes(shapes)
            except smalti.InputError as error:
                row["sizes"][shown] = str(error)
                continue
            refusal = ""
            for seed in SEEDS:
                random = np.random.default_rng(seed)
                inputs = {name: random.random(shape).astype(kinds[name]) for name, shape in shapes.items()}
                try:
                    theirs = dict(zip(names, peer.run(names, inputs), strict=True))
                except refusals as error:
                    refusal = f"ONNX Runtime refuses: {error}"
                    break
                again = dict(zip(names, plain.run(names, inputs), strict=True)) if seed == SEEDS[0] else theirs
                for name, ours in engine.run(inputs).items():
                    difference, equal, count = compare(ours, theirs[name])
                    row["difference"] = max(row["difference"], difference)
                    row["own"] = max(row["own"], compare(again[name], theirs[name])[0])
                    row["same"], row["pixels"] = row["same"] + equal, row["pixels"] + count
            row["sizes"][shown] = refusal
    return row


def without_last(path: Path, folder: Path) -> Path:
    """Return a model whose output is what goes into its last sigmoid or softmax; the same model where it has none."""
    onnx = import_module("onnx")
    model = onnx.load(str(path))
    made = {name: node for node in model.graph.node for name in node.output}
    outputs = list(model.graph.output)
    last = made.get(outputs[0].name) if len(outputs) == 1 else None
    while last is not None and last.op_type in MOVES:
        last = made.get(last.input[0])
    if last is None or last.op_type not in LAST:
        return path
    del model.graph.output[:]
    model.graph.output.append(onnx.ValueInfoProto(name=last.input[0]))
    onnx.save(model, str(folder / path.name))
    return folder / path.name


def try_file(path: Path, seconds: float) -> dict[str, Any]:
    """Build a file and compare it; return what a row says."""
    row: dict[str, Any] = {"bytes": path.stat().st_size, "builds": False, "reason": ""}
    data = path.with_name(f"{path.name}.data")
    row["bytes"] += data.stat().st_size if data.exists() else 0
    with tempfile.TemporaryDirectory() as folder:
        path = without_last(path, Path(folder))
        model = Path(folder) / "model.smalti"
        build = [sys.executable, "-m", "smalti", "build", "--model", str(path), "--output-model-path", str(model)]
        try:
            done = subprocess.run([*build, "--json"], capture_output=True, text=True, timeout=seconds, check=False)
            if done.returncode:
                said = done.stderr.replace(f"{path} ", "").removeprefix("smalti: ").strip()
                return {**row, "reason": " ".join(said.split())}
            row |= {"builds": True, "steps": json.loads(done.stdout)["steps"], "file_bytes": model.stat().st_size}
            again = [sys.executable, __file__, "--one", str(path), str(model)]
            done = subprocess.run(again, capture_output=True, text=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            return {**row, "reason": f"not done within {seconds:g} seconds"}
    if done.returncode:
        return {**row, "reason": (done.stderr.strip().splitlines() or ["failed"])[-1]}
    return row | json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="*")
    parser.add_argument("--record", type=Path, help="JSON file to renew")
    parser.add_argument("--seconds", type=float, default=600.0, help="limit of one build, and of one comparison")
    parser.add_argument("--one", type=Path, nargs=2, metavar=("ONNX", "MODEL"), help="compare a built model")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(*args.one)))
        return
    record: dict[str, Any] = {"files": {}}
    if args.record is not None and args.record.exists():
        record = json.loads(args.record.read_text(encoding="utf-8"))
    record["smalti"] = smalti.__version__
    record["versions"] = {about: version(package) for package, about in VERSIONS.items()}
    for path in sorted(path for folder in args.folders for path in folder.glob("*.onnx")):
        row = record["files"][path.name] = try_file(path, args.seconds)
        print(f"{path.name}: {row['reason'] or row.get('difference')}", flush=True)
        if args.record is not None:
            args.record.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
