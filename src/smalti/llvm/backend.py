"""LLVM's back end: text of a module in, object code or assembly for a target out.

The only user of llvmlite.binding.
"""

from __future__ import annotations

from dataclasses import dataclass

import llvmlite.binding as llvm

from smalti.errors import CompilerError
from smalti.target.target import Target


@dataclass(frozen=True, slots=True)
class Options:
    """How a module is optimised: level 0 to 3, and which of LLVM's own loop transformations may run."""

    level: int = 3
    unroll: bool = False
    vectorize: bool = False


DEFAULT_OPTIONS = Options()


def llvm_version() -> str:
    """Return LLVM's version, e.g. ``22.1.0``."""
    return ".".join(str(part) for part in llvm.llvm_version_info)


def emit_object(module_text: str, target: Target, options: Options = DEFAULT_OPTIONS) -> bytes:
    """Return the relocatable ELF object of a module; the same text and target give the same bytes.

    Raises:
        CompilerError: LLVM refuses the module; the message is LLVM's.
    """
    module, machine = _optimised(module_text, target, options)
    return bytes(machine.emit_object(module))


def emit_assembly(module_text: str, target: Target, options: Options = DEFAULT_OPTIONS) -> str:
    """Return the assembly text of a module.

    Raises:
        CompilerError: LLVM refuses the module.
    """
    module, machine = _optimised(module_text, target, options)
    return str(machine.emit_assembly(module))


def emit_optimised_ir(module_text: str, target: Target, options: Options = DEFAULT_OPTIONS) -> str:
    """Return the text of the optimised module.

    Raises:
        CompilerError: LLVM refuses the module.
    """
    module, _ = _optimised(module_text, target, options)
    return str(module)


def _optimised(module_text: str, target: Target, options: Options) -> tuple[llvm.ModuleRef, llvm.TargetMachine]:
    machine = _machine(target, options.level)
    try:
        module = llvm.parse_assembly(module_text)
        module.triple = target.triple
        module.data_layout = str(machine.target_data)
        module.verify()
    except RuntimeError as error:
        raise CompilerError(f"LLVM refuses the generated module: {error}") from error
    tuning = llvm.create_pipeline_tuning_options(speed_level=options.level)
    tuning.loop_unrolling = options.unroll
    tuning.loop_vectorization = options.vectorize
    tuning.slp_vectorization = options.vectorize
    tuning.loop_interleaving = options.vectorize
    builder = llvm.create_pass_builder(machine, tuning)
    builder.getModulePassManager().run(module, builder)
    return module, machine


def _machine(target: Target, level: int) -> llvm.TargetMachine:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        family = llvm.Target.from_triple(target.triple)
    except RuntimeError as error:
        raise CompilerError(f"this build of LLVM has no back end for {target.triple}") from error
    return family.create_target_machine(
        cpu=target.cpu, features=target.llvm_features, opt=level, reloc="pic", codemodel="small"
    )
