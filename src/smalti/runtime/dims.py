"""Binding of input shapes to symbols, and evaluation of a manifest's dims program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from smalti.artifact.manifest import DimInstr, DimOp, Manifest, Symbol, TensorSpec
from smalti.errors import InputError
from smalti.runtime.signature import shape_text, sizes_of

_LIMIT = 2**63

Shape = tuple[int, ...]
_SCALE = "scale the image down to that (`smalti infer --resize fit` does)"


def evaluate(program: Sequence[DimInstr], symbols: Sequence[int]) -> list[int]:
    """Return the value of every instruction.  Division and remainder round towards minus infinity.

    Raises:
        InputError: a value leaves 64 bits, or a division is by zero: the input is too large or too small.
    """
    values: list[int] = []
    for at, instr in enumerate(program):
        value = _apply(instr, values, symbols)
        if value is None or not -_LIMIT <= value < _LIMIT:
            raise InputError(f"these input sizes cannot be computed with (dims[{at}], {instr.op.value})")
        values.append(value)
    return values


def bind_symbols(manifest: Manifest, shapes: Mapping[str, Shape]) -> list[int]:
    """Return the value of every symbol, given the shape of every input (for one image).

    Raises:
        InputError: a rank is wrong, two dimensions that must agree do not, or a size is outside its limits.
    """
    bound: list[int | None] = [None] * len(manifest.symbols)
    for tensor in manifest.inputs:
        shape = shapes[tensor.name]
        if len(shape) != len(tensor.shape):
            raise InputError(
                f"input {tensor.name!r} needs {len(tensor.shape)} dimensions {describe_shape(manifest, tensor)}, "
                f"got shape {_brief(shape)}"
            )
        for axis, (index, size) in enumerate(zip(tensor.shape, shape, strict=True)):
            instr = manifest.dims[index]
            if instr.op is not DimOp.SYMBOL:
                continue
            symbol = manifest.symbols[instr.a]
            _check_limits(symbol, size, tensor.name, axis)
            known = bound[instr.a]
            if known is not None and known != size:
                raise InputError(f"input {tensor.name!r}: dimension {axis} ({symbol.name}) must be {known}, got {size}")
            bound[instr.a] = size
    return [value for value in bound if value is not None]


def describe_shape(manifest: Manifest, tensor: TensorSpec) -> str:
    """Return a tensor's shape for one image as text, e.g. ``[1, H, W, 3], H from 1 to 513, W from 1 to 513``."""
    return shape_text(sizes_of(manifest, tensor))


def _apply(instr: DimInstr, values: Sequence[int], symbols: Sequence[int]) -> int | None:
    if instr.op is DimOp.CONST:
        return instr.a
    if instr.op is DimOp.SYMBOL:
        return symbols[instr.a]
    a, b = values[instr.a], values[instr.b]
    if instr.op is DimOp.ADD:
        return a + b
    if instr.op is DimOp.MUL:
        return a * b
    if instr.op is DimOp.MAX:
        return max(a, b)
    if instr.op is DimOp.MIN:
        return min(a, b)
    return None if b == 0 else a // b


def _check_limits(symbol: Symbol, size: int, name: str, axis: int) -> None:
    where = f"input {name!r}: dimension {axis} ({symbol.name})"
    if size < symbol.minimum:
        raise InputError(f"{where} must be at least {symbol.minimum}, got {size}")
    if symbol.maximum is not None and size > symbol.maximum:
        raise InputError(f"{where} must be at most {symbol.maximum}, got {size}: {_SCALE}")
    if size % symbol.multiple:
        raise InputError(f"{where} must be a multiple of {symbol.multiple}, got {size}")


def _brief(shape: Shape) -> str:
    return str(list(shape)) if len(shape) <= 16 else f"of {len(shape)} dimensions"
