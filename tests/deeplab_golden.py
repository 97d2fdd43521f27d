"""Real DeepLab graphs with TensorFlow's labels and logits for real images, and the bounds for meeting them."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_data import shared_dir
from smalti.ir import ops
from smalti.ir.ops import ResizeFn
from smalti.ir.schema import eval_op
from smalti.vision.images import read_mask

Array = NDArray[Any]

FULL = "deeplabv3_mnv2_pascal_train_aug"
HALF = "deeplabv3_mnv2_dm05_pascal_trainval"
ANY_SIZE = "deeplabv3_mnv2_dm05_anysize"
ARCHIVES = {FULL: f"{FULL}_2018_01_29.tar.gz", HALF: f"{HALF}_2018_10_01.tar.gz"}
CROP = 513

IMAGE = "ImageTensor:0"
LABELS = "SemanticPredictions:0"
LOGITS = "logits/semantic/BiasAdd:0"

LABELS_EQUAL = 0.9999
SMALL_MARGIN = 1e-3
LOGITS_ERROR = 1e-4

Outputs = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Example:
    """An image ``[h, w, 3]`` uint8 with TensorFlow's labels ``[h, w]`` and logits ``[1, h', w', 21]``."""

    model: str
    name: str
    image: Array
    labels: Array
    logits: Array


@dataclass(frozen=True, slots=True)
class Difference:
    """How far an answer is from TensorFlow's.

    Attributes:
        equal: share of pixels with the same label.
        margin: largest distance of the two best logits among the other pixels (0 if there are none).
        logits: largest error of a logit over the largest logit.
    """

    equal: float
    margin: float
    logits: float

    @property
    def accepted(self) -> bool:
        """Whether all bounds hold."""
        return self.equal >= LABELS_EQUAL and self.margin < SMALL_MARGIN and self.logits <= LOGITS_ERROR


@lru_cache(maxsize=3)
def graph_bytes(model: str) -> bytes:
    """Return the frozen graph of a model; skips the test without the shared files."""
    if model == ANY_SIZE:
        return (shared_dir() / "models" / model / "frozen_inference_graph.pb").read_bytes()
    with tarfile.open(shared_dir() / "mirror" / ARCHIVES[model]) as archive:
        member = archive.extractfile(f"{model}/frozen_inference_graph.pb")
        if member is None:
            raise FileNotFoundError(f"{ARCHIVES[model]} holds no frozen graph")
        return member.read()


def crop_examples(model: str, count: int) -> Iterator[Example]:
    """Yield up to four images of a model with the 513 x 513 crop, longer side 513."""
    folder = shared_dir() / "golden" / model
    with np.load(folder / "logits.npz") as golden:
        for key in sorted(k for k in golden if k.endswith("_image"))[:count]:
            name = key.removesuffix("_image")
            labels = read_mask(folder / "mutable" / f"{name}.png")
            yield Example(model, name, golden[key], labels, golden[f"{name}_logits"][None])


def size_example(size: str) -> Example:
    """Return the example of the any-size model with the given size (``97x131``)."""
    with np.load(shared_dir() / "golden" / ANY_SIZE / "sizes.npz") as golden:
        return Example(ANY_SIZE, size, *(golden[f"{size}_{what}"] for what in ("image", "labels", "logits")))


def differences(example: Example, labels: Array, logits: Array) -> Difference:
    """Compare labels ``[1, h, w]`` and logits ``[1, h', w', 21]`` with TensorFlow's."""
    if labels.shape != (1, *example.labels.shape) or logits.shape != example.logits.shape:
        raise AssertionError(f"labels {list(labels.shape)} and logits {list(logits.shape)} of {example.name}")
    wrong = labels[0] != example.labels
    error = np.abs(logits - example.logits).max() / np.abs(example.logits).max()
    margin = float(_margins(example)[wrong].max(initial=0.0)) if wrong.any() else 0.0
    return Difference(1 - float(wrong.mean()), margin, float(error))


def _margins(example: Example) -> Array:
    """Return how far the two best classes of each pixel are apart in TensorFlow's logits."""
    height, width = example.labels.shape
    size = (height, width) if example.model == ANY_SIZE else (CROP, CROP)
    whole = eval_op(ops.Resize(ResizeFn.BILINEAR, size, align_corners=True), (example.logits,), {})
    best = np.partition(whole[0, :height, :width], -2, axis=-1)
    return best[..., -1] - best[..., -2]


def compare(example: Example, runner: Callable[[Mapping[str, Array]], Outputs]) -> Difference:
    """Run one image and compare; ``runner`` takes the image tensor and gives labels and logits by tensor name."""
    outputs = runner({IMAGE: example.image[None]})
    return differences(example, outputs[LABELS], outputs[LOGITS])
