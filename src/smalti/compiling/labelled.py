"""The label map that is made of what a network gives: the largest of its channels, or a threshold of one."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from smalti.compiling.pictures import DEFAULT_THRESHOLD, LabelsFrom, OutputSize, PictureOptions
from smalti.errors import UsageError
from smalti.ir import ops
from smalti.ir.dims import Dim
from smalti.ir.graph import Graph, Node
from smalti.ir.infer import constant, make_node
from smalti.numerics import DType

Size = int | Dim
Sides = tuple[Size, Size]
_MAP_RANK: Final = 3
_RANK: Final = 4
_TO_NHWC: Final = (0, 2, 3, 1)
_MOVES: Final = (ops.Transpose, ops.Reshape, ops.Slice, ops.Cast, ops.Resize, ops.BroadcastTo)


def label_map(
    graph: Graph, options: PictureOptions, channels_first: bool, network: Sides, picture: Sides
) -> tuple[Node, str, list[str]]:
    """Return labels int32 [1, H, W] made of a graph's outputs, the output's name, and what to note.

    Args:
        graph: the network.
        options: what its scores are, and the size of the labels.
        channels_first: whether the network takes its channels first; outputs whose shape does not tell do so too.
        network: height and width of what the network reads.
        picture: those of the picture in it, at its top left.

    Raises:
        UsageError: no output, or several, could be meant, or the size cannot be made.
    """
    result, name = _chosen(graph, network)
    others = [other for other in graph.output_names if other != name]
    notes = [f"outputs left out: {', '.join(others)}"] if others else []
    is_scores = result.type.dtype.is_float
    x = _channels_last(result, name, channels_first, network)
    x, sized = _sized(x, name, is_scores, options, network, picture)
    if is_scores:
        x, how = _from_scores(x, result, name, options)
    else:
        _check_no_threshold(options, "gives labels", name)
        x, how = _flat(x, f"{name}/map"), "the values"
    if x.type.dtype is not DType.INT32:
        x = make_node(ops.Cast(DType.INT32), (x,), f"{name}/int32")
    wanted = picture if options.output_size is OutputSize.IMAGE else (x.type.shape[1], x.type.shape[2])
    if options.output_size is OutputSize.NETWORK and network != picture:
        if (x.type.shape[1], x.type.shape[2]) != network:
            raise UsageError(
                "--output-size network leaves no way to cut the padding of pictures off: leave it out, or "
                "--pad-to-multiple and --resize fit"
            )
        wanted = picture
    if (x.type.shape[1], x.type.shape[2]) != wanted:
        x = make_node(ops.Slice((0, 0, 0), (1, *wanted), (1, 1, 1)), (x,), f"{name}/cut")
    return x, name, [*notes, f"labels: {how} of {name}{sized}"]


def _chosen(graph: Graph, network: Sides) -> tuple[Node, str]:
    pairs = list(zip(graph.outputs, graph.output_names, strict=True))
    maps = [(node, name) for node, name in pairs if _is_map(node)]
    found = maps or [(node, name) for node, name in pairs if _is_scores(node, network)]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{name} {node.type}" for node, name in pairs)
    problem = "several outputs could be what labels are made of" if found else "no output gives a value for each pixel"
    raise UsageError(
        f"{problem}: {listed}; name one with --outputs, or leave the outputs as they are with --labels-from none"
    )


def _is_map(node: Node) -> bool:
    return node.type.dtype.is_integer and node.type.rank in (_MAP_RANK, _RANK) and node.type.shape[0] == 1


def _is_scores(node: Node, network: Sides) -> bool:
    shape = node.type.shape
    if not node.type.dtype.is_float or not shape or shape[0] != 1:
        return False
    if node.type.rank == _MAP_RANK:  # one value for each pixel, unlike the boxes of a detector
        return shape[1] * network[1] == shape[2] * network[0]
    return node.type.rank == _RANK


def _channels_last(node: Node, name: str, channels_first: bool, network: Sides) -> Node:
    """Return what an output gives as [1, H, W, C]."""
    shape = node.type.shape
    if node.type.rank == _MAP_RANK:
        return make_node(ops.Reshape((*shape, 1)), (node,), f"{name}/channel")
    last, first = (shape[1], shape[2]) == network, (shape[2], shape[3]) == network
    if last == first:
        last, first = (_is_channel(shape[3], shape[1:3]), _is_channel(shape[1], shape[2:4]))
    if first if last != first else channels_first:
        return make_node(ops.Transpose(_TO_NHWC), (node,), f"{name}/nhwc")
    return node


def _is_channel(size: Size, sides: tuple[Size, ...]) -> bool:
    return isinstance(size, int) and all(not isinstance(side, int) or size < side for side in sides)


def _sized(
    x: Node, name: str, is_scores: bool, options: PictureOptions, network: Sides, picture: Sides
) -> tuple[Node, str]:
    """Return an output at the size that the network read, unless its own is wanted."""
    own = (x.type.shape[1], x.type.shape[2])
    if options.output_size is OutputSize.NETWORK or own == network:
        return x, "" if network == picture else ", cut to the picture"
    fn = ops.ResizeFn.BILINEAR if is_scores else ops.ResizeFn.NEAREST
    corners = all(_meets_corners(few, many) for few, many in zip(own, network, strict=True))
    resize = ops.Resize(fn, network, align_corners=corners, half_pixel_centers=not corners)
    resized = make_node(resize, (x,), f"{name}/resized")
    how = f"{fn.value}, {'corners on corners' if corners else 'half-pixel centres'}"
    text = f", resized ({how}) from {own[0]} x {own[1]} to {network[0]} x {network[1]}"
    return resized, text if network == picture else f"{text} and cut to the picture"


def _meets_corners(few: Size, many: Size) -> bool:
    """Whether results lie at every n-th pixel from the first to the last one, as at 8 k + 1 pixels with a stride of 8.

    The resizes in DeepLab's own graphs, which take such sizes, align corners too.  At multiples of the stride a result
    stands for a square of pixels instead, and half-pixel centres are meant.
    """
    if not (isinstance(few, int) and isinstance(many, int)) or few < 2:
        return few == many
    return many % few != 0 and (many - 1) % (few - 1) == 0


def _from_scores(x: Node, result: Node, name: str, options: PictureOptions) -> tuple[Node, str]:
    classes = x.type.shape[3]
    if classes != 1:
        _check_no_threshold(options, f"has {classes} channels, of which the largest is taken", name)
        return make_node(ops.ArgMax(3, DType.INT32), (x,), f"{name}/labels"), f"the largest of {classes} channels"
    kind = options.labels_from
    if kind is LabelsFrom.AUTO:
        kind = LabelsFrom.PROBABILITIES if _ends_in_sigmoid(result) else LabelsFrom.LOGITS
    t = DEFAULT_THRESHOLD if options.threshold is None else options.threshold
    bound = t if kind is LabelsFrom.PROBABILITIES else math.log(t / (1 - t))
    limit = constant(np.asarray(bound, x.type.dtype.numpy), f"{name}/threshold")
    above = make_node(ops.Binary(ops.BinaryFn.GREATER), (x, limit), f"{name}/above")
    as_labels = make_node(ops.Cast(DType.INT32), (above,), f"{name}/labels")
    return _flat(as_labels, f"{name}/map"), f"1 where the probability is above {t:g}, of the {kind.value}"


def _check_no_threshold(options: PictureOptions, why: str, name: str) -> None:
    if options.threshold is not None:
        raise UsageError(f"--threshold is for one channel of scores, and {name} {why}: leave it out")


def _ends_in_sigmoid(node: Node) -> bool:
    while isinstance(node.op, _MOVES) and node.inputs:
        node = node.inputs[0]
    return isinstance(node.op, ops.Unary) and node.op.fn is ops.UnaryFn.SIGMOID


def _flat(x: Node, name: str) -> Node:
    shape = x.type.shape
    if shape[3] != 1:
        raise UsageError(f"{name} has {shape[3]} channels of integers, so it is no label map: name another --outputs")
    return make_node(ops.Reshape(shape[:3]), (x,), name)
