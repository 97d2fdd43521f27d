"""Tell what an offline model file is, without running it: inputs, target, sizes, layers, work and memory."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smalti.artifact.format import SectionKind
from smalti.artifact.manifest import BUILT_IN_KEY, Manifest, Symbol, TensorSpec
from smalti.artifact.program import Program, choose_program, obstacle
from smalti.artifact.reader import ModelFile, open_model
from smalti.delivery.precision import precision_rows
from smalti.errors import TargetError, UsageError
from smalti.jobs.table import Fit, Table
from smalti.knobs import MAX_THREADS
from smalti.runtime.dims import Shape, describe_shape, evaluate
from smalti.runtime.plan import ShapePlanner
from smalti.target.host import read_host, usable_cpus

DEFAULT_SIZE = 513


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """An input or output: its shape as text (``[1, H<=513, W<=513, 3]``) and at the inspected size."""

    name: str
    dtype: str
    shape: str
    at_size: Shape

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype, "shape": self.shape, "at_size": list(self.at_size)}


@dataclass(frozen=True, slots=True)
class Layer:
    """One step of the code at the inspected size: multiply-adds, and bytes read and written."""

    name: str
    op: str
    kernel: str
    shape: Shape
    macs: int
    bytes: int

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "op": self.op,
            "kernel": self.kernel,
            "shape": list(self.shape),
            "macs": self.macs,
            "bytes": self.bytes,
        }


@dataclass(frozen=True, slots=True)
class ProgramFacts:
    """What a file holds for one target.

    Of the ``constant_bytes`` that it uses other programs of the file use ``shared_bytes`` too. ``obstacle`` says in a
    few words why this machine cannot run it, or is None.
    """

    target: str
    features: tuple[str, ...]
    code_bytes: int
    constant_bytes: int
    shared_bytes: int
    obstacle: str | None

    def to_json(self) -> dict[str, Any]:
        return {
            "target": self.target,
            "features": list(self.features),
            "code_bytes": self.code_bytes,
            "constant_bytes": self.constant_bytes,
            "shared_bytes": self.shared_bytes,
            "runs_here": self.obstacle is None,
            "obstacle": self.obstacle,
        }


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a file says about itself, and what a run at ``sizes`` costs.

    ``programs`` are in file order, which is the order of preference. ``manifest`` and everything that follows from it
    are those of the program asked for, else of the one that runs here, else of the first.
    ``workspace_bytes`` is what each request in flight needs at these sizes with ``threads`` threads. ``obstacle`` says
    why this machine cannot run the code, or is None.
    """

    path: Path
    file_bytes: int
    section_bytes: dict[str, int]
    programs: tuple[ProgramFacts, ...]
    manifest: Manifest
    obstacle: str | None
    sizes: dict[str, int]
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    layers: tuple[Layer, ...]
    threads: int
    workspace_bytes: int

    @property
    def macs(self) -> int:
        """Multiplications of one run at ``sizes``."""
        return sum(layer.macs for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        m = self.manifest
        return {
            "path": str(self.path),
            "file_bytes": self.file_bytes,
            "section_bytes": self.section_bytes,
            "producer": m.producer,
            "graph": m.graph,
            "precision": m.precision,
            "quantisation": m.quantisation,
            "target": m.target,
            "features": list(m.features),
            "runs_here": self.obstacle is None,
            "obstacle": self.obstacle,
            "programs": [program.to_json() for program in self.programs],
            "shape_mutable": m.shape_mutable,
            "batch_size": m.batch_size,
            "preprocess": m.preprocess,
            "labels": None if m.labels is None else list(m.labels),
            "symbols": [{"name": s.name, "min": s.minimum, "max": s.maximum} for s in m.symbols],
            "sizes": self.sizes,
            "inputs": [tensor.to_json() for tensor in self.inputs],
            "outputs": [tensor.to_json() for tensor in self.outputs],
            "macs": self.macs,
            "threads": self.threads,
            "workspace_bytes": self.workspace_bytes,
            "layers": [layer.to_json() for layer in self.layers],
            "report": m.report,
        }


def inspect(
    path: str | os.PathLike[str],
    size: str | None = None,
    threads: int | None = None,
    *,
    target: str | None = None,
) -> Inspection:
    """Return what an offline model file is; nothing of it is executed, and its CPU need not be this one.

    ``size`` is the input size at which layers and memory are given, ``HEIGHTxWIDTH`` or one number for both; by default
    the largest that the model allows, else its input size, else 513. ``threads`` is for the workspace, by default the
    CPUs this process may use. ``target`` chooses the program that is shown (default: the one that would run here).

    Raises:
        ModelFileError: the file cannot be used (as :func:`smalti.load`).
        UsageError: ``size`` is no size, the model has one fixed size, ``threads`` is out of range, or the file holds no
            program for ``target``.
        InputError: the model does not allow this size.
    """
    wanted = None if size is None else parse_size(size)
    with open_model(path) as file:
        programs = tuple(file.programs())
        manifest = _shown(file, programs, target)
        constant_bytes = file.constants.size
        file_bytes = file.header.file_bytes
        sections = {kind.name.lower(): sum(s.size for s in file.header.all(kind)) for kind in SectionKind}
    values = _symbol_values(manifest, wanted)
    dims = evaluate(manifest.dims, values)
    count = min(usable_cpus().count, MAX_THREADS) if threads is None else threads
    if not 1 <= count <= MAX_THREADS:
        raise UsageError(f"threads must be a whole number from 1 to {MAX_THREADS}, not {count}")
    plan = ShapePlanner(manifest).plan(tuple(tuple(dims[i] for i in t.shape) for t in manifest.inputs), count)
    inputs, outputs = (_facts(manifest, tensors, dims) for tensors in (manifest.inputs, manifest.outputs))
    layers = tuple(
        Layer(s.name, s.op, s.kernel, tuple(dims[i] for i in s.shape), dims[s.macs], dims[s.bytes])
        for s in manifest.steps
    )
    sizes = {symbol.name: value for symbol, value in zip(manifest.symbols, values, strict=True)}
    return Inspection(
        Path(path),
        file_bytes,
        sections,
        tuple(_program_facts(program, constant_bytes) for program in programs),
        manifest,
        _obstacle(programs),
        sizes,
        inputs,
        outputs,
        layers,
        count,
        plan.workspace_bytes,
    )


def parse_size(text: str) -> tuple[int, int]:
    """Return (height, width) of ``513`` or ``375x500``. Raises UsageError for anything else."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})(?:x([1-9][0-9]{0,5}))?", text, re.ASCII)
    if match is None:
        raise UsageError(f"a size is written 513 or HEIGHTxWIDTH, not {text[:40]!r}")
    height = int(match[1])
    return height, int(match[2]) if match[2] else height


def _facts(manifest: Manifest, tensors: Sequence[TensorSpec], dims: Sequence[int]) -> tuple[TensorFacts, ...]:
    return tuple(
        TensorFacts(t.name, t.dtype.value, describe_shape(manifest, t), tuple(dims[i] for i in t.shape))
        for t in tensors
    )


def _symbol_values(manifest: Manifest, wanted: tuple[int, int] | None) -> list[int]:
    if wanted is None:
        said = manifest.preprocess.get("input_size")
        return [_default(symbol, said if isinstance(said, int) else DEFAULT_SIZE) for symbol in manifest.symbols]
    if not manifest.symbols:
        raise UsageError("this model has one fixed input size: leave the sizes out")
    if len(manifest.symbols) > 2:
        raise UsageError("this model has more than two free sizes; only its default sizes can be shown")
    return list(wanted[: len(manifest.symbols)])


def _default(symbol: Symbol, size: int) -> int:
    value = symbol.maximum if symbol.maximum is not None else max(size, symbol.minimum)
    return max(symbol.multiple, value - value % symbol.multiple)


def _shown(file: ModelFile, programs: Sequence[Program], wanted: str | None) -> Manifest:
    if wanted is not None:
        return programs[file.find(wanted)].manifest
    try:
        return choose_program(programs).manifest
    except TargetError:
        return programs[0].manifest


def _program_facts(program: Program, constant_bytes: int) -> ProgramFacts:
    m = program.manifest
    said = m.report.get("constants")
    used, shared = (said.get("bytes"), said.get("shared")) if isinstance(said, Mapping) else (None, None)
    return ProgramFacts(
        m.target,
        m.features,
        len(program.code),
        used if isinstance(used, int) else constant_bytes,
        shared if isinstance(shared, int) else 0,
        obstacle(m, read_host()),
    )


def _obstacle(programs: Sequence[Program]) -> str | None:
    try:
        choose_program(programs)
    except TargetError as error:
        return str(error)
    return None


def facts_table(seen: Inspection) -> Table:
    """Return the facts about the file as a whole."""
    m = seen.manifest
    size = ", ".join(f"{name} = {value}" for name, value in seen.sizes.items())
    sections = ", ".join(f"{name} {_bytes(count)}" for name, count in seen.section_bytes.items())
    rows = [
        ("file", f"{seen.path}, {_bytes(seen.file_bytes)} ({sections})"),
        ("graph", _facts_text({key: value for key, value in m.graph.items() if key != "sha256"})),
        ("SHA-256", f"{m.graph.get('sha256', '-')}"),
        ("made by", _facts_text(m.producer)),
        *precision_rows(m),
        *_program_rows(seen),
        ("batch", "any" if m.batch_size is None else str(m.batch_size)),
        ("images", _facts_text({key: value for key, value in m.preprocess.items() if key != BUILT_IN_KEY})),
        *_built_in_rows(m),
        ("labels", "-" if m.labels is None else f"{len(m.labels)}: {', '.join(m.labels)}"),
        *(("input", f"{t.name} {t.dtype} {t.shape}") for t in seen.inputs),
        *(("output", f"{t.name} {t.dtype} {t.shape}") for t in seen.outputs),
        ("at size", size or "fixed"),
        ("work", f"{seen.macs / 1e9:.3f} G multiply-adds in {len(seen.layers)} steps"),
        ("workspace", f"{_bytes(seen.workspace_bytes)} for a request of {seen.threads} threads"),
    ]
    return Table("offline model", ("", ""), tuple(rows), left=(0, 1), fit=Fit(prose=(1,)))


def _built_in_rows(manifest: Manifest) -> list[tuple[str, str]]:
    """Return what a build put around the graph, if anything."""
    said = manifest.preprocess.get(BUILT_IN_KEY)
    return [("built in", _facts_text(said))] if isinstance(said, dict) else []


def _program_rows(seen: Inspection) -> list[tuple[str, str]]:
    m = seen.manifest
    if len(seen.programs) == 1:
        needs = f"{m.target}: needs {', '.join(m.features) or 'nothing special'}"
        return [("target", needs), ("runs here", "yes" if seen.obstacle is None else seen.obstacle)]
    rows = [(p.target, _program_text(p)) for p in seen.programs]
    here = next((p.target for p in seen.programs if p.obstacle is None), None)
    return [*rows, ("runs here", seen.obstacle or f"yes: {here}"), ("shown", f"the program for {m.target}")]


def _program_text(program: ProgramFacts) -> str:
    return (
        f"{_bytes(program.code_bytes)} of code, {_bytes(program.constant_bytes)} of constants, "
        f"{_bytes(program.shared_bytes)} of them shared with others; needs {', '.join(program.features)}"
    )


def layers_table(seen: Inspection) -> Table:
    """Return one row per step, with the sums as footer."""
    rows = tuple(
        (
            layer.kernel,
            "x".join(map(str, layer.shape)),
            f"{layer.macs / 1e6:.2f}",
            f"{layer.bytes / 1e6:.2f}",
            layer.name,
        )
        for layer in seen.layers
    )
    moved = sum(layer.bytes for layer in seen.layers)
    footer = ("sum", "", f"{seen.macs / 1e6:.2f}", f"{moved / 1e6:.2f}", "")
    return Table(
        "steps", ("kernel", "shape", "M mul-adds", "MB moved", "name"), rows, footer, (0, 4), Fit((4,), leave=(1, 3))
    )


def _facts_text(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in facts.items()) or "-"


def _bytes(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 100_000 else f"{count:,} bytes"
