"""What kernels say of operations: deny by default.

A kernel declares the records it takes and, for each of their attributes, the values it supports.  An attribute that it
does not name must have its default value, so a new field of a record, a new member of an enumeration and a record
derived from another one are refused by every kernel that has not been taught about them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from enum import Enum
from typing import Any, TypeAlias

from smalti.ir.ops import Op
from smalti.numerics import DType

INTEGERS = frozenset(d for d in DType if d.is_integer)
FLOATS = frozenset((DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16))
"""Floating-point types of at most 32 bits."""


class Anything(Enum):
    """Every value but a member of an enumeration: those are listed."""

    ANY = "any"


ANY = Anything.ANY
Allowed: TypeAlias = "frozenset[Any] | Anything | Takes"
"""The values of an attribute; for records (or tuples of them) what is taken of those."""


@dataclass(frozen=True, slots=True)
class Takes:
    """One record that a kernel takes, matched by its exact type."""

    op: type[Op]
    attributes: tuple[tuple[str, Allowed], ...]

    def also(self, *anything: str) -> Takes:
        """Return the declaration that allows any value of these attributes, too."""
        return Takes(self.op, (*self.attributes, *((name, ANY) for name in anything)))

    def refused(self, op: Op) -> list[str]:
        """Return the attributes of a record (of this type or one derived from it) whose values are not supported."""
        declared = dict(self.attributes)
        wrong: list[str] = []
        for field in _fields(op):
            if not _supported(declared.get(field.name), getattr(op, field.name), field.default):
                wrong.append(field.name)
        return wrong if wrong or type(op) is self.op else ["type"]


def _fields(op: Op) -> tuple[Field[Any], ...]:
    return fields(op) if is_dataclass(op) else ()


def takes(op: type[Op], *anything: str, **listed: Allowed) -> Takes:
    """Declare a record: attributes that may have any value, and attributes with the values they may have."""
    return Takes(op, (*((name, ANY) for name in anything), *listed.items()))


def may_take(declared: Iterable[Takes], op: Op) -> bool:
    """Whether one of the declarations takes a record."""
    return any(type(op) is one.op and not one.refused(op) for one in declared)


def why_refused(declared: Collection[Takes], op: Op) -> str:
    """Return what is wrong with a record that nobody takes: the attributes that all who know it refuse."""
    known = [one.refused(op) for one in declared if one.op in type(op).__mro__]
    if not known:
        return f"no kernel takes {type(op).__name__}"
    common = [name for name in known[0] if all(name in other for other in known)]
    said = (f"{name}={getattr(op, name, type(op).__name__)}" for name in common or dict.fromkeys(sum(known, [])))
    return f"no kernel takes {type(op).__name__} with {', '.join(said)}"


def _supported(allowed: Allowed | None, value: Any, default: Any) -> bool:
    if allowed is None:
        return default is not MISSING and bool(value == default)
    if isinstance(allowed, Takes):
        return all(may_take((allowed,), one) for one in (value if isinstance(value, tuple) else (value,)))
    if isinstance(allowed, Anything):
        return not isinstance(value, Enum)
    return value in allowed
