"""Mutated pictures: each is decoded or refused by an error of ours, soon, and never with pixels that are not there."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.attempts import attempt
from fuzz.pictures import JPEGS, mutant, other_mutant, other_seeds, packed, seeds, smooth
from fuzz.targets import picture
from smalti.errors import ImageError
from smalti.vision import jpeg
from smalti.vision.images import decode_image
from tiff_cases import fields_of, tiff

SECONDS_EACH = 2.0


def outcomes_of(made: Callable[[int, int], bytes], numbers: range) -> Counter[str]:
    """Return how often mutants end in a picture and how often in which error."""
    outcomes: Counter[str] = Counter()
    for number in numbers:
        outcome = attempt(picture, made(1, number), f"{made.__name__}(1, {number})", SECONDS_EACH)
        assert "0x" not in outcome, outcome
        outcomes[outcome.partition(":")[0]] += 1
    return outcomes


@pytest.mark.parametrize("part", range(2))
def test_mutants_end_in_a_picture_or_an_image_error(part: int) -> None:
    outcomes = outcomes_of(mutant, range(part * 500, part * 500 + 500))
    assert outcomes["accepted"] > 20
    assert outcomes["ImageError"] > 200


def test_seeds_are_pictures() -> None:
    assert [picture(data) for data in (*seeds(), *other_seeds())] == ["accepted"] * len((*seeds(), *other_seeds()))


@pytest.mark.parametrize("part", range(2))
def test_mutants_of_other_formats_end_in_a_picture_or_an_image_error(part: int) -> None:
    outcomes = outcomes_of(other_mutant, range(part * 1500, part * 1500 + 1500))
    assert outcomes["accepted"] > 100
    assert outcomes["ImageError"] > 400


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([b"RIFF\x40\0\0\0WEBPVP8 ", b"RIFF\x40\0\0\0WEBPVP8L", b"RIFF\x40\0\0\0WEBPVP8X", b"BM", b"II*\0"])
    | st.sampled_from([b"MM\0*", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"]),
    st.binary(max_size=200),
)
def test_any_bytes_behind_a_beginning_end_in_a_picture_or_an_image_error(start: bytes, body: bytes) -> None:
    assert picture(start + body).startswith(("accepted", "ImageError: "))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_field_of_a_tiff_may_hold_anything(data: st.DataObject) -> None:
    number = st.integers(0, 2**32 - 1) | st.integers(0, 40)
    tags = st.sampled_from([256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 320, 322, 323, 338, 339])
    changed = data.draw(st.dictionaries(tags, st.lists(number, max_size=5), max_size=4))
    fields = {**fields_of(19, 31, 8, 3, 2), **{tag: [n % 65536 for n in ns] for tag, ns in changed.items()}}
    made = tiff(fields, [bytes(19 * 31 * 3)], data.draw(st.sampled_from("<>")), tiled=data.draw(st.booleans()))
    assert picture(made).startswith(("accepted", "ImageError: "))


@pytest.mark.parametrize("options", JPEGS, ids=str)
def test_a_cut_that_ends_with_an_end_marker_is_an_error(options: dict[str, object]) -> None:
    """A decoder fills such a picture with grey; up to one block at the very end may go unnoticed."""
    data = packed(smooth(48, 64), "JPEG", **options)  # type: ignore[arg-type]
    want = decode_image(data)
    refused = 0
    for end in range(data.index(b"\xff\xda") + 14, len(data) - 2, 5):
        try:
            got = decode_image(data[:end] + b"\xff\xd9")
        except ImageError:
            refused += 1
            continue
        assert np.any(got != want, axis=2).sum() <= 16 * 16, end
        assert end > len(data) - 40 or np.array_equal(got, want), end
    assert refused > 0.9 * (len(data) - data.index(b"\xff\xda") - 16) / 5


@pytest.mark.parametrize("restarts", [0, 3])
def test_cuts_within_large_units_are_errors(restarts: int) -> None:
    """Fine pictures spend more bytes on a unit of 16 x 16 pixels than any table's shortest codes do."""
    data = packed(smooth(36, 84), quality=97, subsampling=2, restart_marker_blocks=restarts)
    want = decode_image(data)
    accepted = 0
    for end in range(data.index(b"\xff\xda") + 14, len(data) - 2):
        try:
            got = decode_image(data[:end] + b"\xff\xd9")
        except ImageError:
            continue
        accepted += 1
        wrong = np.any(got != want, axis=2)
        assert not wrong[:31].any() and not wrong[:, :79].any(), f"cut at {end} of {len(data)}"
    assert accepted < 100


def test_every_scan_of_a_refinement_is_needed() -> None:
    data = packed(smooth(48, 64), progressive=True)
    marks = [i for i in range(len(data)) if data[i : i + 2] in (b"\xff\xda", b"\xff\xc4", b"\xff\xd9")]
    scans = [(start, end) for start, end in itertools.pairwise(marks) if data[start + 1] == 0xDA]
    assert len(scans) == 10
    for start, end in scans:
        with pytest.raises(ImageError, match="a scan is missing"):
            decode_image(data[:start] + data[end:])


def test_missing_restart_markers_and_scans_are_errors() -> None:
    restarts = packed(smooth(48, 64), restart_marker_blocks=2)
    at = restarts.index(b"\xff\xd1")
    following = restarts.index(b"\xff\xd2")
    with pytest.raises(ImageError, match="between two restart markers"):
        decode_image(restarts[:at] + restarts[following:])
    progressive = packed(smooth(48, 64), progressive=True)
    scans = [i for i in range(len(progressive)) if progressive[i : i + 2] == b"\xff\xda"]
    with pytest.raises(ImageError, match="a scan is missing"):
        decode_image(progressive[: scans[-1]] + b"\xff\xd9")


def test_what_some_cameras_write_is_taken() -> None:
    """A restart marker too many at the end, bytes of 255 in front of markers, a restart interval that never ends."""
    data = packed(smooth(48, 64), restart_marker_blocks=4)
    plain = packed(smooth(48, 64))
    scan = plain.index(b"\xff\xda")
    for original, changed in (
        (data, data[:-2] + b"\xff\xd2\xff\xd9"),
        (data, data[:-2] + b"\xff\xff\xff\xd9"),
        (data, data.replace(b"\xff\xd0", b"\xff\xff\xd0", 1)),
        (plain, plain[:-2] + b"\xff\xff\xd9" + b"\xff\xd8 trailing \xff\xd9"),
        (plain, plain[:scan] + b"\xff\xdd\x00\x04\xff\xff" + plain[scan:]),
    ):
        assert np.array_equal(decode_image(changed), decode_image(original))


def test_a_decoder_that_insists_on_an_end_marker_is_given_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another release of the decoder may: then every JPEG is decoded twice, and nothing else changes."""
    data = packed(smooth(48, 64))
    want = decode_image(data)
    load = jpeg._load

    def strict(given: bytes, header: object) -> object:
        if not given.endswith(b"\xff\xd9"):
            raise OSError("image file is truncated")
        return load(given, header)  # type: ignore[arg-type]

    monkeypatch.setattr(jpeg, "_load", strict)
    assert np.array_equal(decode_image(data), want)
    with pytest.raises(ImageError, match="pixels are missing"):
        decode_image(data[: len(data) // 2 + 300] + b"\xff\xd9")
