"""OpenVINO's CPU plugin, compiled for each image size or once for all."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from benchmarks.engines.post import Finisher
from benchmarks.engines.spec import ENGINE_DEFAULT, EngineSpec, Size

ANY_SIZE = (-1, -1)


class OpenVINOEngine:
    """Labels images."""

    def __init__(self, spec: EngineSpec) -> None:
        self._finish = Finisher(spec.upsampling)
        self._core = ov.Core()
        self._settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": spec.threads}
        if spec.floats != ENGINE_DEFAULT:
            # On CPUs with bf16 instructions the default is bf16; which it is to be, is for the route to say.
            self._settings["INFERENCE_PRECISION_HINT"] = spec.floats
        self._spec = spec
        self.floats = ""
        sizes = spec.sizes if spec.mode == "per-size" else (ANY_SIZE,)
        self._requests: dict[Size, Any] = {size: self._compile(size) for size in sizes}

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Label an image."""
        size = (image.shape[0], image.shape[1])
        request = self._requests.get(size) or self._requests[ANY_SIZE]
        request.infer({0: image[np.newaxis]}, share_inputs=True)
        data = request.get_output_tensor(0).data
        result = self._finish(data, size)
        # The copy makes the labels the caller's own, as every other engine's are.
        return result.copy() if np.may_share_memory(result, data) else result

    def _compile(self, size: Size) -> Any:
        model = self._core.read_model(self._spec.file)
        model.reshape([1, *size, 3])
        compiled = self._core.compile_model(model, "CPU", self._settings)
        self.floats = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        return compiled.create_infer_request()


def load(spec: EngineSpec) -> OpenVINOEngine:
    """Read and compile the model."""
    return OpenVINOEngine(spec)


def version() -> str:
    """Return the version of the library in use."""
    return str(ov.__version__).partition("-")[0]


def floats(engine: OpenVINOEngine) -> str:
    """Return the float type that the plugin took: it ignores one that the CPU cannot compute with."""
    return engine.floats


def detail(engine: OpenVINOEngine) -> str:
    """Return that type in words."""
    return f"floats in {engine.floats}"
