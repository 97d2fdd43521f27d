"""Sizes as a small program that the runtime evaluates for each input shape."""

from __future__ import annotations

import math
from collections.abc import Sequence

from smalti.errors import CompilerError
from smalti.ir.dims import Atom, Dim, Extreme, Floor, Symbol

Instruction = tuple[str, int] | tuple[str, int, int]


class DimTable:
    """Collects sizes; each gets an index into the program, equal sizes the same one."""

    def __init__(self, symbols: Sequence[Symbol]) -> None:
        self.symbols: tuple[Symbol, ...] = tuple(symbols)
        self._program: list[Instruction] = []
        self._index: dict[Instruction, int] = {}
        self._known: dict[int | Dim, int] = {}

    @property
    def program(self) -> tuple[Instruction, ...]:
        """Return the instructions; operands are indices of earlier ones."""
        return tuple(self._program)

    def index(self, value: int | Dim) -> int:
        """Return the index of a size, adding what is needed to compute it."""
        known = self._known.get(value)
        if known is None:
            known = self._emit(("const", value)) if isinstance(value, int) else self._polynomial(value)
            self._known[value] = known
        return known

    def _emit(self, instruction: Instruction) -> int:
        position = self._index.get(instruction)
        if position is None:
            position = self._index[instruction] = len(self._program)
            self._program.append(instruction)
        return position

    def _polynomial(self, value: Dim) -> int:
        scale = math.lcm(*(c.denominator for _, c in value.terms))
        if scale != 1:
            # A part of a symbol that is a multiple: the division leaves nothing.
            if not value.is_integral:
                raise CompilerError(f"size {value} is not an integer")
            return self._emit(("floordiv", self.index(value * scale), self.index(scale)))
        total: int | None = None
        for monomial, coefficient in value.terms:
            term: int | None = None
            for atom in monomial:
                factor = self._atom(atom)
                term = factor if term is None else self._emit(("mul", term, factor))
            whole = int(coefficient)
            if term is None:
                term = self.index(whole)
            elif whole != 1:
                term = self._emit(("mul", term, self.index(whole)))
            total = term if total is None else self._emit(("add", total, term))
        if total is None:
            raise CompilerError("an empty size")
        return total

    def _atom(self, atom: Atom) -> int:
        if isinstance(atom, Symbol):
            if atom not in self.symbols:
                raise CompilerError(f"size symbol {atom} does not belong to an input")
            return self._emit(("symbol", self.symbols.index(atom)))
        if isinstance(atom, Floor):
            scale = math.lcm(*(c.denominator for _, c in atom.value.terms))
            return self._emit(("floordiv", self.index(atom.value * scale), self.index(scale)))
        if isinstance(atom, Extreme):
            return self._emit(("max" if atom.is_max else "min", self.index(atom.a), self.index(atom.b)))
        raise CompilerError(f"unknown size {atom}")
