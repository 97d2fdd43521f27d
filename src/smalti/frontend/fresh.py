"""Names that nothing else has."""

from __future__ import annotations

_LONGEST_NAME = 512


class FreshNames:
    """Makes names that no other has."""

    __slots__ = ("_next", "_taken")

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def take(self, name: str) -> bool:
        """Note a name; ``False`` where it is taken already."""
        if name in self._taken:
            return False
        self._taken.add(name)
        return True

    def make(self, wanted: str) -> str:
        """Return ``wanted``, or where it is taken, the same with a number behind it."""
        base = shortened(wanted)
        name = base
        while not self.take(name):
            self._next[base] = self._next.get(base, 1) + 1
            name = f"{base}__{self._next[base]}"
        return name


def shortened(name: str) -> str:
    """Return a name that we make, without its middle where it is long."""
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME // 2]}...{name[-_LONGEST_NAME // 2 :]}"
