"""Bench: measure an offline model file on this machine, the whole of it in one report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from smalti.artifact.format import SectionKind
from smalti.artifact.reader import open_model
from smalti.bench.cold import ColdStart, cold_start
from smalti.bench.compare import Comparison, compare_reports, measure_against, read_report
from smalti.bench.e2e import EndToEnd, measure_end_to_end
from smalti.bench.inputs import (
    MAX_PICTURES,
    Source,
    choose_groups,
    make_source,
    part_shapes,
    read_pictures,
    with_batch,
)
from smalti.bench.loop import LoopResult, caller_of, run_loop, timed_request
from smalti.bench.plot import check_plot_path
from smalti.bench.profile import measure_layers
from smalti.bench.report import BenchReport, LoadTimes, TensorInfo, saved_of
from smalti.bench.stats import StopRule
from smalti.bench.system import Sampler, on_cpus, parse_devices, read_device
from smalti.errors import UsageError
from smalti.jobs.pictures import PassedOver
from smalti.jobs.stream import OnError
from smalti.knobs import MAX_THREADS
from smalti.runtime.engine import Engine, load
from smalti.vision.voc import PicturePaths


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What to measure; see ``smalti bench --help``.

    Attributes:
        model: offline model file.
        batch: images in one request; ``None``: what the model or the shapes say.
        threads: threads of one request; ``None``: the CPUs this process may use.
        concurrency: requests in flight at a time.
        iterations, duration_ms: the run ends when it has made so many requests and has lasted so long.
        warmup_ms: length of the unmeasured run before, at least one request of each caller and shape.
        input_dims: shapes such as ``1x513x513x3``.
        run_config: JSON file with shape groups.
        image_dir, file_list, recursive: real pictures instead of generated input.
        on_error: what a picture that is no good does to the run.
        devices: ``cpu`` or ``cpu:0,1``.
        profile: measure every step, too.
        end_to_end: measure the job on picture files, too.
        cold_starts: how many fresh processes to start.
        compare: saved report to compare with.
        against: other model file to run in turns with this one.
        max_regression: percent by which this one may be slower.
        plot: picture to write, checked before the run.
        target: the program to measure where the file holds several; ``None``: the one this CPU prefers.
    """

    model: Path
    batch: int | None = None
    threads: int | None = None
    concurrency: int = 1
    iterations: int = 100
    duration_ms: float = 3000
    warmup_ms: float = 200
    input_dims: tuple[str, ...] = ()
    run_config: Path | None = None
    image_dir: PicturePaths | None = None
    file_list: Path | None = None
    devices: str | None = None
    profile: bool = False
    end_to_end: bool = False
    cold_starts: int = 3
    compare: Path | None = None
    against: Path | None = None
    max_regression: float = 5.0
    plot: Path | None = None
    target: str | None = None
    recursive: bool = False
    on_error: OnError = OnError.SKIP

    @property
    def rule(self) -> StopRule:
        """When the measured run ends."""
        return StopRule(self.iterations, self.duration_ms / 1e3)


def bench(options: BenchOptions) -> BenchReport:
    """Load a model, measure it, and return everything that was measured.

    Raises:
        UsageError: an option does not fit the model, this machine or another option.
        ModelFileError: a model file cannot be used.
        InputError: the model does not take these shapes.
        DataError: a run config, a report or a picture is damaged.
        ResourceError: the system refuses memory or threads.
    """
    _check(options)
    cpus = parse_devices(options.devices)
    base = read_report(options.compare) if options.compare is not None else None
    with on_cpus(cpus):
        report = _measure(options)
    if base is None:
        return report
    return replace(report, comparison=compare_reports(saved_of(report), base, options.max_regression))


def _measure(options: BenchOptions) -> BenchReport:
    device = read_device()
    started = time.perf_counter()
    with open_model(options.model) as file:
        header = file.header
        code_bytes = {section.name: section.size for section in header.all(SectionKind.CODE)}
    checked = time.perf_counter()
    with load(options.model, options.threads, concurrency=options.concurrency, target=options.target) as engine:
        loaded = time.perf_counter()
        passed_over = PassedOver(options.on_error)
        sources, batch = _sources(options, engine, passed_over)
        first = timed_request(caller_of(engine), sources[0], 0, 0, 0).compute_ms
        warm = _warm_up(options, engine, sources)
        with Sampler() as sampler:
            result = run_loop(engine, sources, options.rule, options.concurrency)
        usual = float(np.median([record.compute_ms for record in result.of_group(0)]))
        times = LoadTimes(
            model_ms=1e3 * (checked - started),
            engine_ms=1e3 * (loaded - checked),
            first_inference_ms=first,
            context_ms=max(0.0, first - usual),
            warmup_ms=1e3 * warm.wall_seconds,
            warmup_runs=len(warm.records),
            file_bytes=header.file_bytes,
            constant_bytes=header.constants.size,
            code_bytes=code_bytes[engine.target],
            workspace_bytes=max(_workspace(engine, source) for source in sources),
        )
        return BenchReport(
            parameters=_parameters(options, engine, batch),
            batch=batch,
            threads=engine.threads,
            threads_reason=engine.threads_reason,
            concurrency=options.concurrency,
            times=times,
            device=device,
            manifest=engine.manifest,
            tensors=_tensors(engine, sources[0]),
            utilisation=sampler.result(),
            groups=tuple(source.group for source in sources),
            result=result,
            cold=_cold(options, engine, sources[0]),
            layers=measure_layers(engine, sources, device.usable) if options.profile else (),
            end_to_end=_end_to_end(options, engine, passed_over) if options.end_to_end else None,
            comparison=_comparison(options, engine, sources),
            failures=passed_over.failures,
            left_out=passed_over.left_out,
        )


