"""Manifests with right checksums around wrong contents: always DamagedModelError, never anything else."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import smalti
from artifact_kit import forge_manifest, label_manifest, plain_parts, reverse_manifest
from smalti.artifact.schema import manifest_json, parse_manifest
from smalti.errors import DamagedModelError

_GOOD = json.loads(manifest_json(reverse_manifest()))
_NASTY = [None, True, -1, 0, 1, 2, 5, 2**31, 2**63, 2**64, -(2**63), 1.5, "", "x", [], [[]], {}, [None], {"a": 1}]


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _paths(inner, (*path, key))


_PLACES = [path for path in _paths(_GOOD) if path]


def _replaced(path: tuple[Any, ...], value: Any) -> Any:
    record = copy.deepcopy(_GOOD)
    place = record
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return record


def test_round_trip() -> None:
    for manifest in (reverse_manifest(), label_manifest(), label_manifest(batch_size=4)):
        assert parse_manifest(manifest_json(manifest)) == manifest


@settings(max_examples=600, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(_PLACES), st.sampled_from(_NASTY))
def test_any_value_replaced(path: tuple[Any, ...], value: Any) -> None:
    try:
        manifest = parse_manifest(json.dumps(_replaced(path, value)).encode())
    except DamagedModelError as error:
        assert "manifest" in str(error)
    else:  # harmless replacements exist: another name, another step index; what is accepted must be consistent
        assert all(i < len(manifest.dims) for t in (*manifest.inputs, *manifest.outputs) for i in t.shape)
        assert all(b.first <= b.last < len(manifest.steps) and b.size < len(manifest.dims) for b in manifest.arena)
        assert all(type(i.a) is int and type(i.b) is int for i in manifest.dims)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.binary(max_size=8))
def test_any_bytes_spliced(at: int, splice: bytes) -> None:
    text = manifest_json(reverse_manifest())
    at %= len(text)
    try:
        parse_manifest(text[:at] + splice + text[at + len(splice) :])
    except DamagedModelError:
        return


@pytest.mark.parametrize("key", sorted(_GOOD))
def test_every_key_is_needed(key: str) -> None:
    record = {k: v for k, v in _GOOD.items() if k != key}
    with pytest.raises(DamagedModelError, match=f"lacks {key}"):
        parse_manifest(json.dumps(record).encode())


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("unheard",), 1, "unknown key 'unheard'"),
        (("symbols", 0, "step"), 1, r"unknown key 'step' in symbols\[0\]"),
        (("dims", 3), ["mul", 1, 3], "before it is computed"),
        (("dims", 1), ["symbol", 1], "symbol that does not exist"),
        (("dims", 1), ["const", 5], "symbol that no input shape gives"),
        (("dims", 0), ["const", 1, 1], "wrong number of operands"),
        (("dims", 0), ["pow", 0, 0], "unknown instruction"),
        (("dims", 0), ["const", 2**63], "64-bit integer"),
        (("dims", 0), ["const", True], "64-bit integer"),
        (("inputs", 0, "shape"), [0, 5], "size that does not exist"),
        (("inputs", 0, "shape"), [0] * 17, "more than 16 dimensions"),
        (("inputs", 0, "dtype"), "string", "unknown element type"),
        (("arena", 0, "last"), 2, "impossible steps"),
        (("arena", 0, "size"), 5, "size that does not exist"),
        (("steps",), [], "no inputs, no outputs or no steps"),
        (("steps", 0, "macs"), -1, "negative"),
        (("steps", 0, "inner"), [5], "size that does not exist"),
        (("symbols", 0, "max"), 0, "positive"),
        (("symbols", 0, "multiple"), 0, "positive"),
        (("batch_size",), 0, "positive"),
        (("entry",), -1, "negative"),
        (("entry",), 64, "entry point lies outside"),
        (("team",), {"drive": 0, "serve": 64}, "entry point lies outside"),
        (("team",), {"drive": 0}, "lacks team.serve"),
        (("team",), None, "needs an object at team"),
        (("features",), ["b", "a"], "out of order"),
        (("features",), ["a", "a"], "alike"),
        (("format",), "smalti-model-2", "unknown format name"),
        (("graph",), [], "needs an object"),
        (("labels",), [1], "needs a text"),
        (("target",), "x" * 5000, "at most 4096 characters"),
    ],
)
def test_named_cases(tmp_path: Path, path: tuple[Any, ...], value: Any, message: str) -> None:
    file = tmp_path / "m.smalti"
    file.write_bytes(forge_manifest(plain_parts(), _replaced(path, value)))
    with pytest.raises(DamagedModelError, match=message):
        smalti.load(file, threads=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 200_000, "not JSON"),
        (b'{"a":' * 100_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"format":1,"format":1}', "repeats a key"),
        (b'{"format":NaN}', "NaN"),
        (b'{"format":1e999}', "too large"),
        (b'{"format":' + b"9" * 5000 + b"}", "manifest"),
    ],
)
def test_hostile_text(tmp_path: Path, text: bytes, message: str) -> None:
    file = tmp_path / "m.smalti"
    file.write_bytes(forge_manifest(plain_parts(), text))
    with pytest.raises(DamagedModelError, match=message):
        smalti.load(file, threads=1)
