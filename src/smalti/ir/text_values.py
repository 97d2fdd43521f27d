"""Text of attribute values and size expressions, directed by the declared types of the attributes."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import Field, fields, is_dataclass
from enum import Enum
from fractions import Fraction
from typing import Any

from smalti.errors import GraphError
from smalti.ir.dims import Dim, Extreme, Floor, Symbol, rational
from smalti.ir.ops import ALL_OPS, Op

MAX_DEPTH = 64
MAX_DIGITS = 30

_TOKEN = re.compile(
    r"\s*(sha256:[0-9a-f]+|%\d+|[A-Za-z_][A-Za-z0-9_.]*|\d+(?:\.\d*)?(?:e[+-]?\d+)?|[\[\](){},=:*/+-])", re.ASCII
)


class TokenReader:
    """The tokens of one line, read from left to right.

    Raises:
        GraphError: from every method, when the text is not what is asked for.
    """

    def __init__(self, text: str) -> None:
        self._tokens: list[str] = []
        self._position = 0
        start, end = 0, len(text.rstrip())
        while start < end:
            match = _TOKEN.match(text, start)
            if match is None:
                raise GraphError(f"cannot read {text[start : start + 20]!r}")
            if match.group(1).isdecimal() and len(match.group(1)) > MAX_DIGITS:
                raise GraphError("a number is too long")
            self._tokens.append(match.group(1))
            start = match.end()

    def peek(self) -> str:
        """Return the next token, or an empty string at the end."""
        return self._tokens[self._position] if self._position < len(self._tokens) else ""

    def next(self) -> str:
        """Return the next token and step over it."""
        token = self.peek()
        if not token:
            raise GraphError("the line ends too early")
        self._position += 1
        return token

    def accept(self, token: str) -> bool:
        """Step over ``token`` if it is next."""
        if self.peek() != token:
            return False
        self._position += 1
        return True

    def expect(self, token: str) -> None:
        """Step over ``token``, which must be next."""
        if not self.accept(token):
            raise GraphError(f"{token!r} is missing before {self.peek()!r}")

    def items(self, end: str, read: Callable[[], Any]) -> list[Any]:
        """Return what ``read`` gives for each comma-separated item up to ``end``."""
        found: list[Any] = []
        while not self.accept(end):
            if found:
                self.expect(",")
            found.append(read())
        return found


def snake(name: str) -> str:
    """Return the text form of a class name (``ResizeArgMax``: ``resize_arg_max``)."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _attribute_types(op_type: type[Op]) -> dict[str, Any]:
    hints = typing.get_type_hints(op_type)
    return {f.name: hints[f.name] for f in fields(op_type)} if is_dataclass(op_type) else {}


_ATTRIBUTES: dict[type[Op], dict[str, Any]] = {op_type: _attribute_types(op_type) for op_type in ALL_OPS}


def format_attributes(op: Op) -> str:
    """Return ``name=value`` of each attribute that is not the default, comma-separated."""
    parts: list[str] = []
    declared: tuple[Field[Any], ...] = fields(op) if is_dataclass(op) else ()
    for f in declared:
        text = format_value(getattr(op, f.name))
        if text != format_value(f.default):
            parts.append(f"{f.name}={text}")
    return ", ".join(parts)


