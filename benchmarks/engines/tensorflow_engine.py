"""TensorFlow: the frozen graph in a session, or as a pruned concrete function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from benchmarks.engines.post import Finisher
from benchmarks.engines.spec import EngineSpec

v1 = tf.compat.v1


class TensorFlowEngine:
    """Labels images; also tells the shapes of inner tensors."""

    def __init__(self, spec: EngineSpec) -> None:
        definition = v1.GraphDef.FromString(Path(spec.file).read_bytes())
        self._spec = spec
        self._finish = Finisher(spec.upsampling)
        self._run: Callable[[NDArray[np.uint8]], Any]
        if spec.mode == "function":
            tf.config.threading.set_intra_op_parallelism_threads(spec.threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
            wrapped = v1.wrap_function(lambda: tf.graph_util.import_graph_def(definition, name=""), [])
            function = wrapped.prune(spec.input, spec.output)
            self._run = lambda image: function(tf.constant(image)).numpy()
            return
        graph = tf.Graph()
        with graph.as_default():
            tf.graph_util.import_graph_def(definition, name="")
        config = v1.ConfigProto(intra_op_parallelism_threads=spec.threads, inter_op_parallelism_threads=1)
        self._session = v1.Session(graph=graph, config=config)
        call = self._session.make_callable(spec.output, [spec.input])
        self._run = call

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Label an image."""
        return self._finish(self._run(image[np.newaxis]), (image.shape[0], image.shape[1]))

    def shapes(self, image: NDArray[np.uint8], tensors: list[str]) -> list[list[int]]:
        """Return the shapes that these tensors have for an image (session mode)."""
        values = self._session.run(tensors, {self._spec.input: image[np.newaxis]})
        return [list(v.shape) for v in values]


def load(spec: EngineSpec) -> TensorFlowEngine:
    """Import the graph."""
    return TensorFlowEngine(spec)


def version() -> str:
    """Return the version of the library in use."""
    return str(tf.__version__)
