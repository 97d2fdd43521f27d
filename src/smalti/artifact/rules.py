"""The rules between the parts of a manifest, which no part shows alone."""

from __future__ import annotations

from collections.abc import Iterator

from smalti.artifact.manifest import DimOp, Manifest
from smalti.strict_json import JsonFault


def check(manifest: Manifest) -> None:
    """Check that the parts of a manifest fit each other.

    Raises:
        JsonFault: they do not; the first broken rule in the order below, which is that of the C library.
    """
    if not manifest.inputs or not manifest.outputs or not manifest.steps:
        raise JsonFault("has no inputs, no outputs or no steps")
    _check_program(manifest)
    for where, indices in _indices(manifest):
        if any(index >= len(manifest.dims) for index in indices):
            raise JsonFault(f"uses a size that does not exist ({where})")
    for i, buffer in enumerate(manifest.arena):
        if not buffer.first <= buffer.last < len(manifest.steps):
            raise JsonFault(f"has a buffer with impossible steps (arena[{i}])")
    _check_names(manifest)
    bound = {manifest.dims[i].a for t in manifest.inputs for i in t.shape if manifest.dims[i].op is DimOp.SYMBOL}
    if bound != set(range(len(manifest.symbols))):
        raise JsonFault("has a symbol that no input shape gives")


def _check_program(manifest: Manifest) -> None:
    for at, instr in enumerate(manifest.dims):
        if instr.op.is_binary and not (instr.a < at and instr.b < at):
            raise JsonFault(f"uses a size before it is computed (dims[{at}])")
        if instr.op is DimOp.SYMBOL and instr.a >= len(manifest.symbols):
            raise JsonFault(f"uses a symbol that does not exist (dims[{at}])")


def _indices(manifest: Manifest) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield every place that uses sizes, and the indices there."""
    yield from ((f"inputs[{i}]", t.shape) for i, t in enumerate(manifest.inputs))
    yield from ((f"outputs[{i}]", t.shape) for i, t in enumerate(manifest.outputs))
    yield from ((f"steps[{i}]", (*s.shape, s.macs, s.bytes, *s.inner)) for i, s in enumerate(manifest.steps))
    yield from ((f"arena[{i}]", (b.size,)) for i, b in enumerate(manifest.arena))


def _check_names(manifest: Manifest) -> None:
    for what, names in (
        ("inputs", [t.name for t in manifest.inputs]),
        ("outputs", [t.name for t in manifest.outputs]),
        ("symbols", [s.name for s in manifest.symbols]),
        ("features", list(manifest.features)),
    ):
        if len(set(names)) != len(names):
            raise JsonFault(f"names two of its {what} alike")
    if list(manifest.features) != sorted(manifest.features):
        raise JsonFault("lists its features out of order")