def format_value(value: Any) -> str:
    """Return the text of one attribute value; equal texts mean equal values."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, tuple):
        return f"[{', '.join(format_value(v) for v in value)}]"
    if isinstance(value, Op):
        return f"{snake(type(value).__name__)}({format_attributes(value)})"
    return repr(float(value)) if isinstance(value, float) else str(value)


def parse_attributes(reader: TokenReader, op_type: type[Op], end: str, symbols: Mapping[str, Symbol]) -> dict[str, Any]:
    """Return the attributes written up to the token ``end``."""
    declared = _ATTRIBUTES[op_type]
    values: dict[str, Any] = {}
    while not reader.accept(end):
        if values:
            reader.expect(",")
        name = reader.next()
        if name not in declared or name in values:
            raise GraphError(f"{snake(op_type.__name__)} has no attribute {name!r}, or it is given twice")
        reader.expect("=")
        values[name] = parse_value(reader, declared[name], symbols)
    return values


def parse_value(reader: TokenReader, declared: Any, symbols: Mapping[str, Symbol]) -> Any:
    """Return a value of the declared type."""
    origin = typing.get_origin(declared)
    if origin is tuple:
        return _parse_tuple(reader, typing.get_args(declared), symbols)
    if origin in (types.UnionType, typing.Union):
        return parse_size(reader, symbols)
    if declared is bool:
        word = reader.next()
        if word not in ("true", "false"):
            raise GraphError(f"{word!r} is neither true nor false")
        return word == "true"
    if declared is int:
        size = parse_size(reader, {})
        if not isinstance(size, int):
            raise GraphError(f"{size} is not an integer")
        return size
    if declared is float:
        return parse_float(reader)
    if isinstance(declared, type) and issubclass(declared, Enum):
        word = reader.next()
        try:
            return declared(word)
        except ValueError as error:
            raise GraphError(f"{word!r} is not a {declared.__name__}") from error
    if isinstance(declared, type) and issubclass(declared, Op):
        reader.expect(snake(declared.__name__))
        reader.expect("(")
        return build_op(declared, parse_attributes(reader, declared, ")", symbols))
    raise GraphError(f"attributes of type {declared} have no text form")


def build_op(op_type: type[Op], values: Mapping[str, Any]) -> Op:
    """Return the operation with the given attributes.

    Raises:
        GraphError: an attribute without a default is missing.
    """
    try:
        return op_type(**values)
    except TypeError as error:
        raise GraphError(f"{snake(op_type.__name__)}: {error}") from error


def _parse_tuple(reader: TokenReader, items: tuple[Any, ...], symbols: Mapping[str, Symbol]) -> tuple[Any, ...]:
    reader.expect("[")
    if len(items) == 2 and items[1] is Ellipsis:
        return tuple(reader.items("]", lambda: parse_value(reader, items[0], symbols)))
    values: list[Any] = []
    for item in items:
        if values:
            reader.expect(",")
        values.append(parse_value(reader, item, symbols))
    reader.expect("]")
    return tuple(values)


def parse_float(reader: TokenReader) -> float:
    """Return a number (``-1.5e-05``, ``inf``, ``nan``)."""
    sign = "-" if reader.accept("-") else ""
    word = reader.next()
    try:
        return float(sign + word)
    except ValueError as error:
        raise GraphError(f"{word!r} is not a number") from error


def parse_size(reader: TokenReader, symbols: Mapping[str, Symbol], depth: int = 0) -> int | Dim:
    """Return a size expression such as ``floor(1/2*H + 1/2) - 3*max(0, W - 8)``."""
    if depth > MAX_DEPTH:
        raise GraphError("a size expression is nested too deeply")
    total: int | Dim = 0
    sign = -1 if reader.accept("-") else 1
    while True:
        total = total + _parse_term(reader, symbols, depth) * sign
        if reader.accept("+"):
            sign = 1
        elif reader.accept("-"):
            sign = -1
        else:
            return total


def _parse_term(reader: TokenReader, symbols: Mapping[str, Symbol], depth: int) -> int | Dim:
    product = _parse_factor(reader, symbols, depth)
    while reader.accept("*"):
        product = product * _parse_factor(reader, symbols, depth)
    return product


def _parse_factor(reader: TokenReader, symbols: Mapping[str, Symbol], depth: int) -> int | Dim:
    word = reader.next()
    if word.isdecimal():
        if not reader.accept("/"):
            return int(word)
        below = reader.next()
        if not below.isdecimal() or int(below) == 0:
            raise GraphError(f"{word}/{below} is not a number")
        return rational(Fraction(int(word), int(below)))
    if word in ("floor", "min", "max") and reader.accept("("):
        first = parse_size(reader, symbols, depth + 1)
        if word == "floor":
            reader.expect(")")
            return Dim((((Floor(first),), Fraction(1)),)) if isinstance(first, Dim) else first
        reader.expect(",")
        second = parse_size(reader, symbols, depth + 1)
        reader.expect(")")
        return Dim((((Extreme(word == "max", first, second),), Fraction(1)),))
    if word not in symbols:
        raise GraphError(f"{word!r} is not a declared symbol")
    return Dim((((symbols[word],), Fraction(1)),))
