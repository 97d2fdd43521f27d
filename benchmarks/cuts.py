"""Where a segmentation graph can be cut for an engine that cannot do, or is slow at, its last operations.

The tail of an export graph is ``logits -> ResizeBilinear (one or more) -> ArgMax -> Slice -> ... -> int32 labels``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smalti.errors import UsageError
from smalti.frontend.tensorflow.graphdef import parse_graph_def
from smalti.frontend.tensorflow.importer import ImportOptions, import_graph

_SHAPE_ONLY = frozenset({"Identity", "Cast", "Squeeze", "ExpandDims", "Reshape", "ResizeNearestNeighbor"})
_IMAGE_RANK = 4


@dataclass(frozen=True, slots=True)
class Stage:
    """One bilinear resize of the tail: the tensor it writes and its sampling rule."""

    tensor: str
    align_corners: bool
    half_pixel_centers: bool


@dataclass(frozen=True, slots=True)
class Cuts:
    """The graph's own ends and the places to cut its tail (``None`` where the tail has another form).

    Attributes:
        input: the image, uint8 ``[1, H, W, 3]``.
        output: the labels, int32.
        labels: integer labels before the last reshapes and resize by nearest neighbour.
        behind_labels: the tensor that the graph computes from ``labels``.
        logits: the tensor that the bilinear resizes before ArgMax start from.
        stages: these resizes, in order.
        any_size: whether the graph has no limit for the image size.
    """

    input: str
    output: str
    labels: str | None
    behind_labels: str | None
    logits: str | None
    stages: tuple[Stage, ...]
    any_size: bool


def find_cuts(path: Path) -> Cuts:
    """Read a frozen graph and find its ends and cuts.

    Raises:
        GraphError: the graph is damaged or not supported.
        UsageError: it does not map one image to one label map.
    """
    data = path.read_bytes()
    imported = import_graph(data, ImportOptions()).graph
    if len(imported.inputs) != 1 or len(imported.outputs) != 1 or imported.inputs[0].type.rank != _IMAGE_RANK:
        raise UsageError(f"{path} does not map one image to one label map")
    nodes = {node.name.decode(): node for node in parse_graph_def(data).node}
    output = imported.output_names[0]
    node = nodes[_node_name(output)]
    behind = None
    while node.op.decode() in _SHAPE_ONLY:
        behind = f"{node.name.decode()}:0"
        node = nodes[_node_name(node.input[0].decode())]
    labels = f"{node.name.decode()}:0" if node.op.decode() in ("Slice", "StridedSlice", "ArgMax") else None
    while node.op.decode() in ("Slice", "StridedSlice", *_SHAPE_ONLY):
        node = nodes[_node_name(node.input[0].decode())]
    logits, stages = _resizes(nodes, node) if node.op.decode() == "ArgMax" else (None, ())
    if labels is None or behind is None:
        labels = behind = None
    any_size = not imported.symbols() or any(s.high is None for s in imported.symbols())
    return Cuts(imported.inputs[0].name, output, labels, behind, logits, stages, any_size)


def _resizes(nodes: dict[str, Any], arg_max: Any) -> tuple[str | None, tuple[Stage, ...]]:
    node = nodes[_node_name(arg_max.input[0].decode())]
    stages: list[Stage] = []
    while node.op.decode() in ("ResizeBilinear", "Identity"):
        if node.op.decode() == "ResizeBilinear":
            flags = {entry.key.decode(): entry.value.b for entry in node.attr}
            stages.append(
                Stage(
                    f"{node.name.decode()}:0",
                    bool(flags.get("align_corners", False)),
                    bool(flags.get("half_pixel_centers", False)),
                )
            )
        node = nodes[_node_name(node.input[0].decode())]
    return (f"{node.name.decode()}:0", tuple(reversed(stages))) if stages else (None, ())


def _node_name(tensor: str) -> str:
    return tensor.lstrip("^").partition(":")[0]
