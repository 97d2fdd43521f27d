"""What a model file says about its origin, its use and its precision: the free-form part of the manifest."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from smalti import __version__
from smalti.artifact.colours import COLOURS_KEY
from smalti.artifact.manifest import BUILT_IN_KEY
from smalti.compiling.options import CompileOptions
from smalti.compiling.pictures import Fit, PictureOptions
from smalti.compiling.sizes import IMAGE_RANK, channels_first, image_sides, size_limit
from smalti.compiling.source import GraphFile
from smalti.frontend.given import plain_shapes, plain_values
from smalti.frontend.report import ImportReport
from smalti.ir.graph import Graph, Node
from smalti.llvm.backend import llvm_version
from smalti.quant.modes import QuantOptions
from smalti.quant.record import CalibrationRecord
from smalti.quant.scheme import Quantised

COLOURS = 3


def describe(source: GraphFile, graph: Graph, options: CompileOptions, report: ImportReport) -> dict[str, Any]:
    """Return the free-form part of a manifest: what the file says about its origin and its use."""
    images = [n for n in graph.inputs if n.type.rank == IMAGE_RANK]
    shape_mutable = options.shape_mutable
    if options.input_shapes:
        shape_mutable = shape_mutable and bool(graph.symbols())
    if options.pictures is not None:
        preprocess = _for_pictures(images[0], options, options.pictures)
    elif images and images[0].name in options.input_shapes:
        preprocess = _for_shape(images[0], options)
    elif not images or channels_first(images[0]):
        preprocess = {"input_size": None, "resize": "none"}
    elif options.shape_mutable:
        size = options.input_size or size_limit(images[0])
        preprocess = {"input_size": size, "resize": "none" if size is None else "fit"}
    else:
        preprocess = {"input_size": images[0].type.shape[1], "resize": "stretch"}
    return {
        "precision": options.quant_mode.value,
        "batch_size": options.batch_size,
        "shape_mutable": shape_mutable,
        "labels": options.labels,
        "producer": {"smalti": __version__, "llvm": llvm_version()},
        "graph": {
            "name": options.name,
            "sha256": source.sha256,
            "bytes": len(source.data),
            **_given(options),
        },
        "preprocess": preprocess,
        "report": report.to_json(),
    }


def _given(options: CompileOptions) -> dict[str, Any]:
    """Return what was given for tensors, dropout and classes, if anything: no graph says it."""
    said: dict[str, Any] = {}
    if options.input_shapes:
        said["input_shapes"] = {name: list(shape) for name, shape in plain_shapes(options.input_shapes).items()}
    if options.binds:
        said["binds"] = plain_values(options.binds)
    if options.drop_dropout:
        said["drop_dropout"] = True
    if options.colours is not None:
        said[COLOURS_KEY] = list(options.colours)
    return said


def _for_shape(image: Node, options: CompileOptions) -> dict[str, Any]:
    """Return how pictures meet an input whose shape was given.

    Both sides fixed: ``stretch`` to them; none: as where no shape is given; one alone, or another layout than one
    picture [1, H, W, 3]: no picture is brought to that by scaling alone.
    """
    sides = image_sides(image)
    fixed = [side for side in sides if isinstance(side, int)]
    if not fixed:
        size = options.input_size or size_limit(image)
        return {"input_size": size, "resize": "none" if size is None else "fit"}
    if len(fixed) == 1 or image.type.shape[0] != 1 or image.type.shape[3] != COLOURS:
        return {"input_size": None, "resize": "none"}
    height, width = fixed
    return {"input_size": height if height == width else [height, width], "resize": "stretch"}


def _for_pictures(image: Node, options: CompileOptions, said: PictureOptions) -> dict[str, Any]:
    """Return how pictures meet a network that they were put before, and what was put there."""
    height, width = image_sides(image)
    built_in = {BUILT_IN_KEY: said.to_json()}
    if isinstance(height, int) and isinstance(width, int):
        if said.resize is Fit.NONE:
            return {"input_size": None, "resize": Fit.NONE.value, **built_in}
        return {"input_size": height if height == width else [height, width], "resize": "stretch", **built_in}
    size = options.input_size or size_limit(image)
    policy = said.resize or (Fit.NONE if size is None else Fit.FIT)
    return {"input_size": None if policy is Fit.NONE else size, "resize": policy.value, **built_in}


def describe_precision(options: QuantOptions, quantised: Quantised, record: CalibrationRecord | None) -> dict[str, Any]:
    """Return what the file says about its precision: settings, layers, and the steps of every quantised tensor."""
    described: dict[str, Any] = {
        "float_type": options.mode.float_type.value,
        "keep": list(options.keep),
        "layers": [[n.name, n.activations.value, n.weights.value, n.why] for n in quantised.layers],
    }
    if options.mode.quantised is not None and record is not None:
        described |= {
            "calib_algo": options.calib_algo.value,
            "weight_granularity": options.weight_granularity.value,
            "activation": options.activation.value,
            "tensors": {
                name: {"scale": p.scale, "zero_point": p.zero_point, "dtype": p.dtype.value, "range": list(p.range)}
                for name, p in sorted(quantised.params.items())
            },
            "means": {name: _packed_means(record, name) for name in sorted(quantised.params)},
            "calibration": record.summary(),
        }
    return described


def _packed_means(record: CalibrationRecord, name: str) -> str:
    """Return the mean of each channel of a tensor, float32 in base64: biases were corrected with it."""
    stats = record.tensors.get(name)
    means = () if stats is None else stats.channel_mean
    return base64.b64encode(np.asarray(means, "<f4").tobytes()).decode("ascii")
