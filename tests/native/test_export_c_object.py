"""smalti export-c without a compiler: what the object files and the texts beside them hold."""

from __future__ import annotations

import dataclasses
import json
import struct
from dataclasses import dataclass
from pathlib import Path

import pytest

from artifact_kit import Parts, label_manifest, reverse_manifest
from package_kit import need, run
from smalti.artifact.manifest import TeamEntries
from smalti.artifact.program import Program
from smalti.artifact.schema import manifest_json
from smalti.artifact.writer import write_programs
from smalti.cli.exit_codes import ExitCode
from smalti.cli.main import run as smalti
from smalti.delivery.export_c import checked_name, export_c, labels_pictures, name_of
from smalti.errors import CompilerError, DamagedModelError, TargetError, UsageError
from smalti.llvm.elf_object import Part, object_chunks
from smalti.target.target import Target

CONSTANTS = bytes(range(256)) * 5
TARGETS = ("x86-64-v4+vnni", "x86-64-v2", "aarch64")


@dataclass(frozen=True)
class Symbol:
    section: str
    value: int
    size: int
    kind: int
    bind: int
    visibility: int
    data: bytes


class Elf:
    """A reader of relocatable objects written for these tests: it shares nothing with the writer."""

    def __init__(self, data: bytes) -> None:
        assert data[:16] == b"\x7fELF\x02\x01\x01" + bytes(9)
        self.kind, self.machine, version, entry = struct.unpack_from("<HHIQ", data, 16)
        assert (version, entry) == (1, 0)
        table, self.flags = struct.unpack_from("<QI", data, 40)
        size, programs, _, each, count, names = struct.unpack_from("<HHHHHH", data, 52)
        assert (size, programs, each) == (64, 0, 64)
        raw = [struct.unpack_from("<IIQQQQIIQQ", data, table + 64 * k) for k in range(count)]
        assert table + 64 * count == len(data) and raw[0] == (0,) * 10
        text = data[raw[names][4] :]
        self.sections = {text[r[0] : text.index(b"\0", r[0])].decode(): r for r in raw[1:]}
        self.order = ["", *self.sections]
        self.content = {name: data[r[4] : r[4] + r[5]] for name, r in self.sections.items()}
        end = 64
        for name, (_, _, _, address, offset, length, _, _, alignment, _) in self.sections.items():
            assert offset >= end and offset % alignment == 0 and address == 0, name
            assert not any(data[end:offset])
            end = offset + length
        self.symbols = self._symbols()

    def _symbols(self) -> dict[str, Symbol]:
        _, kind, _, _, _, _, link, first_global, _, each = self.sections[".symtab"]
        assert kind == 2 and each == 24 and self.order[link] == ".strtab"
        found: dict[str, Symbol] = {}
        names = self.content[".strtab"]
        for index, entry in enumerate(struct.iter_unpack("<IBBHQQ", self.content[".symtab"])):
            name, info, other, section, value, size = entry
            assert (info >> 4 == 0) == (index < first_global)
            if section in (0, 0xFFF1):
                continue
            where = self.order[section]
            label = names[name : names.index(b"\0", name)].decode()
            data = self.content[where][value : value + size]
            assert len(data) == size and label not in found
            found[label] = Symbol(where, value, size, info & 15, info >> 4, other, data)
        return found


def program(target: str, code: bytes = b"\x90" * 5000) -> Program:
    manifest = label_manifest(target=Target.parse(target), entry=64, team=TeamEntries(128, 4899))
    return Program(manifest, code)


def model(folder: Path, *targets: str) -> Path:
    write_programs(folder / "m.smalti", [program(t, t.encode() * 700) for t in targets], CONSTANTS)
    return folder / "m.smalti"


