"""A profile in words: what does not run in the mode's arithmetic and why, what that costs, what the limit would be."""

from __future__ import annotations

from collections.abc import Sequence

from smalti.artifact.manifest import Manifest
from smalti.bench.layers import Bound, Layer, LayerTable
from smalti.bench.limits import Reason, own_arithmetic
from smalti.bench.peak import Arithmetic
from smalti.target.target import Target

_NAMED = 3
_FAR = 3
_WORTH = 0.005


def explain(table: LayerTable, manifest: Manifest, host: Target | None) -> tuple[str, ...]:
    """Return sentences about a profile; ``host`` is the best target of this machine, if code can be made for it."""
    found = [*_own(table), *_others(table, manifest, host), *_untold(table), *_limit(table), *_furthest(table)]
    return tuple(found)


def _own(table: LayerTable) -> list[str]:
    """Say how much runs in the mode's own arithmetic, and what that is where the mode's name does not tell."""
    weighted = [layer for layer in table.layers if layer.has_weights]
    if not weighted:
        return []
    own = own_arithmetic(table.mode)
    inside = [layer for layer in weighted if layer.precision.arithmetic is own]
    count = f"{len(inside)} of {len(weighted)} steps with weights"
    text = f"{count} compute in {own.value} ({own.instruction}): {_of(table, inside)}."
    if table.mode == "force_float16":
        text += (
            " Half floats are widened to float32 before they are multiplied: half the bytes, not half the arithmetic."
        )
    if table.mode.startswith("qint16"):
        text += " Products of two int16 need 32 bits, so they are summed in float32, at the rate of float32."
    return [text]


def _others(table: LayerTable, manifest: Manifest, host: Target | None) -> list[str]:
    found = []
    for reason in Reason:
        layers = [layer for layer in table.layers if layer.precision.reason is reason]
        if layers:
            found.append(
                f"{_named(layers)} {_verb(layers, reason)}: {_of(table, layers)}.{_remedy(reason, manifest, host)}"
            )
    plain = [layer for layer in table.layers if not layer.has_weights]
    if plain:
        kernels = ", ".join(dict.fromkeys(layer.kernel for layer in plain))
        found.append(f"{_steps(len(plain))} without weights ({kernels}): {_of(table, plain)}.")
    return found


def _verb(layers: Sequence[Layer], reason: Reason) -> str:
    return reason.value if len(layers) == 1 else f"(each {reason.value})"


def _remedy(reason: Reason, manifest: Manifest, host: Target | None) -> str:
    """Say what of this is the CPU's and what is the file's."""
    wanted = {Reason.NO_DOT: Arithmetic.BYTES, Reason.NO_BFLOAT: Arithmetic.BFLOAT16}.get(reason)
    if wanted is None or host is None:
        return ""
    if wanted.runs_on(host):
        return (
            f" The file is for {manifest.target}, and this CPU has {wanted.instruction}: build it with --target native."
        )
    return f" This CPU has no {wanted.instruction}."


def _untold(table: LayerTable) -> list[str]:
    untold = sum(layer.has_weights and layer.macs == 0 for layer in table.layers)
    if not untold:
        return []
    return [
        f"The file does not say how many multiply-adds {_steps(untold)} with weights have: their limits are not known."
    ]


def _limit(table: LayerTable) -> list[str]:
    whole, percent = table.limit_ms, table.whole_percent
    if whole is None or percent is None:
        return []
    parts = [
        f"{sum(layer.limit_ms or 0.0 for layer in table.layers if layer.bound is bound):.2f} ms by {name}"
        for bound, name in ((Bound.COMPUTE, "arithmetic"), (Bound.MEMORY, "memory"))
    ]
    time = f"{whole:.2f} ms ({' and '.join(parts)})"
    text = f"At their limits all steps would take {time} of {table.total_ms:.2f} ms: {percent:.0f} %."
    alone = [
        f"{ms:.2f} ms in {kind.value}"
        for kind in dict.fromkeys((Arithmetic.FLOAT32, own_arithmetic(table.mode)))
        if (ms := table.peaks.compute_ms(kind, table.macs)) is not None
    ]
    return [text + (f" All multiply-adds alone take {', '.join(alone)}." if alone else "")]


def _furthest(table: LayerTable) -> list[str]:
    """Name the steps that lose most time above their limits."""
    lost = [(layer.ms - layer.limit_ms, layer) for layer in table.layers if layer.limit_ms is not None]
    lost.sort(key=lambda pair: (-pair[0], pair[1].number))
    lost = [(ms, layer) for ms, layer in lost if ms > _WORTH * table.total_ms]
    if table.untimed or table.limit_ms is None or not lost:
        return []
    names = ", ".join(f"{_plain(layer)} ({ms:.2f} of {layer.ms:.2f} ms)" for ms, layer in lost[:_FAR])
    return [f"Most time above the limit: {names}."]


def _named(layers: Sequence[Layer]) -> str:
    names = [_plain(layer) for layer in layers]
    if len(names) <= _NAMED:
        return ", ".join(names)
    return f"{names[0]} and {len(names) - 1} more"


def _plain(layer: Layer) -> str:
    return layer.name.removesuffix(":0")


def _steps(count: int) -> str:
    return "1 step" if count == 1 else f"{count} steps"


def _of(table: LayerTable, layers: Sequence[Layer]) -> str:
    ms = sum(layer.ms for layer in layers)
    share = f" ({100 * ms / table.total_ms:.0f} %)" if table.total_ms > 0 else ""
    return f"{ms:.2f} of {table.total_ms:.2f} ms{share}"
