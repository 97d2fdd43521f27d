"""The ways in which each engine can do the whole job; the fastest that gives the right labels is the one compared."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path

from benchmarks.calibration import Calibration, smalti_record
from benchmarks.cuts import Cuts
from benchmarks.engines.spec import ENGINE_DEFAULT, EngineSpec, ResizeStage, Size, Upsampling
from benchmarks.precision import Precision, precision_of
from benchmarks.workers import Ends, EngineFailure, convert, quantise
from smalti.building.build import build
from smalti.compiler import CompileOptions
from smalti.quant.modes import QuantMode, QuantOptions
from smalti.target.host import resolve_target

CONVERSION_SECONDS = 900.0
QUANTISATION_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Job:
    """What every engine has to do.

    Attributes:
        graph: the frozen graph.
        sizes: every image size that comes, in order of first use.
        input_size: side of the fixed square, or ``None`` where images come at their own sizes.
        upsampling: the resizes behind the logits for every size; empty if they are not known.
        calibration: pictures for the modes that quantise.
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
    calibration: Calibration | None = None
    per_size_files: bool = False

    @property
    def precision(self) -> Precision:
        """Class of the mode."""
        return precision_of(self.quant_mode)


@dataclass(frozen=True, slots=True)
class Route:
    """One way: what it is in words, and the specification made (and files converted) when it is asked for.

    Where ``engine_chooses`` the float type, ``precision`` is only known when the engine has loaded the model.
    """

    words: str
    make: Callable[[], EngineSpec] = field(repr=False)
    precision: Precision = Precision.FLOAT32
    engine_chooses: bool = False


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
QUANTISERS: Mapping[str, str] = {"litert": "tensorflow-cpu", "openvino": "nncf", "onnxruntime": "onnxruntime"}
CONVERTERS: Mapping[str, str] = {"litert": "tensorflow-cpu", "openvino": "openvino", "onnxruntime": "tf2onnx"}
SUFFIXES: Mapping[str, str] = {"litert": "tflite", "openvino": "xml", "onnxruntime": "onnx"}
TITLES: Mapping[str, str] = {
    "smalti": "Smalti",
    "smalti-mutable": "Smalti (mutable)",
    "smalti-float32": "Smalti (float32)",
    "litert": "LiteRT",
    "openvino": "OpenVINO",
    "openvino-default": "OpenVINO (default)",
    "onnxruntime": "ONNX Runtime",
    "tensorflow": "TensorFlow",
}
ENGINES = tuple(TITLES)
OPENVINO_DEFAULT = "openvino-default"
FLOAT32_BY_DEFAULT = ("smalti", "smalti-mutable", "smalti-float32", "litert", "onnxruntime", "tensorflow")
_VARIANTS = ("smalti-mutable", "smalti-float32")


def default_engines(mode: QuantMode) -> list[str]:
    """Return the engines that run unless others are asked for; in other modes also Smalti's own float32."""
    out = _VARIANTS if mode is QuantMode.FORCE_FLOAT32 else _VARIANTS[:1]
    return [name for name in ENGINES if name not in out]


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
        mode = QuantMode.FORCE_FLOAT32 if engine == "smalti-float32" else job.quant_mode
        mutable = engine == "smalti-mutable" or job.input_size is None
        words = "offline model, any size" if mutable else "offline model"
        return [Route(words, lambda: _smalti(job, mutable, mode), precision_of(mode))]
    if engine == OPENVINO_DEFAULT:
        return _default_routes(job)
    for package in {PACKAGES[engine], CONVERTERS.get(engine, PACKAGES[engine])}:
        if not _there(package):
            raise EngineFailure(f"{package} is not installed (see benchmarks/README.md)")
    if engine == "tensorflow":
        return [
            Route("frozen graph in a session", lambda: _spec(job, engine, str(job.graph), "session")),
            Route("frozen graph as a function", lambda: _spec(job, engine, str(job.graph), "function")),
        ]
    if job.precision is Precision.INT8:
        return _quantised(engine, job)
    kinds = [Precision.FLOAT32]
    if engine == "openvino" and job.precision is Precision.BFLOAT16:
        kinds = [Precision.BFLOAT16]
    elif engine == "openvino" and job.precision is Precision.FLOAT16:
        kinds.append(Precision.FLOAT16)
    return [
        _route(job, engine, cut, mode, kind) for kind in kinds for cut in _cuts(job) for mode in _modes(engine, job)
    ]


