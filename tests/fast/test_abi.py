"""Code, runtimes and pages agree on what a model file holds: all of it comes from the tables in ``smalti.artifact``."""

from __future__ import annotations

import re
import struct

import pytest

import abi_page
from artifact_kit import plain_parts
from smalti import knobs
from smalti.artifact import abi, format, manifest, schema
from smalti.llvm.team import with_team
from smalti.numerics import DType

RUNTIME = abi_page.ROOT / "runtime-c"


def test_the_c_header_is_made_from_the_tables() -> None:
    assert abi_page.HEADER.read_text(encoding="utf-8") == abi_page.c_header(), "run scripts/docs"


def test_the_page_is_made_from_the_tables() -> None:
    page = abi_page.PAGE.read_text(encoding="utf-8")
    assert page == abi_page.with_tables(page), "run scripts/docs"
    with pytest.raises(ValueError, match="no mark"):
        abi_page.with_tables(page.replace("<!-- ctx,", "<!-- "))


def test_the_public_header_says_the_same() -> None:
    text = (RUNTIME / "include" / "smalti.h").read_text(encoding="utf-8")
    numbers = dict(re.findall(r"#define (SMALTI_MAX_\w+) (\d+)", text))
    assert numbers == {"SMALTI_MAX_RANK": str(manifest.MAX_RANK), "SMALTI_MAX_THREADS": str(knobs.MAX_THREADS)}
    body = text[text.index("typedef enum smalti_dtype {") : text.index("} smalti_dtype;")]
    assert [name.lower() for name in re.findall(r"SMALTI_(\w+) = \d+", body)] == [dtype.value for dtype in DType]


KEYS = {
    "read_record": schema.MANIFEST_KEYS,
    "read_symbol": schema.SYMBOL_KEYS,
    "read_tensor": schema.TENSOR_KEYS,
    "read_buffer": schema.BUFFER_KEYS,
    "read_step": schema.STEP_KEYS,
    "read_team": schema.TEAM_KEYS,
}


@pytest.mark.parametrize("function", KEYS)
def test_the_c_reader_takes_the_same_keys_in_the_same_order(function: str) -> None:
    """The order decides which of several faults is named."""
    source = (RUNTIME / "src" / "manifest.c").read_text(encoding="utf-8")
    body = source[source.index(f"static smalti_status {function}(") :].partition("\n}\n")[0]
    taken = re.findall(r'TAKE\(\w+, \w+, \w+, "(\w+)"', body)
    first = ["format"] if function == "read_record" else []
    assert taken == [*first, *(key.name for key in KEYS[function])]


def test_no_c_source_has_numbers_of_its_own() -> None:
    places = {"engine.c": r"context\[\d", "team.c": r"words\[\d", "file.c": r"load\d+\((h|entry) \+ \d"}
    for name, wrong in places.items():
        assert re.search(wrong, (RUNTIME / "src" / name).read_text(encoding="utf-8")) is None


def test_counters_of_two_steps_never_share_a_place() -> None:
    places = [place(step) for step in range(5) for place in (abi.taken, abi.done)]
    assert len(set(places)) == len(places) and max(places) < abi.counters(5) and min(places) >= 0
    assert all(abi.taken(step) * 4 % abi.LINE == 0 for step in range(5))
    assert (abi.counters(0), abi.counters(3), abi.stamps(3)) == (32, 80, 8)


def test_words_lie_within_their_arrays() -> None:
    assert [int(word) for word in abi.Ctx] == list(range(abi.CTX_WORDS))
    assert max(abi.TeamWord) < abi.TEAM_WORDS and len(set(abi.TeamWord)) == len(abi.TeamWord)
    assert 0 < abi.HELPER_STATE <= abi.LINE - 8


def test_the_code_of_a_team_reads_the_words_of_the_table() -> None:
    text = with_team("")
    assert "$" not in text
    reads = {int(word) for word in re.findall(r"@team\.(?:pointer|word)\(ptr %team, i64 (\d+)\)", text)}
    assert reads == set(abi.TeamWord) - {abi.TeamWord.STOP, abi.TeamWord.FAILED}
    assert f"getelementptr i64, ptr %team, i64 {int(abi.TeamWord.STOP)}" in text
    assert f"getelementptr i64, ptr %ctx, i64 {int(abi.Ctx.SPINS)}" in text


def test_the_header_of_a_file_lies_as_the_table_says() -> None:
    data = plain_parts().data()
    at = {field.name: format.offset_of(format.HEADER, field.name) for field in format.HEADER}
    assert data[: at["version"]] == format.MAGIC
    assert struct.unpack_from("<IIQ", data, at["version"]) == (1, 128 + 3 * 64, len(data))
    assert (at["crc"], at["sections"], at["content_sha256"], at["header_sha256"]) == (28, 32, 64, 96)
    assert sum(field.nbytes for field in format.HEADER) == format.FIXED_BYTES == 128
    assert sum(field.nbytes for field in format.ENTRY) == 64
