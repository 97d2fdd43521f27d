"""ONNX Runtime's CPU provider."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from benchmarks.engines.post import Finisher
from benchmarks.engines.spec import EngineSpec


class OnnxRuntimeEngine:
    """Labels images."""

    def __init__(self, spec: EngineSpec) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = spec.threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        self._finish = Finisher(spec.upsampling)
        self._session = ort.InferenceSession(spec.file, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Label an image."""
        result = self._session.run(None, {self._input: image[np.newaxis]})[0]
        return self._finish(result, (image.shape[0], image.shape[1]))


def load(spec: EngineSpec) -> OnnxRuntimeEngine:
    """Make the session."""
    return OnnxRuntimeEngine(spec)


def version() -> str:
    """Return the version of the library in use."""
    return str(ort.__version__)
