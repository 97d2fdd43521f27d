"""Constants in every encoding, data movement, sizes computed in the graph, control flow with constant predicates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from case import Case, constant, floats, placeholder, raw, rng_of, unary_case
from tensorflow.python.ops import gen_control_flow_ops as control

RNG = rng_of("shape")
X = floats(RNG, (3, 5, 4, 2))
IMAGES = [floats(RNG, (1, 7, 5, 3)), floats(RNG, (1, 4, 9, 3))]
ANY = (1, None, None, 3)


def _any_size(name: str, fn: Any, tolerance: str = "exact") -> Case:
    return unary_case(name, IMAGES[0], fn, tolerance, ANY, IMAGES[1:])


def _slice_cases() -> Iterator[Case]:
    slices = {
        "begin_end": lambda x: x[1:3, 2:, :3],
        "stride": lambda x: x[:, ::2, 1::3],
        "negative_begin": lambda x: x[-2:, -4:-1],
        "negative_stride": lambda x: x[::-1, :, ::-2],
        "beyond_the_end": lambda x: x[:9, 1:100],
        "ellipsis": lambda x: x[1, ..., :1],
        "ellipsis_middle": lambda x: x[1:, ..., ::-1],
        "new_axis": lambda x: x[:, tf.newaxis, 1:, ..., tf.newaxis],
        "shrink": lambda x: x[1, :, 2],
        "shrink_negative": lambda x: x[-1, -2, -3, -1],
        "empty": lambda x: x[:, 3:3],
    }
    for name, fn in slices.items():
        yield unary_case(f"strided_slice/{name}", X, fn)
    yield _any_size("strided_slice/of_unknown", lambda x: x[:, 1:-1, ::2])
    yield _any_size("strided_slice/every_other", lambda x: x[:, ::2, ::3, 1:])
    yield unary_case("slice/sizes", X, lambda x: tf.slice(x, [1, 0, 1, 0], [2, 3, 2, 1]))
    yield unary_case("slice/rest", X, lambda x: tf.slice(x, [1, 2, 0, 1], [-1, -1, 3, -1]))
    yield _any_size(
        "slice/size_from_shape", lambda x: tf.slice(x, [0, 0, 0, 0], tf.stack([1, (tf.shape(x)[1] + 1) // 2, -1, 3]))
    )


def _join_cases() -> Iterator[Case]:
    yield unary_case("pack/axis0", X, lambda x: tf.stack([x, x * np.float32(2)], 0))
    yield unary_case("pack/last", X, lambda x: tf.stack([x, x, x], -1))
    yield unary_case("unpack/axis0", X, lambda x: raw.Unpack(value=x, num=3, axis=0))
    yield unary_case("unpack/axis2", X, lambda x: raw.Unpack(value=x, num=4, axis=-2)[1:3])
    yield unary_case("split/equal", X, lambda x: raw.Split(axis=constant(2), value=x, num_split=2))
    yield unary_case(
        "split/sizes", X, lambda x: raw.SplitV(value=x, size_splits=constant([1, 3, 1]), axis=constant(1), num_split=3)
    )
    yield unary_case("concat/v1", X, lambda x: raw.Concat(concat_dim=constant(3), values=[x, x[..., :1]]))
    for axis in (0, 1, 3, -1):
        yield unary_case(f"concat/v2_axis{axis}", X, lambda x, a=axis: tf.concat([x, -x, x], a))
    yield _any_size("concat/channels_any_size", lambda x: tf.concat([x, x[..., :2]], 3))


def _form_cases() -> Iterator[Case]:
    for axis in (0, 2, -1):
        yield unary_case(f"expand_dims/{axis}", X[0], lambda x, a=axis: tf.expand_dims(x, a))
    thin = X[:1, :, :1]
    yield unary_case("squeeze/all", thin, lambda x: raw.Squeeze(input=x, axis=[]))
    yield unary_case("squeeze/some", thin, lambda x: raw.Squeeze(input=x, axis=[0, -2]))
    yield unary_case("reshape/constant", X, lambda x: tf.reshape(x, [5, 12, 2]))
    yield unary_case("reshape/infer", X, lambda x: tf.reshape(x, [-1, 8]))
    yield _any_size("reshape/from_shape", lambda x: tf.reshape(x, tf.stack([1, tf.shape(x)[1] * tf.shape(x)[2], 3])))
    yield _any_size("reshape/flatten", lambda x: tf.reshape(x, [-1]))
    for perm in ([0, 3, 1, 2], [3, 2, 1, 0], [0, 2, 1, 3]):
        yield unary_case(f"transpose/{''.join(map(str, perm))}", X, lambda x, p=perm: tf.transpose(x, p))
    yield unary_case("tile/constant", X[:, :, :1], lambda x: x + tf.fill([3, 5, 4, 2], np.float32(2.5)))
    yield _any_size("fill/from_shape", lambda x: x * tf.fill(tf.shape(x), np.float32(0.5)))
    yield _any_size(
        "range/from_shape", lambda x: x + tf.cast(tf.range(tf.shape(x)[2]), tf.float32)[:, tf.newaxis], "ulp:1"
    )
    yield unary_case("range/constant", X, lambda x: x + tf.cast(tf.range(0, 8, 4), tf.float32))
    yield _any_size("shape/int32", lambda x: tf.shape(x))
    yield _any_size("shape/int64", lambda x: tf.shape(x, out_type=tf.int64))
    yield _any_size("shape/arithmetic", lambda x: tf.maximum((tf.shape(x)[1:3] + 1) // 2 * 3 - 4, 5) % 7)
    yield unary_case("gather/v1", X, lambda x: raw.Gather(params=x, indices=constant([2, 0, 0, 1])))
    for axis in (0, 1, -1):
        indices = [[1, 0], [0, 1]]
        yield unary_case(
            f"gather/v2_axis{axis}", X, lambda x, a=axis, i=indices: raw.GatherV2(params=x, indices=i, axis=a)
        )
    numbers = np.array([[3, 0], [4, 4]], np.int32)
    values = floats(RNG, (6, 4))
    yield unary_case("gather/fed_indices", numbers, lambda x: raw.GatherV2(params=values, indices=x, axis=0))


def _pad_cases() -> Iterator[Case]:
    amounts = [[0, 0], [1, 2], [3, 0], [0, 1]]
    yield unary_case("pad/zeros", X, lambda x: raw.Pad(input=x, paddings=constant(amounts)))
    yield unary_case(
        "pad/value", X, lambda x: raw.PadV2(input=x, paddings=constant(amounts), constant_values=np.float32(127.5))
    )
    pixels = RNG.integers(0, 255, (1, 4, 3, 3)).astype(np.uint8)
    yield unary_case("pad/uint8", pixels, lambda x: raw.Pad(input=x, paddings=constant(amounts)))
    for mode in ("REFLECT", "SYMMETRIC"):
        yield unary_case(
            f"pad/{mode.lower()}", X, lambda x, m=mode: raw.MirrorPad(input=x, paddings=constant(amounts), mode=m)
        )
    # DeepLab's pad_to_bounding_box: the image less its mean, padded at run time, the mean added again.
    yield _any_size(
        "pad/to_multiple",
        lambda x: (
            tf.pad(x - np.float32(0.5), tf.stack([[0, 0], [0, -tf.shape(x)[1] % 4], [0, -tf.shape(x)[2] % 4], [0, 0]]))
            + np.float32(0.5)
        ),
        "ulp:1",
    )


def _constant_cases() -> Iterator[Case]:
    def case(name: str, value: np.ndarray, edit: Any) -> Case:
        def build() -> list[tf.Tensor]:
            stored = tf.compat.v1.constant(value, name="stored")
            shift = tf.cast(stored, tf.float32) if value.dtype != np.float32 else stored
            return [placeholder("x", value.shape) + shift]

        def change(graph_def: Any) -> None:
            node = next(n for n in graph_def.node if n.name == "stored")
            edit(node.attr["value"].tensor)

        return Case(f"const/{name}", build, [{"x": floats(rng_of(name), value.shape)}], edit=change)

    def values_of(field: str, count: int | None = None) -> Any:
        def edit(tensor: Any) -> None:
            values = tf.make_ndarray(tensor).ravel()[:count]
            tensor.ClearField("tensor_content")
            tensor.ClearField(field)
            if field == "half_val":
                values = values.view(np.uint16)
            getattr(tensor, field).extend(values.tolist())

        return edit

    ramp = np.arange(6).reshape(2, 3)
    splat = np.array([[1, 2, 3], [3, 3, 3]])
    for name, dtype, field in (
        ("float", np.float32, "float_val"),
        ("double", np.float64, "double_val"),
        ("half", np.float16, "half_val"),
        ("int32", np.int32, "int_val"),
        ("int64", np.int64, "int64_val"),
        ("uint8", np.uint8, "int_val"),
        ("bool", np.bool_, "bool_val"),
    ):
        values = (ramp % 2 if dtype is np.bool_ else ramp).astype(dtype)
        yield case(f"{name}_content", values, lambda tensor: None)
        yield case(f"{name}_values", values, values_of(field))
        if dtype is not np.bool_:
            yield case(f"{name}_tail_repeats", splat.astype(dtype), values_of(field, 3))
        yield case(f"{name}_splat", np.full((2, 3), 1, dtype), values_of(field, 1))
    yield case("float_no_values", np.zeros((2, 3), np.float32), lambda t: t.ClearField("tensor_content"))
    yield case("float_scalar", np.array(2.5, np.float32), lambda tensor: None)


def _control_cases() -> Iterator[Case]:
    def switch(taken: bool) -> Any:
        def fn(x: tf.Tensor) -> tf.Tensor:
            no, yes = control.switch(x, constant(taken))
            return control.merge([tf.nn.relu(no), tf.square(yes)])[0]

        return fn

    yield unary_case("control/switch_true", X, switch(True))
    yield unary_case("control/switch_false", X, switch(False))

    def asserted(x: tf.Tensor) -> tf.Tensor:
        height = tf.shape(x)[1]
        check = raw.Assert(condition=height > 0, data=[constant("too small"), height])
        with tf.control_dependencies([check, raw.NoOp()]):
            return raw.StopGradient(input=tf.identity(x)) + np.float32(1)

    yield _any_size("control/assert", asserted)
    yield unary_case("control/identity", X, lambda x: tf.identity(raw.StopGradient(input=x)))
    yield unary_case("control/two_results", X, lambda x: [tf.nn.relu(x), -x])


def cases() -> Iterator[Case]:
    """Return the cases."""
    yield from _slice_cases()
    yield from _join_cases()
    yield from _form_cases()
    yield from _pad_cases()
    yield from _constant_cases()
    yield from _control_cases()
