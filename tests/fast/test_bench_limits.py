"""The limits of a profile: what a step computes with, how near it is to the machine, and that in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from artifact_kit import label_manifest
from smalti.artifact.manifest import Manifest
from smalti.bench import peak
from smalti.bench.layers import Bound, Layer, LayerTable
from smalti.bench.limits import WEIGHTED, Precision, Reason, own_arithmetic, precisions
from smalti.bench.peak import Arithmetic, Peaks, peak_module, peak_rate
from smalti.bench.tables import profile_tables
from smalti.bench.words import explain
from smalti.llvm.backend import emit_assembly
from smalti.quant.modes import QuantMode
from smalti.runtime.profile import Profile
from smalti.target.target import Target

VNNI = Target.parse("x86-64-v4+bf16+vnni")
PLAIN = Target.parse("x86-64-v3")
PEAKS = Peaks(
    {Arithmetic.FLOAT32: 100.0, Arithmetic.BFLOAT16: 200.0, Arithmetic.BYTES: 400.0, Arithmetic.PAIRS: 200.0},
    ((1 << 18, 2e9), (1 << 20, 1e9)),
)
STEPS = [
    ("conv:0", "ImageConv2d", "i8_image"),
    ("depthwise:0", "QuantisedConv2d", "i8_expand_depthwise"),
    ("add:0", "QuantisedConv2d", "i8_conv1x1"),
    ("kept:0", "Conv2d", "f16_conv1x1"),
    ("logits:0", "Conv2d", "f32_conv1x1"),
    ("labels:0", "ResizeArgMax", "resize_argmax"),
]
LAYERS = [
    ["conv:0", "uint8", "int16", ""],
    ["kept:0", "float16", "float16", "asked for"],
    ["logits:0", "float32", "float32", "logits"],
]


def manifest(
    steps: list[tuple[str, str, str]], precision: str, target: Target, layers: Any = None, **more: Any
) -> Manifest:
    base = label_manifest()
    made = tuple(replace(base.steps[0], name=name, op=op, kernel=kernel) for name, op, kernel in steps)
    said = {"layers": layers} if layers is not None else {}
    return replace(
        base, steps=made, precision=precision, target=target.name, features=target.features, quantisation=said, **more
    )


def table(of: Manifest, macs: int = 1_000_000, size: int = 1 << 18, ms: float = 1.0) -> LayerTable:
    made = []
    for number, (step, precision) in enumerate(zip(of.steps, precisions(of), strict=True), start=1):
        work = macs if step.op in WEIGHTED else 0
        about = (number, step.name, step.op, step.kernel, (1,), ms, 1 / len(of.steps), work, size, precision)
        made.append(Layer(*about, PEAKS.compute_ms(precision.arithmetic, work), PEAKS.memory_ms(size)))
    return LayerTable("g", 1, 2, ms * len(made), PEAKS, tuple(made), Profile((), 0, 2), 0, of.precision)


def test_what_each_kernel_computes_with() -> None:
    found = precisions(manifest(STEPS, "qint8_mixed_float16", VNNI, LAYERS))
    assert [p.short for p in found] == ["u8 x i16", "u8 x i8", "u8 x i8", "f16 x f16", "f32 x f32", "-"]
    assert [p.arithmetic for p in found] == [
        Arithmetic.PAIRS,
        Arithmetic.BYTES,
        Arithmetic.BYTES,
        Arithmetic.FLOAT32,
        Arithmetic.FLOAT32,
        None,
    ]
    assert [p.reason for p in found] == [Reason.PICTURE, None, None, Reason.ASKED, Reason.LOGITS, None]
    pairs = precisions(manifest(STEPS, "qint8_mixed_float16", PLAIN, LAYERS))
    assert [p.arithmetic for p in pairs[:3]] == [Arithmetic.PAIRS] * 3 and pairs[2].reason is Reason.NO_DOT
    stem = precisions(manifest([("s:0", "Conv2d", "i8_stem")], "qint8_mixed_float32", VNNI))[0]
    assert stem == Precision("float32", "float32", Arithmetic.FLOAT32, Reason.STEM)


@pytest.mark.parametrize(
    ("kernel", "op", "target", "arithmetic", "reason"),
    [
        ("bf16_conv1x1", "Conv2d", VNNI, Arithmetic.BFLOAT16, None),
        ("bf16_expand_depthwise", "DepthwiseConv2d", VNNI, Arithmetic.BFLOAT16, None),
        ("bf16_depthwise", "DepthwiseConv2d", VNNI, Arithmetic.FLOAT32, Reason.WIDENED),  # of an older file
        ("bf16_expand_depthwise", "Conv2d", VNNI, Arithmetic.BFLOAT16, None),
        ("bf16_depthwise", "Conv2d", VNNI, Arithmetic.FLOAT32, Reason.WIDENED),
        ("bf16_conv1x1", "Conv2d", PLAIN, Arithmetic.FLOAT32, Reason.NO_BFLOAT),
        ("f32_conv1x1", "Conv2d", VNNI, Arithmetic.FLOAT32, Reason.NO_KERNEL),
    ],
)
def test_bfloat16_kernels(kernel: str, op: str, target: Target, arithmetic: Arithmetic, reason: Reason | None) -> None:
    (found,) = precisions(manifest([("a:0", op, kernel)], "force_bfloat16", target))
    assert (found.arithmetic, found.reason) == (arithmetic, reason)


@pytest.mark.parametrize("mode", list(QuantMode))
def test_every_mode_has_an_arithmetic(mode: QuantMode) -> None:
    expected = {QuantMode.FORCE_BFLOAT16: Arithmetic.BFLOAT16}
    expected |= {m: Arithmetic.BYTES for m in QuantMode if m.value.startswith("qint8")}
    assert own_arithmetic(mode.value) is expected.get(mode, Arithmetic.FLOAT32)


@pytest.mark.parametrize(
    "layers",
    [None, {}, 3, "x", [1], [["add:0"]], [["add:0", 1, 2, 3]], [["add:0", "evil", "int8", ""]], [[[], {}, 1, 2]]],
)
def test_damaged_records_leave_what_the_kernels_say(layers: Any) -> None:
    found = precisions(manifest(STEPS, "qint8_mixed_float16", VNNI, layers))
    assert [p.short for p in found] == ["u8 x i16", "u8 x i8", "u8 x i8", "f16 x f16", "f32 x f32", "-"]
    assert found[3].reason is Reason.NO_KERNEL


def test_the_nearer_limit_counts() -> None:
    assert PEAKS.memory_ms(1 << 18) == 1e3 * (1 << 18) / 2e9 and PEAKS.memory_ms(1 << 21) == 1e3 * (1 << 21) / 1e9
    assert PEAKS.memory_ms(8) == 1e3 * 8 / 2e9 and Peaks({}).memory_ms(8) is None
    assert PEAKS.compute_ms(Arithmetic.BYTES, 200_000_000) == 1.0 and PEAKS.compute_ms(None, 1) is None
    of = manifest(STEPS, "qint8_mixed_float16", VNNI, LAYERS)
    # The copy of 256 KiB takes 0.13 ms, 10 million multiply-adds 0.1 (pairs), 0.05 (bytes) or 0.2 ms (float32).
    assert {layer.bound for layer in table(of, macs=100).layers} == {Bound.MEMORY}
    large = table(of, macs=10_000_000).layers
    assert [layer.bound for layer in large] == [Bound.MEMORY] * 3 + [Bound.COMPUTE] * 2 + [Bound.MEMORY]
    assert [layer.limit_ms for layer in large[3:]] == [0.2, 0.2, PEAKS.memory_ms(1 << 18)]
    best = Peaks({Arithmetic.BYTES: 1.0}, ((1, 5.0),)).best(Peaks({Arithmetic.BYTES: 2.0}, ((1, 3.0),)))
    assert best == Peaks({Arithmetic.BYTES: 2.0}, ((1, 5.0),))


def test_words_say_what_is_not_int8_and_why() -> None:
    of = manifest(STEPS, "qint8_mixed_float16", VNNI, LAYERS)
    words = explain(table(of, macs=100_000_000), of, VNNI)
    assert words[0] == "2 of 5 steps with weights compute in int8 (vpdpbusd): 2.00 of 6.00 ms (33 %)."
    said = "\n".join(words)
    assert f"conv {Reason.PICTURE.value}: 1.00 of 6.00 ms (17 %)." in said
    assert f"kept {Reason.ASKED.value}:" in said and f"logits {Reason.LOGITS.value}:" in said
    assert "1 step without weights (resize_argmax): 1.00 of 6.00 ms" in said
    # Pairs 1 ms, bytes 2 x 0.5 ms, float32 2 x 2 ms, and the copy of 256 KiB.
    assert "At their limits all steps would take 6.13 ms (6.00 ms by arithmetic and 0.13 ms by memory)" in said
    assert "All multiply-adds alone take 10.00 ms in float32, 2.50 ms in int8." in said


def test_words_name_the_steps_far_from_their_limits() -> None:
    of = manifest(STEPS, "qint8_mixed_float16", VNNI, LAYERS)
    made = table(of, macs=50_000_000)
    assert explain(made, of, VNNI)[-1] == (
        "Most time above the limit: labels (0.87 of 1.00 ms), depthwise (0.75 of 1.00 ms), add (0.75 of 1.00 ms)."
    )
    hidden = table(of, macs=500_000_000)
    assert hidden.untimed == 5 and not explain(hidden, of, VNNI)[-1].startswith("Most")


def test_words_tell_the_cpu_from_the_file() -> None:
    of = manifest(STEPS[1:3], "qint8_mixed_float16", PLAIN)
    assert "This CPU has no vpdpbusd." in explain(table(of), of, PLAIN)[1]
    here = explain(table(of), of, VNNI)
    assert "0 of 2 steps with weights compute in int8" in here[0] and "half the rate" in here[1]
    assert "The file is for x86-64-v3, and this CPU has vpdpbusd: build it with --target native." in here[1]
    assert "--target" not in explain(table(of), of, None)[1]


def test_words_about_the_float_modes() -> None:
    half = manifest([("a:0", "Conv2d", "f16_conv1x1")], "force_float16", VNNI)
    assert "half the bytes, not half the arithmetic" in explain(table(half), half, VNNI)[0]
    wide = manifest([("a:0", "QuantisedConv2d", "i16_conv1x1")], "qint16_mixed_float32", VNNI)
    assert "summed in float32" in explain(table(wide), wide, VNNI)[0]
    none = manifest([("a:0", "ResizeArgMax", "resize_argmax")], "force_float32", VNNI)
    assert explain(table(none), none, VNNI)[0].startswith("1 step without weights")


def test_untold_work_is_no_work_of_zero() -> None:
    of = manifest(STEPS, "qint8_mixed_float16", VNNI, LAYERS)
    made = table(of, macs=0)
    assert made.limit_ms is None and made.whole_percent is None and made.layers[1].bound is None
    words = explain(made, of, VNNI)
    assert any("does not say how many multiply-adds 5 steps with weights have" in text for text in words)
    assert not any(text.startswith(("At their limits", "Most time")) for text in words)
    for shown in profile_tables(replace(made, words=words)):
        assert all(len(row) == len(shown.columns) for row in shown.rows)


def test_the_json_has_precision_and_limit() -> None:
    of = manifest(STEPS, "qint8_mixed_float16", VNNI, LAYERS)
    made = replace(table(of, macs=100_000_000), words=("said",))
    record = made.to_json()
    assert record["precision"] == "qint8_mixed_float16" and record["words"] == ["said"]
    assert [limit["name"] for limit in record["limits"]["arithmetic"]] == [kind.value for kind in Arithmetic]
    first, second, *_, last = record["layers"]
    assert (first["activations"], first["weights"], first["arithmetic"]) == ("uint8", "int16", "int16 pairs")
    assert first["reason"] == Reason.PICTURE.value and first["bound"] == "compute" and first["limit_ms"] == 1.0
    assert second["percent_of_limit"] == 50.0
    assert last["arithmetic"] is None and last["weights"] is None and last["bound"] == "memory"


@pytest.mark.parametrize(
    ("kind", "name", "instructions"),
    [
        (Arithmetic.FLOAT32, "x86-64-v3", ("vfmadd",)),
        (Arithmetic.FLOAT32, "x86-64-v4", ("vfmadd",)),
        (Arithmetic.FLOAT32, "aarch64", ("fmla", "fmad")),
        (Arithmetic.BFLOAT16, "x86-64-v4+bf16", ("vdpbf16ps",)),
        (Arithmetic.BYTES, "x86-64-v4+vnni", ("vpdpbusd",)),
        (Arithmetic.BYTES, "x86-64-v3+vnni", ("vpdpbusd",)),
        (Arithmetic.PAIRS, "x86-64-v2", ("pmaddwd",)),
        (Arithmetic.PAIRS, "x86-64-v3", ("vpmaddwd",)),
        (Arithmetic.PAIRS, "x86-64-v4", ("vpmaddwd",)),
        (Arithmetic.PAIRS, "x86-64-v4+vnni", ("vpdpwssd",)),
    ],
)
def test_limits_are_measured_with_multiply_adds_in_registers(
    kind: Arithmetic, name: str, instructions: tuple[str, ...]
) -> None:
    target = Target.parse(name)
    assert kind.runs_on(target)
    text = emit_assembly(peak_module(kind, target), target)
    lines = [line.split() for line in text[text.index("peak_loop:") :].splitlines() if line.split()]
    words = [line[1] if line[0] == "{vex}" and len(line) > 1 else line[0] for line in lines]
    assert sum(word.startswith(instructions) for word in words) == target.vector_registers - 4
    assert not {"call", "callq", "bl"} & set(words)


def test_there_is_no_limit_without_the_instruction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "native_target", lambda: Target.parse("x86-64-v2"))
    assert peak_rate(Arithmetic.FLOAT32, 1) is None and peak_rate(Arithmetic.BYTES, 1) is None
    assert not Arithmetic.BFLOAT16.runs_on(PLAIN) and not Arithmetic.BYTES.runs_on(Target.parse("x86-64-v4"))
