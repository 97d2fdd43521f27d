"""Measure every figure that has a bound: see scripts/acceptance, which puts tests/ on the path."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acceptance_report import Report
from measure_precision import measure_precision
from rich.console import Console

import smalti
from deeplab_golden import (
    ANY_SIZE,
    FULL,
    HALF,
    IMAGE,
    LABELS,
    LABELS_EQUAL,
    LOGITS,
    LOGITS_ERROR,
    SMALL_MARGIN,
    Example,
    compare,
    crop_examples,
    differences,
    graph_bytes,
    size_example,
)
from deeplab_kit import golden_labels, golden_names, mask, picture, val_names
from shared_data import shared_dir
from smalti.compiler import CompileOptions, compile_graph
from smalti.frontend.tensorflow.importer import ImportOptions, import_graph
from smalti.ir import ops
from smalti.ir.reference import run as run_reference
from smalti.target.host import read_host, resolve_target, resolve_targets, usable_cpus
from smalti.vision.metrics import ConfusionMatrix
from smalti.vision.palette import VOC_LABELS
from smalti.vision.preprocess import Resize, resize_labels

MIOU_ERROR = 0.0002
BUILD_SECONDS, BUILD_MB = 10.0, 1000
LOAD_SECONDS, INFERENCE_MB, FILE_MB = 0.2, 250, 9.0
THREADS = (1, 2, 3, 4, 8)
SIZES = ("97x131", "375x500", "513x513", "640x427")
DEMO_MIOU = 0.85
LOG_WIDTH = 140
EVERY = 8
"""Every how many pictures all numbers of threads are tried."""

_PEAK = """
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return int(dict(line.split(":") for line in lines)["VmHWM"].split()[0]) / 1024
"""
_BUILD = f"""
import sys
{_PEAK}
from smalti.cli.main import run
code = run(sys.argv[1:])
print(peak(), file=sys.stderr)
sys.exit(code)
"""
_RUN = "import sys; from smalti.cli.main import run; sys.exit(run(sys.argv[1:]))"
_INFER = f"""
import json, sys, time
{_PEAK}
import numpy as np
import smalti
start = time.perf_counter()
engine = smalti.load(sys.argv[1])
load = time.perf_counter() - start
image = np.random.default_rng(0).integers(0, 256, (513, 513, 3), np.uint8)
engine(image)
times = {{}}
for threads in (1, 2):
    engine.set_threads(threads)
    laps = []
    for _ in range(15):
        start = time.perf_counter()
        engine(image)
        laps.append(time.perf_counter() - start)
    times[threads] = sorted(laps)[7] * 1000
