"""Take the networks out of public packages: ``python tools/zoo/packages.py WHEELS FOLDER``."""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path

NETWORKS = {
    "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx": "rapidocr_dbnet_ppocrv4_det.onnx",
    "ukis_csmask/model_4b_l1c.onnx": "csmask_4b_l1c.onnx",
    "ukis_csmask/model_4b_l2a.onnx": "csmask_4b_l2a.onnx",
    "ukis_csmask/model_6b_l1c.onnx": "csmask_6b_l1c.onnx",
    "ukis_csmask/model_6b_l2a.onnx": "csmask_6b_l2a.onnx",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("wheels", type=Path)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    for wheel in sorted(args.wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            for name in set(archive.namelist()) & NETWORKS.keys():
                (args.folder / NETWORKS[name]).write_bytes(archive.read(name))
                print(f"{wheel.name}: {NETWORKS[name]}")


if __name__ == "__main__":
    main()