def test_an_object_holds_the_programs_byte_for_byte(tmp_path: Path) -> None:
    result = export_c(model(tmp_path, *TARGETS[:2]), tmp_path / "out", "net")
    assert [f.path.name for f in result.files] == ["net.o", "net.h", "main.c", "CMakeLists.txt", "README.md"]
    elf = Elf((tmp_path / "out" / "net.o").read_bytes())
    assert (elf.kind, elf.machine, elf.flags) == (1, 62, 0)
    assert set(elf.sections) == {".text", ".rodata", ".note.GNU-stack", ".symtab", ".strtab", ".shstrtab"}
    # type PROGBITS; flags ALLOC + EXECINSTR, ALLOC, none; nothing is writable.
    assert [elf.sections[name][1:3] for name in (".text", ".rodata", ".note.GNU-stack")] == [(1, 6), (1, 2), (1, 0)]
    assert (elf.sections[".text"][8], elf.sections[".rodata"][8]) == (4096, 64)
    for target in TARGETS[:2]:
        stem = "net_" + target.replace("-", "_").replace("+", "_")
        code, manifest = elf.symbols[f"{stem}_code"], elf.symbols[f"{stem}_manifest"]
        assert code.data == target.encode() * 700 and code.section == ".text" and code.value % 4096 == 0
        assert manifest.data == manifest_json(program(target).manifest) and manifest.value % 64 == 0
        # Global objects of hidden visibility, and local functions for profilers and debuggers.
        assert {(s.kind, s.bind, s.visibility) for s in (code, manifest)} == {(1, 1, 2)}
        inside = [elf.symbols[f"{stem}_{name}"] for name in ("run", "drive", "serve")]
        assert [s.value - code.value for s in inside] == [64, 128, 4899]
        assert {(s.kind, s.bind, s.section) for s in inside} == {(2, 0, ".text")}
    constants = elf.symbols["net_constants"]
    assert constants.data == CONSTANTS and constants.value % 64 == 0 and constants.section == ".rodata"
    assert len(elf.symbols) == 11


def test_one_object_for_each_architecture(tmp_path: Path) -> None:
    result = export_c(model(tmp_path, *TARGETS), tmp_path, "net")
    assert set(result.targets) == set(TARGETS)
    x86, arm = (Elf((tmp_path / f"net-{name}.o").read_bytes()) for name in ("x86_64", "aarch64"))
    assert (x86.machine, arm.machine, arm.flags) == (62, 183, 0)
    assert "net_aarch64_code" in arm.symbols and "net_x86_64_v2_code" not in arm.symbols
    assert arm.symbols["net_constants"].data == CONSTANTS == x86.symbols["net_constants"].data
    header = (tmp_path / "net.h").read_text()
    assert header.index('{"x86-64-v4+vnni"') < header.index('{"x86-64-v2"')
    assert "#if defined(__x86_64__) /* net-x86_64.o */" in header.replace("elif", "if")
    project = (tmp_path / "CMakeLists.txt").read_text()
    assert "set(object net-aarch64.o)" in project and "(x86_64|amd64|AMD64)$" in project


def test_equal_models_give_equal_files_wherever_they_are(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        export_c(model(tmp_path / name, "x86-64-v2"), tmp_path / name / "out")
    first = {path.name: path.read_bytes() for path in (tmp_path / "one" / "out").iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "two" / "out").iterdir()} == first
    assert not any(str(tmp_path).encode() in data for data in first.values())


def test_the_example_is_kept_and_the_model_is_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    export_c(model(tmp_path, "x86-64-v2"), out)
    (out / "main.c").write_text("mine\n")
    (out / "m.o").write_text("old\n")
    words = ["export-c", str(tmp_path / "m.smalti"), "-o", str(out)]
    assert smalti([*words, "--json"]) == ExitCode.OK
    files = json.loads(capsys.readouterr().out)["files"]
    assert {Path(f["path"]).name for f in files if f["was_kept"]} == {"main.c", "CMakeLists.txt", "README.md"}
    assert (out / "main.c").read_text() == "mine\n" and Elf((out / "m.o").read_bytes()).symbols
    assert smalti(words) == ExitCode.OK
    assert "kept (--force)" in capsys.readouterr().out
    assert smalti([*words, "--force"]) == ExitCode.OK
    assert "m_model" in (out / "main.c").read_text()
    assert sorted(path.name for path in out.iterdir()) == ["CMakeLists.txt", "README.md", "m.h", "m.o", "main.c"]


