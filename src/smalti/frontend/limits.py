"""The largest image a graph accepts, as its own padding to a crop size tells."""

from __future__ import annotations

from smalti.ir.dims import Dim, Extreme, Symbol


def limit_of_maximum(value: object) -> tuple[Symbol, int] | None:
    """Return ``(S, c)`` when a size holds ``max(c - S, 0)`` for an input size ``S`` that has no limit yet.

    DeepLab's export pads an image by ``max(crop - size, 0)``, and what stands behind the padding works for the crop
    size alone, so ``c`` is the largest size the graph takes.
    """
    if not isinstance(value, Dim):
        return None
    for mono, _ in value.terms:
        for atom in mono:
            if isinstance(atom, Extreme) and atom.is_max:
                for part, other in ((atom.a, atom.b), (atom.b, atom.a)):
                    if other == 0:
                        found = limit_of_difference(part)
                        if found is not None:
                            return found
    return None


def limit_of_difference(value: object) -> tuple[Symbol, int] | None:
    """Return ``(S, c)`` when a size is ``c - S`` for an input size ``S`` that has no limit yet."""
    if not isinstance(value, Dim) or len(value.terms) != 2:
        return None
    (mono, coef), (constant_mono, constant) = value.terms
    if constant_mono or len(mono) != 1 or coef != -1 or constant.denominator != 1:
        return None
    atom = mono[0]
    if not isinstance(atom, Symbol) or (atom.high is not None and atom.high <= constant) or constant < atom.low:
        return None
    return atom, int(constant)
