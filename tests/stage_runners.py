"""The ways in which one and the same graph is run by the tests, from just imported to the finished model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import smalti
from smalti.artifact.writer import model_chunks
from smalti.compiler import CompiledModel, CompileOptions, compile_graph
from smalti.frontend.tensorflow.importer import ImportOptions, import_graph
from smalti.ir.graph import Level
from smalti.ir.reference import run
from smalti.ir.verify import verify
from smalti.passes.pipeline import run_pipeline
from smalti.quant.modes import QuantMode, QuantOptions
from smalti.quant.record import CalibrationRecord
from smalti.quant.scheme import quantise
from smalti.target.host import arch, missing_features, resolve_target, resolve_targets
from smalti.target.target import levels_of

Array = NDArray[Any]
Runner = Callable[[bytes, Mapping[str, Array], tuple[str, ...]], Mapping[str, Array]]

THREADS = (1, 3)
"""Every compiled graph is run with each of these numbers of threads; the bits must be the same."""


def run_imported(graph_def: bytes, inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> Mapping[str, Array]:
    """Import and run the numpy meaning of the imported graph."""
    graph = import_graph(graph_def, ImportOptions(outputs=outputs)).graph
    verify(graph, Level.IMPORTED)
    return run(graph, inputs)


def run_canonical(graph_def: bytes, inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> Mapping[str, Array]:
    """Import, run all passes, and run the numpy meaning of the result."""
    graph = run_pipeline(import_graph(graph_def, ImportOptions(outputs=outputs)).graph, check=True).graph
    verify(graph, Level.CANONICAL)
    return run(graph, inputs)


@lru_cache(maxsize=4)
def compiled(graph_def: bytes, outputs: tuple[str, ...], target: str) -> CompiledModel:
    """Return the compiled graph; the runs of one graph follow each other, so a few are kept."""
    return compile_graph(graph_def, CompileOptions(targets=resolve_targets(target), outputs=outputs))


def save(model: CompiledModel, path: Path) -> None:
    """Write the offline model file as ``write_model`` does, but without waiting for the disk."""
    path.write_bytes(b"".join(model_chunks(model.manifest, model.constants, model.code)))


def run_compiled(
    graph_def: bytes, inputs: Mapping[str, Array], outputs: tuple[str, ...], target: str = "native"
) -> Mapping[str, Array]:
    """Compile, write the offline model file, load it and run it, with several numbers of threads."""
    return run_model(compiled(graph_def, outputs, target), inputs)


def run_model(model: CompiledModel, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    """Write a model file, load it and run it; the bits are the same for every number of threads."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.smalti"
        save(model, path)
        with smalti.load(path, threads=THREADS[0]) as engine:
            alone = engine.run(inputs)
            for threads in THREADS[1:]:
                engine.set_threads(threads)
                together = engine.run(inputs)
                for name, value in alone.items():
                    if value.tobytes() != together[name].tobytes():
                        raise AssertionError(f"{name} differs between {THREADS[0]} and {threads} threads")
    return alone


@dataclass(frozen=True, slots=True)
class Precision:
    """A graph in a precision mode, run as the numpy meaning of the quantised graph and as a finished model.

    Both have the form of a :data:`Runner` once bound to an object.
    """

    quant: QuantOptions
    record: CalibrationRecord | None = None

    def run_quantised(
        self, graph_def: bytes, inputs: Mapping[str, Array], outputs: tuple[str, ...]
    ) -> Mapping[str, Array]:
        """Import, run all passes, bring into the mode, and run the numpy meaning of the result."""
        canonical = run_pipeline(import_graph(graph_def, ImportOptions(outputs=outputs)).graph, check=True).graph
        graph = quantise(canonical, self.quant, self.record).graph
        verify(graph, Level.CANONICAL if self.quant.mode is QuantMode.FORCE_FLOAT32 else Level.QUANTISED)
        return run(graph, inputs)

    def run_compiled(
        self, graph_def: bytes, inputs: Mapping[str, Array], outputs: tuple[str, ...], target: str = "native"
    ) -> Mapping[str, Array]:
        """Compile in the mode and run as :func:`run_model` does."""
        options = CompileOptions(targets=resolve_targets(target), quant=self.quant, outputs=outputs)
        return run_model(compile_graph(graph_def, options, record=self.record), inputs)