def _end_to_end(options: BenchOptions, engine: Engine, passed_over: PassedOver) -> EndToEnd:
    return measure_end_to_end(
        engine,
        options.image_dir,
        options.file_list,
        options.rule,
        recursive=options.recursive,
        passed_over=passed_over,
    )


def _check(options: BenchOptions) -> None:
    if options.compare is not None and options.against is not None:
        raise UsageError("give --compare or --against, not both")
    if options.iterations < 1 or not 1 <= options.concurrency <= MAX_THREADS:
        raise UsageError(
            f"at least 1 iteration and 1 to {MAX_THREADS} requests at a time are needed: see --iterations and "
            "--concurrency"
        )
    limit = 24 * 3600e3
    if not (0 <= options.duration_ms <= limit and 0 <= options.warmup_ms <= limit):
        raise UsageError("--duration and --warmup are from 0 to one day")
    if not 0 <= options.max_regression <= 1000:
        raise UsageError("--max-regression is a percentage from 0 to 1000")
    if not 0 <= options.cold_starts <= 100:
        raise UsageError("--cold-starts takes 0 to 100")
    if options.image_dir is None and (options.file_list is not None or options.recursive):
        raise UsageError("--file-list and --recursive need --image-dir")
    if options.plot is not None:
        check_plot_path(options.plot)


def _sources(options: BenchOptions, engine: Engine, passed_over: PassedOver) -> tuple[tuple[Source, ...], int]:
    """Return the source of every shape group, and the batch size, which is the same for all."""
    pictures: list[NDArray[np.uint8]] | None = None
    if options.image_dir is not None:
        pictures = read_pictures(
            options.image_dir, options.file_list, recursive=options.recursive, passed_over=passed_over
        )
    groups = choose_groups(
        engine.manifest, options.model, options.input_dims, options.run_config, has_pictures=pictures is not None
    )
    batched = [with_batch(group, options.batch, engine.manifest) for group in groups]
    sizes = {count for _, count in batched}
    if len(sizes) != 1:
        raise UsageError("all shape groups of one run need one batch size")
    sources = tuple(make_source(engine, group, count, pictures, seed) for seed, (group, count) in enumerate(batched))
    for source in sources:
        engine.output_shapes(part_shapes(engine.manifest, source.shapes_of(0)))
    return sources, sizes.pop()


def _workspace(engine: Engine, source: Source) -> int:
    """Return the most bytes that one request of this source needs."""
    return max(
        engine.workspace_bytes(part_shapes(engine.manifest, source.shapes_of(index))) for index in range(MAX_PICTURES)
    )


def _warm_up(options: BenchOptions, engine: Engine, sources: Sequence[Source]) -> LoopResult:
    rule = StopRule(options.concurrency * len(sources), options.warmup_ms / 1e3)
    return run_loop(engine, sources, rule, options.concurrency)


def _parameters(options: BenchOptions, engine: Engine, batch: int) -> dict[str, str | int | float | bool | None]:
    return {
        "model": str(options.model),
        "batch": batch,
        "threads": engine.threads,
        "concurrency": options.concurrency,
        "iterations": options.iterations,
        "duration_ms": options.duration_ms,
        "warmup_ms": options.warmup_ms,
        "input_dims": ",".join(options.input_dims) or None,
        "run_config": _text(options.run_config),
        "image_dir": _paths_text(options.image_dir),
        "file_list": _text(options.file_list),
        "devices": options.devices or "cpu",
        "target": engine.target,
        "profile": options.profile,
        "e2e": options.end_to_end,
        "cold_starts": options.cold_starts,
        "compare": _text(options.compare),
        "against": _text(options.against),
        "max_regression_percent": options.max_regression,
    }


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _paths_text(paths: PicturePaths | None) -> str | None:
    return _text(paths) if paths is None or isinstance(paths, Path) else ", ".join(map(str, paths))


def _tensors(engine: Engine, source: Source) -> tuple[TensorInfo, ...]:
    """Return the model's inputs and outputs at the shapes of the source's first request."""
    shapes = source.shapes_of(0)
    manifest = engine.manifest
    part = part_shapes(manifest, shapes)
    outputs = engine.output_shapes(part)
    grown = {name: shape[0] for name, shape in shapes.items() if part[name] != shape}
    batch = next(iter(grown.values()), None)
    found = [TensorInfo("input", i, t, shapes[t.name]) for i, t in enumerate(manifest.inputs)]
    for i, tensor in enumerate(manifest.outputs):
        shape = outputs[tensor.name]
        found.append(TensorInfo("output", i, tensor, shape if batch is None else (batch, *shape[1:])))
    return tuple(found)


def _cold(options: BenchOptions, engine: Engine, source: Source) -> ColdStart | None:
    shapes = part_shapes(engine.manifest, source.shapes_of(0))
    return cold_start(options.model, engine.threads, shapes, options.cold_starts, options.target)


def _comparison(options: BenchOptions, engine: Engine, sources: Sequence[Source]) -> Comparison | None:
    if options.against is None:
        return None
    with load(options.against, engine.threads) as other:
        return measure_against(engine, other, sources, options.rule, options.max_regression)
