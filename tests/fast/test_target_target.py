"""Target names: canonical, parsed back, and each level contains the one below it."""

from __future__ import annotations

import itertools

import pytest

from smalti.errors import UsageError
from smalti.target.target import Target, generic, known_extensions, known_names, levels_of


def _all_targets() -> list[str]:
    names = []
    for level in known_names():
        extensions = known_extensions(level)
        for count in range(len(extensions) + 1):
            names += ["+".join([level, *chosen]) for chosen in itertools.combinations(extensions, count)]
    return names


@pytest.mark.parametrize("name", _all_targets())
def test_name_is_canonical(name: str) -> None:
    target = Target.parse(name)
    assert str(target) == name
    assert Target.parse(str(target)) == target
    assert list(target.features) == sorted(set(target.features))
    assert all(f"+{feature}" in target.llvm_features.split(",") for feature in target.features)


def test_order_of_extensions_does_not_matter() -> None:
    assert Target.parse("x86-64-v4+vnni+bf16") == Target.parse("x86-64-v4+bf16+vnni")


def test_levels_grow() -> None:
    for arch in ("x86_64", "aarch64"):
        levels = levels_of(arch)
        assert levels[0] == generic(arch)
        for smaller, larger in itertools.pairwise(levels):
            assert set(smaller.features) < set(larger.features)
            assert smaller.vector_bits <= larger.vector_bits
    assert not Target.parse("x86-64-v2").has("avx") and Target.parse("x86-64-v3").has("fma")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x86-64-v9", "known: x86-64-v2"),
        ("", "known: x86-64-v2"),
        ("native", "unknown target 'native'"),
        ("x86-64-v4+sse9", r"known: \+vnni, \+bf16"),
        ("x86-64-v2+vnni", "known: none"),
        ("x86-64-v4+vnni+vnni", "twice"),
        ("x86-64-v4+", "no extension ''"),
    ],
)
def test_unknown_names(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Target.parse(text)


def test_unknown_architecture() -> None:
    with pytest.raises(UsageError, match="riscv64"):
        generic("riscv64")
