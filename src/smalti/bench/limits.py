"""What a step really computes with: number types, the kind of arithmetic, and why it is not the mode's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from smalti.artifact.manifest import Manifest
from smalti.bench.peak import Arithmetic
from smalti.numerics import DType

WEIGHTED = frozenset(("Conv2d", "MatMul", "QuantisedConv2d", "ImageConv2d"))
"""Operations of which a file says how many multiply-adds they are."""
_FORMER = frozenset(("DepthwiseConv2d",))
"""Such operations that older files name."""

_SHORT = {
    "float32": "f32",
    "float16": "f16",
    "bfloat16": "bf16",
    "uint8": "u8",
    "int8": "i8",
    "int16": "i16",
    "int32": "i32",
}
_TYPES = {
    "f32": (DType.FLOAT32, DType.FLOAT32),
    "f16": (DType.FLOAT16, DType.FLOAT16),
    "bf16": (DType.BFLOAT16, DType.BFLOAT16),
    "i8": (DType.UINT8, DType.INT8),
    "i16": (DType.INT16, DType.INT16),
}
_KNOWN = frozenset(dtype.value for dtype in DType)


class Reason(Enum):
    """Why a step does not compute in the arithmetic that its mode is named after.  The value is said to users."""

    ASKED = "kept in float because the build was asked to"
    LOGITS = "makes the logits, which stay float so that neighbouring classes do not tie"
    PICTURE = "reads the picture with 16-bit weights, exactly, in pairs at half the rate of int8"
    STEM = "computes in float32 and quantises its results"
    NO_KERNEL = "has no kernel in this arithmetic"
    NO_DOT = "computes as 16-bit pairs, at half the rate of int8 or less, as the code uses no VNNI"
    NO_BFLOAT = "is widened to float32, as the code uses no bfloat16 dot product"
    WIDENED = "is a depthwise convolution, which multiplies widened values in float32"


@dataclass(frozen=True, slots=True)
class Precision:
    """Number types of a step (text, empty where it has no weights) and its arithmetic (None: no multiply-adds)."""

    activations: str = ""
    weights: str = ""
    arithmetic: Arithmetic | None = None
    reason: Reason | None = None

    @property
    def short(self) -> str:
        """Activations x weights in few letters."""
        if not self.weights:
            return "-"
        return f"{_SHORT.get(self.activations, self.activations)} x {_SHORT.get(self.weights, self.weights)}"


def has_weights(op: str) -> bool:
    """Whether a file says how many multiply-adds the steps of an operation are."""
    return op in WEIGHTED or op in _FORMER


def own_arithmetic(mode: str) -> Arithmetic:
    """Return the arithmetic that a precision mode is named after.

    Half floats are widened, and products of two int16 take 32 bits, so their sums are float32: both compute with
    float32 multiply-adds.
    """
    if mode.startswith("qint8"):
        return Arithmetic.BYTES
    return Arithmetic.BFLOAT16 if mode == "force_bfloat16" else Arithmetic.FLOAT32


def precisions(manifest: Manifest) -> tuple[Precision, ...]:
    """Return the precision of every step.

    The kernel's name says how it computes.  Number types and reasons come from what the file says about its layers;
    that is free-form, so what is not there or not of the expected form is as the kernel's name says.
    """
    said = _layers(manifest)
    return tuple(_precision(manifest, step.op, step.kernel, said.get(step.name)) for step in manifest.steps)


def _precision(manifest: Manifest, op: str, kernel: str, said: tuple[str, str, str] | None) -> Precision:
    if not has_weights(op):
        return Precision()
    prefix = kernel.partition("_")[0]
    activations, weights = (dtype.value for dtype in _types(kernel, prefix))
    why = ""
    if said is not None:
        activations, weights, why = said
    arithmetic = _arithmetic(kernel, prefix, op, manifest.features)
    own = own_arithmetic(manifest.precision)
    reason = None if arithmetic is own else _reason(kernel, prefix, own, why)
    return Precision(activations, weights, arithmetic, reason)


def _types(kernel: str, prefix: str) -> tuple[DType, DType]:
    if kernel == "i8_image":
        return DType.UINT8, DType.INT16
    return _TYPES["f32" if kernel == "i8_stem" else prefix if prefix in _TYPES else "f32"]


def _arithmetic(kernel: str, prefix: str, op: str, features: tuple[str, ...]) -> Arithmetic:
    if prefix == "i8" and kernel != "i8_stem":
        has_bytes = "avx512vnni" in features or "avxvnni" in features
        return Arithmetic.BYTES if has_bytes and kernel != "i8_image" else Arithmetic.PAIRS
    # An expansion in front of a depthwise convolution has most of the multiply-adds of their common step.
    pairs = "expand" in kernel or (op == "Conv2d" and kernel != "bf16_depthwise")
    if prefix == "bf16" and "avx512bf16" in features and pairs:
        return Arithmetic.BFLOAT16
    return Arithmetic.FLOAT32


def _reason(kernel: str, prefix: str, own: Arithmetic, why: str) -> Reason:
    if prefix == "i8":
        return {"i8_image": Reason.PICTURE, "i8_stem": Reason.STEM}.get(kernel, Reason.NO_DOT)
    if why == "asked for":
        return Reason.ASKED
    if why == "logits":
        return Reason.LOGITS
    if prefix == "bf16" and own is Arithmetic.BFLOAT16:
        return Reason.WIDENED if kernel == "bf16_depthwise" else Reason.NO_BFLOAT
    return Reason.NO_KERNEL


def _layers(manifest: Manifest) -> Mapping[str, tuple[str, str, str]]:
    """Return activations, weights and reason of every layer that the file speaks of as expected."""
    layers = manifest.quantisation.get("layers")
    found = {}
    for layer in layers if isinstance(layers, list) else []:
        if not (isinstance(layer, list) and len(layer) == 4 and all(isinstance(part, str) for part in layer)):
            continue
        name, activations, weights, why = layer
        if activations in _KNOWN and weights in _KNOWN:
            found[name] = (activations, weights, why)
    return found
