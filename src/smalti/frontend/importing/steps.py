"""What open sizes must be multiples of, for tensors that meet again to have the same size.

A network that halves a picture and doubles it again meets what it kept only where nothing was rounded: 97 pixels
become 48, and then 96.  For multiples of 2, 4, 8, by how often it halves, both ways give one size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations, islice

from smalti.errors import GraphError
from smalti.frontend.values import Result, Value
from smalti.ir.dims import Dim, Symbol, symbol
from smalti.ir.sizes import substitute, symbols_of

MAX_STEP = 1024
MAX_PAIRS, MAX_SHAPES = 64, 32
STEPS = tuple(sorted(odd << shift for odd in (1, 3, 5, 7) for shift in range(11) if 2 <= odd << shift <= MAX_STEP))
"""What is tried, the smallest first: networks halve, and some divide by 3, 5 or 7 as well."""


def steps_that_fit(inputs: Iterable[Result]) -> dict[str, int]:
    """Return what open sizes, by the names of symbols, must be multiples of for more sizes of tensors to be equal.

    Nothing where no multiple helps.
    """
    # A node may read a tensor thousands of times: its shape counts once, and a few shapes tell.
    shapes = dict.fromkeys(value.type.shape for value in inputs if isinstance(value, Value))
    pairs = list(islice(_different(list(shapes)[:MAX_SHAPES]), MAX_PAIRS))
    found = {s for pair in pairs for size in pair for s in symbols_of(size)}
    for step in STEPS:
        tried = {s.name: math.lcm(s.multiple, step) for s in found}
        if max(tried.values(), default=0) > MAX_STEP or all(tried[s.name] == s.multiple for s in found):
            continue
        sizes = {s.name: _in_steps(s, tried[s.name]) for s in found}
        if any(_equal(*pair, sizes) for pair in pairs):
            return tried
    return {}


def _different(shapes: Iterable[tuple[int | Dim, ...]]) -> Iterator[tuple[Dim, Dim]]:
    """Yield open sizes that stand above each other, axes counted from behind, and are not equal."""
    for a, b in combinations(shapes, 2):
        for x, y in zip(reversed(a), reversed(b), strict=False):
            if isinstance(x, Dim) and isinstance(y, Dim) and x != y:
                yield x, y


def _in_steps(size: Symbol, step: int) -> int | Dim:
    low = -(-size.low // step) * step
    return symbol(size.name, low, size.high, step)


def _equal(a: Dim, b: Dim, sizes: Mapping[str, int | Dim]) -> bool:
    try:
        return substitute(a, sizes) == substitute(b, sizes)
    except GraphError:  # too complicated a size: no help
        return False
