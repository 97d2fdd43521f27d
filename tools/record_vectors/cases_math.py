"""Elementwise functions, casts, comparisons, reductions, products, activations, dequantisation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from case import EXACT, Case, binary_case, constant, floats, placeholder, raw, rng_of, unary_case

INT = np.int32


def _unary_cases() -> Iterator[Case]:
    rng = rng_of("unary")
    x = np.concatenate([floats(rng, (60,), 3.0), np.float32([0, 1, -1, 6, 6.5, -0.5, 1e-30, -1e-30, 3e4, -80])])
    positive = np.abs(x) + np.float32(1e-6)
    small = np.clip(x, -80, 60)
    table = (
        ("neg", raw.Neg, x, EXACT),
        ("abs", raw.Abs, x, EXACT),
        ("square", raw.Square, small, EXACT),
        ("sqrt", raw.Sqrt, positive, "ulp:1"),
        ("rsqrt", raw.Rsqrt, positive, "ulp:2"),
        ("exp", raw.Exp, small, "ulp:2"),
        ("log", raw.Log, positive, "ulp:2"),
        ("floor", raw.Floor, x, EXACT),
        ("ceil", raw.Ceil, x, EXACT),
        ("round", raw.Round, np.concatenate([x, np.float32([0.5, 1.5, 2.5, -0.5, -1.5])]), EXACT),
        ("sigmoid", raw.Sigmoid, x, "ulp:4"),
        ("tanh", raw.Tanh, x, "ulp:6"),
        ("silu", lambda x: x * raw.Sigmoid(x=x), x, "ulp:6"),
        ("softplus", lambda x: raw.Softplus(features=x), x, "ulp:8"),
    )
    for name, operation, values, tolerance in table:
        yield unary_case(f"unary/{name}", values, lambda y, f=operation: f(x=y), tolerance)
    for name, operation in (("relu", raw.Relu), ("relu6", raw.Relu6), ("elu", raw.Elu)):
        # exp(x) - 1 near zero loses up to eps there, absolutely.
        tolerance = "float:1" if name == "elu" else EXACT
        values = small[np.abs(small) < 20] if name == "elu" else x
        yield unary_case(f"unary/{name}", values, lambda y, f=operation: f(features=y), tolerance)
    for alpha in (0.2, 0.01):
        yield unary_case(f"unary/leaky_relu{alpha}", x, lambda y, a=alpha: raw.LeakyRelu(features=y, alpha=a))
    integers = rng.integers(-50, 50, (20,)).astype(INT)
    for name, operation in (("neg", raw.Neg), ("abs", raw.Abs), ("square", raw.Square)):
        yield unary_case(f"unary/{name}_int32", integers, lambda y, f=operation: f(x=y))
    yield unary_case("unary/logical_not", rng.random((9,)) < 0.5, lambda y: raw.LogicalNot(x=y))
    image = floats(rng, (1, 4, 5, 3), 4.0)
    yield unary_case(
        "unary/hard_swish", image, lambda y: y * tf.nn.relu6(y + np.float32(3)) * np.float32(1 / 6), "ulp:1"
    )
    yield unary_case("unary/hard_sigmoid", image, lambda y: tf.nn.relu6(y + np.float32(3)) / np.float32(6))
    for shape in ((4, 21), (1, 3, 2, 7), (5,)):
        logits = floats(rng, shape, 5.0)
        if len(shape) == 2 or len(shape) == 4:
            yield unary_case(f"softmax/rank{len(shape)}", logits, lambda y: raw.Softmax(logits=y), "float:21")
        else:
            yield unary_case("softmax/rank1", logits, lambda y: raw.Softmax(logits=y), "float:21")


def _binary_cases() -> Iterator[Case]:
    rng = rng_of("binary")
    a, b = floats(rng, (3, 4, 5), 3.0), floats(rng, (3, 4, 5), 3.0)
    a[0, 0], b[0, 1] = b[0, 0], a[0, 1]
    for name in (
        "Add",
        "AddV2",
        "Sub",
        "Mul",
        "RealDiv",
        "Div",
        "FloorDiv",
        "FloorMod",
        "Maximum",
        "Minimum",
        "SquaredDifference",
        "Equal",
        "NotEqual",
        "Less",
        "LessEqual",
        "Greater",
        "GreaterEqual",
    ):
        operation = getattr(raw, name)
        yield binary_case(f"binary/{name}", a, b, lambda x, y, f=operation: f(x=x, y=y))
        yield binary_case(f"binary/{name}_row", a, b[0, 0], lambda x, y, f=operation: f(x=x, y=y))
        yield binary_case(f"binary/{name}_scalar", b[0, 0, 0], a, lambda x, y, f=operation: f(x=x, y=y))
        if name in ("RealDiv", "Div", "SquaredDifference"):
            continue
        i, j = rng.integers(-20, 20, (6, 5)).astype(INT), rng.integers(1, 7, (6, 5)).astype(INT)
        j = np.where(rng.random(j.shape) < 0.5, -j, j).astype(INT)
        yield binary_case(f"binary/{name}_int32", i, j, lambda x, y, f=operation: f(x=x, y=y))
    yield binary_case("binary/outer", a[:, :1], b[:1, :, :1], lambda x, y: raw.AddV2(x=x, y=y))
    p, q = rng.random((4, 6)) < 0.5, rng.random((4, 6)) < 0.5
    yield binary_case("binary/LogicalAnd", p, q, lambda x, y: raw.LogicalAnd(x=x, y=y))
    yield binary_case("binary/LogicalOr", p, q[0], lambda x, y: raw.LogicalOr(x=x, y=y))
    bias = floats(rng, (5,))
    yield unary_case("binary/BiasAdd", a[None], lambda x: raw.BiasAdd(value=x, bias=constant(bias)))
    yield binary_case("binary/BiasAdd_fed", a[None], bias, lambda x, y: raw.BiasAdd(value=x, bias=y))


def _select_cases() -> Iterator[Case]:
    rng = rng_of("select")
    a, b = floats(rng, (4, 3, 2)), floats(rng, (4, 3, 2))
    mask = rng.random((4, 3, 2)) < 0.5

    def case(name: str, condition: np.ndarray, operation: object, x: np.ndarray, y: np.ndarray) -> Case:
        def build() -> list[tf.Tensor]:
            c, p, q = placeholder("c", condition.shape, tf.bool), placeholder("x", x.shape), placeholder("y", y.shape)
            if operation is raw.Select:
                return [raw.Select(condition=c, x=p, y=q)]
            return [raw.SelectV2(condition=c, t=p, e=q)]

        return Case(name, build, [{"c": condition, "x": x, "y": y}])

    yield case("select/v1", mask, raw.Select, a, b)
    yield case("select/v1_rows", mask[:, 0, 0], raw.Select, a, b)
    yield case("select/v1_scalar", np.array(True), raw.Select, a, b)
    yield case("select/v2", mask, raw.SelectV2, a, b)
    yield case("select/v2_broadcast", mask[0], raw.SelectV2, a, b[:, :1])
    yield unary_case("select/of_comparison", a, lambda x: tf.where(x > 0, x, x * np.float32(0.25)))


def _cast_cases() -> Iterator[Case]:
    rng = rng_of("cast")
    sources = {
        "float32": np.concatenate([floats(rng, (20,), 60.0), np.float32([0, -0.9, 0.9, 1.5, -1.5, 126.99])]),
        "uint8": rng.integers(0, 256, (20,)).astype(np.uint8),
        "int32": rng.integers(-100, 100, (20,)).astype(INT),
        "int64": rng.integers(-100, 100, (20,)),
        "bool": rng.random((20,)) < 0.5,
        "float16": floats(rng, (20,), 9.0).astype(np.float16),
    }
    for source, values in sources.items():
        for target in ("float32", "int32", "int64", "bool", "uint8", "float16"):
            if target == source:
                continue
            allowed = np.abs(values) if target == "uint8" and values.dtype.kind in "if" else values
            yield unary_case(f"cast/{source}_to_{target}", allowed, lambda x, t=target: tf.cast(x, t))


def _reduce_cases() -> Iterator[Case]:
    rng = rng_of("reduce")
    x = floats(rng, (2, 5, 4, 3))
    for name in ("Sum", "Mean", "Max", "Min", "Prod"):
        operation = getattr(raw, name)
        for axes in ([1, 2], [3], [-1], [0, 2], [0, 1, 2, 3]):
            for keep in (True, False):
                terms = int(np.prod([x.shape[a] for a in axes]))
                scale = 8 if name == "Prod" else 1
                yield unary_case(
                    f"reduce/{name}_{'_'.join(str(a) for a in axes)}{'_keep' if keep else ''}",
                    x,
                    lambda y, f=operation, a=axes, k=keep: f(input=y, axis=constant(a), keep_dims=k),
                    EXACT if name in ("Max", "Min") else f"float:{terms * scale}",
                )
    integers = rng.integers(-9, 9, (4, 6)).astype(INT)
    for name in ("Sum", "Max"):
        operation = getattr(raw, name)
        yield unary_case(f"reduce/{name}_int32", integers, lambda y, f=operation: f(input=y, axis=1, keep_dims=False))
    yield unary_case(
        "reduce/global_pool_any_size",
        floats(rng, (1, 9, 6, 5)),
        lambda y: tf.reduce_mean(y, [1, 2], keepdims=True),
        "float:64",
        shape=(1, None, None, 5),
        more=[floats(rng, (1, 3, 4, 5))],
    )


def _running_sum_cases() -> Iterator[Case]:
    rng = rng_of("cumsum")
    for kind, values in (("float", floats(rng, (2, 5, 4))), ("int32", rng.integers(-99, 99, (2, 5, 4)).astype(INT))):
        for exclusive in (False, True):
            for axis, reverse in ((1, False), (-1, True), (0, False)):
                yield unary_case(
                    f"cumsum/{kind}_{axis}_{'reverse' if reverse else 'forward'}{'_exclusive' if exclusive else ''}",
                    values,
                    lambda y, a=axis, e=exclusive, r=reverse: raw.Cumsum(x=y, axis=a, exclusive=e, reverse=r),
                    "float:5" if kind == "float" else EXACT,
                )


def _product_cases() -> Iterator[Case]:
    rng = rng_of("product")
    for transpose_a in (False, True):
        for transpose_b in (False, True):
            a, b = floats(rng, (4, 7)), floats(rng, (7, 5))
            yield binary_case(
                f"matmul/{'t' if transpose_a else 'n'}{'t' if transpose_b else 'n'}",
                np.ascontiguousarray(a.T) if transpose_a else a,
                np.ascontiguousarray(b.T) if transpose_b else b,
                lambda x, y, ta=transpose_a, tb=transpose_b: raw.MatMul(a=x, b=y, transpose_a=ta, transpose_b=tb),
                "float:7",
            )
    weights = floats(rng, (33, 21))
    yield unary_case("matmul/constant", floats(rng, (3, 33)), lambda x: tf.linalg.matmul(x, weights), "float:33")


def _dequantize_cases() -> Iterator[Case]:
    rng = rng_of("dequantize")
    for kind, qtype, low, high in (("quint8", tf.quint8, 0, 256), ("qint8", tf.qint8, -128, 128)):
        values = rng.integers(low, high, (3, 3, 2, 4))
        values.flat[:2] = low, high - 1
        for mode in ("MIN_FIRST", "MIN_COMBINED", "SCALED"):
            for index, (least, most) in enumerate(((-1.5, 2.25), (-0.7, 0.7), (0.0, 6.0))):
                name = f"dequantize/{kind}_{mode.lower()}_{index}"

                def build(values=values, qtype=qtype, least=least, most=most, mode=mode):
                    stored = np.array(values, np.uint8 if qtype is tf.quint8 else np.int8)
                    weights = raw.Dequantize(
                        input=_quantized(stored, qtype),
                        min_range=constant(np.float32(least)),
                        max_range=constant(np.float32(most)),
                        mode=mode,
                    )
                    return [placeholder("x", values.shape) + weights]

                # TensorFlow rounds twice in this mode.
                tolerance = "float:1" if (kind, mode) == ("qint8", "MIN_FIRST") else EXACT
                yield Case(name, build, [{"x": np.zeros(values.shape, np.float32)}], tolerance)


def _quantized(values: np.ndarray, qtype: tf.DType) -> tf.Tensor:
    """Add a constant of a quantised type (numpy arrays of these types cannot be made portably)."""
    proto = tf.make_tensor_proto(values)
    proto.dtype = qtype.as_datatype_enum
    graph = tf.compat.v1.get_default_graph()
    attrs = {
        "value": tf.compat.v1.AttrValue(tensor=proto),
        "dtype": tf.compat.v1.AttrValue(type=qtype.as_datatype_enum),
    }
    return graph.create_op("Const", [], [qtype], attrs=attrs, name="quantized").outputs[0]


def cases() -> Iterator[Case]:
    """Return the cases."""
    yield from _unary_cases()
    yield from _binary_cases()
    yield from _select_cases()
    yield from _cast_cases()
    yield from _reduce_cases()
    yield from _running_sum_cases()
    yield from _product_cases()
    yield from _dequantize_cases()
