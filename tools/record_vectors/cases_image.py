"""Batch norm, pooling, resizes, space/batch/depth moves, argmax over classes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from case import EXACT, Case, constant, floats, placeholder, raw, rng_of, unary_case

SIZES = ((5, 7), (9, 13), (4, 4), (5, 13), (17, 4), (1, 1), (10, 14), (33, 2))


def _batch_norm_case(version: int, epsilon: float, nchw: bool = False) -> Case:
    name = f"batch_norm/v{version}_{epsilon}{'_nchw' if nchw else ''}"
    rng = rng_of(name)
    x = floats(rng, (2, 4, 3, 5), 3.0)
    params = [
        floats(rng, (5,)),
        floats(rng, (5,)),
        floats(rng, (5,)),
        np.abs(floats(rng, (5,), 2.0)) + np.float32(1e-4),
    ]
    operation = {1: raw.FusedBatchNorm, 2: raw.FusedBatchNormV2, 3: raw.FusedBatchNormV3}[version]
    feed = np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if nchw else x

    def apply(image: tf.Tensor, data_format: str) -> tf.Tensor:
        scale, offset, mean, variance = (constant(p) for p in params)
        return operation(
            x=image,
            scale=scale,
            offset=offset,
            mean=mean,
            variance=variance,
            epsilon=epsilon,
            data_format=data_format,
            is_training=False,
        )[0]

    def build() -> list[tf.Tensor]:
        return [apply(placeholder("x", feed.shape), "NCHW" if nchw else "NHWC")]

    def answer() -> list[tf.Tensor]:
        image = tf.transpose(placeholder("x", feed.shape), [0, 2, 3, 1])
        return [tf.transpose(apply(image, "NHWC"), [0, 3, 1, 2])]

    return Case(name, build, [{"x": feed}], "float:4", answer if nchw else None)


def _pool_case(
    fn: str, size: tuple[int, int], stride: int, padding: str, image: tuple[int, int], dynamic: bool = False
) -> Case:
    name = f"pool/{fn}_{size[0]}x{size[1]}_s{stride}_{padding.lower()}_{image[0]}x{image[1]}{'_any' if dynamic else ''}"
    x = floats(rng_of(name), (1, *image, 3))
    window = {"ksize": [1, *size, 1], "strides": [1, stride, stride, 1], "padding": padding}
    shape = (1, None, None, 3) if dynamic else x.shape

    def apply(image_: tf.Tensor) -> tf.Tensor:
        return raw.AvgPool(value=image_, **window) if fn == "avg" else raw.MaxPool(input=image_, **window)

    return unary_case(name, x, apply, EXACT if fn == "max" else f"float:{size[0] * size[1]}", shape)


def _resize_cases() -> Iterator[Case]:
    for fn in ("bilinear", "nearest"):
        operation = raw.ResizeBilinear if fn == "bilinear" else raw.ResizeNearestNeighbor
        for mode, flags in (
            ("legacy", {}),
            ("align", {"align_corners": True}),
            ("half", {"half_pixel_centers": True}),
        ):
            for size in SIZES:
                for source in ((5, 7), (1, 3), (12, 9)):
                    name = f"resize/{fn}_{mode}_{source[0]}x{source[1]}_to_{size[0]}x{size[1]}"
                    x = floats(rng_of(name), (1, *source, 3))

                    def apply(x_, operation=operation, size=size, flags=flags):
                        return operation(images=x_, size=constant(list(size)), **flags)

                    yield unary_case(name, x, apply)
    image = rng_of("bytes").integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    for mode, flags in (("align", {"align_corners": True}), ("half", {"half_pixel_centers": True})):
        yield unary_case(
            f"resize/bilinear_uint8_{mode}", image, lambda x, f=flags: raw.ResizeBilinear(images=x, size=[9, 7], **f)
        )
        yield unary_case(
            f"resize/nearest_uint8_{mode}",
            image,
            lambda x, f=flags: raw.ResizeNearestNeighbor(images=x, size=[9, 7], **f),
        )
    labels = image.astype(np.int32)
    yield unary_case("resize/nearest_int32", labels, lambda x: raw.ResizeNearestNeighbor(images=x, size=[3, 11]))
    rng = rng_of("up8")
    for channels in (1, 21):
        x = floats(rng, (1, 9, 7, channels), 4.0)
        yield unary_case(
            f"resize/bilinear_align_up8_c{channels}",
            x,
            lambda y: raw.ResizeBilinear(images=y, size=[65, 49], align_corners=True),
        )
    yield unary_case(
        "resize/size_from_shape",
        floats(rng, (1, 7, 9, 2)),
        lambda x: raw.ResizeBilinear(images=x[:, ::2, ::2], size=tf.shape(x)[1:3], align_corners=True),
        shape=(1, None, None, 2),
        more=[floats(rng, (1, 12, 5, 2))],
    )


def _label_case(name: str, steps: int, dtype: tf.DType, any_size: bool) -> Case:
    """The end of a segmentation network: one or two resizes, argmax, a crop."""
    rng = rng_of(name)
    feeds = [{"x": floats(rng, (1, 5, 7, 21))}]
    if any_size:
        feeds.append({"x": floats(rng, (1, 8, 3, 21))})

    def build() -> list[tf.Tensor]:
        x = placeholder("x", (1, None, None, 21) if any_size else (1, 5, 7, 21))
        size = (tf.shape(x)[1:3] - 1) * 4 + 1 if any_size else constant([17, 25])
        for _ in range(steps):
            x = raw.ResizeBilinear(images=x, size=size, align_corners=True)
            size = size + 3
        labels = raw.ArgMax(input=x, dimension=constant(3), output_type=dtype)
        return [tf.cast(labels[:, :11, :13], tf.int32)]

    return Case(name, build, feeds)


def _block_cases() -> Iterator[Case]:
    rng = rng_of("blocks")
    for block in (2, 3):
        x = floats(rng, (2, 2 * block, 3 * block, 5))
        yield unary_case(f"space_to_depth/{block}", x, lambda y, b=block: raw.SpaceToDepth(input=y, block_size=b))
        z = floats(rng, (2, 3, 2, 2 * block * block))
        yield unary_case(f"depth_to_space/{block}", z, lambda y, b=block: raw.DepthToSpace(input=y, block_size=b))
    for name, operation, x in (
        ("space_to_depth", raw.SpaceToDepth, floats(rng, (1, 4, 6, 3))),
        ("depth_to_space", raw.DepthToSpace, floats(rng, (1, 2, 3, 12))),
    ):
        feed = np.ascontiguousarray(x.transpose(0, 3, 1, 2))

        def build(operation=operation, feed=feed):
            return [operation(input=placeholder("x", feed.shape), block_size=2, data_format="NCHW")]

        def answer(operation=operation, feed=feed):
            image = tf.transpose(placeholder("x", feed.shape), [0, 2, 3, 1])
            return [tf.transpose(operation(input=image, block_size=2), [0, 3, 1, 2])]

        yield Case(f"{name}/nchw", build, [{"x": feed}], EXACT, answer)
    for block, pads in (((2, 2), [[0, 1], [0, 0]]), ((3, 2), [[1, 0], [2, 1]]), ((4, 4), [[4, 1], [5, 2]])):
        x = floats(rng, (2, 5 if block != (4, 4) else 3, 6 if block != (4, 4) else 5, 3))
        if block == (3, 2):
            x = x[:, :, :5]
        yield unary_case(
            f"space_to_batch/{block[0]}x{block[1]}",
            np.ascontiguousarray(x),
            lambda y, b=block, p=pads: raw.SpaceToBatchND(input=y, block_shape=constant(list(b)), paddings=constant(p)),
        )
        z = floats(rng, (block[0] * block[1] * 2, 3, 4, 2))
        yield unary_case(
            f"batch_to_space/{block[0]}x{block[1]}",
            z,
            lambda y, b=block: raw.BatchToSpaceND(
                input=y, block_shape=constant(list(b)), crops=constant([[1, 0], [1, 2]])
            ),
        )


def cases() -> Iterator[Case]:
    """Return the cases."""
    for version in (1, 2, 3):
        for epsilon in (1e-3, 1e-5):
            yield _batch_norm_case(version, epsilon)
    yield _batch_norm_case(3, 1e-3, nchw=True)
    for fn in ("avg", "max"):
        for size in ((2, 2), (3, 3), (3, 2), (5, 7)):
            for stride in (1, 2):
                for padding in ("SAME", "VALID"):
                    yield _pool_case(fn, size, stride, padding, (9, 7))
        yield _pool_case(fn, (3, 3), 2, "SAME", (8, 10), dynamic=True)
        yield _pool_case(fn, (8, 8), 1, "VALID", (8, 8))
    yield from _resize_cases()
    yield from _block_cases()
    rng = rng_of("argmax")
    scores = np.round(floats(rng, (2, 5, 4, 7)) * 2) / 2
    for axis in (0, 1, 3, -1):
        for dtype in (tf.int32, tf.int64):
            yield unary_case(
                f"argmax/axis{axis}_{dtype.name}",
                scores,
                lambda x, a=axis, d=dtype: raw.ArgMax(input=x, dimension=constant(a), output_type=d),
            )
    yield unary_case("argmax/equal", np.zeros((1, 3, 4, 21), np.float32), lambda x: raw.ArgMax(input=x, dimension=3))
    for steps in (1, 2):
        for dtype in (tf.int32, tf.int64):
            for any_size in (False, True):
                yield _label_case(
                    f"labels/resize{steps}_{dtype.name}_{'any' if any_size else 'fixed'}", steps, dtype, any_size
                )
