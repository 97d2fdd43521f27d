"""What a user does with Smalti, as plain functions; the command line only parses arguments for them.

A thin façade over the rooms in which the work is done, and the one-click road (``road``) that goes through them all.
It may import every room but ``cli``. A name is imported when it is first asked for: labelling pictures needs neither
the compiler nor the network client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from smalti.apps.road import RunOptions, RunResult, run
    from smalti.bench.bench import BenchOptions, bench
    from smalti.bench.report import BenchReport
    from smalti.building.build import BuildResult, build
    from smalti.building.calibrate import calibrate_folder, calibrate_model, load_record, read_record, write_record
    from smalti.comparing.compare import CompareOptions, compare
    from smalti.comparing.result import CompareResult
    from smalti.comparing.sensitivity import SensitivityResult, sensitivity
    from smalti.compiler import CompileOptions
    from smalti.delivery.doctor import doctor
    from smalti.delivery.export import ExportOptions, ExportResult, export
    from smalti.delivery.export_c import export_c
    from smalti.delivery.inspect import Inspection, inspect
    from smalti.labelling.infer import InferOptions, InferResult, infer
    from smalti.labelling.video import FrameChoice, VideoJob, VideoResult, label_video
    from smalti.quant.modes import QuantMode, QuantOptions
    from smalti.scoring.accuracy import AccuracyOptions, accuracy
    from smalti.scoring.evaluate import EvalResult, evaluate_folder, evaluate_model
    from smalti.scoring.fastest import FastestOptions, FastestResult, build_fastest
    from smalti.scoring.rows import AccuracyTable
    from smalti.target.host import resolve_target, resolve_targets

__all__ = [
    "AccuracyOptions",
    "AccuracyTable",
    "BenchOptions",
    "BenchReport",
    "BuildResult",
    "CompareOptions",
    "CompareResult",
    "CompileOptions",
    "EvalResult",
    "ExportOptions",
    "ExportResult",
    "FastestOptions",
    "FastestResult",
    "FrameChoice",
    "InferOptions",
    "InferResult",
    "Inspection",
    "QuantMode",
    "QuantOptions",
    "RunOptions",
    "RunResult",
    "SensitivityResult",
    "VideoJob",
    "VideoResult",
    "accuracy",
    "bench",
    "build",
    "build_fastest",
    "calibrate_folder",
    "calibrate_model",
    "compare",
    "doctor",
    "evaluate_folder",
    "evaluate_model",
    "export",
    "export_c",
    "infer",
    "inspect",
    "label_video",
    "load_record",
    "read_record",
    "resolve_target",
    "resolve_targets",
    "run",
    "sensitivity",
    "write_record",
]

_PLACES: Final = {
    "AccuracyOptions": "smalti.scoring.accuracy",
    "AccuracyTable": "smalti.scoring.rows",
    "BenchOptions": "smalti.bench.bench",
    "BenchReport": "smalti.bench.report",
    "BuildResult": "smalti.building.build",
    "CompareOptions": "smalti.comparing.compare",
    "CompareResult": "smalti.comparing.result",
    "CompileOptions": "smalti.compiler",
    "EvalResult": "smalti.scoring.evaluate",
    "ExportOptions": "smalti.delivery.export",
    "ExportResult": "smalti.delivery.export",
    "FastestOptions": "smalti.scoring.fastest",
    "FastestResult": "smalti.scoring.fastest",
    "FrameChoice": "smalti.vision.video.frames",
    "InferOptions": "smalti.labelling.infer",
    "InferResult": "smalti.labelling.infer",
    "Inspection": "smalti.delivery.inspect",
    "QuantMode": "smalti.quant.modes",
    "QuantOptions": "smalti.quant.modes",
    "RunOptions": "smalti.apps.road",
    "RunResult": "smalti.apps.road",
    "SensitivityResult": "smalti.comparing.sensitivity",
    "VideoJob": "smalti.labelling.video",
    "VideoResult": "smalti.labelling.video",
    "accuracy": "smalti.scoring.accuracy",
    "bench": "smalti.bench.bench",
    "build": "smalti.building.build",
    "build_fastest": "smalti.scoring.fastest",
    "calibrate_folder": "smalti.building.calibrate",
    "calibrate_model": "smalti.building.calibrate",
    "compare": "smalti.comparing.compare",
    "evaluate_folder": "smalti.scoring.evaluate",
    "evaluate_model": "smalti.scoring.evaluate",
    "doctor": "smalti.delivery.doctor",
    "export": "smalti.delivery.export",
    "export_c": "smalti.delivery.export_c",
    "infer": "smalti.labelling.infer",
    "inspect": "smalti.delivery.inspect",
    "label_video": "smalti.labelling.video",
    "load_record": "smalti.building.calibrate",
    "read_record": "smalti.building.calibrate",
    "resolve_target": "smalti.target.host",
    "resolve_targets": "smalti.target.host",
    "run": "smalti.apps.road",
    "sensitivity": "smalti.comparing.sensitivity",
    "write_record": "smalti.building.calibrate",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_PLACES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
