"""Tensors of ONNX files: every element type in every encoding, bit for bit, and what is wrong with them."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import onnx_wire as w
from smalti.errors import GraphError
from smalti.frontend.onnx.attrs import AttrReader
from smalti.frontend.onnx.constants import ConstantValue, constant_value
from smalti.frontend.onnx.reader import read_model
from smalti.frontend.onnx.wire.types import AttrKind, OnnxType
from smalti.numerics import DType

LIMIT = 1 << 20
T = OnnxType
BITS = {
    T.FLOAT: [0x7F800001, 0xFFC00001, 0x80000000, 0x00000001, 0x7F800000, 0x3F800000],
    T.DOUBLE: [0x7FF0000000000001, 1 << 63, 1, 0x3FF0000000000000, 0, 2],
    T.FLOAT16: [0x7C01, 0xFE01, 0x8000, 0x0001, 0x7C00, 0x3C00],
    T.BFLOAT16: [0x7F81, 0xFFC1, 0x8000, 0x0001, 0x7F80, 0x3F80],
    T.UINT8: [0, 1, 127, 128, 200, 255],
    T.INT8: [0, 1, 127, 128, 200, 255],
    T.UINT16: [0, 1, 2**15, 2**16 - 1, 300, 7],
    T.INT16: [0, 1, 2**15, 2**16 - 1, 300, 7],
    T.INT32: [0, 1, 2**31, 2**32 - 1, 300, 7],
    T.UINT32: [0, 1, 2**31, 2**32 - 1, 300, 7],
    T.INT64: [0, 1, 2**63, 2**64 - 1, 300, 7],
    T.UINT64: [0, 1, 2**63, 2**64 - 1, 300, 7],
    T.BOOL: [0, 1, 1, 0, 1, 1],
}
REFUSED = sorted((kind for kind in OnnxType if kind not in BITS), key=lambda kind: kind.value)


def attributes(data: bytes) -> AttrReader:
    """Return the reader of the first constant of a model."""
    graph = read_model(data)
    return graph.attributes(next(n for n in graph.nodes if n.op == "Constant"))


def decoded(tensor: bytes, max_bytes: int = LIMIT) -> NDArray[np.generic]:
    """Return the array of an initialiser."""
    return attributes(w.network(w.node("Relu", ["x"], ["y"]), initialisers=[tensor])).tensor("value").decode(max_bytes)


def bits_of(kind: OnnxType, array: NDArray[np.generic]) -> list[int]:
    """Return the bits of elements; those of bfloat16 from the float32 that holds it."""
    if kind is T.BFLOAT16:
        assert array.dtype == np.float32
        return [int(v) >> 16 for v in array.view(np.uint32).ravel()]
    return [int(v) for v in array.view(f"u{array.itemsize}").ravel()]


def little(kind: OnnxType, bits: list[int]) -> bytes:
    """Return elements as ``raw_data`` has them."""
    storage = kind.storage
    assert storage is not None
    return b"".join(b.to_bytes(storage.itemsize, "little") for b in bits)


def signed(kind: OnnxType, bits: int) -> int:
    """Return the number that writers put into a typed list for these bits."""
    width = 8 * (kind.storage.itemsize if kind.storage is not None else 0)
    return bits - (1 << width) if kind.label.startswith("int") and bits >> (width - 1) else bits


@pytest.mark.parametrize("kind", BITS, ids=lambda kind: kind.label)
def test_every_type_in_every_encoding_bit_for_bit(kind: OnnxType) -> None:
    bits = BITS[kind]
    number = {T.FLOAT: 4, T.DOUBLE: 10, T.INT64: 7, T.UINT32: 11, T.UINT64: 11}.get(kind, 5)
    found = {"raw": decoded(w.tensor("k", kind.value, (2, 3), w.raw(little(kind, bits))))}
    if number in (4, 10):
        fields = [w.body(number, little(kind, bits))]
        pieces = [w.body(number, little(kind, part)) for part in (bits[:2], bits[2:])]
    else:
        numbers = [signed(kind, b) for b in bits]
        fields = [w.packed(number, numbers)]
        pieces = [w.packed(number, part) for part in (numbers[:2], numbers[2:])]
        found["one by one"] = decoded(w.tensor("k", kind.value, (2, 3), *(w.number(number, n) for n in numbers)))
    found["in pieces"] = decoded(w.tensor("k", kind.value, (2, 3), *pieces))
    found["packed"] = decoded(w.tensor("k", kind.value, (2, 3), *fields))
    found["packed, with empty raw bytes"] = decoded(w.tensor("k", kind.value, (2, 3), *fields, w.raw(b"")))
    for how, array in found.items():
        assert array.shape == (2, 3), how
        assert bits_of(kind, array) == bits, how
        assert not array.flags.writeable
        assert array.flags.aligned
        assert array.flags.c_contiguous
        assert array.dtype.isnative


@pytest.mark.parametrize("number", [4, 10])
def test_floats_that_are_written_one_by_one(number: int) -> None:
    kind = T.FLOAT if number == 4 else T.DOUBLE
    wire, pack = (5, "<f") if number == 4 else (1, "<d")
    values = [1.5, -0.0, math.inf, 0.1]
    fields = b"".join(w.varint(number << 3 | wire) + struct.pack(pack, v) for v in values)
    assert bits_of(kind, decoded(w.tensor("k", kind.value, (4,), fields))) == bits_of(
        kind, np.array(values, kind.storage)
    )


def test_numbers_of_another_width_are_cut() -> None:
    """As protobuf cuts them: uint8 200 may have been written as -56, true as 7."""
    for numbers, kind, expected in (
        ([-56, 300, 200], T.UINT8, [200, 44, 200]),
        ([200, -56, -1], T.INT8, [-56, -56, -1]),
        ([7, 0, 256], T.BOOL, [True, False, True]),
        ([1 << 40, (1 << 40) + 5, -1], T.INT32, [0, 5, -1]),
        ([0x13C00, 0x3C00, 0], T.FLOAT16, [1.0, 1.0, 0.0]),
    ):
        packed = decoded(w.tensor("k", kind.value, (3,), w.packed(5, numbers)))
        single = decoded(w.tensor("k", kind.value, (3,), *(w.number(5, n) for n in numbers)))
        assert packed.tolist() == single.tolist() == expected
    assert decoded(w.tensor("k", T.BOOL.value, (3,), w.raw(b"\0\1\7"))).tolist() == [False, True, True]


@pytest.mark.parametrize("kind", REFUSED, ids=lambda kind: kind.label)
def test_types_that_are_not_read_are_refused_by_name(kind: OnnxType) -> None:
    with pytest.raises(ValueError, match=f"tensors of type {kind.label} are not supported"):
        decoded(w.tensor("k", kind.value, (2,), w.raw(bytes(64)), w.body(6, "text")))


def test_every_type_of_the_ir_has_a_type_of_onnx() -> None:
    assert {kind.dtype for kind in OnnxType} - {None} == set(DType)
    assert (T.FLOAT.dtype, T.DOUBLE.dtype, T.BFLOAT16.dtype) == (DType.FLOAT32, DType.FLOAT64, DType.BFLOAT16)


@pytest.mark.parametrize("dims", [(), (1,), (0,), (0, 5), (3, 0, 2), (2, 1, 1, 1, 1, 1, 1, 3)])
def test_shapes(dims: tuple[int, ...]) -> None:
    count = math.prod(dims)
    assert decoded(w.tensor("k", w.FLOAT, dims, w.raw(bytes(4 * count)))).shape == dims
    assert decoded(w.tensor("k", w.INT64, dims, w.packed(7, range(count)))).ravel().tolist() == list(range(count))
    if not count:
        assert decoded(w.tensor("k", w.FLOAT, dims)).shape == dims


WRONG: dict[str, tuple[bytes, str]] = {
    "too few bytes": (w.tensor("k", w.FLOAT, (4,), w.raw(bytes(12))), "holds 12 bytes, but float32[4] takes 16"),
    "too many bytes": (w.tensor("k", w.FLOAT, (2,), w.raw(bytes(12))), "holds 12 bytes, but float32[2] takes 8"),
    "bytes for nothing": (w.tensor("k", w.FLOAT, (0,), w.raw(bytes(4))), "holds 4 bytes, but float32[0] takes 0"),
    "no values": (w.tensor("k", w.FLOAT, (4,)), "lists 0 values for 4 elements"),
    "empty bytes": (w.tensor("k", w.FLOAT, (4,), w.raw(b"")), "holds 0 bytes, but float32[4] takes 16"),
    "too few values": (w.tensor("k", w.INT64, (4,), w.packed(7, [1])), "lists 1 values for 4 elements"),
    "too many values": (w.tensor("k", w.INT64, (1,), w.packed(7, [1, 2])), "lists 2 values for 1 elements"),
    "other list": (w.tensor("k", w.INT64, (1,), w.packed(5, [1])), "is of type int64, but holds int32_data"),
    "both": (w.tensor("k", w.INT64, (1,), w.packed(7, [1]), w.raw(bytes(8))), "holds its values twice"),
    "two ways": (w.tensor("k", w.INT64, (2,), w.packed(7, [1]), w.number(7, 1)), "is written in two ways"),
    "half a float": (w.tensor("k", w.FLOAT, (1,), w.body(4, bytes(5))), "float_data ends in the middle of a number"),
    "number without an end": (w.tensor("k", w.INT64, (1,), w.body(7, b"\1\x80\x80")), "numbers do not end"),
    "number of 11 bytes": (w.tensor("k", w.INT64, (1,), w.body(7, b"\x80" * 10 + b"\1")), "longer than ten bytes"),
    "negative size": (w.tensor("k", w.FLOAT, (-1,), w.raw(bytes(4))), "shape [-1] has a negative size"),
    "negative sizes": (w.tensor("k", w.FLOAT, (-2, -2), w.raw(bytes(16))), "shape [-2, -2] has a negative size"),
    "huge size": (w.tensor("k", w.FLOAT, (1 << 31, 0)), "has a size above 2147483647"),
    "huge empty shape": (w.tensor("k", w.FLOAT, (0, *(2**31 - 1,) * 7)), "has more than 1099511627776 elements"),
    "product over 2^64": (w.tensor("k", w.FLOAT, (2**31 - 1,) * 8), "has more than 1099511627776 elements"),
    "nine dimensions": (w.tensor("k", w.FLOAT, (1,) * 9, w.raw(bytes(4))), "has 9 dimensions; the limit is 8"),
    "over the limit": (w.tensor("k", w.FLOAT, (1 << 20, 1 << 19)), f"takes {1 << 41} bytes; {LIMIT} are left"),
    "no type": (w.tensor("k", 0, (1,), w.raw(bytes(4))), "ONNX has no element type 0"),
    "unknown type": (w.tensor("k", 99, (1,), w.raw(bytes(4))), "ONNX has no element type 99"),
    "negative type": (w.tensor("k", -1, (1,), w.raw(bytes(4))), "ONNX has no element type -1"),
    "segment": (w.tensor("k", w.FLOAT, (1,), w.raw(bytes(4)), w.body(3, w.number(1, 0))), "one segment of a larger"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_a_tensor(name: str) -> None:
    tensor, text = WRONG[name]
    with pytest.raises(GraphError) as caught:
        decoded(tensor)
    assert text in str(caught.value)


def test_the_limit_of_bytes_is_exact() -> None:
    for kind, nbytes in ((T.FLOAT, 16), (T.BFLOAT16, 16), (T.FLOAT16, 8), (T.BOOL, 4)):
        tensor = w.tensor("k", kind.value, (4,), w.packed(5, [0] * 4) if kind is not T.FLOAT else w.raw(bytes(16)))
        assert decoded(tensor, nbytes).size == 4
        with pytest.raises(GraphError, match=f"takes {nbytes} bytes; {nbytes - 1} are left of the limit"):
            decoded(tensor, nbytes - 1)


@given(st.lists(st.integers(-(1 << 63), (1 << 63) - 1), max_size=50), st.integers(0, 3))
@settings(max_examples=80, deadline=None)
def test_packed_numbers(numbers: list[int], repeat: int) -> None:
    numbers = numbers * 10**repeat
    array = decoded(w.tensor("k", w.INT64, (len(numbers),), w.packed(7, numbers)))
    assert array.tolist() == numbers


def test_numbers_across_the_pieces_in_which_they_are_unpacked() -> None:
    numbers = np.random.default_rng(3).integers(-(1 << 62), 1 << 62, 90_000) >> np.arange(90_000) % 63
    array = decoded(w.tensor("k", w.INT64, (90_000,), w.packed(7, numbers.tolist())), 1 << 21)
    assert np.array_equal(array, numbers)


# -- sparse -----------------------------------------------------------------------------------------------------------


def dense(sparse: bytes, max_bytes: int = LIMIT, max_generated: int = LIMIT) -> ConstantValue:
    """Return what a sparse initialiser becomes."""
    data = w.model(w.graph([], [], [w.value("s")], (), w.body(15, sparse)))
    return constant_value(attributes(data), max_bytes, max_generated)


def sparse(values: Any, indices: Any, dims: tuple[int, ...], kind: Any = np.int64) -> bytes:
    return w.sparse(w.array("s", values, np.float32), w.array("", indices, kind), dims)


def test_sparse_tensors_become_dense() -> None:
    for indices in ([1, 4, 5], [[0, 1], [1, 1], [1, 2]]):
        found = dense(sparse([1, 2, 3], indices, (2, 3)))
        assert found.array.tolist() == [[0, 1, 0], [0, 2, 3]]
        assert (found.kind, found.generated) == (T.FLOAT, 24)
        assert not found.array.flags.writeable
    assert dense(sparse([], np.zeros((0, 2)), (2, 0))).array.shape == (2, 0)
    assert dense(sparse([], [], (3,))).array.tolist() == [0, 0, 0]
    assert dense(sparse([7], np.zeros((1, 0)), ())).array.tolist() == 7


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (sparse([1, 2], [4, 1], (6,)), "do not rise"),
        (sparse([1, 2], [1, 1], (6,)), "do not rise"),
        (sparse([1], [6], (6,)), "outside its 6 elements"),
        (sparse([1], [-1], (6,)), "outside its 6 elements"),
        (sparse([1], [[1, -1]], (2, 3)), r"outside \[2, 3\]"),
        (sparse([1], [[2, 0]], (2, 3)), r"outside \[2, 3\]"),
        (sparse([1], [1, 2], (6,)), r"1 values and indices of shape \[2\]"),
        (sparse([[1]], [1], (6,)), "have 2 dimensions"),
        (sparse([1], [1], (6,), np.int32), "are int32; they must be int64"),
        (sparse([1], [1], (1 << 20, 1 << 19)), "bytes when it is dense"),
        (sparse([], np.zeros((0, 8)), (0, *(2**31 - 1,) * 7)), "elements"),
        (sparse([1], [1], (-6,)), "negative size"),
        (w.body(1, w.array("s", [1], np.float32)) + w.packed(3, [4]), "ONNX has no element type 0"),
        (w.body(1, w.body(8, "s")), "ONNX has no element type 0"),
    ],
)
def test_what_is_wrong_with_sparse_tensors(made: bytes, text: str) -> None:
    with pytest.raises(GraphError, match=text):
        dense(made)


def test_zeros_count_as_made_by_us() -> None:
    made = sparse([1], [1], (1000,))
    assert dense(made, 4000, 4000).generated == 4000
    for limits in ((3999, 4000), (4000, 3999)):
        with pytest.raises(GraphError, match="3999 are left"):
            dense(made, *limits)


# -- constants --------------------------------------------------------------------------------------------------------


def constant(*fields: bytes, **forms: Any) -> ConstantValue:
    data = w.network(w.node("Constant", [], ["k"], "k", fields=fields, **forms), w.node("Relu", ["x"], ["y"]))
    return constant_value(attributes(data), LIMIT, LIMIT)


@pytest.mark.parametrize(
    ("forms", "kind", "expected"),
    [
        ({"value": w.array("", [[1, 2]], np.int32)}, T.INT32, np.array([[1, 2]], np.int32)),
        ({"value_float": 0.1}, T.FLOAT, np.array(0.1, np.float32)),
        ({"value_floats": [0.5, -1.0]}, T.FLOAT, np.array([0.5, -1], np.float32)),
        ({"value_int": -3}, T.INT64, np.array(-3, np.int64)),
        ({"value_ints": [1 << 62, -5]}, T.INT64, np.array([1 << 62, -5], np.int64)),
        ({"value_ints": []}, T.INT64, np.zeros(0, np.int64)),
        ({"value_ints": list(range(9000))}, T.INT64, np.arange(9000)),
    ],
)
def test_every_form_of_a_constant(forms: dict[str, Any], kind: OnnxType, expected: NDArray[np.generic]) -> None:
    found = constant(**forms)
    assert found.kind is kind
    assert found.array.dtype == expected.dtype
    assert found.array.shape == expected.shape
    assert found.array.tobytes() == expected.tobytes()
    assert not found.array.flags.writeable
    assert found.generated == 0


def test_a_sparse_constant() -> None:
    found = constant(w.attribute("sparse_value", sparse([5], [2], (3,)), AttrKind.SPARSE_TENSOR))
    assert found.array.tolist() == [0, 0, 5]


@pytest.mark.parametrize("forms", [{"value_string": "a"}, {"value_strings": ["a", "b"]}])
def test_constants_of_text_are_refused_by_name(forms: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="attribute value_strings?: tensors of type string are not supported"):
        constant(**forms)


@pytest.mark.parametrize(
    ("forms", "text"),
    [
        ({}, "needs one value; it has none"),
        ({"value_int": 1, "value_float": 1.0}, "needs one value; it has value_float, value_int"),
        ({"value": 1}, "attribute value holds 'i' where 'tensor' is expected"),
        ({"value_int": 1.0}, "attribute value_int holds 'f' where 'i' is expected"),
        ({"value": w.tensor("", w.FLOAT, (3,))}, "attribute value: the tensor lists 0 values for 3 elements"),
    ],
)
def test_what_is_wrong_with_constants(forms: dict[str, Any], text: str) -> None:
    with pytest.raises(GraphError, match=text):
        constant(**forms)


# -- the reader of attributes -----------------------------------------------------------------------------------------


def reader(**attributes: Any) -> AttrReader:
    return last(w.node("Op", ["x"], ["y"], "n", **attributes))


def last(node: bytes) -> AttrReader:
    """Return the reader of a node."""
    graph = read_model(w.network(node))
    return graph.attributes(graph.nodes[-1])


def test_attributes_by_kind() -> None:
    kind = w.attribute("kind", w.body(1, w.number(1, 1) + w.body(2, w.shape([2, "n"]))), AttrKind.TYPE_PROTO)
    node = w.node(
        "Op", ["x"], ["y"], fields=[kind], i=-4, f=0.5, s="SAME", ints=[1, -2], floats=[1.0], strings=["a", "b"], to=10
    )
    attrs = last(node)
    assert (attrs.integer("i"), attrs.number("f"), attrs.text("s")) == (-4, 0.5, "SAME")
    assert (attrs.ints("ints"), attrs.numbers("floats"), attrs.texts("strings")) == ((1, -2), (1.0,), ("a", "b"))
    assert attrs.kind("to") is T.FLOAT16
    assert attrs.value_type("kind").shape == (2, "n")
    assert "i" in attrs and "j" not in attrs
    assert (attrs.integer("j", 3), attrs.number("j", 2.5), attrs.text("j", "X"), attrs.flag("j", True)) == (
        3,
        2.5,
        "X",
        True,
    )
    assert (attrs.ints("j", (1,)), attrs.numbers("j", ()), attrs.texts("j", ())) == ((1,), (), ())
    assert attrs.kind("j", T.FLOAT) is T.FLOAT
    assert attrs.unread(frozenset()) == ()


def test_what_nobody_read_is_known() -> None:
    attrs = reader(a=1, b=2, c=3)
    assert attrs.unread(frozenset()) == ("a", "b", "c")
    assert attrs.flag("a") is True
    assert attrs.unread(frozenset(["b"])) == ("c",)


def test_a_missing_number_is_zero_where_its_kind_is_stated() -> None:
    """Writers of proto3 leave out fields that are zero."""
    kinds = {"f": AttrKind.FLOAT, "i": AttrKind.INT, "s": AttrKind.STRING, "l": AttrKind.INTS}
    fields = [w.body(1, name) + w.number(20, kind.number) for name, kind in kinds.items()]
    attrs = last(w.node("Op", ["x"], ["y"], fields=fields))
    assert (attrs.number("f"), attrs.integer("i"), attrs.text("s"), attrs.ints("l")) == (0.0, 0, "", ())


def test_kinds_that_old_files_do_not_state() -> None:
    made = w.body(1, "a") + w.packed(8, [3, 4])
    assert last(w.node("Op", ["x"], ["y"], fields=[made])).ints("a") == (3, 4)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda a: a.integer("none"), "attribute none is missing"),
        (lambda a: a.number("i"), "attribute i holds 'i' where 'f' is expected"),
        (lambda a: a.flag("i"), "attribute i is 7 where 0 or 1 is expected"),
        (lambda a: a.ints("many"), "attribute many lists 5000 numbers; the limit is 4096"),
        (lambda a: a.kind("wrong"), "attribute wrong: ONNX has no element type 99"),
        (lambda a: a.body("i"), "attribute i holds 'i' where 'graph' is expected"),
        (lambda a: a.tensor("i"), "attribute i holds 'i' where 'tensor' is expected"),
        (lambda a: a.sparse("i"), "attribute i holds 'i' where 'sparse tensor' is expected"),
        (lambda a: a.value_type("i"), "attribute i holds 'i' where 'type' is expected"),
    ],
)
def test_what_is_wrong_with_attributes(call: Any, text: str) -> None:
    with pytest.raises(GraphError, match=text):
        call(reader(i=7, many=[1] * 5000, wrong=99))