def test_the_page_tells_the_sizes_and_the_example_fits_the_network(tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_c(model(tmp_path, "x86-64-v2"), out)
    assert "height 1 to 600, width 1 to 600" in " ".join((out / "README.md").read_text().split())
    assert "PICTURE.ppm" in (out / "main.c").read_text() and (out / "main.c").read_text().count("\n") < 75
    other = Parts(reverse_manifest(), CONSTANTS, b"\xc3" * 64).write(tmp_path / "other.smalti")
    export_c(other, out, replace_example=True)
    assert "on zeros" in (out / "main.c").read_text() and "picture" not in (out / "README.md").read_text()


def test_every_text_names_the_licence_it_is_under(tmp_path: Path) -> None:
    line, out = "SPDX-License-Identifier: Apache-2.0", tmp_path / "out"
    firsts = {"m.h": f"/* {line} */", "main.c": f"/* {line} */", "CMakeLists.txt": f"# {line}"}
    other = Parts(reverse_manifest(), CONSTANTS, b"\xc3" * 64).write(tmp_path / "other.smalti")
    for source in (model(tmp_path, "x86-64-v2"), other):
        export_c(source, out, "m", replace_example=True)
        assert {name: (out / name).read_text().splitlines()[0] for name in firsts} == firsts
        assert line in (out / "README.md").read_text()
        assert {path.name for path in out.iterdir()} == {*firsts, "README.md", "m.o"}


def test_which_networks_label_pictures() -> None:
    manifest = label_manifest()
    assert labels_pictures(manifest) and not labels_pictures(reverse_manifest())
    outputs = (dataclasses.replace(manifest.outputs[0], shape=(0, 1, 2, 3)),)
    assert not labels_pictures(dataclasses.replace(manifest, outputs=outputs))
    inputs = (dataclasses.replace(manifest.inputs[0], shape=(0, 1, 2, 0)),)
    assert not labels_pictures(dataclasses.replace(manifest, inputs=inputs))


@pytest.mark.parametrize("name", ["", "3d", "a-b", "_x", "smalti", "main", "int", "class", "ä", "x" * 65, "a b"])
def test_names_that_c_does_not_accept(name: str) -> None:
    with pytest.raises(UsageError, match="name of a model in C"):
        checked_name(name)


@pytest.mark.parametrize(
    ("file", "name"),
    [("deep-lab v3.smalti", "deep_lab_v3"), ("3d.smalti", "model_3d"), ("int.smalti", "model_int"), ("é.o", "model")],
)
def test_names_of_files_become_names_in_c(file: str, name: str) -> None:
    assert name_of(Path(file)) == name and checked_name(name) == name


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = model(tmp_path, "x86-64-v2")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    (tmp_path / "bad.smalti").write_bytes(data)
    with pytest.raises(DamagedModelError):
        export_c(tmp_path / "bad.smalti", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    unknown = dataclasses.replace(program("x86-64-v2").manifest, target="sparc")
    write_programs(tmp_path / "sparc.smalti", [Program(unknown, b"\x90" * 5000)], b"")
    with pytest.raises(TargetError, match="'sparc', which this Smalti does not know"):
        export_c(tmp_path / "sparc.smalti", tmp_path / "out")
    assert smalti(["export-c", str(path), "-o", str(path)]) == ExitCode.USAGE
    assert smalti(["export-c", str(tmp_path / "none.smalti"), "-o", "x"]) == ExitCode.MODEL_FILE
    assert capsys.readouterr().err.count("smalti: /") == 2


def test_the_writer_refuses_what_a_linker_would_misread() -> None:
    part = Part("a", b"1")
    for code, data, why in (
        ([part], [part], "one name"),
        ([Part("a", b"1", {"a": 0})], [], "one name"),
        ([Part("a-b", b"1")], [], "cannot be a symbol"),
        ([Part("a", b"1", {"f": 1})], [], "outside"),
    ):
        with pytest.raises(CompilerError, match=why):
            list(object_chunks("x86_64", "s", code, data))
    with pytest.raises(CompilerError, match="sparc"):
        list(object_chunks("sparc", "s", [], []))


def test_binutils_find_nothing_to_complain_of(tmp_path: Path) -> None:
    need("readelf", "objdump")
    export_c(model(tmp_path, *TARGETS), tmp_path, "net")
    for name in ("net-x86_64.o", "net-aarch64.o"):
        told = run("sh", "-c", 'exec readelf -aW "$0" 2>&1', tmp_path / name)
        assert "Warning" not in told and "Error" not in told
        assert "There are no relocations" in told and "HIDDEN" in told
    assert "net_x86_64_v2_run" in run("objdump", "-t", tmp_path / "net-x86_64.o")
