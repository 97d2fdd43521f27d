"""A plan -> machine code, constants and manifest: the contents of an offline model file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from smalti.artifact.manifest import ArenaBuffer, DimInstr, DimOp, Manifest, Step, Symbol, TeamEntries, TensorSpec
from smalti.codegen.constants import ConstantPool
from smalti.codegen.module import ModuleText, build_module
from smalti.ir import ops
from smalti.ir.dims import Dim
from smalti.ir.graph import Node
from smalti.llvm.backend import emit_object
from smalti.llvm.link import link
from smalti.llvm.team import DRIVE, SERVE, with_team
from smalti.plan.cost import bytes_moved, multiply_adds
from smalti.plan.dimtable import DimTable
from smalti.plan.schedule import Plan
from smalti.plan.schedule import Step as PlannedStep


@dataclass(frozen=True, slots=True)
class Generated:
    """What goes into an offline model file.

    ``constants`` are those of this program and of the ones before it in the same pool; ``used`` are the sizes of its
    own, by their offsets.
    """

    manifest: Manifest
    constants: bytes = field(repr=False)
    code: bytes = field(repr=False)
    used: Mapping[int, int] = field(repr=False)


def generate(plan: Plan, about: Mapping[str, Any], pool: ConstantPool | None = None) -> Generated:
    """Generate the code of a plan and describe it.

    Args:
        plan: the plan.
        about: the free-form fields of :class:`Manifest` (precision, preprocess, labels, ...).
        pool: what other programs of the same file put into the constants; this plan's are added.

    Raises:
        CompilerError: a kernel broke its contract.
    """
    pool = ConstantPool() if pool is None else pool
    module = build_module(plan, pool)
    blob = link(emit_object(with_team(module.text), plan.target))
    team = TeamEntries(blob.entries[DRIVE], blob.entries[SERVE])
    manifest = build_manifest(plan, module, blob.entries[module.entry], {**about, "team": team})
    used = {offset: value.nbytes for offset, value in zip(module.constant_offsets, plan.constants, strict=True)}
    return Generated(manifest, pool.section(), blob.code, used)


def say_sharing(made: Sequence[Generated]) -> tuple[Manifest, ...]:
    """Return the manifests of the programs of one file, each saying how much of the constants it shares."""
    if len(made) == 1:
        return (made[0].manifest,)
    users = Counter(offset for program in made for offset in program.used)
    return tuple(_with_sharing(program, users) for program in made)


def _with_sharing(program: Generated, users: Mapping[int, int]) -> Manifest:
    shared = sum(size for offset, size in program.used.items() if users[offset] > 1)
    said = {"bytes": sum(program.used.values()), "shared": shared}
    return replace(program.manifest, report={**program.manifest.report, "constants": said})


def build_manifest(plan: Plan, module: ModuleText, entry: int, about: Mapping[str, Any]) -> Manifest:
    """Describe a compiled plan.

    Args:
        plan: the plan.
        module: the module made from it; sizes of tensors and steps are added to its dim table.
        entry: offset of the entry function in the code.
        about: the free-form fields of :class:`Manifest` (precision, preprocess, labels, ...).
    """
    dims = module.dims
    inputs = tuple(_tensor(n, n.name, dims) for n in plan.graph.inputs)
    outputs = tuple(_tensor(n, name, dims) for n, name in zip(plan.graph.outputs, plan.graph.output_names, strict=True))
    steps = tuple(
        Step(
            step.node.name,
            step.kernel.name,
            type(step.node.op).__name__,
            tuple(dims.index(s) for s in step.node.type.shape),
            dims.index(_work(step)),
            dims.index(bytes_moved(step.nodes)),
            tuple(sorted({dims.index(size) for size in _inner_sizes(step)})),
        )
        for step in plan.steps
    )
    arena = tuple(ArenaBuffer(b.name, dims.index(b.size), b.first, b.last, b.per_thread) for b in plan.arena)
    return Manifest(
        target=plan.target.name,
        features=plan.target.features,
        inputs=inputs,
        outputs=outputs,
        steps=steps,
        entry=entry,
        symbols=tuple(Symbol(s.name, s.low, s.high, s.multiple) for s in dims.symbols),
        arena=arena,
        dims=tuple(_instruction(i) for i in dims.program),
        **about,
    )


def _inner_sizes(step: PlannedStep) -> list[Dim]:
    """Return the sizes known only at run time of what a step computes on the way to its result."""
    sizes = [size for node in step.nodes[:-1] for size in node.type.shape]
    for node in step.nodes:
        if isinstance(node.op, ops.ResizeArgMax):
            sizes += [size for stage in node.op.stages for size in stage.size]
    return [size for size in sizes if not isinstance(size, int)]


def _work(step: PlannedStep) -> int | Dim:
    total: int | Dim = 0
    for node in step.nodes:
        total = multiply_adds(node) + total
    return total


def _tensor(node: Node, name: str, dims: DimTable) -> TensorSpec:
    return TensorSpec(name, node.type.dtype, tuple(dims.index(s) for s in node.type.shape))


def _instruction(instruction: tuple[str, int] | tuple[str, int, int]) -> DimInstr:
    op = DimOp(instruction[0])
    return DimInstr(op, instruction[1], instruction[2] if len(instruction) == 3 else 0)
