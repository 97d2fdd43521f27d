"""Transposed convolutions: kernels, strides, paddings, both sizes that a stride allows, sizes computed in the graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import tensorflow as tf
from case import Case, constant, floats, placeholder, raw, rng_of


def _spread(size: int, kernel: int, stride: int, padding: str, missing: int) -> int:
    return size * stride - missing if padding == "SAME" else (size - 1) * stride + kernel + missing


def _case(
    name: str,
    image: tuple[int, int, int],
    kernel: tuple[int, int],
    out: int,
    stride: tuple[int, int],
    padding: str,
    missing: int = 0,
    pads: Sequence[int] = (),
    size: tuple[int, int] | None = None,
) -> Case:
    rng = rng_of(name)
    x, w = floats(rng, (1, *image)), floats(rng, (*kernel, out, image[2]), 0.5)
    made = size or tuple(_spread(n, k, s, padding, missing) for n, k, s in zip(image[:2], kernel, stride, strict=True))

    def build() -> list[tf.Tensor]:
        found = raw.Conv2DBackpropInput(
            input_sizes=constant([1, *made, out]),
            filter=constant(w),
            out_backprop=placeholder("x", x.shape),
            strides=[1, *stride, 1],
            padding=padding,
            explicit_paddings=list(pads),
        )
        return [found]

    return Case(name, build, [{"x": x}], f"float:{kernel[0] * kernel[1] * image[2]}")


def _any_size(name: str, kernel: int, stride: int, padding: str) -> Case:
    rng = rng_of(name)
    x, w = floats(rng, (1, 5, 7, 3)), floats(rng, (kernel, kernel, 4, 3), 0.5)

    def build() -> list[tf.Tensor]:
        image = placeholder("x", (1, None, None, 3))
        height, width = (tf.shape(image)[axis] * stride for axis in (1, 2))
        if padding == "VALID":
            height, width = height + max(kernel - stride, 0), width + max(kernel - stride, 0)
        sizes = tf.stack([1, height, width, 4])
        return [
            raw.Conv2DBackpropInput(
                input_sizes=sizes,
                filter=constant(w),
                out_backprop=image,
                strides=[1, stride, stride, 1],
                padding=padding,
            )
        ]

    more = floats(rng, (1, 4, 2, 3))
    return Case(name, build, [{"x": x}, {"x": more}], f"float:{kernel * kernel * 3}")


def cases() -> Iterator[Case]:
    """Return the cases."""
    for kernel in ((1, 1), (2, 2), (3, 3), (4, 4), (5, 3), (2, 7)):
        for stride in ((1, 1), (2, 2), (3, 3), (2, 1)):
            for padding in ("SAME", "VALID"):
                suffix = f"{padding.lower()}_k{kernel[0]}x{kernel[1]}_s{stride[0]}x{stride[1]}"
                yield _case(f"transposed/{suffix}", (4, 5, 3), kernel, 2, stride, padding)
                if min(stride) > 1:
                    yield _case(f"transposed/{suffix}_other", (4, 5, 3), kernel, 2, stride, padding, 1)
    explicit = (0, 0, 1, 2, 0, 1, 0, 0)
    yield _case("transposed/explicit", (4, 5, 3), (4, 3), 2, (2, 2), "EXPLICIT", 0, explicit, (7, 10))
    for channels in (1, 16, 33):
        yield _case(f"transposed/c{channels}_to_5", (3, 2, channels), (2, 2), 5, (2, 2), "VALID")
        yield _case(f"transposed/c3_to_{channels}", (3, 2, 3), (4, 4), channels, (2, 2), "SAME")
    for kernel, stride in ((2, 2), (3, 2), (4, 2), (16, 8)):
        for padding in ("SAME", "VALID"):
            yield _any_size(f"transposed/any_size_k{kernel}_s{stride}_{padding.lower()}", kernel, stride, padding)
