"""Measure the frozen demo graph with TensorFlow and record its answers.

``python tools/demo/record_golden.py --out tests/golden/demo_labels.npz``
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import tensorflow as tf

from smalti.demo.dataset import GRAPH_PATH, graph_bytes
from smalti.demo.generator import CLASS_NAMES, VAL_COUNT, demo_image

LABELS_OF = (0, 6, 9, 17, 23, 31, 44, 58)
LOGITS_OF = (6, 9)
REQUIRED_MIOU = 0.85
MAX_BYTES = 200_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graph", type=Path, default=GRAPH_PATH)
    parser.add_argument("--out", type=Path, help="the golden file; none: only measure")
    chosen = parser.parse_args()
    data = graph_bytes() if chosen.graph == GRAPH_PATH else chosen.graph.read_bytes()
    definition = tf.compat.v1.GraphDef.FromString(data)
    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(definition, name="")
    classes = len(CLASS_NAMES)
    counts = np.zeros((classes, classes), dtype=np.int64)
    recorded: dict[str, np.ndarray] = {}
    with tf.compat.v1.Session(graph=graph) as session:
        for index in range(VAL_COUNT):
            image, mask = demo_image(index)
            wanted = ["SemanticPredictions:0", "logits/semantic/BiasAdd:0"]
            labels, logits = session.run(wanted, {"ImageTensor:0": image[None]})
            pairs = mask.astype(np.int64) * classes + labels[0]
            counts += np.bincount(pairs.reshape(-1), minlength=classes * classes).reshape(classes, classes)
            if index in LABELS_OF:
                recorded[f"labels_{index}"] = labels[0].astype(np.uint8)
            if index in LOGITS_OF:
                recorded[f"logits_{index}"] = logits
    hits = np.diag(counts)
    each = hits / (counts.sum(axis=0) + counts.sum(axis=1) - hits)
    for name, value in zip(CLASS_NAMES, each, strict=True):
        print(f"{name:<12}{value:.4f}")
    print(f"{'mIoU':<12}{each.mean():.4f}   pixel accuracy {hits.sum() / counts.sum():.4f}")
    if each.mean() < REQUIRED_MIOU:
        print(f"below the required {REQUIRED_MIOU}", file=sys.stderr)
        return 1
    if chosen.out:
        recorded["confusion"] = counts
        recorded["tensorflow"] = np.array(tf.__version__)
        recorded["graph_sha256"] = np.array(hashlib.sha256(data).hexdigest())
        np.savez_compressed(chosen.out, **recorded)
        size = chosen.out.stat().st_size
        print(f"{chosen.out}: {size} bytes")
        if size > MAX_BYTES:
            print(f"larger than {MAX_BYTES} bytes", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