maps = [line for line in open("/proc/self/maps") if "rwx" in line.split()[1]]
extra = sorted({{"llvmlite", "google.protobuf", "cv2"}} & set(sys.modules))
print(json.dumps({{"load": load, "mb": peak(), "ms": times, "rwx": len(maps), "extra": extra}}))
"""


@dataclass(frozen=True)
class Variant:
    """One way to build one graph, and the pictures it is measured on."""

    model: str
    shape_mutable: bool
    resize: Resize
    golden: str
    expected: str

    @property
    def name(self) -> str:
        """Short name for the table."""
        short = {FULL: "full", HALF: "half width", ANY_SIZE: "any size"}[self.model]
        return f"{short}, {self.golden}"


VARIANTS = (
    Variant(FULL, True, Resize.FIT, "mutable", "shape_mutable_true"),
    Variant(FULL, False, Resize.STRETCH, "static", "shape_mutable_false"),
    Variant(HALF, True, Resize.FIT, "mutable", "shape_mutable_true"),
    Variant(HALF, False, Resize.STRETCH, "static", "shape_mutable_false"),
    Variant(ANY_SIZE, True, Resize.NONE, "native", "native"),
)


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run Python code in a new process."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "NO_COLOR": "1"})


def build(variant: Variant, folder: Path, report: Report, outputs: str | None = None) -> Path:
    """Build with the command line; report time, memory and size of whole models."""
    graph, path = folder / f"{variant.model}.pb", folder / f"{variant.name}{outputs and ' logits' or ''}.smalti"
    graph.write_bytes(graph_bytes(variant.model))
    arguments = ["build", "--tf-model", graph, "--output-model-path", path]
    arguments += ["--shape-mutable", str(variant.shape_mutable).lower(), *(["--outputs", outputs] if outputs else [])]
    start = time.perf_counter()
    done = python(_BUILD, *arguments)
    seconds = time.perf_counter() - start
    if outputs is None:
        peak, size = float(done.stderr.split()[-1]), path.stat().st_size / 1e6
        report.add(variant.name, "build, s", f"{seconds:.2f}", f"<= {BUILD_SECONDS:g}", seconds <= BUILD_SECONDS)
        report.add(variant.name, "build, peak MB", f"{peak:.0f}", f"<= {BUILD_MB}", peak <= BUILD_MB)
        report.add(variant.name, "file, MB", f"{size:.2f}", f"<= {FILE_MB:g}", size <= FILE_MB)
    return path


def measure_process(variant: Variant, path: Path, report: Report) -> None:
    """Report what a process that loads and runs the model needs."""
    found = json.loads(python(_INFER, path).stdout)
    load, peak = found["load"], found["mb"]
    report.add(variant.name, "load, s", f"{load:.3f}", f"<= {LOAD_SECONDS}", load <= LOAD_SECONDS)
    report.add(variant.name, "inference, peak MB", f"{peak:.0f}", f"<= {INFERENCE_MB}", peak <= INFERENCE_MB)
    report.add(variant.name, "513 x 513, ms, 1 / 2 threads", " / ".join(f"{ms:.1f}" for ms in found["ms"].values()))
    extra = found["extra"] + ["pages both writable and executable"] * bool(found["rwx"])
    report.add(variant.name, "runtime brings in", ", ".join(extra) or "nothing", "nothing", not extra)


def measure_labels(variant: Variant, labels: smalti.Engine, logits: smalti.Engine, names: list[str]) -> Iterator[Any]:
    """Yield, for every picture, its labels' agreement with TensorFlow's, and count them against the mask."""
    golden = set(golden_names(variant.model, variant.golden))
    for name in names:
        image = picture(name, variant.resize)
        got = labels(image)
        truth = mask(name)
        agreement = None
        if name in golden:
            want = golden_labels(variant.model, variant.golden, name)
            wrong, margin = int((got != want).sum()), 0.0
            if wrong:
                ours = logits.run({IMAGE: image[None]})[LOGITS]
                margin = differences(Example(variant.model, name, image, want, ours), got[None], ours).margin
            agreement = (wrong, want.size, margin)
        yield resize_labels(got, *truth.shape), truth, agreement


def measure_accuracy(
    variant: Variant, labels: smalti.Engine, logits: smalti.Engine, report: Report, count: int
) -> None:
    """Report pixel agreement and mIoU over all pictures."""
    names = val_names()[:count]
    matrix = ConfusionMatrix(VOC_LABELS)
    wrong, pixels, margin, compared = 0, 0, 0.0, 0
    for prediction, truth, agreement in measure_labels(variant, labels, logits, names):
        matrix.add(prediction, truth)
        if agreement is not None:
            wrong, pixels = wrong + agreement[0], pixels + agreement[1]
            margin, compared = max(margin, agreement[2]), compared + 1
    if pixels:
        equal = 1 - wrong / pixels
        what = f"pixels with TensorFlow's label ({compared} images)"
        value = f"{100 * equal:.5f} % ({wrong} of {pixels} differ)"
        report.add(variant.name, what, value, f">= {100 * LABELS_EQUAL:g} %", equal >= LABELS_EQUAL)
        report.add(
            variant.name, "margin of differing pixels", f"{margin:.1e}", f"< {SMALL_MARGIN:g}", margin < SMALL_MARGIN
        )
    expected = json.loads((shared_dir() / "golden" / "expected.json").read_text())[variant.model][variant.expected]
    found = matrix.result()
    if found.images == expected["images"]:
        error = abs(found.miou - expected["miou"])
        value = f"{found.miou:.6f} (TensorFlow {expected['miou']:.6f})"
        report.add(variant.name, "mIoU", value, f"within {MIOU_ERROR}", error <= MIOU_ERROR)
    else:
        report.add(variant.name, f"mIoU of {found.images} images", f"{found.miou:.6f}")


def examples(model: str) -> list[Example]:
    """Return the pictures for which TensorFlow's logits are known."""
    return [size_example(size) for size in SIZES] if model == ANY_SIZE else list(crop_examples(model, 4))


def measure_logits(variant: Variant, labels: smalti.Engine, logits: smalti.Engine, report: Report) -> None:
    """Report the error of the logits."""
    found = []
    for example in examples(variant.model):
        feed = {IMAGE: example.image[None]}
        found.append(differences(example, labels.run(feed)[LABELS], logits.run(feed)[LOGITS]))
    worst = max(f.logits for f in found)
    what = f"largest error of a logit / largest logit ({len(found)} images)"
    report.add(variant.name, what, f"{worst:.1e}", f"<= {LOGITS_ERROR:g}", worst <= LOGITS_ERROR)
    report.add(
        variant.name, "labels of these images", f"{100 * min(f.equal for f in found):.4f} %", "as above",
        all(f.accepted for f in found),
    )  # fmt: skip


