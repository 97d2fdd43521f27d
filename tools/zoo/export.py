"""Export the networks of the zoo to ONNX: by both exporters of PyTorch, with fixed and with open sizes.

``python tools/zoo/export.py FOLDER`` writes ``NETWORK-EXPORTER-SIZES.onnx`` for each; what is there already is kept.
Every export runs in a process of its own: one that fails, or needs much memory, costs only its own file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

from networks import NETWORKS, Network, prepared

EXPORTERS = ("dynamo", "torchscript")
SIZES = ("fixed", "open")
OPSETS = {"dynamo": 20, "torchscript": 17}


def file_of(folder: Path, network: Network, exporter: str, sizes: str) -> Path:
    """Return where an export goes."""
    return folder / f"{network.name}-{exporter}-{sizes}.onnx"


def export(network: Network, exporter: str, sizes: str, path: Path) -> None:
    """Write one file."""
    torch = import_module("torch")
    module = prepared(network)
    example = torch.rand(1, network.channels, network.size, network.size)
    said: dict[str, Any] = {"input_names": ["image"], "output_names": ["logits"], "opset_version": OPSETS[exporter]}
    if exporter == "dynamo":
        said["dynamo"] = True
        if sizes == "open":
            step = network.multiple
            side = (lambda name: step * torch.export.Dim(name, min=2, max=128)) if step > 1 else torch.export.Dim
            said["dynamic_shapes"] = ({2: side("height"), 3: side("width")},)
    else:
        said["dynamo"] = False
        if sizes == "open":
            said["dynamic_axes"] = {"image": {2: "height", 3: "width"}, "logits": {2: "height", 3: "width"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (example,), str(path), **said)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", help="one network")
    parser.add_argument("--one", nargs=3, metavar=("NETWORK", "EXPORTER", "SIZES"), help="one file, in this process")
    parser.add_argument("--seconds", type=float, default=600.0, help="limit of one export")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.one:
        network = next(n for n in NETWORKS if n.name == args.one[0])
        export(network, args.one[1], args.one[2], file_of(args.folder, network, args.one[1], args.one[2]))
        return
    failed: dict[str, str] = {}
    for network in NETWORKS:
        if args.only and network.name != args.only:
            continue
        for exporter in EXPORTERS:
            for sizes in SIZES:
                path = file_of(args.folder, network, exporter, sizes)
                if path.exists():
                    continue
                why = _in_a_process(args.folder, (network.name, exporter, sizes), args.seconds)
                if why:
                    path.unlink(missing_ok=True)
                    failed[path.stem] = why
                print(f"{path.name}: {why or 'written'}", flush=True)
    (args.folder / "failed.json").write_text(json.dumps(failed, indent=1) + "\n", encoding="utf-8")


def _in_a_process(folder: Path, one: tuple[str, str, str], seconds: float) -> str:
    command = [sys.executable, __file__, str(folder), "--one", *one]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return f"not exported within {seconds:g} seconds"
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["failed"])[-1]


if __name__ == "__main__":
    main()
