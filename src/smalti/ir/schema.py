"""What is known of an operation, in one place: the frame that every record fills.

A record is a frozen dataclass with, beside its attributes:

``result(self, x, weights, bias=None)``
    the type rule, from operand types by name; refuses what does not fit with :class:`GraphError`.
``meaning(x, weights, bias=None, *, stride, pads)``
    plain numpy: operands by name, attributes by keyword, with sizes as numbers.  Attributes are passed by name, so a
    record with an attribute that its meaning does not take cannot even be declared.
``problems(self)``
    what is wrong with the attributes alone (may be left out).
``multiply_adds(self, result, weights)``
    work of one run, for matrix and window operations (may be left out).

:func:`operation` checks all that and adds the :class:`Schema`.  Nothing is allowed by default: an attribute of an enum
takes the members that are listed and no others, and a record that is not declared is refused everywhere.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, fields, is_dataclass, replace
from enum import Enum
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from smalti.errors import CompilerError
from smalti.ir.dims import Dim
from smalti.ir.sizes import evaluate
from smalti.ir.types import Layout, Level, TensorType

Array = NDArray[Any]
T = TypeVar("T")
OpT = TypeVar("OpT", bound="Op")

EVERY_LEVEL = frozenset(Level)
IMPORTED = frozenset((Level.IMPORTED,))
AFTER_IMPORT = frozenset((Level.CANONICAL, Level.QUANTISED))
QUANTISED = frozenset((Level.QUANTISED,))


class Op:
    """Base of all operation records."""

    __slots__ = ()
    schema: ClassVar[Schema]
    result: ClassVar[Callable[..., TensorType]]
    meaning: ClassVar[Callable[..., Array]]
    multiply_adds: ClassVar[Callable[..., int | Dim] | None] = None

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the attributes alone."""
        return iter(())


@dataclass(frozen=True, slots=True)
class Operand:
    """One operand.  An optional one is there where the attribute of its name is true; ``many``: any number, last."""

    name: str
    optional: bool = False
    many: bool = False


@dataclass(frozen=True, slots=True)
class Schema:
    """What is known of an operation beside its attributes.

    Attributes:
        operands: in order.
        levels: where it may stand.
        layouts: whether it has an attribute ``layout``, which is NHWC from level canonical on.
        moves: results are values of the first operand (or zeros of a padding), moved; nothing is computed.
        half: it is computed in half precision where the graph is; others are given float32.
        signed_sizes: size attributes may be negative (positions, or integers that are only data).
        values: the members that each enum attribute takes.
        sizes: names of the attributes that hold sizes.
        keywords: names of the attributes that the meaning takes.
        names: the operands' names, where all are always there.
        many: whether the last operand may be any number of them.
    """

    operands: tuple[Operand, ...]
    levels: frozenset[Level]
    layouts: bool
    moves: bool
    half: bool
    signed_sizes: bool
    values: Mapping[str, frozenset[Enum]]
    sizes: tuple[str, ...]
    keywords: tuple[str, ...]
    names: tuple[str, ...] | None
    many: bool


def operation(
    *operands: str,
    levels: frozenset[Level] = EVERY_LEVEL,
    moves: bool = False,
    half: bool = False,
    signed_sizes: bool = False,
    values: Mapping[str, frozenset[Any]] | None = None,
    silent: tuple[str, ...] = (),
) -> Callable[[type[OpT]], type[OpT]]:
    """Declare a record as an operation.

    Args:
        operands: names in order; ``"bias?"`` is there where the attribute ``bias`` is true, ``"parts*"`` is any number.
        levels: where it may stand.
        moves: see :class:`Schema`.
        half: see :class:`Schema`.
        signed_sizes: see :class:`Schema`.
        values: the members that each enum attribute takes.
        silent: attributes that say something about the result and do not change it, so the meaning takes none of them.

    Raises:
        CompilerError: the record, its rules and this declaration do not fit together.
    """
    listed = tuple(_operand(text) for text in operands)
    members = {name: frozenset(allowed) for name, allowed in (values or {}).items()}

    def declare(record: type[OpT]) -> type[OpT]:
        hints = _hints(record)
        flags = {operand.name for operand in listed if operand.optional}
        keywords = tuple(name for name in hints if name not in flags and name not in silent)
        _check_signature(record, "meaning", listed, keywords)
        _check_signature(record, "result", listed, ())
        enums = {name for name, hint in hints.items() if isinstance(hint, type) and issubclass(hint, Enum)}
        if enums != set(members):
            raise CompilerError(f"{record.__name__} must say which members {sorted(enums ^ set(members))} takes")
        sizes = tuple(name for name, hint in hints.items() if _holds_sizes(hint))
        names = None if flags else tuple(operand.name for operand in listed)
        many = any(operand.many for operand in listed)
        record.schema = Schema(
            listed, levels, "layout" in hints, moves, half, signed_sizes, members, sizes, keywords, names, many
        )
        return record

    return declare