def measure_threads(variant: Variant, engines: tuple[smalti.Engine, ...], report: Report, count: int) -> None:
    """Report whether labels and logits have the same bits for every number of threads."""
    names = val_names()[:count:EVERY]
    different = 0
    for name in names:
        feed = {IMAGE: picture(name, variant.resize)[None]}
        for engine in engines:
            bits = set()
            for threads in THREADS:
                engine.set_threads(threads)
                (value,) = engine.run(feed).values()
                bits.add(value.tobytes())
            engine.set_threads(usable_cpus().count)
            different += len(bits) != 1
    what = f"images with other bits for {', '.join(map(str, THREADS))} threads"
    report.add(variant.name, what, f"{different} of {len(names)}", "0", different == 0)


def measure_graph(variant: Variant, report: Report) -> None:
    """Report the space/batch pairs that are left."""
    options = CompileOptions(resolve_targets("native"), shape_mutable=variant.shape_mutable)
    plan = compile_graph(graph_bytes(variant.model), options).plan
    left = sum(isinstance(n.op, (ops.SpaceToBatch, ops.BatchToSpace)) for n in plan.graph.nodes())
    report.add(variant.name, "space/batch operations left", str(left), "0", left == 0)
    report.add(variant.name, "steps", str(len(plan.steps)))


def measure_reference(report: Report) -> None:
    """Report the numpy meaning of the imported graphs on three images each."""
    for model, name in ((FULL, "full"), (HALF, "half width"), (ANY_SIZE, "any size")):
        graph = import_graph(graph_bytes(model), ImportOptions(outputs=(LABELS, LOGITS))).graph
        runner: Callable[..., Any] = lambda inputs, graph=graph: run_reference(graph, inputs)  # noqa: E731
        found = [compare(example, runner) for example in examples(model)[:3]]
        value = f"{100 * min(f.equal for f in found):.4f} %, logits {max(f.logits for f in found):.1e}"
        report.add(f"{name}, numpy", f"labels and logits of {len(found)} images", value, "as above",
                   all(f.accepted for f in found))  # fmt: skip


def measure(variant: Variant, folder: Path, report: Report, count: int) -> None:
    """Measure everything about one variant."""
    path = build(variant, folder, report)
    measure_process(variant, path, report)
    measure_graph(variant, report)
    with smalti.load(path) as labels, smalti.load(build(variant, folder, report, LOGITS)) as logits:
        measure_accuracy(variant, labels, logits, report, count)
        if variant.shape_mutable:
            measure_logits(variant, labels, logits, report)
        measure_threads(variant, (labels, logits), report, count)


def measure_demo(folder: Path, report: Report) -> None:
    """Report the accuracy of the embedded network, built and run by the command line."""
    found = json.loads(python(_RUN, "run", "--output-dir", folder / "demo", "--json").stdout)
    for row in found["rows"]:
        what = f"mIoU of {row['images']} generated pictures"
        report.add("embedded", what, f"{row['miou']:.4f}", f">= {DEMO_MIOU}", row["miou"] >= DEMO_MIOU)


def measure_main(folder: Path, report: Report, count: int, reference: bool) -> None:
    """Measure everything in float32."""
    for variant in VARIANTS:
        measure(variant, folder, report, count)
    measure_demo(folder, report)
    if reference:
        measure_reference(report)


SECTIONS: dict[str, Callable[[Path, Report, int, bool], None]] = {
    "main": measure_main,
    "precision": measure_precision,
}


def main() -> int:
    """Measure; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=SECTIONS, help="only this section")
    parser.add_argument("--images", type=int, default=1 << 30, help="only the first N pictures")
    parser.add_argument("--json", type=Path, default=Path("output/acceptance.json"), help="where the figures go")
    parser.add_argument("--no-reference", action="store_true", help="leave out the slow numpy reference")
    chosen = parser.parse_args()
    report = Report(Console(width=None if sys.stdout.isatty() else LOG_WIDTH))
    cpus = usable_cpus()
    report.add("machine", read_host().model, f"{cpus.count} CPUs ({cpus.reason}), {resolve_target('native').name}")
    with tempfile.TemporaryDirectory() as folder:
        for name, section in SECTIONS.items():
            if chosen.only in (None, name):
                section(Path(folder), report, chosen.images, not chosen.no_reference)
    return 1 if report.finish(chosen.json) else 0


if __name__ == "__main__":
    sys.exit(main())
