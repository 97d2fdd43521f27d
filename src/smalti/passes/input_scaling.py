"""Pre-processing of a uint8 image goes into the convolution that reads it.

``conv(pad(float(u) * a + b))`` is a convolution of ``u - offset`` with weights ``w * a``, where ``offset = -b / a``.
The graph may pad the image at any point of the arithmetic (DeepLab pads with the mean colour); that is the zero padding
of a convolution exactly when the padded value is zero after the rest of the arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from smalti.ir import ops
from smalti.ir.dims import Dim
from smalti.ir.graph import Graph, Node
from smalti.ir.infer import make_node
from smalti.ir.ops import PadMode
from smalti.ir.schema import eval_op
from smalti.numerics import DType
from smalti.passes.batchnorm import as_affine
from smalti.passes.match import Double, conv_weights, no_pads, rounded, value_of, widened
from smalti.passes.pads import add_pads
from smalti.passes.rewrite import Context, Rule, rewrite

TOLERANCE = 2.0**-22
"""Largest value that counts as zero: one rounding of arithmetic on numbers between 1 and 2."""

NO_PADS: ops.Pads = (0, 0, 0, 0)


def fold(graph: Graph) -> tuple[Graph, tuple[str, ...]]:
    """Fold the pre-processing of uint8 images into the convolutions that read them."""
    chains: list[_Chain] = []
    graph, stats = rewrite(graph, [replace(rule, function=partial(_conv_of_bytes, found=chains)) for rule in RULES])
    return graph, tuple(dict.fromkeys(_note(chain) for chain in chains[: stats.total]))


@dataclass(frozen=True, slots=True)
class _Chain:
    """Arithmetic between a uint8 image and a convolution: ``image * scale + shift``, then the padding."""

    image: Node
    scale: Double
    shift: Double
    pads: ops.Pads
    inexact: float

    @property
    def offset(self) -> float | None:
        """The number with which ``(u - offset) * scale`` is ``u * scale + shift`` in every channel, if there is one."""
        if not bool(np.all(np.isfinite(self.scale) & np.isfinite(self.shift) & (self.scale != 0))):
            return None
        bound = TOLERANCE * max(1.0, float(np.abs(self.shift).max()))
        with np.errstate(over="ignore", invalid="ignore"):
            exact = -self.shift[0] / self.scale[0]
            for candidate in (np.rint(exact * 2) / 2, float(np.float32(exact))):
                if bool(np.all(np.abs(candidate * self.scale + self.shift) <= bound)):
                    return float(candidate)
        return None


def _note(chain: _Chain) -> str:
    low, high = float(chain.scale.min()), float(chain.scale.max())
    factor = f"{low:.6g}" if low == high else f"{low:.6g} to {high:.6g}"
    text = f"pre-processing: the first convolution reads the uint8 image itself, (image - {chain.offset:g}) * {factor}"
    if not no_pads(chain.pads):
        text += ", and pads it with that colour"
    if chain.inexact:
        text += f" (the padding of the graph is {chain.inexact:.1g} there, ours is 0)"
    return text


def _walk(x: Node, channels: int) -> _Chain | None:
    """Follow the arithmetic from the input ``x`` of a convolution up to the uint8 image."""
    node, pads, inexact = x, NO_PADS, 0.0
    steps: list[Node] = []
    scale, shift = np.ones(channels), np.zeros(channels)
    axes: tuple[int | None, ...] = (0, 1, 2, 3)
    while not (isinstance(node.op, ops.Cast) and node.inputs[0].type.dtype is DType.UINT8):
        if isinstance(node.op, ops.Binary):
            affine = as_affine(node, channels) if axes[-1] == 3 or channels == 1 else None
            if affine is None:
                return None
            upper, factor, added = affine
            shift = shift + scale * added
            scale = scale if factor is None else scale * factor
            steps.append(node)
            node = upper
        elif isinstance(node.op, ops.Pad):
            more = _pads_of(node.op, axes)
            rest = _padding_after(node.op.value, steps)
            if more is None or not rest <= TOLERANCE:
                return None
            inexact = max(inexact, rest)
            pads = add_pads(pads, more)
            node = node.inputs[0]
        elif isinstance(node.op, ops.Reshape):
            moved = _axes_above(node, axes)
            if moved is None:
                return None
            axes, node = moved, node.inputs[0]
        else:
            return None
    if node.type.dtype is not DType.FLOAT32:
        return None
    return _Chain(node.inputs[0], scale, shift, pads, inexact)


def _pads_of(op: ops.Pad, axes: tuple[int | None, ...]) -> ops.Pads | None:
    if op.mode is not PadMode.CONSTANT:
        return None
    pads: list[int | Dim] = [0, 0, 0, 0]
    for axis, (before, after) in zip(axes, op.amounts, strict=True):
        if axis in (1, 2):
            pads[2 * axis - 2], pads[2 * axis - 1] = before, after
        elif (before, after) != (0, 0):
            return None
    return pads[0], pads[1], pads[2], pads[3]


def _padding_after(value: float, steps: list[Node]) -> float:
    """Return the largest magnitude of a padded value after ``steps`` (last one first), as the graph computes it."""
    current = np.full(1, value, np.float32)
    for step in reversed(steps):
        operands = [value_of(n) for n in step.inputs]
        flat = [current if v is None else v.reshape(-1) for v in operands]
        current = eval_op(step.op, flat, {})
    return float(np.abs(current).max())


def _axes_above(node: Node, axes: tuple[int | None, ...]) -> tuple[int | None, ...] | None:
    """Return the meaning of the axes of a Reshape's operand if the Reshape only adds or drops axes of size 1."""
    above, below = node.inputs[0].type.shape, node.type.shape
    kept = [(size, axis) for size, axis in zip(below, axes, strict=True) if size != 1]
    if [size for size in above if size != 1] != [size for size, _ in kept]:
        return None
    meaning = iter(axis for _, axis in kept)
    return tuple(None if size == 1 else next(meaning) for size in above)


def _conv_of_bytes(node: Node, context: Context, found: list[_Chain] | None = None) -> Node | None:
    op, weights = node.op, conv_weights(node)
    x = node.inputs[0]
    if weights is None or not isinstance(op, ops.Conv2d) or x.type.dtype is not DType.FLOAT32 or op.input_offset != 0:
        return None
    chain = _walk(x, weights.shape[2])
    offset = chain.offset if chain is not None else None
    if chain is None or offset is None:
        return None
    n, height, width, channels = x.type.shape
    top, bottom, left, right = chain.pads
    shape = (n, height - top - bottom, width - left - right, channels)
    image = chain.image
    if image.type.shape != shape:
        image = make_node(ops.Reshape(shape), (image,), f"{image.name}/image")
    w = rounded(widened(weights) * chain.scale[:, None], node.weights, node.weights.name)
    folded = replace(op, pads=add_pads(op.pads, chain.pads), input_offset=offset)
    result = make_node(folded, (image, w, *node.inputs[2:]), node.name)
    if result.type != node.type:
        return None
    if found is not None:
        found.append(chain)
    return result


RULES: tuple[Rule, ...] = (
    Rule("conv(pad(float(u) * a + b), w) = conv(u - offset, w * a) with the padding", (ops.Conv2d,), _conv_of_bytes),
)
