"""Quantisation to int8 for another engine, in a process of its own: ``python -m benchmarks.engines.quantise``.

Each engine's own quantiser with the settings its documentation recommends for CPUs, on the pictures that Smalti is
calibrated on.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.errors import SmaltiError

Size = tuple[int, int]
Pictures = list[NDArray[np.uint8]]


def tflite(source: Path, result: Path, tensors: tuple[str, str], size: Size | None, pictures: Pictures) -> None:
    """Convert the frozen graph itself, int8 wherever there is an int8 operation; the image stays uint8."""
    import tensorflow as tf  # noqa: PLC0415

    first, last = (tensor.partition(":")[0] for tensor in tensors)
    shape = [1, *(size or (None, None)), 3]
    lite = tf.compat.v1.lite
    converter = lite.TFLiteConverter.from_frozen_graph(str(source), [first], [last], input_shapes={first: shape})
    converter.optimizations = [lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([p[np.newaxis]] for p in pictures)
    converter.target_spec.supported_ops = [lite.OpsSet.TFLITE_BUILTINS_INT8, lite.OpsSet.TFLITE_BUILTINS]
    result.write_bytes(converter.convert())


def onnx(source: Path, result: Path, tensors: tuple[str, str], size: Size | None, pictures: Pictures) -> None:
    """Quantise an ONNX model: pairs of quantise and dequantise, weights per channel.

    Without CalibMaxIntermediateOutputs: where that many pictures were seen ONNX Runtime forgets them, and calibrates on
    those behind them, if there are any.  All it keeps of a picture are a smallest and a largest value for each tensor.
    """
    from onnxruntime import quantization  # noqa: PLC0415
    from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: PLC0415

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._feeds: Iterator[dict[str, Any]] = ({tensors[0]: p[np.newaxis]} for p in pictures)

        def get_next(self) -> dict[str, Any] | None:
            return next(self._feeds, None)

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared),
            str(result),
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )


def openvino(source: Path, result: Path, tensors: tuple[str, str], size: Size | None, pictures: Pictures) -> None:
    """Quantise a model of OpenVINO with NNCF's post-training quantisation."""
    import nncf  # noqa: PLC0415
    import openvino as ov  # noqa: PLC0415

    model = ov.Core().read_model(str(source))
    data = nncf.Dataset([p[np.newaxis] for p in pictures])
    quantised = nncf.quantize(model, data, subset_size=len(pictures), target_device=nncf.TargetDevice.CPU)
    ov.save_model(quantised, str(result), compress_to_fp16=False)


FORMS = {".tflite": tflite, ".onnx": onnx, ".xml": openvino}


def main(arguments: list[str] | None = None) -> int:
    """Quantise; the form is the suffix of the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines.quantise", description=__doc__)
    parser.add_argument("source", type=Path, help="the frozen graph for .tflite, else the model in float32")
    parser.add_argument("result", type=Path)
    parser.add_argument("--pictures", type=Path, required=True, help="npz of uint8 [H, W, 3] arrays")
    parser.add_argument("--input", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--size", help="HEIGHTxWIDTH; any size if not given")
    chosen = parser.parse_args(arguments)
    form = FORMS.get(chosen.result.suffix)
    if form is None:
        raise SmaltiError(f"no quantiser for {chosen.result.suffix}")
    height, _, width = (chosen.size or "").partition("x")
    with np.load(chosen.pictures) as arrays:
        pictures = [arrays[name] for name in arrays.files]
    size = (int(height), int(width)) if chosen.size else None
    form(chosen.source, chosen.result, (chosen.input, chosen.output), size, pictures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