STAGES: dict[str, Runner] = {"imported": run_imported, "canonical": run_canonical, "compiled": run_compiled}
"""Stage name -> function of GraphDef bytes, inputs by tensor name and output names, giving outputs by tensor name."""

OTHER_TARGETS: dict[str, Runner] = {
    f"compiled-{target.name}": partial(run_compiled, target=target.name)
    for target in levels_of(arch())
    if not missing_features(target.features) and target.vector_bits != resolve_target("native").vector_bits
}
"""The compiled stage for CPUs with other vectors than this machine's own, whose code it can run."""

_NEVER = {
    "range/from_shape": "a range whose limit depends on the image size has no static number of elements",
}

EXCLUDED: dict[str, dict[str, str]] = {stage: _NEVER for stage in (*STAGES, *OTHER_TARGETS, "loaded")}
"""Stage -> vector name -> reason why it is expected to fail there (a pass is then an error)."""


@dataclass(frozen=True, slots=True)
class LoadedCase:
    """A graph with the inputs of its runs, for :func:`run_loaded`."""

    graph_def: bytes
    outputs: tuple[str, ...]
    runs: tuple[Mapping[str, Array], ...]


def run_loaded(cases: Sequence[LoadedCase]) -> list[list[Mapping[str, Array]]]:
    """Compile every case here, load and run all of them in one fresh process; return the outputs of every run.

    The process has numpy and the runtime only: it fails if anything brings in the compiler's packages.
    """
    with tempfile.TemporaryDirectory() as folder:
        arrays: dict[str, Array] = {}
        names: list[list[list[str]]] = []
        for i, case in enumerate(cases):
            model = compiled(case.graph_def, case.outputs, "native")
            save(model, Path(folder) / f"{i}.smalti")
            names.append([list(feed) for feed in case.runs])
            for j, feed in enumerate(case.runs):
                arrays |= {f"{i}/{j}/{k}": value for k, value in enumerate(feed.values())}
        np.savez(Path(folder) / "inputs.npz", **arrays)
        (Path(folder) / "names.json").write_text(json.dumps(names))
        worker = subprocess.run(
            [sys.executable, "-W", "error", "-c", _LOADED_WORKER, folder],
            env={**os.environ, "PYTHONPATH": str(Path(smalti.__file__).parents[1])},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if worker.returncode:
            raise AssertionError(f"the process that loads models ended with {worker.returncode}:\n{worker.stderr}")
        with np.load(Path(folder) / "outputs.npz") as found:
            return [
                [{name: found[f"{i}/{j}/{name}"] for name in case.outputs} for j in range(len(case.runs))]
                for i, case in enumerate(cases)
            ]


_LOADED_WORKER = """
import json, pathlib, sys
import numpy as np
import smalti

folder = pathlib.Path(sys.argv[1])
inputs, outputs = np.load(folder / "inputs.npz"), {}
for i, runs in enumerate(json.loads((folder / "names.json").read_text())):
    with smalti.load(folder / f"{i}.smalti", threads=2) as engine:
        for j, names in enumerate(runs):
            found = engine.run({name: inputs[f"{i}/{j}/{k}"] for k, name in enumerate(names)})
            outputs.update({f"{i}/{j}/{name}": value for name, value in found.items()})
np.savez(folder / "outputs.npz", **outputs)
extra = {"llvmlite", "google.protobuf", "cv2", "PIL"} & set(sys.modules)
if extra:
    sys.exit(f"the runtime imported {sorted(extra)}")
"""