def _default_routes(job: Job) -> list[Route]:
    """Return OpenVINO's ways as anyone gets them who says nothing of precision."""
    made = routes(OPENVINO_DEFAULT.partition("-")[0], replace(job, quant_mode=QuantMode.FORCE_FLOAT32))
    return [
        replace(route, make=partial(_with_default_floats, route), words=f"{route.words}, its own float type",
                engine_chooses=True)
        for route in made
    ]  # fmt: skip


def _with_default_floats(route: Route) -> EngineSpec:
    return replace(route.make(), floats=ENGINE_DEFAULT)


def _there(package: str) -> bool:
    try:
        installed(package)
    except PackageNotFoundError:
        return False
    return True


def _cuts(job: Job) -> list[_Cut]:
    cuts = [_Cut("whole graph", job.cuts.output)]
    if job.cuts.labels is not None:
        cuts.append(_Cut("cut behind ArgMax, int64 to int32 in numpy", job.cuts.labels, job.cuts.behind_labels))
    if job.cuts.logits is not None and job.upsampling:
        words = "cut at the logits, resize and ArgMax in BLAS and OpenCV"
        cuts.append(_Cut(words, job.cuts.logits, job.cuts.stages[0].tensor, job.upsampling))
    return cuts


def _modes(engine: str, job: Job) -> list[str]:
    modes = ["all-sizes"]
    if job.input_size is None and engine == "openvino":
        modes.append("per-size")
    elif job.input_size is None and job.per_size_files:
        modes.append("file-per-size")
    return modes


_MODE_WORDS = {"all-sizes": "", "per-size": ", compiled per image size", "file-per-size": ", one file per image size"}
_FLOATS = {Precision.FLOAT32: "f32", Precision.FLOAT16: "f16", Precision.BFLOAT16: "bf16"}


def _route(job: Job, engine: str, cut: _Cut, mode: str, precision: Precision) -> Route:
    words = cut.words + _MODE_WORDS[mode]
    if precision is not Precision.FLOAT32:
        words += f", {precision.value}"
    return Route(words, lambda: _converted(job, engine, cut, mode, _FLOATS[precision]), precision)


def _converted(job: Job, engine: str, cut: _Cut, mode: str, floats: str) -> EngineSpec:
    if mode == "file-per-size":
        for size in job.sizes:
            _float_file(job, engine, cut, size)
        one = _float_path(job, engine, cut, None)
        pattern = str(one.with_name(one.name.replace("-any.", "-{height}x{width}.")))
        return _spec(job, engine, pattern, mode, cut, floats)
    return _spec(
        job, engine, str(_float_file(job, engine, cut, _fixed(job))), _compiled(job, engine, mode), cut, floats
    )


def _quantised(engine: str, job: Job) -> list[Route]:
    """Return an engine's ways in int8; OpenVINO also reads what the quantisers of the other two make."""
    found: list[Route] = []
    makers = ("openvino", "litert", "onnxruntime") if engine == "openvino" else (engine,)
    for maker in makers:
        if not _there(QUANTISERS[maker]) or not _there(CONVERTERS[maker]):
            continue
        # Files of other makers are only tried where the measurement starts to differ: at the logits.
        cuts = _cuts(job) if maker == engine else _cuts(job)[-1:]
        words = "" if maker == engine else f" of {TITLES[maker]}'s file"
        modes = [mode for mode in _modes(engine, job) if mode != "file-per-size"]
        for floats in ("f32", "bf16") if maker == engine == "openvino" else ("f32",):
            more = words + (", rest in bfloat16" if floats == "bf16" else "")
            found += [_int8_route(job, (engine, maker), cut, mode, floats, more) for cut in cuts for mode in modes]
    if not found:
        raise EngineFailure(f"{QUANTISERS[engine]} is not installed (see benchmarks/README.md)")
    return found


