"""The one strict reader of JSON files: their size, their depth, keys given twice, numbers that are none, wrong types.

Manifests, calibration records, journals, tables, reports and notes are read with it.  It knows none of them: it raises
a :class:`JsonFault`, and whoever reads a file says so in the error of that file.  A reader of a value is a function of
the value and of its place in the document, ``steps[3].shape``, and returns what it has checked.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, NoReturn, TypeVar

MAX_DEPTH = 900
MAX_NAME = 4096
_INT64 = 2**63
_SHOWN = 60

T = TypeVar("T")
D = TypeVar("D")
E = TypeVar("E", bound=Enum)
JsonObject = dict[str, Any]
Read = Callable[[Any, str], T]


class JsonFault(ValueError):
    """What is wrong with a document: ``steps[3].shape must be a list, not 7``.

    ``phrase`` says it with the document as its subject and nothing of its contents, ``needs a list at steps[3].shape``:
    the words that the C library has for a manifest.
    """

    def __init__(self, phrase: str, words: str | None = None) -> None:
        super().__init__(phrase if words is None else words)
        self.phrase = phrase


def document(data: bytes, *, max_bytes: int) -> JsonObject:
    """Return the object that a file holds, in UTF-8.  The bytes may be anything.

    Raises:
        JsonFault: it is no JSON, no object, larger than ``max_bytes`` or deeper than ``MAX_DEPTH``; a key stands twice
            in one object; a number is not finite.
    """
    if len(data) > max_bytes:
        raise JsonFault("is not JSON", f"it has more than {max_bytes} bytes")
    try:
        value: Any = _DECODER.decode(data.decode("utf-8"))
    except JsonFault as fault:
        raise JsonFault(fault.phrase, f"{_place_of_flaw(data)}{fault}") from None
    except (ValueError, RecursionError) as error:
        raise JsonFault("is not JSON", f"it is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise JsonFault("is not a JSON object", f"it must be an object, not {shown(value)}")
    if _is_too_deep(value):
        raise JsonFault("is not JSON", f"it is nested more than {MAX_DEPTH} deep")
    return value


class Fields:
    """The members of an object: each is taken once, and what is missing or left over is refused."""

    def __init__(self, value: Any, where: str = "") -> None:
        self._left = dict(obj(value, where))
        self._taken: list[str] = []
        self._where = where

    def need(self, *keys: str) -> None:
        """Refuse an object that lacks any of these keys."""
        missing = [key for key in keys if key not in self._left]
        if missing:
            lacks = f"{self._where or 'it'} has no {' and no '.join(missing)}"
            raise JsonFault(f"lacks {member(self._where, missing[0])}", lacks)

    def __call__(self, key: str, read: Read[T]) -> T:
        """Return the member ``key``, which must be there."""
        self.need(key)
        return self._take(key, read)

    def get(self, key: str, read: Read[T], default: D) -> T | D:
        """Return the member ``key``, or the default where it is not there."""
        if key in self._left:
            return self._take(key, read)
        self._taken.append(key)
        return default

    def finish(self) -> None:
        """Refuse an object that holds keys that nobody has taken."""
        if self._left:
            key = min(self._left)
            inside = f" in {self._where}" if self._where else ""
            has = f"it has {', '.join(self._taken)}"
            raise JsonFault(
                f"has an unknown key {key[:80]!r}{inside}", f"{self._where or 'it'} has no field {shown(key)}; {has}"
            )

    def _take(self, key: str, read: Read[T]) -> T:
        self._taken.append(key)
        return read(self._left.pop(key), member(self._where, key))


# ---- readers of values -----------------------------------------------------------------------------------------------


def anything(value: Any, where: str) -> Any:
    """Return the value, unread."""
    return value


def obj(value: Any, where: str) -> JsonObject:
    """Return an object, its members unread."""
    return value if isinstance(value, dict) else _must("an object", where, value)


def map_of(read: Read[T]) -> Read[dict[str, T]]:
    """Return a reader of objects whose keys are names."""
    return lambda value, where: {key: read(item, member(where, key)) for key, item in obj(value, where).items()}


def list_of(read: Read[T]) -> Read[tuple[T, ...]]:
    """Return a reader of lists."""

    def read_list(value: Any, where: str) -> tuple[T, ...]:
        if not isinstance(value, list):
            _must("a list", where, value)
        return tuple(read(item, f"{where}[{i}]") for i, item in enumerate(value))

    return read_list


def optional(read: Read[T]) -> Read[T | None]:
    """Return a reader that takes null as well."""
    return lambda value, where: None if value is None else read(value, where)


def text(value: Any, where: str) -> str:
    """Return a text."""
    return value if isinstance(value, str) else _must("text", where, value)


def short_text(value: Any, where: str) -> str:
    """Return a text of at most ``MAX_NAME`` characters."""
    if isinstance(value, str) and len(value) <= MAX_NAME:
        return value
    return _must(f"a text of at most {MAX_NAME} characters", where, value)


def flag(value: Any, where: str) -> bool:
    """Return a truth value."""
    return value if isinstance(value, bool) else _must("true or false", where, value)


def integer(value: Any, where: str) -> int:
    """Return an integer of 64 bits."""
    return value if type(value) is int and -_INT64 <= value < _INT64 else _must("a 64-bit integer", where, value)


def natural(value: Any, where: str) -> int:
    """Return an integer of 64 bits, 0 or more."""
    if integer(value, where) < 0:
        raise JsonFault(f"has a negative number at {where}", f"{where} must not be negative, not {value}")
    return int(value)


def positive(value: Any, where: str) -> int:
    """Return an integer of 64 bits, 1 or more."""
    return int(value) if integer(value, where) >= 1 else _must("a positive number", where, value)


def number(value: Any, where: str) -> float:
    """Return a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        _must("a number", where, value)
    try:
        return float(value)
    except OverflowError:
        raise JsonFault(f"has a number that is too large at {where}", f"{where} must be a finite number") from None


