"""A small linker: one ELF64 relocatable object in, one flat position-independent blob out.

Every allocated read-only section is laid out behind the code and every relocation is PC-relative, so the blob runs at
any page-aligned address without being touched.  What cannot be so (undefined symbols, absolute addresses, writable
data) is refused by name.  Relocation numbers: System V psABI for x86-64; ELF for the Arm 64-bit Architecture.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from smalti.errors import CompilerError

_SHT_PROGBITS, _SHT_SYMTAB, _SHT_RELA, _SHT_NOBITS, _SHT_REL = 1, 2, 4, 8, 9
_SHF_WRITE, _SHF_ALLOC, _SHF_EXECINSTR, _SHF_TLS = 0x1, 0x2, 0x4, 0x400
_ET_REL = 1
_SHN_UNDEF, _SHN_LORESERVE = 0, 0xFF00
_STB_LOCAL, _STT_FUNC = 0, 2
_UNUSED = (".eh_frame", ".note", ".comment", ".llvm")
_MAX_ALIGNMENT = 4096


@dataclass(frozen=True, slots=True)
class Blob:
    """Position-independent code.  Load it at a page-aligned address; ``entries`` maps global functions to offsets."""

    code: bytes
    entries: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    kind: int
    flags: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int


@dataclass(frozen=True, slots=True)
class _Symbol:
    name: str
    section: int
    value: int
    is_global_function: bool


def link(object_bytes: bytes) -> Blob:
    """Lay out an object's code and constants in one blob and resolve its relocations.

    Raises:
        CompilerError: the object has an undefined symbol, writable data, a relocation that is not PC-relative or
            does not reach, or is not a 64-bit little-endian relocatable ELF object.
    """
    try:
        return _link(object_bytes)
    except (struct.error, IndexError, ValueError, OverflowError) as error:
        raise CompilerError("the object file is malformed") from error


def _link(data: bytes) -> Blob:
    machine, sections = _read_sections(data)
    patches = _PATCHES.get(machine)
    if patches is None:
        raise CompilerError(f"no linker for ELF machine {machine}")
    starts, size = _lay_out(sections)
    blob = bytearray(size)
    for index, start in starts.items():
        section = sections[index]
        blob[start : start + section.size] = _bytes_of(data, section)
    symbols = _read_symbols(data, sections)
    for section in sections:
        if section.kind == _SHT_REL and section.info in starts:
            raise CompilerError(f"section {section.name} holds relocations without addends")
        if section.kind != _SHT_RELA or section.info not in starts:
            continue
        where = sections[section.info]
        for offset, info, addend in struct.iter_unpack("<QQq", _bytes_of(data, section)):
            symbol = symbols[info >> 32]
            start = _address(symbol, starts, sections)
            patch = patches.get(info & 0xFFFFFFFF)
            if patch is None:
                raise CompilerError(
                    f"relocation {info & 0xFFFFFFFF} against {symbol.name or 'a section'!r} in {where.name} is not "
                    "PC-relative; make the symbol internal"
                )
            if offset + 4 > where.size:
                raise CompilerError(f"a relocation in {where.name} lies outside it")
            patch(blob, starts[section.info] + offset, start + addend, symbol.name)
    entries = {s.name: starts[s.section] + s.value for s in symbols if s.is_global_function and s.section in starts}
    return Blob(bytes(blob), dict(sorted(entries.items())))


def _read_sections(data: bytes) -> tuple[int, list[_Section]]:
    if data[:6] != b"\x7fELF\x02\x01":
        raise CompilerError("the object file is not 64-bit little-endian ELF")
    kind, machine = struct.unpack_from("<HH", data, 16)
    if kind != _ET_REL:
        raise CompilerError("the object file is not relocatable")
    (table,) = struct.unpack_from("<Q", data, 40)
    entry_size, count, names_index = struct.unpack_from("<HHH", data, 58)
    if count == 0 or names_index >= _SHN_LORESERVE:
        raise CompilerError("the object file has too many sections")
    raw = [struct.unpack_from("<IIQQQQIIQQ", data, table + entry_size * i) for i in range(count)]
    names = data[raw[names_index][4] : raw[names_index][4] + raw[names_index][5]]
    sections = [
        _Section(_string(names, name), kind, flags, offset, size, link_, info, max(1, alignment))
        for name, kind, flags, _, offset, size, link_, info, alignment, _ in raw
    ]
    return machine, sections


def _bytes_of(data: bytes, section: _Section) -> bytes:
    content = data[section.offset : section.offset + section.size]
    if len(content) != section.size:
        raise CompilerError(f"section {section.name} is cut")
    return content


def _lay_out(sections: list[_Section]) -> tuple[dict[int, int], int]:
    """Return the blob offset of every kept section, code first, and the size of the blob."""
    kept = []
    for index, section in enumerate(sections):
        if not section.flags & _SHF_ALLOC or section.size == 0 or section.name.startswith(_UNUSED):
            continue
        relocated_constants = section.name.startswith(".data.rel.ro")
        if section.kind == _SHT_NOBITS or section.flags & _SHF_TLS:
            raise CompilerError(f"the code has writable data (section {section.name})")
        if section.flags & _SHF_WRITE and not relocated_constants:
            raise CompilerError(f"the code has writable data (section {section.name})")
        if section.kind != _SHT_PROGBITS or section.alignment > _MAX_ALIGNMENT:
            raise CompilerError(f"section {section.name} cannot be placed (type {section.kind})")
        kept.append(index)
    kept.sort(key=lambda index: not sections[index].flags & _SHF_EXECINSTR)
    starts: dict[int, int] = {}
    end = 0
    for index in kept:
        alignment = sections[index].alignment
        starts[index] = -(-end // alignment) * alignment
        end = starts[index] + sections[index].size
    return starts, end


def _read_symbols(data: bytes, sections: list[_Section]) -> list[_Symbol]:
    symbols: list[_Symbol] = []
    for table in sections:
        if table.kind != _SHT_SYMTAB:
            continue
        names = _bytes_of(data, sections[table.link])
        for name, info, _, section, value, _ in struct.iter_unpack("<IBBHQQ", _bytes_of(data, table)):
            is_global_function = info >> 4 != _STB_LOCAL and info & 15 == _STT_FUNC
            symbols.append(_Symbol(_string(names, name), section, value, is_global_function))
    return symbols


def _address(symbol: _Symbol, starts: Mapping[int, int], sections: list[_Section]) -> int:
    if symbol.section == _SHN_UNDEF:
        raise CompilerError(f"the code calls or reads {symbol.name!r}, which it does not define")
    if symbol.section >= _SHN_LORESERVE:
        raise CompilerError(f"symbol {symbol.name!r} has no section")
    if symbol.section not in starts:
        # An empty section has no place; a reference to its start or end is harmless but cannot be told apart.
        raise CompilerError(f"symbol {symbol.name!r} lies in {sections[symbol.section].name}, which is not kept")
    return starts[symbol.section] + symbol.value


def _string(table: bytes, start: int) -> str:
    return table[start : table.index(b"\0", start)].decode("utf-8")


def _check_reach(value: int, low: int, high: int, name: str) -> None:
    if not low <= value < high:
        raise CompilerError(f"the code is too large: {name or 'a section'!r} is {value} bytes away")


def _pc32(blob: bytearray, place: int, target: int, name: str) -> None:
    _check_reach(target - place, -(1 << 31), 1 << 31, name)
    struct.pack_into("<i", blob, place, target - place)


def _pc64(blob: bytearray, place: int, target: int, name: str) -> None:
    if place + 8 > len(blob):
        raise CompilerError(f"a relocation against {name!r} lies outside its section")
    struct.pack_into("<q", blob, place, target - place)


def _arm_field(blob: bytearray, place: int, value: int, bits: int, shift: int) -> None:
    (word,) = struct.unpack_from("<I", blob, place)
    mask = ((1 << bits) - 1) << shift
    struct.pack_into("<I", blob, place, word & ~mask | value << shift & mask)


def _arm_branch(bits: int, shift: int) -> Callable[[bytearray, int, int, str], None]:
    def patch(blob: bytearray, place: int, target: int, name: str) -> None:
        distance = target - place
        _check_reach(distance, -(1 << bits + 1), 1 << bits + 1, name)
        if distance % 4:
            raise CompilerError(f"{name!r} is not aligned to an instruction")
        _arm_field(blob, place, distance >> 2, bits, shift)

    return patch


def _arm_adr(blob: bytearray, place: int, value: int) -> None:
    _arm_field(blob, place, value & 3, 2, 29)
    _arm_field(blob, place, value >> 2, 19, 5)


def _arm_adr_page(blob: bytearray, place: int, target: int, name: str) -> None:
    pages = (target >> 12) - (place >> 12)
    _check_reach(pages, -(1 << 20), 1 << 20, name)
    _arm_adr(blob, place, pages)


def _arm_adr_near(blob: bytearray, place: int, target: int, name: str) -> None:
    _check_reach(target - place, -(1 << 20), 1 << 20, name)
    _arm_adr(blob, place, target - place)


def _arm_low12(scale: int) -> Callable[[bytearray, int, int, str], None]:
    def patch(blob: bytearray, place: int, target: int, name: str) -> None:
        low = target & 0xFFF
        if low & ((1 << scale) - 1):
            raise CompilerError(f"{name!r} is not aligned to its load")
        _arm_field(blob, place, low >> scale, 12, 10)

    return patch


_Patch = Callable[[bytearray, int, int, str], None]
_X86_64: dict[int, _Patch] = {2: _pc32, 4: _pc32, 24: _pc64}
_AARCH64: dict[int, _Patch] = {
    260: _pc64,
    261: _pc32,
    273: _arm_branch(19, 5),
    274: _arm_adr_near,
    275: _arm_adr_page,
    276: _arm_adr_page,
    277: _arm_low12(0),
    278: _arm_low12(0),
    279: _arm_branch(14, 5),
    280: _arm_branch(19, 5),
    282: _arm_branch(26, 0),
    283: _arm_branch(26, 0),
    284: _arm_low12(1),
    285: _arm_low12(2),
    286: _arm_low12(3),
    299: _arm_low12(4),
}
_PATCHES: dict[int, dict[int, _Patch]] = {62: _X86_64, 183: _AARCH64}
