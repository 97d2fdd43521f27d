"""Cut a length into overlapping pieces."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """One piece along a side of a picture, in pixels.

    The network sees ``start`` to ``stop``. Scores count from ``first`` to ``last``, which only the neighbours' reach
    into; labels are taken from ``own_first`` to ``own_last``, which no other piece has.
    """

    start: int
    stop: int
    first: int
    last: int
    own_first: int
    own_last: int


def cut(length: int, size: int, overlap: int, exact: bool) -> tuple[Span, ...]:
    """Return as few pieces of at most ``size`` as cover ``length`` with neighbours overlapping by ``overlap`` or more.

    With ``exact`` every piece has that size, and ``length`` must not be less; otherwise they are as small as their
    number allows, all the same. ``overlap`` is at most half of ``size``: more than three pieces never meet.
    """
    if length <= size:
        return (Span(0, length, 0, length, 0, length),)
    count = -(-(length - overlap) // (size - overlap))
    side = size if exact else -(-(length + (count - 1) * overlap) // count)
    starts = [k * (length - side) // (count - 1) for k in range(count)]
    stops = [start + side for start in starts]
    # Where three pieces meet, the middle one sees most around the pixel: the outer two are not asked.
    firsts = [max(starts[k], stops[k - 2]) if k >= 2 else starts[k] for k in range(count)]
    lasts = [min(stops[k], starts[k + 2]) if k + 2 < count else stops[k] for k in range(count)]
    middles = [(starts[k + 1] + stops[k]) // 2 for k in range(count - 1)]
    pieces = zip(starts, stops, firsts, lasts, [0, *middles], [*middles, length], strict=True)
    return tuple(Span(*piece) for piece in pieces)
