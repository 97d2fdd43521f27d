"""LiteRT with its XNNPACK delegate: one interpreter per image size, so that no run resizes tensors."""

from __future__ import annotations

from importlib.metadata import version as installed
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from benchmarks.engines.post import Finisher
from benchmarks.engines.spec import EngineSpec, Size


class LiteRTEngine:
    """Labels images."""

    def __init__(self, spec: EngineSpec) -> None:
        self._spec = spec
        self._finish = Finisher(spec.upsampling)
        self._ready: dict[Size, tuple[Any, int, int]] = {}
        for size in spec.sizes:
            self._ready[size] = self._prepare(size)

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Label an image."""
        size = (image.shape[0], image.shape[1])
        interpreter, source, result = self._ready[size]
        interpreter.set_tensor(source, image[np.newaxis])
        interpreter.invoke()
        return self._finish(interpreter.get_tensor(result), size)

    def _prepare(self, size: Size) -> tuple[Any, int, int]:
        interpreter = Interpreter(self._spec.file.format(height=size[0], width=size[1]), num_threads=self._spec.threads)
        source = interpreter.get_input_details()[0]
        if tuple(source["shape"][1:3]) != size:
            interpreter.resize_tensor_input(source["index"], [1, *size, 3])
        interpreter.allocate_tensors()
        return interpreter, source["index"], interpreter.get_output_details()[0]["index"]


def load(spec: EngineSpec) -> LiteRTEngine:
    """Make the interpreters."""
    return LiteRTEngine(spec)


def version() -> str:
    """Return the version of the library in use."""
    return installed("ai-edge-litert")
