"""Nodes around an imported network: pictures uint8 [1, H, W, 3] go in, labels int32 [1, H, W] come out.

They are ordinary nodes before the first pass, so the passes fold the arithmetic into the first convolution and the
resize of the scores into the search for the largest.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from smalti.compiling.labelled import label_map
from smalti.compiling.pictures import CHANNELS, ChannelOrder, Fit, ImageLayout, LabelsFrom, PictureOptions
from smalti.errors import UsageError
from smalti.frontend.importing.importer import Imported
from smalti.frontend.report import SizeLimit, TensorInfo
from smalti.ir import ops
from smalti.ir.dims import Dim, symbol, symbol_of
from smalti.ir.graph import Graph, Node, TensorType
from smalti.ir.infer import constant, make_node
from smalti.ir.sizes import symbols_of
from smalti.numerics import DType

Size = int | Dim
_RANK: Final = 4
_TO_NCHW: Final = (0, 3, 1, 2)
_LAYOUTS: Final = {ImageLayout.NHWC: 3, ImageLayout.NCHW: 1}
_SYMBOLS: Final = ("H", "W")


def with_pictures(
    imported: Imported, options: PictureOptions, input_size: int | None, side: int | None = None
) -> Imported:
    """Return a graph that takes pictures and, unless ``labels_from`` is ``none``, gives labels.

    Args:
        imported: the network; where its sizes are open, they are multiples of ``pad_to_multiple``.
        options: what to put around it.
        input_size: the size that pictures are brought to, if one was given.
        side: height and width of all pictures, where a fixed size was asked for.

    Raises:
        UsageError: the network does not take one picture of three channels, an option does not fit it, or none of its
            outputs, or several, could be what labels are made of.
    """
    graph = imported.graph
    source = _only_input(graph)
    layout = _layout(source, options.layout)
    network = _sides(source, layout)
    picture = _picture_sides(network, options, input_size, side)
    image = make_node(ops.Input(), (), source.name, TensorType(DType.UINT8, (1, *picture, CHANNELS)))
    fed = _fed(image, source, layout, network, options)
    inner = graph.rebuild(lambda node, inputs: fed if node is source else replace(node, inputs=inputs))
    wrapped = replace(inner, inputs=(image,))
    notes = [_said(source, layout, options)]
    if options.labels_from is not LabelsFrom.NONE:
        labels, name, more = label_map(inner, options, layout is ImageLayout.NCHW, network, picture)
        wrapped = replace(wrapped, outputs=(labels,), output_names=(name,))
        notes += more
    report = replace(
        imported.report,
        inputs=tuple(TensorInfo(n.name, str(n.type)) for n in wrapped.inputs),
        outputs=tuple(
            TensorInfo(name, str(n.type)) for name, n in zip(wrapped.output_names, wrapped.outputs, strict=True)
        ),
        limits=tuple(SizeLimit(s.name, s.low, s.high, s.multiple) for s in wrapped.symbols()),
        notes=(*imported.report.notes, *notes),
    )
    return Imported(wrapped, report)


def _only_input(graph: Graph) -> Node:
    found = graph.inputs
    if len(found) != 1 or found[0].type.rank != _RANK or found[0].type.shape[0] != 1:
        listed = ", ".join(f"{node.name} {node.type}" for node in found)
        raise UsageError(
            f"pictures can be put before a network with one input of 4 dimensions, for one picture; this one has "
            f"{listed}: choose it with --inputs, or leave the options about pictures out"
        )
    return found[0]


def _layout(source: Node, stated: ImageLayout) -> ImageLayout:
    shape = source.type.shape
    fitting = [layout for layout, axis in _LAYOUTS.items() if shape[axis] == CHANNELS]
    if stated is not ImageLayout.AUTO:
        fitting = [layout for layout in fitting if layout is stated]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UsageError(f"{source.name} {source.type} may have its channels first or last: say --layout nchw or nhwc")
    said = "" if stated is ImageLayout.AUTO else f" with --layout {stated.value}"
    raise UsageError(
        f"{source.name} {source.type} does not have the 3 channels of a picture{said}: leave the options about "
        "pictures out and call engine.run() in Python with arrays of that kind"
    )


def _sides(source: Node, layout: ImageLayout) -> tuple[Size, Size]:
    shape = source.type.shape
    return (shape[1], shape[2]) if layout is ImageLayout.NHWC else (shape[2], shape[3])


def _picture_sides(
    network: tuple[Size, Size], options: PictureOptions, input_size: int | None, side: int | None
) -> tuple[Size, Size]:
    """Return the height and width of the pictures that the network's input is made of, by padding if they differ."""
    if side is not None and options.resize is Fit.FIT:
        raise UsageError(
            "--resize fit keeps the proportions of pictures, so their sizes must be open: leave out --shape-mutable "
            "false, or say --resize stretch"
        )
    height, width = network
    if not isinstance(height, int) or not isinstance(width, int):
        sides = _picture_side(height), _picture_side(width)
        is_open = any(s.high is None for side in sides for s in symbols_of(side))
        if options.resize in (Fit.FIT, Fit.STRETCH) and input_size is None and is_open:
            raise UsageError(f"--resize {options.resize.value} needs a size, and the graph has none: give --input-size")
        return sides
    if side is not None:
        return side, side
    if options.pad_to_multiple > 1 and (height % options.pad_to_multiple or width % options.pad_to_multiple):
        raise UsageError(
            f"--pad-to-multiple {options.pad_to_multiple} is for open sizes, and this graph takes {height} x {width}: "
            "leave it out"
        )
    if options.resize is not Fit.FIT:
        return height, width
    if height != width:
        raise UsageError(f"--resize fit is for squares, and this graph takes {height} x {width}: say --resize stretch")
    if input_size is not None and input_size > height:
        raise UsageError(f"--input-size {input_size} is over the size of this graph, {height} x {width}")
    high, wide = (symbol(name, 1, height) for name in _SYMBOLS)
    return high, wide


