"""What a user does with Smalti, as plain functions; the command line only parses arguments for them."""

from smalti.apps.build import BuildResult, build
from smalti.apps.evaluate import EvalResult, evaluate_folder, evaluate_model
from smalti.apps.export import ExportOptions, ExportResult, export
from smalti.apps.infer import InferOptions, InferResult, infer
from smalti.apps.inspect import Inspection, inspect
from smalti.apps.run import RunOptions, RunResult, run
from smalti.compiler import CompileOptions, QuantMode
from smalti.target.host import resolve_target

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
    "RunOptions",
    "RunResult",
    "build",
    "evaluate_folder",
    "evaluate_model",
    "export",
    "infer",
    "inspect",
    "resolve_target",
    "run",
]
