"""Import a graph for every image size, or for the sizes that the options ask for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from smalti.compiling.options import CompileOptions
from smalti.compiling.source import GraphFile, graph_file, import_file
from smalti.compiling.wrapping import with_pictures
from smalti.errors import DataError, GraphError, UsageError
from smalti.frontend.given import Shape, plain_shapes, shape_text
from smalti.frontend.importing.importer import Imported, ImportOptions
from smalti.ir.graph import Node
from smalti.ir.sizes import symbols_of

DEFAULT_INPUT_SIZE = 513
IMAGE_RANK = 4
_CHANNELS = (1, 3, 4)
_FITS = "at other sizes its tensors do not fit each other"


def import_shaped(graph: bytes | GraphFile, options: CompileOptions) -> Imported:
    """Import a graph for any image size, or for the sizes that the options ask for.

    Raises:
        GraphError: the graph is damaged or not supported.
        UsageError: the size is over the graph's own limit, or options about sizes contradict each other.
    """
    choice = ImportOptions(
        inputs=options.inputs,
        outputs=options.outputs,
        input_shapes=options.input_shapes,
        binds=options.binds,
        multiple=1 if options.pictures is None else options.pictures.pad_to_multiple,
        limits=options.limits,
        drop_dropout=options.drop_dropout,
    )
    shapes = plain_shapes(options.input_shapes)
    file = graph_file(graph)
    try:
        imported = import_file(file, choice)
    except GraphError:
        _check_limits(file, choice, shapes)
        raise
    fixed: dict[str, Shape] = {}
    side: int | None = None
    for node in imported.graph.inputs:
        limit = size_limit(node)
        if options.input_size is not None and limit is not None and options.input_size > limit:
            raise UsageError(
                f"--input-size {options.input_size} is over the limit of this graph, {limit} (it pads images to that)"
            )
        if node.name in shapes:
            _check_agreement(node, shapes[node.name], options)
        if not options.shape_mutable and _has_open_size(node):
            side = options.input_size or limit or DEFAULT_INPUT_SIZE
            padded = -(-side // choice.multiple) * choice.multiple
            step = _step(node)
            if options.input_size is None and options.pictures is None:
                padded = -(-padded // step) * step
            if padded % step:
                raise UsageError(f"--input-size {side} is no multiple of {step}, which this graph needs: {_FITS}")
            fixed[node.name] = tuple(s if isinstance(s, int) else padded for s in node.type.shape)
        elif options.pictures is not None and _step(node) > 1:
            raise UsageError(
                f"this graph takes heights and widths that are multiples of {_step(node)}: give --pad-to-multiple "
                f"{_step(node)}, which pads pictures of other sizes"
            )
    if fixed:
        imported = import_file(file, replace(choice, input_shapes={**shapes, **fixed}))
    return imported if options.pictures is None else with_pictures(imported, options.pictures, options.input_size, side)


def _step(node: Node) -> int:
    """Return what the open sizes of an input must be multiples of."""
    return math.lcm(*(s.multiple for size in node.type.shape for s in symbols_of(size)))


def _check_limits(file: GraphFile, choice: ImportOptions, shapes: Mapping[str, Shape]) -> None:
    """Say so where a graph cannot be imported because a given size is over its own limit."""
    if not shapes:
        return
    try:
        inputs = import_file(file, replace(choice, input_shapes={})).graph.inputs
    except (DataError, UsageError):
        return  # it cannot be imported without the shapes either: the first error stands
    for node in inputs:
        shape = shapes.get(node.name, ())
        for given, size in zip(shape, node.type.shape, strict=False):
            high = min((s.high for s in symbols_of(size) if s.high is not None), default=None)
            if given is not None and high is not None and given > high:
                raise UsageError(
                    f"--input-shape {node.name}={shape_text(shape)}: {given} is over the limit of this graph, {high} "
                    "(it pads images to that)"
                )


def _check_agreement(node: Node, shape: Shape, options: CompileOptions) -> None:
    """Refuse a shape that says another thing than ``--shape-mutable false``, ``--input-size`` or ``--batch-size``."""
    said = f"--input-shape {node.name}={shape_text(shape)}"
    if not options.shape_mutable and _has_open_size(node):
        raise UsageError(
            f"{said} leaves sizes open, but --shape-mutable false fixes them: give numbers for them, or leave one of "
            f"the two out"
        )
    if node.type.rank == IMAGE_RANK:
        sides = [s for s in image_sides(node) if isinstance(s, int)]
        if options.input_size is not None and any(side != options.input_size for side in sides):
            raise UsageError(
                f"{said} fixes the size of pictures, and --input-size {options.input_size} says another one: leave one "
                f"of the two out"
            )
        batch = node.type.shape[0]
        if options.batch_size is not None and batch not in (1, options.batch_size):
            raise UsageError(f"{said} has {batch} images in one call, but --batch-size is {options.batch_size}")


def image_sides(node: Node) -> tuple[object, object]:
    """Return height and width of an input [N, H, W, C] or [N, C, H, W]: numbers, or sizes known only at run time."""
    shape = node.type.shape
    return (shape[2], shape[3]) if channels_first(node) else (shape[1], shape[2])


def channels_first(node: Node) -> bool:
    """Whether an input of 4 dimensions has the channels of a picture at its second axis, and not at its last."""
    shape = node.type.shape
    return shape[1] in _CHANNELS and shape[3] not in _CHANNELS


def _has_open_size(node: Node) -> bool:
    return any(not isinstance(s, int) for s in node.type.shape)


def size_limit(node: Node) -> int | None:
    """Return the largest image side that a graph input takes, or ``None`` where nothing limits it."""
    highs = [s.high for size in node.type.shape for s in symbols_of(size)]
    if highs and all(h is not None for h in highs):
        return max(h for h in highs if h is not None)
    return None
