"""What a build could say of faster precision modes."""

from __future__ import annotations

from smalti.quant.modes import QuantMode
from smalti.target.target import Target


def speed_hint(mode: QuantMode, target: Target) -> str | None:
    """Return which other mode a CPU of this target is made for, or None where there is nothing to gain.

    The figures are those of DeepLabv3 on a CPU of x86-64-v4 (docs/performance.md); other networks gain other amounts.
    """
    if mode not in (QuantMode.FORCE_FLOAT32, QuantMode.FORCE_FLOAT16):
        return None
    has_bfloat16 = any("bf16" in feature for feature in target.features)
    has_dot_products = any("vnni" in feature or "dotprod" in feature for feature in target.features)
    modes = [f"--quant-mode {QuantMode.FORCE_BFLOAT16.alias} (about 1.9 times as fast)"] if has_bfloat16 else []
    if has_dot_products:
        modes.append(
            f"--quant-mode {QuantMode.QINT8_MIXED_FLOAT16.alias} --image-dir PICTURES (about 3.9 times as fast)"
        )
    if not modes:
        return None
    natively = " and ".join(["bfloat16"] * has_bfloat16 + ["8-bit integers"] * has_dot_products)
    return f"{target} multiplies {natively} natively: try {' or '.join(modes)}, and check with `smalti accuracy`"
