"""Open sizes of inputs get symbols: H and W of an image, D0, D1, ... elsewhere; the first of a batch is a number."""

from __future__ import annotations

from collections.abc import Mapping

from smalti.errors import UsageError
from smalti.frontend.raw import StatedSize, is_open
from smalti.frontend.words import shorten
from smalti.ir.dims import Dim, symbol

_IMAGE_SYMBOLS = ("H", "W")


class OpenSizes:
    """The symbols of one import; height and width are rounded up to a multiple of ``multiple``.

    A name that a file gives to open sizes says that they are one and the same.  The symbol does not take that name:
    what comes later knows H and W.  ``limits`` are the largest sizes by symbol, ``steps`` what they are multiples of.
    """

    __slots__ = ("_batch_size", "_limits", "_multiple", "_named", "_others", "_steps")

    def __init__(
        self, batch_size: int, limits: Mapping[str, int], multiple: int = 1, steps: Mapping[str, int] | None = None
    ) -> None:
        self._steps = steps or {}
        self._multiple = multiple
        self._batch_size = batch_size
        self._limits = limits
        self._named: dict[str, int | Dim] = {}
        self._others = 0

    def fix(self, stated: tuple[StatedSize, ...], chosen: tuple[int | None, ...]) -> None:
        """Note the numbers that a user chose for named sizes, before any :meth:`sizes`.

        Raises:
            UsageError: one name has two numbers.
        """
        for size, number in zip(stated, chosen, strict=True):
            if isinstance(size, str) and number is not None and self._named.setdefault(size, number) != number:
                raise UsageError(
                    f"--input-shape: the graph calls two sizes {shorten(size)}, and one is {self._named[size]}, the "
                    f"other {number}: give both the same number"
                )

    def sizes(self, shape: tuple[StatedSize, ...], position: int) -> tuple[int | Dim, ...]:
        """Return the shape of input number ``position`` with a number or symbol for each open size."""
        return tuple(
            size if isinstance(size, int) and size != -1 else self._size(size, shape, axis, position)
            for axis, size in enumerate(shape)
        )

    def _size(self, size: StatedSize, shape: tuple[StatedSize, ...], axis: int, position: int) -> int | Dim:
        if not isinstance(size, str):
            return self._new(shape, axis, position)
        if size not in self._named:
            self._named[size] = self._new(shape, axis, position)
        return self._named[size]

    def _new(self, shape: tuple[StatedSize, ...], axis: int, position: int) -> int | Dim:
        image_axes = _image_axes(tuple(is_open(size) for size in shape))
        if axis in image_axes:
            side = self._symbol(_IMAGE_SYMBOLS[image_axes.index(axis)] + (f"_{position}" if position else ""))
            return -(-side // self._multiple) * self._multiple
        if axis == 0 and len(shape) > 1:
            return self._batch_size
        self._others += 1
        return self._symbol(f"D{self._others - 1}")

    def _symbol(self, name: str) -> Dim:
        step = self._steps.get(name, 1)
        return symbol(name, step, self._limits.get(name), step)


def _image_axes(opened: tuple[bool, ...]) -> tuple[int, ...]:
    """Return the axes of height and width, by which sizes are open."""
    if len(opened) == 4:
        return (2, 3) if not opened[1] and opened[3] else (1, 2)
    return (0, 1) if opened == (True, True, False) else ()
