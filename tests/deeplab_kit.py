"""The real DeepLab graphs compiled, and the VOC pictures and masks to run them on."""

from __future__ import annotations

import tarfile
from functools import lru_cache
from pathlib import Path

import numpy as np

import smalti
from deeplab_golden import IMAGE, LABELS, LOGITS, Array, Difference, Example, differences, graph_bytes
from shared_data import shared_dir
from smalti.artifact.writer import write_model
from smalti.compiler import CompiledModel, CompileOptions, compile_graph
from smalti.target.host import resolve_targets
from smalti.vision.images import decode_image, decode_mask, read_mask
from smalti.vision.preprocess import Resize, resize_picture, target_size

VOC_ARCHIVE = "VOCtrainval_11-May-2012.tar"
VOC = "VOCdevkit/VOC2012"


@lru_cache(maxsize=1)
def _voc() -> tarfile.TarFile:
    return tarfile.open(shared_dir() / "mirror" / VOC_ARCHIVE)


def voc_bytes(path: str) -> bytes:
    """Return a file of the VOC archive, by its path below ``VOC2012``."""
    source = _voc().extractfile(f"{VOC}/{path}")
    if source is None:
        raise FileNotFoundError(path)
    return source.read()


def val_names() -> list[str]:
    """Return the names of all pictures that have a mask."""
    return voc_bytes("ImageSets/Segmentation/val.txt").decode().split()


def train_names() -> list[str]:
    """Return the names of the training pictures."""
    return voc_bytes("ImageSets/Segmentation/train.txt").decode().split()


def picture(name: str, resize: Resize, size: int | None = 513) -> Array:
    """Return a picture ``[h, w, 3]`` as a network sees it."""
    image = decode_image(voc_bytes(f"JPEGImages/{name}.jpg"))
    return resize_picture(image, *target_size(*image.shape[:2], resize, size))


def mask(name: str) -> Array:
    """Return the true labels ``[h, w]`` (255: void)."""
    return decode_mask(voc_bytes(f"SegmentationClass/{name}.png"))


def golden_labels(model: str, kind: str, name: str) -> Array:
    """Return TensorFlow's labels; ``kind`` is ``mutable``, ``static`` or ``native``."""
    return read_mask(shared_dir() / "golden" / model / kind / f"{name}.png")


def golden_names(model: str, kind: str) -> list[str]:
    """Return the pictures for which there are TensorFlow's labels."""
    return sorted(path.stem for path in (shared_dir() / "golden" / model / kind).glob("*.png"))


def compile_model(model: str, shape_mutable: bool = True, outputs: tuple[str, ...] | None = None) -> CompiledModel:
    """Compile a graph for this machine."""
    options = CompileOptions(resolve_targets("native"), shape_mutable=shape_mutable, outputs=outputs, name=model)
    return compile_graph(graph_bytes(model), options)


class Engines:
    """Compiles, saves and loads each variant of each graph once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._models: dict[tuple[object, ...], tuple[CompiledModel, Path, smalti.Engine]] = {}

    def _get(
        self, model: str, shape_mutable: bool, outputs: tuple[str, ...] | None
    ) -> tuple[CompiledModel, Path, smalti.Engine]:
        key = (model, shape_mutable, outputs)
        if key not in self._models:
            made = compile_model(model, shape_mutable, outputs)
            path = self._folder / f"{len(self._models)}.smalti"
            write_model(path, made.manifest, made.constants, made.code)
            self._models[key] = (made, path, smalti.load(path, threads=2))
        return self._models[key]

    def labels(self, model: str, shape_mutable: bool = True) -> smalti.Engine:
        """Return an engine from image to labels."""
        return self._get(model, shape_mutable, None)[2]

    def logits(self, model: str, shape_mutable: bool = True) -> smalti.Engine:
        """Return an engine of the graph cut at the logits."""
        return self._get(model, shape_mutable, (LOGITS,))[2]

    def path(self, model: str, shape_mutable: bool = True) -> Path:
        """Return the file of :meth:`labels`."""
        return self._get(model, shape_mutable, None)[1]

    def compiled(self, model: str, shape_mutable: bool = True) -> CompiledModel:
        """Return what :meth:`labels` was made from."""
        return self._get(model, shape_mutable, None)[0]

    def difference(self, model: str, shape_mutable: bool, image: Array, want: Array) -> Difference:
        """Return how far the labels of one image are from TensorFlow's, with the margins of our own logits."""
        got = self.labels(model, shape_mutable).run({IMAGE: image[None]})[LABELS]
        if np.array_equal(got[0], want):
            return Difference(1.0, 0.0, 0.0)
        logits = self.logits(model, shape_mutable).run({IMAGE: image[None]})[LOGITS]
        return differences(Example(model, "", image, want, logits), got, logits)

    def close(self) -> None:
        """Close every engine."""
        for _, _, engine in self._models.values():
            engine.close()
