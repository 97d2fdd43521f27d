"""What a user does with Smalti, as plain functions; the command line only parses arguments for them.

A name is imported when it is first asked for: labelling pictures needs neither the compiler nor the network client.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from smalti.apps.build import BuildResult, build
    from smalti.apps.evaluate import EvalResult, evaluate_folder, evaluate_model
    from smalti.apps.export import ExportOptions, ExportResult, export
    from smalti.apps.infer import InferOptions, InferResult, infer
    from smalti.apps.inspect import Inspection, inspect
    from smalti.apps.run import RunOptions, RunResult, run
    from smalti.compiler import CompileOptions
    from smalti.quant.modes import QuantMode, QuantOptions
    from smalti.target.host import resolve_target, resolve_targets

__all__ = [
    "BuildResult",
    "CompileOptions",
    "EvalResult",
    "ExportOptions",
    "ExportResult",
    "InferOptions",
    "InferResult",
    "Inspection",
    "QuantMode",
    "QuantOptions",
    "RunOptions",
    "RunResult",
    "build",
    "evaluate_folder",
    "evaluate_model",
    "export",
    "infer",
    "inspect",
    "resolve_target",
    "resolve_targets",
    "run",
]

_PLACES: Final = {
    "BuildResult": "smalti.apps.build",
    "CompileOptions": "smalti.compiler",
    "EvalResult": "smalti.apps.evaluate",
    "ExportOptions": "smalti.apps.export",
    "ExportResult": "smalti.apps.export",
    "InferOptions": "smalti.apps.infer",
    "InferResult": "smalti.apps.infer",
    "Inspection": "smalti.apps.inspect",
    "QuantMode": "smalti.quant.modes",
    "QuantOptions": "smalti.quant.modes",
    "RunOptions": "smalti.apps.run",
    "RunResult": "smalti.apps.run",
    "build": "smalti.apps.build",
    "evaluate_folder": "smalti.apps.evaluate",
    "evaluate_model": "smalti.apps.evaluate",
    "export": "smalti.apps.export",
    "infer": "smalti.apps.infer",
    "inspect": "smalti.apps.inspect",
    "resolve_target": "smalti.target.host",
    "resolve_targets": "smalti.target.host",
    "run": "smalti.apps.run",
}


class _Late:
    """A name of the package that is imported when it is first read.

    A module-level ``__getattr__`` would not do: importing the module ``smalti.apps.infer`` binds that name in the
    package too, and ``from smalti.apps import infer`` would be the module or the function by the order of imports.
    """

    def __init__(self, name: str, module: str) -> None:
        self.name = name
        self.module = module

    def __get__(self, package: ModuleType, _owner: type) -> Any:
        if self.name not in package.__dict__:
            package.__dict__[self.name] = getattr(import_module(self.module), self.name)
        return package.__dict__[self.name]

    def __set__(self, package: ModuleType, value: Any) -> None:
        if not isinstance(value, ModuleType):
            package.__dict__[self.name] = value


class _Apps(ModuleType):
    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *__all__})


for _name, _module in _PLACES.items():
    setattr(_Apps, _name, _Late(_name, _module))
sys.modules[__name__].__class__ = _Apps
