"""The page of the zoo, written from the record of ``tools/zoo/check.py``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

LARGEST = 5e-5
"""The largest difference from ONNX Runtime that agrees, as a share of the largest output."""
SAME = 0.9999
"""The least share of pixels with the same label."""
HALF_LARGEST, HALF_SAME = 1e-2, 0.999
"""The same for graphs of 16-bit floats."""
MISSES = {
    "deeplabv3plus_resnet34": (6e-5, SAME),
    "fcn_resnet50": (2.5e-4, 0.9998),
    "unet_mobilenet_v2": (7e-5, SAME),
}
"""Networks that miss them, and what they are held to: the page says why."""
HEAD = """# The zoo: segmentation networks of other people

Generated from the record of a run, [zoo.json](zoo.json): `scripts/zoo` makes the files and runs both engines,
`scripts/docs` writes this page again. Networks of PyTorch's libraries have random weights of a fixed seed, and batch
normalisation has the statistics of a batch; `tools/zoo/networks.py` has them. Packages are read as they are published.

Each file is built in float32 with default options. Both engines get the same random input in [0, 1], for the seeds 1 to
3; open sizes are 320 x 320, 97 x 131 and 321 x 487. *difference*: the largest one from ONNX Runtime as a share of its
largest output. *ONNX Runtime from itself*: the same between its optimised and its plain run of the first seed.
*same label*: pixels whose arg-max over the channels is the same. *sizes*: those that one file serves; of the others
`engine.output_shapes` says before anything runs that they are no multiple of the number in brackets. A last sigmoid is
left out: ONNX Runtime's is an approximation that is off by all of a number below 1e-6. So is a last softmax, which can
hide every difference.

Wanted are 5e-5 and 99.99 % of the labels. Three deep networks with random weights (`deeplabv3plus_resnet34`,
`fcn_resnet50`, `unet_mobilenet_v2`) miss the first, and `fcn_resnet50` the second: they make so much of every rounding
that ONNX Runtime is 2e-5 to 2e-4 from itself. The networks of `ukis-csmask` are graphs of 16-bit floats, whose tensors
are rounded to 11 bits: ONNX Runtime is up to 8e-3 from the same graph in float32. All four miss the first, and 6 bands
L2A the second.
"""
TABLE = """| network | exporter | steps | sizes | difference | ONNX Runtime from itself | same label |
|---|---|---:|---|---:|---:|---:|
"""
PACKAGES = """## In public packages

"""
ABOUT = {
    "rapidocr_dbnet_ppocrv4_det": "DBNet text detector (PP-OCRv4), `rapidocr-onnxruntime` 1.4.4, Apache-2.0",
    "csmask_4b_l1c": "U-Net for clouds, 4 bands L1C, half weights, `ukis-csmask` 1.0.0, Apache-2.0",
    "csmask_4b_l2a": "the same, 4 bands L2A",
    "csmask_6b_l1c": "the same, 6 bands L1C",
    "csmask_6b_l2a": "the same, 6 bands L2A",
}
_NAME = re.compile(r"(.+)-(dynamo|torchscript)-(open|fixed)\.onnx")
_MULTIPLE = re.compile(r"must be a multiple of (\d+)")


def zoo_markdown(path: Path) -> str:
    """Return the page."""
    record = json.loads(path.read_text(encoding="utf-8"))
    exported, packaged = "", ""
    for name, row in record["files"].items():
        found = _NAME.fullmatch(name)
        if found is None:
            packaged += _row(ABOUT.get(name.removesuffix(".onnx"), f"`{name}`"), "as published", row)
        else:
            exported += _row(f"`{found[1]}`", f"{found[2]}, {found[3]}", row)
    versions = record["versions"]
    tried = ", ".join(f"{name} {versions[name]}" for name in versions)
    tried = f"Tried with Smalti {record['smalti']}, {tried}.\n"
    return "\n".join([HEAD, tried, "## Exported\n", TABLE + exported, PACKAGES + TABLE + packaged])


def _row(network: str, exporter: str, row: dict[str, Any]) -> str:
    if not row["builds"] or row["reason"]:
        return f"| {network} | {exporter} | | {row['reason']} | | | |\n"
    taken = [size for size, refusal in row["sizes"].items() if not refusal]
    refused = sorted({int(found[1]) for text in row["sizes"].values() if (found := _MULTIPLE.search(text))})
    sizes = ", ".join(taken) + "".join(f" (multiples of {number})" for number in refused)
    label = f"{row['same']} of {row['pixels']}" if row["pixels"] else "one channel"
    cells = [network, exporter, str(row["steps"]), sizes, f"{row['difference']:.1e}", f"{row['own']:.1e}", label]
    return f"| {' | '.join(cells)} |\n"
