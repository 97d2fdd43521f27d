"""What is made from the tables of ``smalti.artifact``: the C library's ``abi.h``, and the tables of the file's page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from pathlib import Path

from smalti import strict_json
from smalti.artifact import abi, format, manifest, schema

ROOT = Path(__file__).resolve().parents[1]
HEADER = ROOT / "runtime-c" / "src" / "abi.h"
PAGE = ROOT / "docs" / "offline-model-file.md"
END = "<!-- end -->\n"

NUMBERS = {
    "LINE": (abi.LINE, "u"),
    "PAGE": (format.PAGE, "u"),
    "SPINS": (abi.SPINS, ""),
    "SPINS_IN_A_CROWD": (abi.SPINS_IN_A_CROWD, ""),
    "CTX_WORDS": (abi.CTX_WORDS, ""),
    "TEAM_WORDS": (abi.TEAM_WORDS, ""),
    "FORMAT_VERSION": (format.FORMAT_VERSION, "u"),
    "PREFIX_BYTES": (format.PREFIX_BYTES, "u"),
    "FIXED_BYTES": (format.FIXED_BYTES, "u"),
    "ENTRY_BYTES": (sum(field.nbytes for field in format.ENTRY), "u"),
    "NAME_BYTES": (format.NAME_BYTES, ""),
    "PROGRAMS": (format.MAX_PROGRAMS, ""),
    "NAME_CHARACTERS": (strict_json.MAX_NAME, ""),
    "JSON_DEPTH": (strict_json.MAX_DEPTH, ""),
    "MANIFEST_BYTES": (format.MAX_MANIFEST_BYTES, "ull"),
    "CODE_BYTES": (format.MAX_CODE_BYTES, "ull"),
    "FILE_BYTES": (format.MAX_FILE_BYTES, "ull"),
    "WORKSPACE_BYTES": (abi.MAX_WORKSPACE_BYTES, "ull"),
}


def c_header() -> str:
    """Return the text of ``runtime-c/src/abi.h``."""
    ops = tuple(manifest.DimOp)
    lines = [
        "/* SPDX-License-Identifier: Apache-2.0 */",
        "/* What files, code and runtimes agree on.  Made by scripts/docs from the tables in src/smalti/artifact. */",
        "#ifndef SMALTI_ABI_H",
        "#define SMALTI_ABI_H",
        "",
        *(f"#define SMI_{name} {value}{suffix}" for name, (value, suffix) in NUMBERS.items()),
        f"#define SMI_COUNTERS(steps) ({abi.COUNTER_STEPS} + {abi.COUNTER_STRIDE} * (steps))",
        f"#define SMI_MAGIC {', '.join(f'0x{byte:02x}' for byte in format.MAGIC)}",
        f'#define SMI_MANIFEST_FORMAT "{schema.MANIFEST_FORMAT}"',
        "",
        "/* Words of a context and of a team. */",
        *_enum("CTX", abi.Ctx),
        "",
        *_enum("TEAM", abi.TeamWord),
        "",
        "/* Sections of a file; offsets of the fields of its header and of an entry of its table. */",
        *_enum("SECTION", format.SectionKind),
        "",
        *_offsets("HEADER", format.HEADER),
        "",
        *_offsets("ENTRY", format.ENTRY),
        "",
        "/* Instructions of the dims program, and their names in a manifest. */",
        *_block("typedef enum smi_op", [f"SMI_{op.name}" for op in ops], " smi_op"),
        f"#define SMI_OPS {len(ops)}",
        f"#define SMI_OP_NAMES {', '.join(f'{op.value!r}' for op in ops)}".replace("'", '"'),
        "",
        "#endif",
    ]
    return "\n".join(lines) + "\n"


def _enum(prefix: str, members: Iterable[IntEnum]) -> list[str]:
    return _block("enum", [f"SMI_{prefix}_{member.name} = {int(member)}" for member in members])


def _offsets(prefix: str, fields: tuple[format.Field, ...]) -> list[str]:
    words = [f"SMI_{prefix}_{f.name.upper()} = {format.offset_of(fields, f.name)}" for f in fields]
    return _block("enum", words)


def _block(head: str, words: Sequence[str], tail: str = "") -> list[str]:
    return [head + " {", *(f"  {word}," for word in words[:-1]), f"  {words[-1]}", "}" + tail + ";"]


# ---- the page --------------------------------------------------------------------------------------------------------


def tables() -> dict[str, str]:
    """Return the tables of the page by the names of their marks."""
    return {
        "header": _table(("offset", "bytes", "what"), _field_rows(format.HEADER)),
        "entry": _table(("offset", "bytes", "what"), _field_rows(format.ENTRY)),
        "manifest": _table(("key", "value", "what"), _key_rows(schema.MANIFEST_KEYS)),
        **{
            name: _table(("key", "value", "what"), _key_rows(keys))
            for name, keys in (
                ("symbols", schema.SYMBOL_KEYS),
                ("tensors", schema.TENSOR_KEYS),
                ("steps", schema.STEP_KEYS),
                ("arena", schema.BUFFER_KEYS),
                ("team entries", schema.TEAM_KEYS),
            )
        },
        "ctx": _table(("word", "what"), ((str(int(word)), word.meaning) for word in abi.Ctx)),
        "team": _table(("word", "what"), ((str(int(word)), word.meaning) for word in abi.TeamWord)),
    }


def with_tables(page: str) -> str:
    """Return the page with every table between its two marks written again."""
    for name, table in tables().items():
        mark = f"<!-- {name}, from src/smalti/artifact -->\n"
        before, found, rest = page.partition(mark)
        if not found:
            raise ValueError(f"the page has no mark {mark!r}")
        page = f"{before}{mark}\n{table}\n{END}{rest.partition(END)[2]}"
    return page


def _field_rows(fields: tuple[format.Field, ...]) -> Iterator[tuple[str, str, str]]:
    for field in fields:
        yield str(format.offset_of(fields, field.name)), str(field.nbytes), field.meaning


def _key_rows(keys: tuple[schema.Key, ...]) -> Iterator[tuple[str, str, str]]:
    if keys is schema.MANIFEST_KEYS:
        yield "`format`", "text", f'`"{schema.MANIFEST_FORMAT}"`'
    for key in keys:
        yield f"`{key.name}`", re.sub(r"\{[^}]+\}", "object", key.kind.shown), key.meaning


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"