def schema_of(op: Op) -> Schema:
    """Return the schema of an operation.

    Raises:
        CompilerError: its record was never declared (a subclass of a declared record is not declared by that).
    """
    found = type(op).__dict__.get("schema")
    if not isinstance(found, Schema):
        raise CompilerError(f"{type(op).__name__} is not declared as an operation")
    return found


def undeclared(op: Op) -> Iterator[str]:
    """Yield what the schema of an operation does not declare: members of enums that it does not take.

    Raises:
        CompilerError: see :func:`schema_of`.
    """
    for name, allowed in schema_of(op).values.items():
        value = getattr(op, name)
        if value not in allowed:
            yield f"{name} is {getattr(value, 'value', value)!r}, which {type(op).__name__} does not take"


def operand_names(op: Op) -> tuple[str, ...]:
    """Return the names of the operands that this operation has; the last is repeated where there are any number."""
    schema = schema_of(op)
    if schema.names is not None:
        return schema.names
    return tuple(o.name for o in schema.operands if not o.optional or getattr(op, o.name))


def operand_index(op: Op, name: str) -> int | None:
    """Return the position of the operand that the operation calls by this name, or ``None`` where it has none."""
    names = operand_names(op)
    return names.index(name) if name in names else None


def is_weighted(op: Op) -> bool:
    """Whether the operation multiplies by an operand called weights: convolutions and matrix products."""
    return operand_index(op, "weights") is not None


def arity(op: Op) -> tuple[int, int | None]:
    """Return the lowest and highest number of operands (``None``: any)."""
    names = operand_names(op)
    return len(names), None if schema_of(op).many else len(names)


def by_name(op: Op, given: Sequence[T]) -> tuple[tuple[T, ...], dict[str, T]]:
    """Return operands as (positional, keyword) arguments of the record's rules."""
    if schema_of(op).many:
        return tuple(given), {}
    return (), dict(zip(operand_names(op), given, strict=True))


def layout_of(op: Op) -> Layout:
    """Return the layout attribute of an operation (NHWC if it has none)."""
    layout = getattr(op, "layout", Layout.NHWC)
    return layout if isinstance(layout, Layout) else Layout.NHWC


def size_attributes(op: Op) -> tuple[int | Dim, ...]:
    """Return every size that the attributes of an operation hold."""
    return tuple(size for name in schema_of(op).sizes for size in _flat(getattr(op, name)))


def eval_op(op: Op, operands: Sequence[Array], env: Mapping[str, int]) -> Array:
    """Return the result of an operation on arrays (bfloat16 already widened); ``env`` has the size symbols.

    Raises:
        CompilerError: an attribute has a value that the operation is not declared to take.
    """
    for problem in undeclared(op):
        raise CompilerError(problem)
    positional, named = by_name(op, operands)
    attributes = attributes_of(op, env)
    # IEEE results (infinity, NaN, wrap-around) are the meaning, not a condition to warn of.
    with np.errstate(all="ignore"):
        return np.asarray(type(op).meaning(*positional, **named, **attributes))


def attributes_of(op: Op, env: Mapping[str, int]) -> dict[str, Any]:
    """Return the attributes that an operation's meaning takes, with sizes as numbers."""
    return {name: _numbers(getattr(op, name), env) for name in schema_of(op).keywords}


def _operand(text: str) -> Operand:
    return Operand(text.rstrip("?*"), text.endswith("?"), text.endswith("*"))


def _hints(record: type[Op]) -> dict[str, Any]:
    hints = typing.get_type_hints(record)
    declared: tuple[Field[Any], ...] = fields(record) if is_dataclass(record) else ()
    return {f.name: hints[f.name] for f in declared}


def _check_signature(record: type[Op], rule: str, operands: tuple[Operand, ...], keywords: tuple[str, ...]) -> None:
    found = inspect.signature(getattr(record, rule)).parameters.values()
    positional = [p.name for p in found if p.kind is not p.KEYWORD_ONLY and p.name != "self"]
    named = {p.name for p in found if p.kind is p.KEYWORD_ONLY}
    if positional != [o.name for o in operands] or named != set(keywords):
        raise CompilerError(
            f"{record.__name__}.{rule} takes {positional} and the attributes {sorted(named)}, "
            f"not {[o.name for o in operands]} and {sorted(keywords)}"
        )


def _holds_sizes(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, Op):
        return any(_holds_sizes(inner) for inner in _hints(hint).values())
    return hint is Dim or any(_holds_sizes(inner) for inner in typing.get_args(hint))


def _flat(value: Any) -> Iterator[int | Dim]:
    if isinstance(value, tuple):
        for item in value:
            yield from _flat(item)
    elif isinstance(value, Op):
        yield from size_attributes(value)
    elif isinstance(value, (int, Dim)):
        yield value


def _numbers(value: Any, env: Mapping[str, int]) -> Any:
    """Return an attribute with every size as a number."""
    if isinstance(value, Dim):
        return evaluate(value, env)
    if isinstance(value, tuple):
        return tuple(_numbers(item, env) for item in value)
    if isinstance(value, Op) and is_dataclass(value):
        changed = {name: _numbers(getattr(value, name), env) for name in schema_of(value).sizes}
        return replace(value, **changed)
    return value