def choice(kind: type[E]) -> Read[E]:
    """Return a reader of the values of an enum."""

    def read_choice(value: Any, where: str) -> E:
        for known in kind:
            if known.value == value:
                return known
        known_values = ", ".join(str(known.value) for known in kind)
        raise JsonFault(
            f"has an unknown value at {where}", f"{where} must be one of {known_values}; not {shown(value)}"
        )

    return read_choice


def shown(value: Any) -> str:
    """Return a value for a message: printable, and cut where it is long."""
    words = ascii(value)
    return words if len(words) <= _SHOWN else words[:_SHOWN] + "..."


def member(where: str, key: str) -> str:
    """Return the place of a member of the object at ``where``; a key that is no word stands in quotes."""
    if not key.isidentifier() or len(key) > _SHOWN:
        return f"{where}[{shown(key)}]"
    return f"{where}.{key}" if where else key


def _must(noun: str, where: str, value: Any) -> NoReturn:
    raise JsonFault(f"needs {noun} at {where}", f"{where} must be {noun}, not {shown(value)}")


# ---- what the text itself may not hold -------------------------------------------------------------------------------


def _unique(pairs: list[tuple[str, Any]]) -> JsonObject:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise JsonFault("repeats a key", f"{shown(_twice(pairs))} stands there twice")
    return record


def _no_constant(word: str) -> NoReturn:
    raise JsonFault(f"holds {word}", f"{word} is not a finite number")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise JsonFault("holds a number that is too large", f"{digits[:_SHOWN]} is not a finite number")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)


def _is_too_deep(value: JsonObject) -> bool:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        held = (item.values() if type(item) is dict else item for item in level)
        level = [inner for items in held for inner in items if type(inner) in (dict, list)]
    return bool(level)


class _Flaw:
    """Stands in a document for what was refused there."""

    def __init__(self, *_: object) -> None:
        return


def _place_of_flaw(data: bytes) -> str:
    """Return where the first flaw lies, as the begin of a message; nothing where what follows it is no JSON."""
    try:
        value = json.loads(
            data,
            object_pairs_hook=lambda pairs: _Flaw() if _twice(pairs) is not None else dict(pairs),
            parse_constant=_Flaw,
            parse_float=lambda digits: 0.0 if math.isfinite(float(digits)) else _Flaw(),
        )
        return next((f"{place}: " for place in _flaws(value, "") if place), "")
    except (ValueError, RecursionError):
        return ""


def _flaws(value: Any, where: str) -> Iterator[str]:
    if isinstance(value, _Flaw):
        yield where
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _flaws(item, member(where, key))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _flaws(item, f"{where}[{i}]")


def _twice(pairs: list[tuple[str, Any]]) -> str | None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            return key
        seen.add(key)
    return None
