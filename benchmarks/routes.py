"""The ways in which each engine can do the whole job; the fastest that gives the right labels is the one compared."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path

from benchmarks.cuts import Cuts
from benchmarks.engines.spec import EngineSpec, ResizeStage, Size, Upsampling
from benchmarks.workers import Ends, EngineFailure, convert
from smalti.apps.build import build
from smalti.compiler import CompileOptions
from smalti.quant.modes import QuantMode, QuantOptions
from smalti.target.host import resolve_target

CONVERSION_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Job:
    """What every engine has to do.

    Attributes:
        graph: the frozen graph.
        sizes: every image size that comes, in order of first use.
        input_size: side of the fixed square, or ``None`` where images come at their own sizes.
        upsampling: the resizes behind the logits for every size; empty if they are not known.
        per_size_files: peers may also use one converted file per image size.
    """

    graph: Path
    sha256: str
    cuts: Cuts
    sizes: tuple[Size, ...]
    input_size: int | None
    threads: int
    cache: Path
    quant_mode: QuantMode
    target: str
    upsampling: tuple[Upsampling, ...] = ()
    per_size_files: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One way: what it is in words, and the specification made (and files converted) when it is asked for."""

    words: str
    make: Callable[[], EngineSpec] = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Cut:
    words: str
    tensor: str
    before: str | None = None
    upsampling: tuple[Upsampling, ...] = ()


PACKAGES: Mapping[str, str] = {
    "litert": "ai-edge-litert",
    "openvino": "openvino",
    "onnxruntime": "onnxruntime",
    "tensorflow": "tensorflow-cpu",
}
CONVERTERS: Mapping[str, str] = {"litert": "tensorflow-cpu", "openvino": "openvino", "onnxruntime": "tf2onnx"}
SUFFIXES: Mapping[str, str] = {"litert": "tflite", "openvino": "xml", "onnxruntime": "onnx"}
TITLES: Mapping[str, str] = {
    "smalti": "Smalti",
    "smalti-mutable": "Smalti (mutable)",
    "litert": "LiteRT",
    "openvino": "OpenVINO",
    "onnxruntime": "ONNX Runtime",
    "tensorflow": "TensorFlow",
}
ENGINES = tuple(TITLES)
DEFAULT_ENGINES = tuple(name for name in ENGINES if name != "smalti-mutable")


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def upsampling_of(cuts: Cuts, size: Size, shapes: Sequence[Sequence[int]]) -> Upsampling:
    """Return the resizes for one image size from the shapes of the logits and of every stage."""
    sides = [(int(s[1]), int(s[2])) for s in shapes]
    stages = (
        ResizeStage(before, after, stage.align_corners, stage.half_pixel_centers)
        for before, after, stage in zip(sides[:-1], sides[1:], cuts.stages, strict=True)
    )
    return Upsampling(size, tuple(stages))


def routes(engine: str, job: Job) -> list[Route]:
    """Return the ways to try for an engine, its own whole-graph way first.

    Raises:
        EngineFailure: the engine is not installed.
    """
    if engine.startswith("smalti"):
        mutable = engine == "smalti-mutable" or job.input_size is None
        return [Route("offline model, any size" if mutable else "offline model", lambda: _smalti(job, mutable))]
    for package in {PACKAGES[engine], CONVERTERS.get(engine, PACKAGES[engine])}:
        try:
            installed(package)
        except PackageNotFoundError as error:
            raise EngineFailure(f"{package} is not installed (see benchmarks/README.md)") from error
    if engine == "tensorflow":
        return [
            Route("frozen graph in a session", lambda: _spec(job, engine, str(job.graph), "session")),
            Route("frozen graph as a function", lambda: _spec(job, engine, str(job.graph), "function")),
        ]
    cuts = [_Cut("whole graph", job.cuts.output)]
    if job.cuts.labels is not None:
        cuts.append(_Cut("cut behind ArgMax, int64 to int32 in numpy", job.cuts.labels, job.cuts.behind_labels))
    if job.cuts.logits is not None and job.upsampling:
        words = "cut at the logits, resize and ArgMax in BLAS and OpenCV"
        cuts.append(_Cut(words, job.cuts.logits, job.cuts.stages[0].tensor, job.upsampling))
    modes = ["all-sizes"]
    if job.input_size is None and engine == "openvino":
        modes.append("per-size")
    elif job.input_size is None and job.per_size_files:
        modes.append("file-per-size")
    return [_route(job, engine, cut, mode) for cut in cuts for mode in modes]


def _route(job: Job, engine: str, cut: _Cut, mode: str) -> Route:
    words = {"all-sizes": "", "per-size": ", compiled per image size", "file-per-size": ", one file per image size"}
    return Route(cut.words + words[mode], lambda: _converted(job, engine, cut, mode))


def _converted(job: Job, engine: str, cut: _Cut, mode: str) -> EngineSpec:
    suffix = SUFFIXES[engine]
    stem = cut.tensor.replace("/", "_").replace(":", "-")
    ends = Ends(job.cuts.input, cut.tensor, cut.before)
    folder = job.cache / job.sha256[:16] / f"{engine}-{installed(CONVERTERS[engine])}"
    if mode == "file-per-size":
        for height, width in job.sizes:
            file = folder / f"{stem}-{height}x{width}.{suffix}"
            convert(job.graph, file, ends, (height, width), CONVERSION_SECONDS)
        pattern = str(folder / f"{stem}-{{height}}x{{width}}.{suffix}")
        return _spec(job, engine, pattern, mode, cut.tensor, cut.upsampling)
    size = (job.input_size, job.input_size) if job.input_size is not None else None
    file = folder / f"{stem}-{'any' if size is None else f'{size[0]}x{size[1]}'}.{suffix}"
    convert(job.graph, file, ends, size, CONVERSION_SECONDS)
    if engine == "openvino" and job.input_size is not None:
        mode = "per-size"
    return _spec(job, engine, str(file), mode, cut.tensor, cut.upsampling)


def _smalti(job: Job, mutable: bool) -> EngineSpec:
    target = resolve_target(job.target)
    options = CompileOptions(
        target=target,
        quant=QuantOptions(job.quant_mode),
        shape_mutable=mutable,
        input_size=None if mutable else job.input_size,
        name=job.graph.parent.name,
    )
    # Built anew each time: it takes seconds, and the compiler itself is what changes between two measurements.
    file = job.cache / job.sha256[:16] / f"smalti-{'any' if mutable else job.input_size}-{target}.smalti"
    build(job.graph, file, options)
    return _spec(job, "smalti", str(file), "mutable" if mutable else "static")


def _spec(
    job: Job, engine: str, file: str, mode: str, output: str | None = None, ups: tuple[Upsampling, ...] = ()
) -> EngineSpec:
    return EngineSpec(engine, mode, file, job.threads, job.cuts.input, output or job.cuts.output, job.sizes, ups)
