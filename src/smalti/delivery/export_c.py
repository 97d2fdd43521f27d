"""Export a model for C programs that read no file at run time: an object file, a header and an example."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from smalti.artifact.manifest import DimOp, Manifest
from smalti.artifact.program import Program
from smalti.artifact.reader import open_model
from smalti.artifact.schema import manifest_json
from smalti.delivery.export_c_texts import (
    ProgramText,
    cmake_text,
    header_text,
    picture_example_text,
    readme_text,
    tensor_example_text,
)
from smalti.errors import TargetError, UsageError
from smalti.jobs.outputs import write_pieces
from smalti.jobs.places import check_places
from smalti.llvm.elf_object import Buffer, Part, object_chunks
from smalti.numerics import DType
from smalti.target.target import Target
from smalti.vision.voc import printable

LONGEST_NAME: Final = 64
# Words of C and C++, and names of files that the example needs itself.
_TAKEN: Final = frozenset(
    "main smalti stdio stdlib stddef stdint auto break case char const continue default do double else enum extern "
    "float for goto if inline int long register restrict return short signed sizeof static struct switch typedef union "
    "unsigned void volatile while asm bool catch class delete explicit export false friend mutable namespace new "
    "operator private protected public template this throw true try typeid typename using virtual".split()
)


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A file of the folder. ``was_kept``: it was there already, and may be someone's work, so it was not replaced."""

    path: Path
    bytes: int
    was_kept: bool


@dataclass(frozen=True, slots=True)
class ExportCResult:
    """What was exported: the name of the model in C, the targets of its programs, the files."""

    name: str
    targets: tuple[str, ...]
    precision: str
    constants_bytes: int
    files: tuple[ExportedFile, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "name": self.name,
            "targets": list(self.targets),
            "precision": self.precision,
            "constants_bytes": self.constants_bytes,
            "files": [{"path": str(f.path), "bytes": f.bytes, "was_kept": f.was_kept} for f in self.files],
        }


def export_c(model: Path, output_dir: Path, name: str | None = None, replace_example: bool = False) -> ExportCResult:
    """Write NAME.o and NAME.h for an offline model file, and beside them main.c, CMakeLists.txt and README.md.

    The model may be for another CPU than this one: nothing of it is run. One with programs for two architectures gives
    two object files, NAME-x86_64.o and NAME-aarch64.o. Files appear whole or not at all; the three of the example are
    left alone where they are there already, unless ``replace_example``. Equal models give equal bytes.

    Raises:
        UsageError: ``name`` is no name for C; ``output_dir`` is no folder; a file cannot be written for its name.
        ModelFileError: the model file is damaged, too new, or for a CPU that this Smalti does not know.
        OutputError: the disk refuses.
    """
    name = checked_name(name) if name is not None else name_of(model)
    if output_dir.exists() and not output_dir.is_dir():
        raise UsageError(f"{printable(str(output_dir))} is not a folder: give --output-dir one, or a name that is free")
    with open_model(model) as file:
        programs = tuple(file.programs())
        constants = bytearray(file.constants.size)
        file.read_constants(memoryview(constants))
    by_architecture: dict[str, list[Program]] = {}
    for program in programs:
        by_architecture.setdefault(_architecture(program.manifest), []).append(program)
    several = len(by_architecture) > 1
    objects = {arch: f"{name}-{arch}.o" if several else f"{name}.o" for arch in by_architecture}
    contents: list[tuple[str, list[Buffer], bool]] = [
        (objects[arch], _object(arch, name, of_it, constants), True) for arch, of_it in by_architecture.items()
    ]
    texts = _texts(name, by_architecture, objects, len(constants))
    contents += [(file_name, [text.encode()], file_name.endswith(".h")) for file_name, text in texts.items()]
    check_places({file_name: output_dir / file_name for file_name, *_ in contents}, (model,))
    files = tuple(
        _write(output_dir / file_name, pieces, replace=replace_example or is_model)
        for file_name, pieces, is_model in contents
    )
    first = programs[0].manifest
    return ExportCResult(name, tuple(p.manifest.target for p in programs), first.precision, len(constants), files)