def _int8_route(job: Job, who: tuple[str, str], cut: _Cut, mode: str, floats: str, more: str) -> Route:
    engine, maker = who

    def make() -> EngineSpec:
        return _spec(job, engine, str(_int8_file(job, maker, cut)), _compiled(job, engine, mode), cut, floats)

    return Route(f"{cut.words}{more}{_MODE_WORDS[mode]}", make, Precision.INT8)


def _int8_file(job: Job, maker: str, cut: _Cut) -> Path:
    if job.calibration is None:
        raise EngineFailure("int8 needs calibration pictures")
    size = _fixed(job)
    # TensorFlow's converter quantises while it converts; the other quantisers take the converted model.
    source = job.graph if maker == "litert" else _float_file(job, maker, cut, size)
    versions = "-".join(dict.fromkeys(installed(of[maker]) for of in (CONVERTERS, QUANTISERS)))
    folder = job.cache / job.sha256[:16] / f"{maker}-int8-{versions}-{job.calibration.key[:16]}"
    file = folder / _float_path(job, maker, cut, size).name
    ends = Ends(job.cuts.input, cut.tensor, cut.before)
    quantise(source, file, ends, size, job.calibration.file, QUANTISATION_SECONDS)
    return file


def _float_file(job: Job, engine: str, cut: _Cut, size: Size | None) -> Path:
    file = _float_path(job, engine, cut, size)
    convert(job.graph, file, Ends(job.cuts.input, cut.tensor, cut.before), size, CONVERSION_SECONDS)
    return file


def _float_path(job: Job, engine: str, cut: _Cut, size: Size | None) -> Path:
    stem = cut.tensor.replace("/", "_").replace(":", "-")
    folder = job.cache / job.sha256[:16] / f"{engine}-{installed(CONVERTERS[engine])}"
    return folder / f"{stem}-{'any' if size is None else f'{size[0]}x{size[1]}'}.{SUFFIXES[engine]}"


def _fixed(job: Job) -> Size | None:
    return None if job.input_size is None else (job.input_size, job.input_size)


def _compiled(job: Job, engine: str, mode: str) -> str:
    return "per-size" if engine == "openvino" and job.input_size is not None else mode


def _smalti(job: Job, mutable: bool, mode: QuantMode) -> EngineSpec:
    target = resolve_target(job.target)
    options = CompileOptions(
        targets=(target,),
        quant=QuantOptions(mode),
        shape_mutable=mutable,
        input_size=None if mutable else job.input_size,
        name=job.graph.parent.name,
    )
    folder = job.cache / job.sha256[:16]
    record = None
    if mode.quantised is not None:
        if job.calibration is None:
            raise EngineFailure(f"{mode.value} needs calibration pictures")
        record = smalti_record(job.graph, job.sha256, options, job.calibration, folder)
    # Built anew each time: it takes seconds, and the compiler itself is what changes between two measurements.
    file = folder / f"smalti-{'any' if mutable else job.input_size}-{target}-{mode.alias}.smalti"
    build(job.graph, file, options, record=record)
    return _spec(job, "smalti", str(file), "mutable" if mutable else "static")


def _spec(job: Job, engine: str, file: str, mode: str, cut: _Cut | None = None, floats: str = "f32") -> EngineSpec:
    output, ups = (job.cuts.output, ()) if cut is None else (cut.tensor, cut.upsampling)
    return EngineSpec(engine, mode, file, job.threads, job.cuts.input, output, job.sizes, ups, floats)
