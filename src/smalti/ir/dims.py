"""Symbolic sizes: polynomials over image height, width and derived integers.

A tensor dimension is an ``int`` or a :class:`Dim`.  Arithmetic gives an ``int`` whenever the result is constant, so
code that handles shapes need not care.  Forms are canonical enough that the sizes which DeepLab graphs compute in
different ways (``ceil(ceil(ceil(H/2)/2)/2)`` and ``trunc((H - 1) * 0.125 + 1)``) compare equal.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from smalti.errors import GraphError

MAX_TERMS = 64


@dataclass(frozen=True, slots=True)
class Symbol:
    """A size known only when the model runs, within ``[low, high]`` (``high=None``: no upper limit).

    It is a multiple of ``multiple``.
    """

    name: str
    low: int = 1
    high: int | None = None
    multiple: int = 1

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Floor:
    """The largest integer not above ``value``."""

    value: Dim

    def __str__(self) -> str:
        return f"floor({self.value})"


@dataclass(frozen=True, slots=True)
class Extreme:
    """The larger (``is_max``) or smaller of two sizes."""

    is_max: bool
    a: int | Dim
    b: int | Dim

    def __str__(self) -> str:
        return f"{'max' if self.is_max else 'min'}({self.a}, {self.b})"


Atom = Symbol | Floor | Extreme
Monomial = tuple[Atom, ...]


@dataclass(frozen=True, slots=True)
class Dim:
    """A polynomial with rational coefficients over atoms; never a plain constant integer.

    ``terms`` is sorted by text and holds no zero coefficients; the empty monomial is the constant term.
    """

    terms: tuple[tuple[Monomial, Fraction], ...]

    def __add__(self, other: int | Dim | Fraction) -> int | Dim:
        return _combine(self, other, Fraction(1))

    __radd__ = __add__

    def __sub__(self, other: int | Dim | Fraction) -> int | Dim:
        return _combine(self, other, Fraction(-1))

    def __rsub__(self, other: int | Dim | Fraction) -> int | Dim:
        return _combine(other, self, Fraction(-1))

    def __neg__(self) -> int | Dim:
        return _combine(0, self, Fraction(-1))

    def __mul__(self, other: int | Dim | Fraction) -> int | Dim:
        result: dict[Monomial, Fraction] = {}
        for mono_a, coef_a in self.terms:
            for mono_b, coef_b in _terms(other):
                mono = tuple(sorted(mono_a + mono_b, key=str))
                result[mono] = result.get(mono, Fraction(0)) + coef_a * coef_b
        return _normal(result)

    __rmul__ = __mul__

    def __floordiv__(self, other: int | Dim) -> int | Dim:
        return floor_div(self, other)

    def __rfloordiv__(self, other: int) -> int | Dim:
        return floor_div(other, self)

    def __mod__(self, other: int) -> int | Dim:
        return self - floor_div(self, other) * other

    def __str__(self) -> str:
        parts: list[str] = []
        for mono, coef in self.terms:
            factors = [str(a) for a in mono]
            if abs(coef) != 1 or not factors:
                factors.insert(0, str(abs(coef)))
            sign = "-" if coef < 0 else "+" if parts else ""
            parts.append(f"{sign} {'*'.join(factors)}" if parts else f"{sign}{'*'.join(factors)}")
        return " ".join(parts)

    def __repr__(self) -> str:
        return f"Dim({self})"

    @property
    def is_integral(self) -> bool:
        """Whether the value is an integer for all values of the symbols (sufficient test)."""
        return all(_is_whole_term(mono, coef) for mono, coef in self.terms)


def symbol(name: str, low: int = 1, high: int | None = None, multiple: int = 1) -> Dim:
    """Return the size named ``name``, known to lie in ``[low, high]`` and to be a multiple of ``multiple``."""
    return symbol_of(Symbol(name, low, high, multiple))


def symbol_of(size: Symbol) -> Dim:
    """Return a symbol as a size."""
    return Dim((((size,), Fraction(1)),))


def _is_whole_term(mono: Monomial, coef: Fraction) -> bool:
    """Whether a term is an integer: a sixteenth of a multiple of 16 is one."""
    return (coef * _common(mono)).denominator == 1 and _is_whole(mono)


def _common(mono: Monomial) -> int:
    """Return what the product of the symbols is a multiple of."""
    return math.prod(atom.multiple for atom in mono if isinstance(atom, Symbol))


def _is_whole(mono: Monomial) -> bool:
    """Whether a product of atoms is an integer; the larger of two fractions, for instance, need not be one."""
    extremes = (atom for atom in mono if isinstance(atom, Extreme))
    return all(isinstance(part, int) or part.is_integral for atom in extremes for part in (atom.a, atom.b))


def _terms(value: int | Dim | Fraction) -> tuple[tuple[Monomial, Fraction], ...]:
    if isinstance(value, Dim):
        return value.terms
    return (((), Fraction(value)),) if value else ()


def _normal(terms: Mapping[Monomial, Fraction]) -> int | Dim:
    kept = sorted(((m, c) for m, c in terms.items() if c), key=lambda item: [str(a) for a in item[0]] or ["~"])
    if len(kept) > MAX_TERMS:
        raise GraphError("a tensor size depends on the image size in a way that is too complicated")
    if not kept:
        return 0
    if len(kept) == 1 and not kept[0][0] and kept[0][1].denominator == 1:
        return int(kept[0][1])
    return Dim(tuple(kept))


def _combine(a: int | Dim | Fraction, b: int | Dim | Fraction, scale: Fraction) -> int | Dim:
    result = dict(_terms(a))
    for mono, coef in _terms(b):
        result[mono] = result.get(mono, Fraction(0)) + coef * scale
    return _normal(result)


def rational(value: Fraction) -> int | Dim:
    """Return a constant, which need not be an integer, as a size expression."""
    return _normal({(): value})


def floor(value: int | Dim) -> int | Dim:
    """Return ``floor(value)``; integer terms are taken out and nested floors merged.

    Uses ``floor((floor(x) + n) / m) = floor((x + n) / m)`` for integers ``n`` and ``m > 0``.
    """
    if isinstance(value, int):
        return value
    outside: dict[Monomial, Fraction] = {}
    inside: dict[Monomial, Fraction] = {}
    for mono, coef in value.terms:
        whole = math.floor(coef) if not mono else (coef if _is_whole_term(mono, coef) else Fraction(0))
        outside[mono] = Fraction(whole)
        inside[mono] = coef - whole
    rest = _normal(inside)
    if isinstance(rest, Dim):
        rest = _merge_nested(rest)
    if isinstance(rest, Dim) and not rest.is_integral:
        low, high = bounds(rest)
        if high is not None and math.isfinite(low) and math.floor(low) == math.floor(high):
            floored: int | Dim = math.floor(low)
        else:
            floored = Dim((((Floor(rest),), Fraction(1)),))
    else:
        floored = rest
    return _normal(outside) + floored


def _merge_nested(value: Dim) -> Dim:
    for mono, coef in value.terms:
        if len(mono) != 1 or not isinstance(mono[0], Floor) or coef.numerator != 1:
            continue
        rest = _combine(value, Dim(((mono, coef),)), Fraction(-1))
        scaled = rest * coef.denominator
        if isinstance(scaled, int) or scaled.is_integral:
            merged = mono[0].value * coef + rest
            if isinstance(merged, Dim):
                return _merge_nested(merged)
    return value


def floor_div(a: int | Dim, b: int | Dim) -> int | Dim:
    """Return ``floor(a / b)``.

    Raises:
        GraphError: ``b`` is zero, or is symbolic and does not divide ``a`` exactly.
    """
    if isinstance(b, int):
        if b == 0:
            raise GraphError("a tensor size is divided by zero")
        return a // b if isinstance(a, int) else floor(a * Fraction(1, b))
    exact = divide_exact(a, b)
    if exact is None:
        raise GraphError(f"a tensor size is computed as {a} / {b}, which is not supported")
    return exact


def divide_exact(a: int | Dim, b: int | Dim) -> int | Dim | None:
    """Return ``a / b`` when it is an integer expression for all values of the symbols, else ``None``."""
    if isinstance(b, int):
        if b == 0:
            return None
        if isinstance(a, int):
            return a // b if a % b == 0 else None
        quotient = a * Fraction(1, b)
        return quotient if isinstance(quotient, int) or quotient.is_integral else None
    if a == 0:
        return 0
    result: int | Dim = 0
    remainder = a
    lead_b, coef_b = b.terms[0]
    for _ in range(MAX_TERMS):
        if remainder == 0:
            return result if isinstance(result, int) or result.is_integral else None
        lead_a, coef_a = _terms(remainder)[0]
        left = list(lead_a)
        for atom in lead_b:
            if atom not in left:
                return None
            left.remove(atom)
        step = _normal({tuple(left): coef_a / coef_b})
        result = step + result
        remainder = _combine(remainder, step * b, Fraction(-1))
    return None


def ceil_div(a: int | Dim, b: int) -> int | Dim:
    """Return ``ceil(a / b)`` for ``b > 0``."""
    return floor_div(a + (b - 1), b)


def maximum(a: int | Dim, b: int | Dim) -> int | Dim:
    """Return the larger size; where the order is proved for all values of the symbols, simply that one."""
    return _extreme(True, a, b)


def minimum(a: int | Dim, b: int | Dim) -> int | Dim:
    """Return the smaller size; where the order is proved for all values of the symbols, simply that one."""
    return _extreme(False, a, b)


def _extreme(is_max: bool, a: int | Dim, b: int | Dim) -> int | Dim:
    if isinstance(a, int) and isinstance(b, int):
        return max(a, b) if is_max else min(a, b)
    if nonnegative(_combine(a, b, Fraction(-1))):
        return a if is_max else b
    if nonnegative(_combine(b, a, Fraction(-1))):
        return b if is_max else a
    first, second = sorted((a, b), key=str)
    return Dim((((Extreme(is_max, first, second),), Fraction(1)),))


@lru_cache(maxsize=4096)
def bounds(value: int | Dim) -> tuple[Fraction | float, Fraction | None]:
    """Return ``(low, high)`` that the value never leaves; ``low`` may be ``-inf`` and ``high`` ``None`` (no limit)."""
    if isinstance(value, int):
        return Fraction(value), Fraction(value)
    low: Fraction | float = Fraction(0)
    high: Fraction | float = Fraction(0)
    for mono, coef in value.terms:
        mono_low: Fraction | float = Fraction(1)
        mono_high: Fraction | float = Fraction(1)
        for atom in mono:
            atom_low, atom_high = _atom_bounds(atom)
            corners = [_times(p, q) for p in (mono_low, mono_high) for q in (atom_low, atom_high)]
            mono_low, mono_high = min(corners), max(corners)
        ends = (_times(mono_low, coef), _times(mono_high, coef))
        low, high = low + min(ends), high + max(ends)
    return low, (high if isinstance(high, Fraction) else None)


def _times(a: Fraction | float, b: Fraction | float) -> Fraction | float:
    return Fraction(0) if a == 0 or b == 0 else a * b


def _atom_bounds(atom: Atom) -> tuple[Fraction | float, Fraction | float]:
    if isinstance(atom, Symbol):
        return Fraction(atom.low), math.inf if atom.high is None else Fraction(atom.high)
    if isinstance(atom, Floor):
        low, high = bounds(atom.value)
        return (Fraction(math.floor(low)) if math.isfinite(low) else low), (
            math.inf if high is None else Fraction(math.floor(high))
        )
    (low_a, high_a), (low_b, high_b) = bounds(atom.a), bounds(atom.b)
    highs = (math.inf if high_a is None else high_a, math.inf if high_b is None else high_b)
    return (max(low_a, low_b), max(highs)) if atom.is_max else (min(low_a, low_b), min(highs))


def denominator_of(value: int | Dim) -> int:
    """Return the smallest ``d > 0`` for which all terms of ``value * d`` are integers, as far as symbols tell."""
    return 1 if isinstance(value, int) else math.lcm(*((c * _common(mono)).denominator for mono, c in value.terms))


@lru_cache(maxsize=4096)
def nonnegative(value: int | Dim) -> bool:
    """Whether ``value >= 0`` is proved for all image sizes.

    Interval bounds first; then the outermost roundings are replaced by what they cannot fall below
    (``floor(x) >= x - (d - 1) / d``, ``max(a, b) >= a``), which proves sizes padded up to a multiple and the like.
    For an integer it is enough to be above -1.
    """
    whole = isinstance(value, Dim) and value.is_integral
    pending: list[tuple[int | Dim, int]] = [(value, 0)]
    steps = 0
    while pending:
        current, depth = pending.pop()
        low = bounds(current)[0]
        if low >= 0 or (whole and low > -1):
            return True
        steps += 1
        if steps > 32 or depth > 6 or isinstance(current, int):
            continue
        pending.extend((weaker, depth + 1) for weaker in _weaken(current))
    return False


def _weaken(value: Dim) -> list[int | Dim]:
    """Return expressions that are nowhere above ``value``, each with one rounding or extreme less."""
    for mono, coef in value.terms:
        if len(mono) != 1 or isinstance(mono[0], Symbol):
            continue
        atom = mono[0]
        rest = value - Dim(((mono, coef),))
        if isinstance(atom, Floor):
            slack = _most_lost(atom.value) if coef > 0 else Fraction(0)
            return [rest + (atom.value - slack) * rational(coef)]
        if isinstance(atom, Extreme) and atom.is_max == (coef > 0):
            return [rest + rational(coef) * part for part in (atom.a, atom.b)]
    return []


def _most_lost(value: Dim) -> Fraction:
    """Return a limit of how much rounding down takes away."""
    if not all(_is_whole(mono) for mono, _ in value.terms):
        return Fraction(1)
    return 1 - Fraction(1, denominator_of(value))


def product(sizes: Iterable[int | Dim]) -> int | Dim:
    """Return the product of sizes (1 for none)."""
    total: int | Dim = 1
    for size in sizes:
        total = total * size
    return total
