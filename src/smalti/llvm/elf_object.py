"""Write ELF64 relocatable objects that hold ready bytes under symbol names: no compiler or assembler takes part.

The bytes need no relocation, so an object is its sections and its symbol table.  Layout and numbers: System V ABI,
"Object Files"; the machine numbers are those of the processor supplements for x86-64 and AArch64.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from smalti.errors import CompilerError

MACHINES: Final[Mapping[str, int]] = {"x86_64": 62, "aarch64": 183}
_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION: Final = struct.Struct("<IIQQQQIIQQ")
_SYMBOL: Final = struct.Struct("<IBBHQQ")
_PROGBITS, _SYMTAB, _STRTAB = 1, 2, 3
_ALLOC, _EXECINSTR = 2, 4
_LOCAL, _GLOBAL, _OBJECT, _FUNC, _FILE, _HIDDEN = 0, 1, 1, 2, 4, 2
_ABSOLUTE = 0xFFF1

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes that begin at a symbol; ``functions`` are local symbols inside, by their offset."""

    symbol: str
    data: Buffer = field(repr=False)
    functions: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    kind: int
    flags: int
    alignment: int
    data: Sequence[Buffer]
    link: int = 0
    info: int = 0
    entry_size: int = 0


def object_chunks(architecture: str, source: str, code: Sequence[Part], data: Sequence[Part]) -> Iterator[Buffer]:
    """Yield the bytes of a relocatable object in order.

    Args:
        architecture: a key of :data:`MACHINES`.
        source: name that stands in the object as that of its source file.
        code: goes to ``.text``, each part at a multiple of 4096.
        data: goes to ``.rodata``, each part at a multiple of 64.

    The symbols of the parts are global objects of hidden visibility: any file of the same program or library can name
    them, and none outside, so their addresses are always those of these very bytes.  (A program that named code in a
    shared library would otherwise get a copy that cannot be executed.)  There are no AArch64 mapping symbols, without
    which linkers leave the instructions as they are.

    Raises:
        CompilerError: a symbol is given twice, is no name, or lies outside its part; the architecture is unknown.
    """
    if architecture not in MACHINES:
        raise CompilerError(f"no object files for {architecture}")
    _check(code, data)
    sections = [
        _Section("", 0, 0, 0, ()),
        _Section(".text", _PROGBITS, _ALLOC | _EXECINSTR, 4096, _padded(code, 4096)),
        _Section(".rodata", _PROGBITS, _ALLOC, 64, _padded(data, 64)),
        # Says that the code needs no executable stack.
        _Section(".note.GNU-stack", _PROGBITS, 0, 1, ()),
    ]
    strings = _Strings()
    local, shared = _symbols(source, ((1, code, 4096), (2, data, 64)), strings)
    table = _Section(".symtab", _SYMTAB, 0, 8, (b"".join(local + shared),), 5, len(local), _SYMBOL.size)
    sections += [table, _Section(".strtab", _STRTAB, 0, 1, (bytes(strings.data),))]
    yield from _assemble(MACHINES[architecture], sections)


def _check(code: Sequence[Part], data: Sequence[Part]) -> None:
    names = [name for part in (*code, *data) for name in (part.symbol, *part.functions)]
    for name in names:
        if not (name.isascii() and name.isidentifier()):
            raise CompilerError(f"{name!r} cannot be a symbol")
    if len(set(names)) != len(names):
        raise CompilerError("two symbols of an object have one name")
    for part in (*code, *data):
        size = memoryview(part.data).nbytes
        if not all(0 <= offset < size for offset in part.functions.values()):
            raise CompilerError(f"a function of {part.symbol} lies outside it")


class _Strings:
    """A string table that grows."""

    def __init__(self) -> None:
        self.data = bytearray(1)

    def add(self, text: str) -> int:
        at = len(self.data)
        self.data += text.encode() + b"\0"
        return at


def _padded(parts: Sequence[Part], alignment: int) -> list[Buffer]:
    chunks: list[Buffer] = []
    for index, part in enumerate(parts):
        chunks.append(part.data)
        if index + 1 < len(parts):
            chunks.append(bytes(-memoryview(part.data).nbytes % alignment))
    return chunks


def _symbols(
    source: str, groups: Sequence[tuple[int, Sequence[Part], int]], strings: _Strings
) -> tuple[list[bytes], list[bytes]]:
    """Return the local symbols, which stand first in a table, and the global ones."""
    local = [bytes(_SYMBOL.size), _SYMBOL.pack(strings.add(source), _LOCAL << 4 | _FILE, 0, _ABSOLUTE, 0, 0)]
    shared = []
    for section, parts, alignment in groups:
        start = 0
        for part in parts:
            size = memoryview(part.data).nbytes
            shared.append(_SYMBOL.pack(strings.add(part.symbol), _GLOBAL << 4 | _OBJECT, _HIDDEN, section, start, size))
            for name, offset in sorted(part.functions.items(), key=lambda item: item[1]):
                local.append(_SYMBOL.pack(strings.add(name), _LOCAL << 4 | _FUNC, 0, section, start + offset, 0))
            start += -(-size // alignment) * alignment
    return local, shared


def _assemble(machine: int, sections: list[_Section]) -> Iterator[Buffer]:
    names = _Strings()
    name_offsets = [names.add(section.name) if section.name else 0 for section in sections]
    name_offsets.append(names.add(".shstrtab"))
    sections = [*sections, _Section(".shstrtab", _STRTAB, 0, 1, (bytes(names.data),))]
    sizes = [sum(memoryview(chunk).nbytes for chunk in section.data) for section in sections]
    offsets, end = [0], _HEADER.size
    for section, size in zip(sections[1:], sizes[1:], strict=True):
        offsets.append(-(-end // section.alignment) * section.alignment)
        end = offsets[-1] + size
    table = -(-end // 8) * 8
    identity = b"\x7fELF\x02\x01\x01" + bytes(9)
    yield _HEADER.pack(
        *(identity, 1, machine, 1, 0, 0, table, 0, _HEADER.size, 0, 0, _SECTION.size, len(sections), len(sections) - 1)
    )
    at = _HEADER.size
    for section, offset, size in list(zip(sections, offsets, sizes, strict=True))[1:]:
        yield bytes(offset - at)
        yield from section.data
        at = offset + size
    yield bytes(table - at)
    for s, name, offset, size in zip(sections, name_offsets, offsets, sizes, strict=True):
        yield _SECTION.pack(name, s.kind, s.flags, 0, offset, size, s.link, s.info, s.alignment, s.entry_size)
