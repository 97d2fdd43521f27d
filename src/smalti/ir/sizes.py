"""What symbolic sizes are once symbols have values, and which symbols they depend on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

from smalti.errors import CompilerError
from smalti.ir.dims import Atom, Dim, Floor, Symbol, floor, maximum, minimum, rational, symbol_of


def evaluate(value: int | Dim, values: Mapping[str, int]) -> int:
    """Return the size for given symbol values.

    Raises:
        CompilerError: a symbol has no value, or the result is not an integer.
    """
    if isinstance(value, int):
        return value
    total = _evaluate(value, values)
    if total.denominator != 1:
        raise CompilerError(f"size {value} is not an integer at {dict(values)}")
    return int(total)


def _evaluate(value: int | Dim, values: Mapping[str, int]) -> Fraction:
    if isinstance(value, int):
        return Fraction(value)
    total = Fraction(0)
    for mono, coef in value.terms:
        product = coef
        for atom in mono:
            product *= _evaluate_atom(atom, values)
        total += product
    return total


def _evaluate_atom(atom: Atom, values: Mapping[str, int]) -> Fraction:
    if isinstance(atom, Symbol):
        if atom.name not in values:
            raise CompilerError(f"size symbol {atom.name} has no value")
        return Fraction(values[atom.name])
    if isinstance(atom, Floor):
        return Fraction(math.floor(_evaluate(atom.value, values)))
    pair = (_evaluate(atom.a, values), _evaluate(atom.b, values))
    return max(pair) if atom.is_max else min(pair)


def substitute(value: int | Dim, sizes: Mapping[str, int | Dim]) -> int | Dim:
    """Return the size with symbols replaced (and everything simplified again)."""
    if isinstance(value, int):
        return value
    total: int | Dim = 0
    for mono, coef in value.terms:
        product: int | Dim = rational(coef)
        for atom in mono:
            product = product * _substitute_atom(atom, sizes)
        total = total + product
    return total


def _substitute_atom(atom: Atom, sizes: Mapping[str, int | Dim]) -> int | Dim:
    if isinstance(atom, Symbol):
        return sizes.get(atom.name, symbol_of(atom))
    if isinstance(atom, Floor):
        return floor(substitute(atom.value, sizes))
    return (maximum if atom.is_max else minimum)(substitute(atom.a, sizes), substitute(atom.b, sizes))


def symbols_of(value: int | Dim) -> frozenset[Symbol]:
    """Return the symbols a size depends on."""
    if isinstance(value, int):
        return frozenset()
    found: set[Symbol] = set()
    for mono, _ in value.terms:
        for atom in mono:
            if isinstance(atom, Symbol):
                found.add(atom)
            elif isinstance(atom, Floor):
                found |= symbols_of(atom.value)
            else:
                found |= symbols_of(atom.a) | symbols_of(atom.b)
    return frozenset(found)
