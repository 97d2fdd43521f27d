"""What a user says of tensors by name: the shapes of inputs, and the values of those that become constants.

Both are kept as plain numbers and tuples, so they can be compared, written into a manifest and read back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from smalti.errors import UsageError
from smalti.frontend.budget import MAX_DIM, MAX_RANK

Shape = tuple[int | None, ...]
"""Sizes, ``None`` where the graph decides; ``()`` is a scalar."""
Plain = bool | int | float | tuple["Plain", ...]
"""A value: a number, or nested tuples of numbers."""

MAX_BOUND = 4096
"""Elements of a bound value; they are stored in the model file as text."""
_SHOWN = 60


def plain_shapes(shapes: Mapping[str, Iterable[int | None]]) -> dict[str, Shape]:
    """Return shapes by tensor name, each name with its output number (``x`` is ``x:0``).

    Raises:
        UsageError: a tensor is named twice, or a size is not 1 to ``MAX_DIM``.
    """
    found: dict[str, Shape] = {}
    for name, shape in shapes.items():
        sizes = tuple(shape)
        if len(sizes) > MAX_RANK or not all(s is None or (type(s) is int and 1 <= s <= MAX_DIM) for s in sizes):
            raise UsageError(
                f"the shape of {name} must be at most {MAX_RANK} sizes from 1 to {MAX_DIM}, or None where the graph "
                f"decides, not {_shown(sizes)}"
            )
        _add(found, name, sizes)
    return found


def plain_values(values: Mapping[str, Any]) -> dict[str, Plain]:
    """Return values by tensor name, each name with its output number; arrays and lists become tuples.

    Raises:
        UsageError: a tensor is named twice; a value is no number, not finite, not rectangular, or of more than
            ``MAX_BOUND`` elements.
    """
    found: dict[str, Plain] = {}
    for name, value in values.items():
        _add(found, name, _plain(value, name))
    return found


def shape_text(shape: Shape) -> str:
    """Return a shape as ``--input-shape`` takes it: ``1x720x?x3``, ``scalar``."""
    return "x".join("?" if size is None else str(size) for size in shape) or "scalar"


def value_text(value: Plain) -> str:
    """Return a value as ``--bind`` takes it: ``false``, ``0.5``, ``1,2,3``; only the beginning of a long one."""
    flat = list(_flat(value))
    words = [str(item).lower() if isinstance(item, bool) else f"{item}" for item in flat[:_SHOWN]]
    return ",".join(words) + (",..." if len(flat) > _SHOWN else "")


def _add(found: dict[str, Any], name: str, item: object) -> None:
    full = name if ":" in name else f"{name}:0"
    if full in found:
        raise UsageError(f"{full} is named twice: leave one of them out")
    found[full] = item


def _plain(value: Any, name: str, depth: int = 0) -> Plain:
    if isinstance(value, (np.ndarray, np.generic)):
        if value.size > MAX_BOUND:
            raise _too_many(name)
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        if not value or depth == MAX_RANK:
            raise UsageError(f"the value of {name} is an empty list or has more than {MAX_RANK} dimensions")
        if len(value) > MAX_BOUND:
            raise _too_many(name)
        items = tuple(_plain(item, name, depth + 1) for item in value)
        if len({_shape(item) for item in items}) != 1:
            raise UsageError(f"the value of {name} is not rectangular: its rows are not equally long")
        if sum(1 for item in items for _ in _flat(item)) > MAX_BOUND:
            raise _too_many(name)
        return items
    if not isinstance(value, (bool, int, float)):
        raise UsageError(f"the value of {name} must be true, false or numbers, not {_shown(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"the value of {name} must be finite, not {value}")
    return value


def _too_many(name: str) -> UsageError:
    return UsageError(f"the value of {name} has more than {MAX_BOUND} elements")


def _shape(value: Plain) -> tuple[int, ...]:
    return (len(value), *_shape(value[0])) if isinstance(value, tuple) else ()


def _flat(value: Plain) -> Iterable[bool | int | float]:
    if isinstance(value, tuple):
        for item in value:
            yield from _flat(item)
    else:
        yield value


def elements(value: Plain) -> tuple[tuple[int, ...], list[bool | int | float]]:
    """Return the shape of a value, and its numbers in C order."""
    return _shape(value), list(_flat(value))


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
