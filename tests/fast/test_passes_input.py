"""Pre-processing of uint8 images: what goes into the first convolution, and what must not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from passes_kit import Maker, fires, graph_of, must_not_fire, ops_of, same_numbers
from smalti.ir import ops
from smalti.ir.dims import maximum, symbol
from smalti.ir.graph import Node
from smalti.ir.ops import BinaryFn, PadMode
from smalti.numerics import DType
from smalti.passes import input_scaling
from tolerance import Tol

H, W = symbol("H", 1, 20), symbol("W", 1, 24)
SIZES = {"H": 11, "W": 14}
NEAR = Tol.FLOAT(reduction=27, scale=27)
ADD, SUB, MUL, DIV = BinaryFn.ADD, BinaryFn.SUB, BinaryFn.MUL, BinaryFn.DIV


def image(m: Maker, *shape: object) -> Node:
    return m.input(*(shape or (1, H, W, 3)), dtype=DType.UINT8)  # type: ignore[arg-type]


def floats(m: Maker, *shape: object) -> Node:
    return m.op(ops.Cast(DType.FLOAT32), image(m, *shape))


def scale(m: Maker, x: Node, *steps: tuple[BinaryFn, object], left: bool = False) -> Node:
    for fn, value in steps:
        c = m.const(value)
        x = m.binary(fn, *((c, x) if left else (x, c)))
    return x


def padded(m: Maker, x: Node, value: float, mode: PadMode = PadMode.CONSTANT) -> Node:
    """Pad to 20 x 24 at the bottom right, as DeepLab's crop does; rank 3 or 4."""
    rows, columns = (maximum(20 - x.type.shape[-3], 0), maximum(24 - x.type.shape[-2], 0))
    amounts = ((0, 0),) * (x.type.rank - 3) + ((0, rows), (0, columns), (0, 0))
    return m.op(ops.Pad(amounts, mode, value), x)


INCEPTION = ((MUL, 2 / 255), (SUB, 1.0))


@pytest.mark.parametrize(
    ("steps", "offset"),
    [
        (INCEPTION, 127.5),
        (((DIV, 127.5), (SUB, 1.0)), 127.5),
        (((DIV, 127.5), (ADD, -1.0)), 127.5),
        (((SUB, 127.5), (DIV, 127.5)), 127.5),
        (((SUB, [127.5] * 3), (MUL, 1 / 128)), 127.5),
        (((SUB, [[[127.5] * 3]]), (ADD, 127.5), *INCEPTION), 127.5),
        (((DIV, 255.0),), 0.0),
        (((DIV, [255.0, 200.0, 100.0]),), 0.0),
        (((SUB, 123.68),), float(np.float32(123.68))),
        (((SUB, 123.68), (MUL, [0.017, 0.018, 0.019])), float(np.float32(123.68))),
        ((), 0.0),
    ],
)
@pytest.mark.parametrize("stride", [1, 2])
def test_arithmetic_goes_into_the_first_convolution(steps: object, offset: float, stride: int) -> None:
    m = Maker()
    x = scale(m, floats(m), *steps)  # type: ignore[misc]
    graph = graph_of(m.conv(x, 6, bias=True, stride=(stride, stride)))
    after = fires(input_scaling.fold, graph, Tol.FLOAT(reduction=27, scale=27 * 255 if not steps else 27 * 200), SIZES)
    (conv,) = ops_of(after, ops.Conv2d)
    assert isinstance(conv.op, ops.Conv2d)
    assert conv.op.input_offset == offset
    assert [type(n.op).__name__ for n in after.nodes()] == ["Input", "Constant", "Constant", "Conv2d"]


def test_a_constant_minus_the_image() -> None:
    m = Maker()
    x = scale(m, floats(m), (SUB, 255.0), left=True)
    after = fires(input_scaling.fold, graph_of(m.conv(x, 4)), Tol.FLOAT(reduction=27, scale=27 * 255), SIZES)
    assert after.outputs[0].op.input_offset == 255.0  # type: ignore[attr-defined]


Chain = Callable[[Maker], Node]


def deeplab(m: Maker) -> Node:
    """The pre-processing of DeepLab's exporter: squeeze, subtract the mean, pad with zero, add the mean, scale."""
    x = m.op(ops.Cast(DType.FLOAT32), m.op(ops.Reshape((H, W, 3)), image(m)))
    x = m.op(ops.Reshape((1, H, W, 3)), scale(m, x, (SUB, [[[127.5] * 3]])))
    x = m.op(ops.Reshape((20, 24, 3)), padded(m, x, 0.0))
    return scale(m, m.op(ops.Reshape((1, 20, 24, 3)), scale(m, x, (ADD, [127.5] * 3))), (MUL, 2 / 255), (SUB, 1.0))


