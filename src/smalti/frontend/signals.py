"""What a handler raises to say something about its node; the walk over the graph catches all of them."""

from __future__ import annotations

from collections.abc import Mapping

from smalti.ir.dims import Symbol


class Unsupported(Exception):
    """A node uses something that this compiler does not have; the text says what."""


class UnknownInput(Exception):
    """A handler asked for an input that stands behind an unsupported node."""


class NeedsLimit(Exception):
    """The graph pads images to a crop size; ``symbol`` must not exceed ``high``."""

    def __init__(self, symbol: Symbol, high: int) -> None:
        super().__init__(symbol.name)
        self.symbol = symbol
        self.high = high


class NeedsSteps(Exception):
    """Tensors fit each other only if open sizes are multiples of these numbers, by the names of symbols."""

    def __init__(self, multiples: Mapping[str, int]) -> None:
        super().__init__(", ".join(multiples))
        self.multiples = dict(multiples)
