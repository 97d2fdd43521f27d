"""The strict reader of JSON: what it refuses, in which words, and at which place of the document."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smalti.strict_json import (
    MAX_DEPTH,
    MAX_NAME,
    Fields,
    JsonFault,
    Read,
    choice,
    document,
    flag,
    integer,
    list_of,
    map_of,
    natural,
    number,
    obj,
    optional,
    positive,
    short_text,
    shown,
    text,
)

LIMIT = 1 << 20


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


def refused(data: bytes) -> JsonFault:
    with pytest.raises(JsonFault) as caught:
        document(data, max_bytes=LIMIT)
    return caught.value


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.dictionaries(st.text(), _VALUES, max_size=5))
def test_every_finite_document_is_read_as_it_is(value: dict[str, Any]) -> None:
    assert document(json.dumps(value).encode(), max_bytes=LIMIT) == value


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=40))
def test_bytes_may_be_anything(data: bytes) -> None:
    try:
        assert isinstance(document(data, max_bytes=LIMIT), dict)
    except JsonFault as fault:
        assert str(fault) and fault.phrase


@pytest.mark.parametrize(
    ("data", "phrase", "words"),
    [
        (b"", "is not JSON", "it is not JSON: "),
        (b"\xff", "is not JSON", "it is not JSON: "),
        (b"[1]", "is not a JSON object", "it must be an object, not [1]"),
        (b'{"a": 1, "a": 2}', "repeats a key", "'a' stands there twice"),
        (b'{"a": [0, {"b": 1, "b": 2}]}', "repeats a key", "a[1]: 'b' stands there twice"),
        (b'{"a": {"x/y:0": NaN}}', "holds NaN", "a['x/y:0']: NaN is not a finite number"),
        (b'{"a": [1, -Infinity]}', "holds -Infinity", "a[1]: -Infinity is not a finite number"),
        (b'{"a": 1e999}', "holds a number that is too large", "a: 1e999 is not a finite number"),
        (b'{"a": NaN', "holds NaN", "NaN is not a finite number"),
        (b'{"a": ' + b"9" * 5000 + b"}", "is not JSON", "it is not JSON: "),
        (b'{"a": 1}' + b" " * LIMIT, "is not JSON", f"it has more than {LIMIT} bytes"),
    ],
    ids=lambda value: value[:20].decode(errors="replace") if isinstance(value, bytes) else "",
)
def test_what_no_document_may_be(data: bytes, phrase: str, words: str) -> None:
    fault = refused(data)
    assert fault.phrase == phrase and str(fault).startswith(words) and len(str(fault)) < 200


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_depth_is_limited(opening: bytes, closing: bytes) -> None:
    def nested(depth: int) -> bytes:
        inner = depth - 1
        return b'{"a":' + opening * inner + (b"1" if opening != b"[" else b"") + closing * inner + b"}"

    # Well below the limit: how deep Python itself can go depends on how deep this test was called.
    assert "a" in document(nested(MAX_DEPTH // 2), max_bytes=LIMIT)
    for depth in (MAX_DEPTH + 1, 200 * MAX_DEPTH):
        assert refused(nested(depth)).phrase == "is not JSON"


@pytest.mark.parametrize(
    ("read", "value", "phrase", "words"),
    [
        (obj, [], "needs an object at a.b", "a.b must be an object, not []"),
        (list_of(flag), {}, "needs a list at a.b", "a.b must be a list, not {}"),
        (list_of(flag), [True, 1], "needs true or false at a.b[1]", "a.b[1] must be true or false, not 1"),
        (map_of(text), {"c": "", "d/e": 1}, "needs text at a.b['d/e']", "a.b['d/e'] must be text, not 1"),
        (text, None, "needs text at a.b", "a.b must be text, not None"),
        (short_text, "x" * (MAX_NAME + 1), "needs a text of at most 4096 characters at a.b", "a.b must be a text of "),
        (flag, 0, "needs true or false at a.b", "a.b must be true or false, not 0"),
        (integer, True, "needs a 64-bit integer at a.b", "a.b must be a 64-bit integer, not True"),
        (integer, 1.0, "needs a 64-bit integer at a.b", "a.b must be a 64-bit integer, not 1.0"),
        (integer, 2**63, "needs a 64-bit integer at a.b", "a.b must be a 64-bit integer, not 9223372036854775808"),
        (natural, -1, "has a negative number at a.b", "a.b must not be negative, not -1"),
        (positive, 0, "needs a positive number at a.b", "a.b must be a positive number, not 0"),
        (number, "1", "needs a number at a.b", "a.b must be a number, not '1'"),
        (number, False, "needs a number at a.b", "a.b must be a number, not False"),
        (number, 10**400, "has a number that is too large at a.b", "a.b must be a finite number"),
        (choice(Colour), "green", "has an unknown value at a.b", "a.b must be one of red, blue; not 'green'"),
        (optional(text), 1, "needs text at a.b", "a.b must be text, not 1"),
    ],
)
def test_values_of_the_wrong_kind_are_named(read: Read[Any], value: Any, phrase: str, words: str) -> None:
    with pytest.raises(JsonFault) as caught:
        read(value, "a.b")
    assert caught.value.phrase == phrase and str(caught.value).startswith(words)


@pytest.mark.parametrize(
    ("read", "value", "want"),
    [
        (integer, -(2**63), -(2**63)),
        (number, 3, 3.0),
        (list_of(natural), [0, 1], (0, 1)),
        (map_of(flag), {"x": True}, {"x": True}),
        (choice(Colour), "blue", Colour.BLUE),
        (optional(text), None, None),
        (short_text, "x" * MAX_NAME, "x" * MAX_NAME),
    ],
)
def test_values_of_the_right_kind_are_taken(read: Read[Any], value: Any, want: Any) -> None:
    found = read(value, "a")
    assert found == want and type(found) is type(want)


def test_members_are_taken_once_and_none_is_left() -> None:
    take = Fields({"a": 1, "b": "x", "d": 0}, "top")
    assert take("a", integer) == 1 and take.get("c", text, "default") == "default"
    with pytest.raises(JsonFault, match=r"^top has no c and no e$") as caught:
        take.need("b", "c", "e")
    assert caught.value.phrase == "lacks top.c"
    with pytest.raises(JsonFault, match=r"^top has no field 'b'; it has a, c$") as caught:
        take.finish()
    assert caught.value.phrase == "has an unknown key 'b' in top"
    assert take.get("b", text, "") == "x" and take("d", natural) == 0
    take.finish()


def test_messages_stay_short_and_printable() -> None:
    assert shown("é\n" * 100).isascii() and len(shown("x" * 1000)) < 70
    with pytest.raises(JsonFault) as caught:
        map_of(text)({"k" * 5000: 1}, "")
    assert len(str(caught.value)) < 200