def checked_name(name: str) -> str:
    """Return a name that C accepts.

    Raises:
        UsageError: it does not.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or len(name) > LONGEST_NAME or name in _TAKEN:
        raise UsageError(
            f"{name!r} cannot be the name of a model in C: take up to {LONGEST_NAME} letters, digits and underscores, "
            "a letter first, and no word of the language"
        )
    return name


def name_of(model: Path) -> str:
    """Return a name in C for a model file: its own, with underscores for what C does not accept."""
    name = re.sub(r"[^A-Za-z0-9_]+", "_", model.stem).strip("_")[:LONGEST_NAME]
    return name if re.match(r"[A-Za-z]", name) and name not in _TAKEN else f"model_{name}".rstrip("_")[:LONGEST_NAME]


def _architecture(manifest: Manifest) -> str:
    try:
        return Target.parse(manifest.target).arch
    except UsageError as error:
        raise TargetError(
            f"the model was built for {manifest.target!r}, which this Smalti does not know: update Smalti, or "
            "build it again with this one"
        ) from error


def _symbol(name: str, manifest: Manifest) -> str:
    return f"{name}_{re.sub(r'[^A-Za-z0-9]', '_', manifest.target)}"


def _object(architecture: str, name: str, programs: Sequence[Program], constants: Buffer) -> list[Buffer]:
    code, manifests = [], []
    for program in programs:
        manifest, symbol = program.manifest, _symbol(name, program.manifest)
        functions = {"run": manifest.entry, "drive": manifest.team.drive, "serve": manifest.team.serve}
        entries = {f"{symbol}_{function}": offset for function, offset in functions.items()}
        code.append(Part(f"{symbol}_code", program.code, entries))
        manifests.append(Part(f"{symbol}_manifest", manifest_json(manifest)))
    parts = [Part(f"{name}_constants", constants), *manifests]
    return list(object_chunks(architecture, f"{name}.smalti", code, parts))


def _texts(
    name: str, programs: Mapping[str, Sequence[Program]], objects: Mapping[str, str], constants_bytes: int
) -> dict[str, str]:
    first = next(iter(programs.values()))[0].manifest
    targets = [program.manifest.target for of_it in programs.values() for program in of_it]
    about = f"The network {name}, {first.precision}, for {', '.join(targets)}."
    described = {
        arch: [
            ProgramText(
                p.manifest.target, _symbol(name, p.manifest), len(manifest_json(p.manifest)), memoryview(p.code).nbytes
            )
            for p in of_it
        ]
        for arch, of_it in programs.items()
    }
    is_for_pictures = labels_pictures(first)
    files = [(file, f"code and constants, for {arch}") for arch, file in objects.items()]
    files += [(f"{name}.h", "declares them"), ("main.c", "a program that uses them"), ("CMakeLists.txt", "builds it")]
    command = f"./{name}_example picture.ppm labels.pgm" if is_for_pictures else f"./{name}_example"
    return {
        f"{name}.h": header_text(name, about, described, constants_bytes, objects),
        "main.c": picture_example_text(name) if is_for_pictures else tensor_example_text(name),
        "CMakeLists.txt": cmake_text(name, objects),
        "README.md": readme_text(name, about, files, command, _sizes(first) if is_for_pictures else ""),
    }


def labels_pictures(manifest: Manifest) -> bool:
    """Return whether a network takes one RGB picture of bytes and gives one map of whole numbers."""
    if len(manifest.inputs) != 1 or len(manifest.outputs) != 1:
        return False
    picture, labels = manifest.inputs[0], manifest.outputs[0]
    if picture.dtype is not DType.UINT8 or len(picture.shape) not in (3, 4) or not labels.dtype.is_integer:
        return False
    channels = manifest.dims[picture.shape[-1]]
    return (channels.op, channels.a) == (DimOp.CONST, 3) and len(labels.shape) == len(picture.shape) - 1


def _sizes(manifest: Manifest) -> str:
    """Return what the page says about the pictures that the network takes."""
    words = []
    for side, index in (("height", manifest.inputs[0].shape[-3]), ("width", manifest.inputs[0].shape[-2])):
        instruction = manifest.dims[index]
        if instruction.op is not DimOp.SYMBOL:
            words.append(f"{side} {instruction.a}")
            continue
        symbol = manifest.symbols[instruction.a]
        most = "" if symbol.maximum is None else f" to {symbol.maximum}"
        words.append(f"{side} {'from ' if not most else ''}{symbol.minimum}{most}")
    return f"The example does not scale pictures; this network takes {', '.join(words)}.\n"


def _write(path: Path, pieces: Sequence[Buffer], *, replace: bool) -> ExportedFile:
    if not replace and path.is_file():
        return ExportedFile(path, path.stat().st_size, was_kept=True)
    write_pieces(path, (bytes(piece) for piece in pieces))
    return ExportedFile(path, sum(memoryview(piece).nbytes for piece in pieces), was_kept=False)
