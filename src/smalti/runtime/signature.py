"""What a model takes and gives, as values and in words: names, element types, layouts, sizes and their limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from smalti.artifact import manifest as file
from smalti.artifact.manifest import DimInstr, DimOp, Manifest
from smalti.numerics import DType

_ONE = DimInstr(DimOp.CONST, 1)
_MOST_COLOURS = 4
BATCH = "batch"
COMPUTED = "?"


@dataclass(frozen=True, slots=True)
class Size:
    """A size that is open until arrays are given: a multiple of ``multiple`` from ``low`` to ``high`` (None: no limit).

    Sizes of one name are the same number in all inputs and outputs of a run.  ``batch`` is the leading dimension of a
    model that takes any batch size.  Every size that the model computes from others is ``?``: its limits are not known.
    """

    name: str
    low: int = 1
    high: int | None = None
    multiple: int = 1

    def __str__(self) -> str:
        return self.name

    @property
    def limits(self) -> str:
        """The limits in words: ``H from 1 to 513``, ``batch at least 1``."""
        reach = f"at least {self.low}" if self.high is None else f"from {self.low} to {self.high}"
        return f"{self.name} {reach}" + (f" in multiples of {self.multiple}" if self.multiple > 1 else "")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or output of a model, as an engine takes or gives it.

    ``name`` is the graph's (``ImageTensor:0``).  ``dtype`` is the numpy dtype of the arrays, ``element`` the model's
    own name for it: they differ for ``bfloat16``, which travels as the uint16 of its bits.  ``layout`` is ``NHWC`` for
    pictures (four dimensions, the last of them 1 to 4 colours) and empty where the file does not tell.  ``shape`` has
    an int for each fixed size and a :class:`Size` for each open one.  As text:
    ``ImageTensor:0 uint8 [1, H, W, 3], H from 1 to 513, W from 1 to 513``.
    """

    name: str
    dtype: np.dtype[np.generic]
    element: str
    layout: str
    shape: tuple[int | Size, ...]

    def __str__(self) -> str:
        return f"{self.name} {element_text(DType(self.element))} {shape_text(self.shape)}"


def tensor_specs(manifest: Manifest, tensors: Sequence[file.TensorSpec]) -> tuple[TensorSpec, ...]:
    """Return what there is to know about inputs or outputs, with the leading dimension of a whole batch."""
    splits = manifest.batch_size != 1 and all(is_batchable(manifest, t) for t in (*manifest.inputs, *manifest.outputs))
    leading = Size(BATCH) if manifest.batch_size is None else manifest.batch_size
    specs = []
    for tensor in tensors:
        shape = sizes_of(manifest, tensor)
        whole = (leading, *shape[1:]) if splits else shape
        specs.append(TensorSpec(tensor.name, tensor.dtype.numpy, tensor.dtype.value, _layout(shape), whole))
    return tuple(specs)


def sizes_of(manifest: Manifest, tensor: file.TensorSpec) -> tuple[int | Size, ...]:
    """Return the sizes of a tensor for one image."""
    return tuple(_size(manifest, manifest.dims[index]) for index in tensor.shape)


def shape_text(shape: Sequence[int | Size]) -> str:
    """Return sizes as text: ``[1, H, W, 3], H from 1 to 513, W from 1 to 513``."""
    named = dict.fromkeys(size for size in shape if isinstance(size, Size) and size.name != COMPUTED)
    return ", ".join(["[" + ", ".join(map(str, shape)) + "]", *(size.limits for size in named)])


def element_text(dtype: DType) -> str:
    """Return an element type as text, with the one that arrays have where numpy lacks it: ``bfloat16 (as uint16)``."""
    return dtype.value if dtype.numpy.name == dtype.value else f"{dtype.value} (as {dtype.numpy})"


def is_batchable(manifest: Manifest, tensor: file.TensorSpec) -> bool:
    """Return whether a tensor has a leading dimension 1, which several images can be stacked along."""
    return bool(tensor.shape) and manifest.dims[tensor.shape[0]] == _ONE


def _size(manifest: Manifest, instr: DimInstr) -> int | Size:
    if instr.op is DimOp.CONST:
        return instr.a
    if instr.op is not DimOp.SYMBOL:
        return Size(COMPUTED)
    symbol = manifest.symbols[instr.a]
    return Size(symbol.name, symbol.minimum, symbol.maximum, symbol.multiple)


def _layout(shape: Sequence[int | Size]) -> str:
    """Say NHWC where the last dimension can be colours and the second cannot."""
    return "NHWC" if len(shape) == 4 and _is_colours(shape[3]) and not _is_colours(shape[1]) else ""


def _is_colours(size: int | Size) -> bool:
    return isinstance(size, int) and 1 <= size <= _MOST_COLOURS
