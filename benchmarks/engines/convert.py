"""Conversion of a frozen graph for another engine, in a process of its own: ``python -m benchmarks.engines.convert``.

Converters load TensorFlow; none of that may count as memory or time of the engine itself.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmarks.workers import Ends
from smalti.errors import SmaltiError

Shape = list[int | None]


def to_tflite(graph: Path, result: Path, ends: Ends, shape: Shape) -> None:
    """Convert with TensorFlow's converter for frozen graphs."""
    import tensorflow as tf  # noqa: PLC0415

    name, target = ends.input.partition(":")[0], ends.output.partition(":")[0]
    converter = tf.compat.v1.lite.TFLiteConverter.from_frozen_graph(
        str(graph), [name], [target], input_shapes={name: shape}
    )
    result.write_bytes(converter.convert())


def to_onnx(graph: Path, result: Path, ends: Ends, shape: Shape) -> None:
    """Convert with tf2onnx, opset 17."""
    import tensorflow as tf  # noqa: PLC0415
    import tf2onnx  # noqa: PLC0415

    definition = tf.compat.v1.GraphDef.FromString(graph.read_bytes())
    tf2onnx.convert.from_graph_def(
        definition,
        input_names=[ends.input],
        output_names=[ends.output],
        opset=17,
        shape_override=None if None in shape else {ends.input: shape},
        output_path=str(result),
    )


def to_openvino(graph: Path, result: Path, ends: Ends, shape: Shape) -> None:
    """Convert with OpenVINO's own TensorFlow frontend; weights stay float32.

    Its frontend cuts only at names of outputs and its clean-up drops names inside, so a cut is made afterwards.
    """
    import openvino as ov  # noqa: PLC0415

    model: Any = ov.convert_model(str(graph), input=[(ends.input, [-1 if s is None else s for s in shape])])
    if ends.before is not None:
        model = ov.Model([_source_of(model, ends.before)], model.get_parameters(), "cut")
    ov.save_model(model, str(result), compress_to_fp16=False)


def _source_of(model: Any, tensor: str) -> Any:
    for operation in model.get_ordered_ops():
        if any(tensor in output.get_names() for output in operation.outputs()):
            return operation.input(0).get_source_output()
    raise SmaltiError(f"no tensor {tensor} in the converted model")


FORMS = {"tflite": to_tflite, "onnx": to_onnx, "xml": to_openvino}


def main(arguments: list[str] | None = None) -> int:
    """Convert; the form is the suffix of the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines.convert", description=__doc__)
    parser.add_argument("graph", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--input", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--before", default="", help="the tensor computed from the output, where the graph is cut")
    parser.add_argument("--size", help="HEIGHTxWIDTH; any size if not given")
    chosen = parser.parse_args(arguments)
    form = FORMS.get(chosen.result.suffix.lstrip("."))
    if form is None:
        raise SmaltiError(f"no converter for {chosen.result.suffix}")
    size: list[int | None] = [int(s) for s in chosen.size.split("x")] if chosen.size else [None, None]
    form(chosen.graph, chosen.result, Ends(chosen.input, chosen.output, chosen.before or None), [1, *size, 3])
    return 0


if __name__ == "__main__":
    sys.exit(main())
