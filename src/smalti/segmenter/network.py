"""A network as something that labels pictures, whatever its outputs are called, and be they labels or scores."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from smalti.artifact.manifest import TensorSpec
from smalti.errors import InputError, UsageError
from smalti.jobs.stream import Engine, Manifest
from smalti.runtime.engine import Engine as LoadedEngine
from smalti.vision.voc import printable

_PICTURE_RANK: Final = 4
_LABELS_RANK: Final = 3


class Network:
    """Gives the label map of a picture: from the output that is one, or from the largest of the scores of the classes.

    Has what :class:`smalti.jobs.stream.Engine` asks for. ``left_out`` are the outputs that are not looked at.

    Raises:
        UsageError: the network does not take one picture, or none of its outputs, or several, could be meant.
    """

    def __init__(self, engine: Engine, output: str | None = None) -> None:
        self._engine = engine
        self._loaded = engine if isinstance(engine, LoadedEngine) else None
        self._output: TensorSpec | None = None
        self.left_out: tuple[str, ...] = ()
        if self._loaded is not None:
            _check_input(self._loaded)
            self._output = _choose(self._loaded.manifest.outputs, output)
            self.left_out = tuple(o.name for o in self._loaded.manifest.outputs if o is not self._output)
        elif output is not None:
            raise UsageError("an output can only be chosen of a loaded model: give the path of a model file")

    @property
    def manifest(self) -> Manifest:
        """What the model file says about itself."""
        return self._engine.manifest

    @property
    def threads(self) -> int:
        """Threads of one call."""
        return self._engine.threads

    @property
    def concurrency(self) -> int:
        """Calls at the same time."""
        return self._engine.concurrency

    @property
    def gives_scores(self) -> bool:
        """Whether the labels are made here, of scores."""
        return self._output is not None and self._output.dtype.is_float

    @property
    def _is_one_of_several(self) -> bool:
        """Whether the label map is to be picked out of what a run gives: the engine's own call knows one output."""
        return self._output is not None and (bool(self.left_out) or len(self._output.shape) != _LABELS_RANK)

    def __call__(self, image: NDArray[np.uint8], /, *, threads: int | None = None) -> NDArray[np.int32]:
        """Return the label map int32 [H, W] of a picture uint8 [H, W, 3].

        Raises:
            InputError: the picture does not fit the model.
        """
        labels: NDArray[np.int32]
        if self.gives_scores:
            labels = self.scores(image, threads=threads).argmax(axis=2).astype(np.int32)
        elif self._loaded is not None and self._output is not None and self._is_one_of_several:
            labels = _flat(self._run(self._loaded, self._output, image, threads)).astype(np.int32, copy=False)
        else:
            labels = self._engine(image) if threads is None else self._engine(image, threads=threads)
        return labels

    def scores(self, image: NDArray[np.uint8], /, *, threads: int | None = None) -> NDArray[np.float32]:
        """Return the scores float32 [H, W, C] of a picture uint8 [H, W, 3].

        Raises:
            InputError: the picture does not fit the model.
            UsageError: this model gives no scores, or not of each pixel, or of one class alone.
        """
        if self._loaded is None or self._output is None or not self.gives_scores:
            raise UsageError(
                "this model gives labels, not scores: build it with --outputs at the tensor before its ArgMax"
            )
        found: NDArray[np.floating] = self._run(self._loaded, self._output, image, threads)
        return _check_scores(found.astype(np.float32, copy=False), image.shape[0], image.shape[1])

    def _run(
        self, engine: LoadedEngine, output: TensorSpec, image: NDArray[np.uint8], threads: int | None
    ) -> NDArray[Any]:
        name = engine.manifest.inputs[0].name
        found: NDArray[Any] = engine.run({name: image[np.newaxis]}, threads=threads)[output.name][0]
        return found


def _check_input(engine: LoadedEngine) -> None:
    inputs = engine.manifest.inputs
    if len(inputs) == 1 and len(inputs[0].shape) == _PICTURE_RANK and inputs[0].dtype.value == "uint8":
        return
    listed = ", ".join(f"{printable(t.name)} ({t.dtype.value}, {len(t.shape)} dimensions)" for t in inputs)
    raise UsageError(
        f"this model does not take one picture (uint8, 4 dimensions) but {listed}: call engine.run() in Python with "
        "arrays of that kind, or build it again with --preset imagenet, tf, zero-one or none (or --scale, --mean and "
        "--std), which say how pictures become that"
    )


def _choose(outputs: tuple[TensorSpec, ...], wanted: str | None) -> TensorSpec:
    if wanted is not None:
        found = [o for o in outputs if wanted in (o.name, o.name.removesuffix(":0"))]
        if not found:
            raise UsageError(f"there is no output {printable(wanted)}; there are {_listed(outputs)}")
        return found[0]
    maps = [o for o in outputs if not o.dtype.is_float and len(o.shape) in (_LABELS_RANK, _PICTURE_RANK)]
    if not maps and len(outputs) == 1 and len(outputs[0].shape) == _PICTURE_RANK:
        maps = list(outputs)
    if len(maps) == 1:
        return maps[0]
    problem = "several outputs could be the label map" if maps else "no output is a label map"
    raise UsageError(
        f"{problem}: {_listed(outputs)}; name one with --output (output= in Python), or build the model again with "
        "--outputs at the tensor that is meant, and with --labels-from logits where that gives scores"
    )


def _listed(outputs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(f"{printable(o.name)} ({o.dtype.value}, {len(o.shape)} dimensions)" for o in outputs)


def _flat(labels: NDArray[Any]) -> NDArray[Any]:
    """Return labels [H, W] without an axis of one channel."""
    sides = tuple(axis for axis in (0, labels.ndim - 1) if labels.ndim == _LABELS_RANK and labels.shape[axis] == 1)
    flat = labels.squeeze(sides[-1]) if sides else labels
    if flat.ndim != 2:
        raise InputError(f"a label map has 2 dimensions, [H, W], but this output has {list(flat.shape)}")
    return flat


def _check_scores(scores: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Return scores [H, W, C] of two classes or more.

    How scores of another size lie on the picture (corners or middles, a padded canvas) only the graph knows.
    """
    if scores.ndim != _PICTURE_RANK - 1:
        raise UsageError(f"scores of classes have 3 dimensions, [H, W, C], not {scores.ndim}: name another --output")
    if scores.shape[:2] != (height, width):
        raise UsageError(
            f"this model gives scores of {scores.shape[0]} x {scores.shape[1]} for a picture of {height} x {width} "
            "pixels: build it with --labels-from logits, which makes a label map of the picture's size, or with "
            "--outputs at its label map"
        )
    if scores.shape[2] < 2:
        raise UsageError(
            "this model gives one value for each pixel, not scores of two classes or more: build it with --labels-from "
            "logits or probabilities, and --threshold"
        )
    return scores
