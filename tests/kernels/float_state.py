"""The floating-point state of this thread, numbers that are none, and a network of many float operations."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graph_builder import GraphBuilder

Array = NDArray[Any]
_SIZE = 256
_libm = ctypes.CDLL(ctypes.util.find_library("m") or "libm.so.6")
ON_X86 = os.uname().machine == "x86_64"
PLACE = 28 if ON_X86 else 0
"""Where MXCSR or FPCR stands in the C library's fenv_t."""
FLAGS = 0x3F if ON_X86 else 0
"""Bits of the control register that computing may set: MXCSR's sticky exceptions (Arm has them elsewhere)."""
_X86 = {
    "flush to zero": 0x1F80 | 0x8000,
    "denormals are zero": 0x1F80 | 0x0040,
    "round down": 0x1F80 | 0x2000,
    "round up": 0x1F80 | 0x4000,
    "round towards zero and flush": 0x1F80 | 0x6000 | 0x8040,
    "exceptions trap": 0x1F80 & ~(0x0200 | 0x0400 | 0x0800),
}
_ARM = {"flush to zero": 1 << 24, "round up": 1 << 22, "round down": 2 << 22, "round towards zero and flush": 7 << 22}
STATES = _X86 if ON_X86 else _ARM
"""Name -> control register as a host program might have it."""


def control_register() -> int:
    """Return this thread's MXCSR or FPCR."""
    state = ctypes.create_string_buffer(_SIZE)
    _libm.fegetenv(state)
    return int.from_bytes(state[PLACE : PLACE + 4], "little")


@contextmanager
def control(value: int) -> Iterator[None]:
    """Set the control register of this thread, and give the old state back."""
    saved = ctypes.create_string_buffer(_SIZE)
    _libm.fegetenv(saved)
    odd = ctypes.create_string_buffer(saved.raw, _SIZE)
    ctypes.memmove(ctypes.addressof(odd) + PLACE, value.to_bytes(4, "little"), 4)
    _libm.fesetenv(odd)
    try:
        yield
    finally:
        _libm.fesetenv(saved)


def network(channels: int = 24) -> bytes:
    """Return a float32 network, input ``x:0`` [1, H, W, 8], outputs :data:`OUTPUTS`."""
    rng = np.random.default_rng(7)

    def floats(*shape: int) -> Array:
        return (rng.standard_normal(shape) * 0.3).astype(np.float32)

    b = GraphBuilder().placeholder("x", np.float32, [1, None, None, 8])
    one = {"strides": [1, 1, 1, 1], "padding": "SAME"}
    b.const("w1", floats(3, 3, 8, channels)).node("Conv2D", "conv", ["x", "w1"], **one)
    b.const("b1", floats(channels)).node("BiasAdd", "biased", ["conv", "b1"]).node("Relu6", "act", ["biased"])
    b.const("w2", floats(3, 3, channels, 1)).node("DepthwiseConv2dNative", "deep", ["act", "w2"], **one)
    b.const("w3", floats(1, 1, channels, 8)).node("Conv2D", "thin", ["deep", "w3"], **one)
    b.node("AddV2", "sum", ["thin", "x"]).node("Sigmoid", "sigmoid", ["sum"]).node("Tanh", "tanh", ["sum"])
    b.node("Exp", "grow", ["sum"]).node("Mul", "both", ["sigmoid", "tanh"])
    b.const("size", np.array([17, 23], np.int32))
    b.node("ResizeBilinear", "up", ["sum", "size"], align_corners=True).node("Softmax", "soft", ["up"])
    b.const("axis", np.int32(3)).node("ArgMax", "labels", ["up", "axis"])
    b.const("divisor", np.float32(0.37)).node("FloorMod", "mod", ["both", "divisor"])
    b.const("half", np.float32(0.5)).node("Mul", "tiny", ["x", "half"])
    return b.bytes()


OUTPUTS = ("soft:0", "labels:0", "mod:0", "grow:0", "tiny:0")
SPECIALS = {
    "NaN": np.float32(np.nan),
    "infinity": np.float32(np.inf),
    "minus infinity": np.float32(-np.inf),
    "subnormal": np.float32(1e-41),
    "least": np.float32(1e-45),
    "largest": np.finfo(np.float32).max,
}


def image(kind: str | None, side: int, share: float = 1.0, seed: int = 3) -> Array:
    """Return an input of :func:`network` in which a share of the numbers is special (``None``: none is)."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((1, side, side, 8)).astype(np.float32)
    if kind is not None:
        chosen = rng.random(x.shape) < share
        signs = np.where(x < 0, np.float32(-1), np.float32(1))
        x = np.where(chosen, signs * SPECIALS[kind] * np.minimum(np.abs(x), 1) if kind == "subnormal" else
                     SPECIALS[kind] * signs, x).astype(np.float32)  # fmt: skip
    return x
