"""Writes the corpus: ``PYTHONPATH=src:tests python -m fuzz.seeds``.  The same files every time; others are kept."""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np

from artifact_kit import Parts, label_manifest, reverse_manifest
from fuzz import onnx_bombs, onnx_graphs, onnx_models
from fuzz.bombs import F32, LARGEST_FILE, LEGAL_SPLATS, small_bombs
from fuzz.pictures import small_pictures
from fuzz.targets import CORPUS
from graph_builder import GraphBuilder
from smalti.artifact.schema import manifest_json
from smalti.target.target import Target

SIGNALLING = np.array([0x7F800001, 0x7FA00000, 0x3F800000], np.uint32).view(F32)


def graphs() -> dict[str, bytes]:
    """Return graphs by ``folder/name``: bombs, legal encodings of constants, past failures, two whole networks."""
    found = {f"refused/{name}": data for name, data in small_bombs().items()}
    for number, (kind, shape, fields, _) in enumerate(LEGAL_SPLATS):
        made = GraphBuilder().raw_const("c", kind, shape, **fields)
        found[f"accepted/splat-{number:02}-{kind.label}.pb"] = made.node("Identity", "y", ["c"]).bytes()
    image = GraphBuilder().placeholder("x", F32, [1, 4, 4, 3])
    norm = ["scale", "shift", "mean", "variance"]
    for name in norm:
        image.const(name, SIGNALLING)
    image.node("FusedBatchNorm", "y", ["x", *norm], epsilon=0.001, is_training=False)
    found["accepted/signalling-nan-in-batch-norm.pb"] = image.bytes()
    found["accepted/signalling-nan-in-weights.pb"] = scaled_image(np.full((1, 1, 3, 1), SIGNALLING[0], F32), F32(2.0))
    found["accepted/scale-that-underflows.pb"] = scaled_image(np.ones((1, 1, 3, 1), F32), F32(1e-44))
    return found


def scaled_image(weights: np.ndarray, scale: np.float32) -> bytes:
    """Return the graph of a convolution of ``float(image) * scale + 1``."""
    made = GraphBuilder().placeholder("image", np.uint8, [1, 4, 4, 3]).node("Cast", "f", ["image"], DstT=F32)
    made.const("k", scale).node("Mul", "scaled", ["f", "k"]).const("one", F32(1)).node("AddV2", "x", ["scaled", "one"])
    made.const("w", weights).node("Conv2D", "y", ["x", "w"], strides=[1] * 4, padding="SAME")
    return made.bytes()


def models() -> dict[str, bytes]:
    """Return model files, headers and manifests by ``folder/name``."""
    target = Target.parse("x86-64-v2")
    manifest = manifest_json(reverse_manifest(target))
    data = Parts(reverse_manifest(target), b"constants", b"code").data()
    header = data[:248]
    found = {
        "accepted/manifest-reverse.bin": b"m" + manifest,
        "accepted/manifest-labels.bin": b"m" + manifest_json(label_manifest(1, target)),
        "refused/header-of-a-longer-file.bin": b"r" + header,
        "refused/header-cut.bin": b"r" + header[:31],
        "refused/header-checksum.bin": b"r" + header[:20] + b"\xff" + header[21:],
        "refused/header-alone.bin": b"c" + header,
        "refused/header-of-2-32-sections.bin": b"c" + header[:32] + b"\xff" * 4 + header[36:],
        "refused/header-size-2-32.bin": b"c" + header[:12] + b"\xff" * 4 + header[16:],
        "refused/future-version.bin": b"c" + header[:8] + struct.pack("<I", 99) + header[12:],
        "refused/section-size-2-64.bin": b"c" + header[:144] + b"\xff" * 8 + header[152:],
        "refused/section-offset-2-64.bin": b"c" + header[:136] + b"\xff" * 8 + header[144:],
        "refused/whole-file-of-zeros.bin": b"f" + bytes(300),
        "refused/empty.bin": b"r",
        "refused/manifest-deep.bin": b"m" + b"[" * 1000,
        "refused/manifest-key-twice.bin": b"m" + manifest[:-1] + b',"entry":0}',
        "refused/manifest-huge-number.bin": b"m" + manifest.replace(b'"entry":0', b'"entry":' + b"9" * 100),
        "refused/manifest-nan.bin": b"m" + manifest.replace(b'"entry":0', b'"entry":NaN'),
        "refused/manifest-not-utf-8.bin": b"m\xff" + manifest,
    }
    return found


def onnx() -> dict[str, bytes]:
    """Return ONNX models by ``folder/name``: bombs, and what must be taken."""
    found = {f"refused/{name}": data for name, data in onnx_bombs.small_bombs(LARGEST_FILE).items()}
    for made in (onnx_models.constants, onnx_models.functions, onnx_models.branches):
        found[f"accepted/{made.__name__}.onnx"] = made()
    for number, data in enumerate(onnx_graphs.small_seeds()):
        found[f"accepted/operations-{number:02}.onnx"] = data
    return found


def write(folder: str, files: Mapping[str, bytes]) -> None:
    """Write files of a part of the corpus."""
    for name, data in files.items():
        (CORPUS / folder / name).write_bytes(data)


if __name__ == "__main__":
    write("graphs", graphs())
    write("models", models())
    write("onnx", onnx())
    write("pictures", small_pictures())