def _picture_side(size: Size) -> Size:
    """Return the size that a multiple was made of."""
    found = tuple(symbols_of(size))
    return size if len(found) != 1 else symbol_of(found[0])


def _fed(image: Node, source: Node, layout: ImageLayout, network: tuple[Size, Size], options: PictureOptions) -> Node:
    """Return what the network reads, made of a picture: order, padding, numbers, layout."""
    x, name = image, source.name
    if options.channel_order is ChannelOrder.BGR:
        flip = ops.Slice((0, 0, 0, CHANNELS - 1), image.type.shape, (1, 1, 1, -1))
        x = make_node(flip, (x,), f"{name}/bgr")
    takes_bytes = source.type.dtype is DType.UINT8
    if options.pad_value is not None or takes_bytes:
        x = _padded(x, network, float(options.pad_value or 0), name)
    if takes_bytes:
        if options.says_numbers:
            raise UsageError(f"{name} takes the bytes of a picture: leave out --preset, --scale, --mean and --std")
    else:
        x = _numbers(x, source, options)
        x = _padded(x, network, 0.0, name)
        if source.type.dtype is not DType.FLOAT32:
            x = make_node(ops.Cast(source.type.dtype), (x,), f"{name}/{source.type.dtype.value}")
    if layout is ImageLayout.NCHW:
        x = make_node(ops.Transpose(_TO_NCHW), (x,), f"{name}/nchw")
    return make_node(x.op, x.inputs, name, source.type) if x is not image else image


def _numbers(x: Node, source: Node, options: PictureOptions) -> Node:
    name = source.name
    if not source.type.dtype.is_float:
        raise UsageError(f"{name} takes {source.type.dtype.value}, which no option about pictures makes of their bytes")
    if not options.says_numbers:
        raise UsageError(
            f"{name} takes {source.type.dtype.value}: say how the bytes of a picture become that, with --preset "
            "imagenet, tf (-1 to 1), zero-one or none (the bytes), or with --scale, --mean and --std"
        )
    factors, summands = options.arithmetic
    x = make_node(ops.Cast(DType.FLOAT32), (x,), f"{name}/float")
    if any(factor != 1 for factor in factors):
        x = make_node(ops.Binary(ops.BinaryFn.MUL), (x, _vector(factors, f"{name}/factor")), f"{name}/scaled")
    if any(summands):
        x = make_node(ops.Binary(ops.BinaryFn.ADD), (x, _vector(summands, f"{name}/summand")), f"{name}/shifted")
    return x


def _vector(values: tuple[float, ...], name: str) -> Node:
    same = len(set(values)) == 1
    return constant(np.asarray(values[0] if same else values, np.float32), name)


def _padded(x: Node, network: tuple[Size, Size], value: float, name: str) -> Node:
    height, width = x.type.shape[1:3]
    if (height, width) == network:
        return x
    amounts = ((0, 0), (0, network[0] - height), (0, network[1] - width), (0, 0))
    return make_node(ops.Pad(amounts, value=value), (x,), f"{name}/padded")


def _said(source: Node, layout: ImageLayout, options: PictureOptions) -> str:
    """Return in words what the network's input is made of."""
    order = options.channel_order.value.upper()
    if source.type.dtype is DType.UINT8:
        return f"pictures: bytes, {order}, {layout.value.upper()}"
    factors, summands = options.arithmetic
    added = f" + {_shown(summands)}" if any(summands) else ""
    return f"pictures: byte * {_shown(factors)}{added}, {order}, {layout.value.upper()}"


def _shown(values: tuple[float, ...]) -> str:
    texts = [f"{value:.6g}" for value in values]
    return texts[0] if len(set(texts)) == 1 else f"[{', '.join(texts)}]"