PADDED: dict[str, Chain] = {
    "deeplab": deeplab,
    "pad bytes with 0": lambda m: scale(m, padded(m, floats(m), 0.0), (DIV, 255.0)),
    "pad with mean": lambda m: scale(m, padded(m, floats(m), 127.5), *INCEPTION),
    "pad at the end": lambda m: padded(m, scale(m, floats(m), *INCEPTION), 0.0),
    "two pads": lambda m: padded(
        m, m.op(ops.Pad(((0, 0), (1, 0), (0, 2), (0, 0))), scale(m, floats(m, 1, 9, 10, 3), *INCEPTION)), 0.0
    ),
    "rank 3 image": lambda m: m.op(
        ops.Reshape((1, 20, 24, 3)), scale(m, padded(m, floats(m, H, W, 3), 127.5), *INCEPTION)
    ),
}


@pytest.mark.parametrize("name", PADDED)
@pytest.mark.parametrize("stride", [1, 2])
def test_padding_with_the_mean_becomes_padding_of_the_convolution(name: str, stride: int) -> None:
    m = Maker()
    graph = graph_of(m.conv(PADDED[name](m), 6, stride=(stride, stride)))
    after = fires(input_scaling.fold, graph, NEAR, SIZES)
    assert not ops_of(after, ops.Pad, ops.Binary, ops.Cast)
    assert len(ops_of(after, ops.Reshape)) == (name == "rank 3 image") + 2 * (name == "deeplab")
    for size in ((1, 1), (20, 24), (19, 2)):
        same_numbers(graph, after, NEAR, dict(zip("HW", size, strict=True)))


def test_the_note_says_what_was_recognised() -> None:
    m = Maker()
    x = deeplab(m)
    _, notes = input_scaling.fold(graph_of(m.conv(x, 6), m.conv(x, 2)))
    assert notes == (
        "pre-processing: the first convolution reads the uint8 image itself, (image - 127.5) * 0.00784314, "
        "and pads it with that colour",
    )
    almost = scale(m, padded(m, floats(m), 0.0), (ADD, 2.0**-24))
    _, notes = input_scaling.fold(graph_of(m.conv(almost, 6)))
    assert "(the padding of the graph is 6e-08 there, ours is 0)" in notes[0]


REFUSED: dict[str, Chain] = {
    "black padding is not the mean": lambda m: scale(m, padded(m, floats(m), 0.0), *INCEPTION),
    "a colour in the padding": lambda m: padded(m, scale(m, floats(m), *INCEPTION), 0.5),
    "reflection": lambda m: padded(m, scale(m, floats(m, 1, 19, 23, 3), *INCEPTION), 0.0, PadMode.REFLECT),
    "a mean for each channel": lambda m: scale(m, floats(m), (SUB, [123.68, 116.78, 103.94])),
    "a mean image": lambda m: m.binary(SUB, floats(m, 1, 20, 24, 3), m.random(20, 24, 3, high=200)),
    "a scale of zero": lambda m: scale(m, floats(m), (MUL, 0.0), (SUB, 1.0)),
    "an infinite scale": lambda m: scale(m, floats(m), (MUL, np.inf)),
    "a float image": lambda m: scale(m, m.input(1, H, W, 3), *INCEPTION),
    "signed bytes": lambda m: m.op(ops.Cast(DType.FLOAT32), m.input(1, H, W, 3, dtype=DType.INT8)),
    "an activation on the way": lambda m: m.relu(scale(m, floats(m), *INCEPTION)),
    "padded channels": lambda m: m.op(ops.Pad(((0, 0),) * 3 + ((0, 1),)), floats(m)),
    "a padded batch": lambda m: m.op(ops.Pad(((0, 1),) + ((0, 0),) * 3), floats(m)),
    "a reshape that mixes axes": lambda m: m.op(ops.Reshape((1, 24, 20, 3)), floats(m, 1, 20, 24, 3)),
    "a transpose": lambda m: m.op(ops.Transpose((0, 2, 1, 3)), floats(m)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_chains_stay(name: str) -> None:
    m = Maker()
    must_not_fire(input_scaling.fold, graph_of(m.conv(REFUSED[name](m), 6)))


def test_only_plain_convolutions_take_bytes() -> None:
    m = Maker()
    x = scale(m, floats(m), *INCEPTION)
    must_not_fire(input_scaling.fold, graph_of(m.depthwise(x)))
    computed = m.op(ops.Conv2d(), x, m.input(1, 1, 3, 4, name="w:0"))
    must_not_fire(input_scaling.fold, graph_of(computed))
