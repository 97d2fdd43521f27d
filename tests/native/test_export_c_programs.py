"""Exported models linked into programs: the labels are Python's, for this processor and for Arm under an emulator."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import smalti
from artifact_kit import Parts
from model_kit import label_parts, reverse_parts
from package_kit import ARM_COMPILER, ARM_LIBRARIES, ROOT, cmake_build, need, need_arm, need_link, run, shared_package
from small_segmenter import LABELS, SIDE, network
from smalti.artifact.reader import open_model
from smalti.artifact.writer import write_programs
from smalti.cli.exit_codes import ExitCode
from smalti.compiler import CompileOptions, compile_graph
from smalti.delivery.export_c import export_c
from smalti.delivery.native import NativeFiles
from smalti.target.host import resolve_target
from smalti.target.target import Target, generic

STRICT = ("-std=c11", "-O1", "-Wall", "-Wextra", "-Wconversion", "-Wno-sign-conversion", "-pedantic", "-Werror")
LINK = ("-Wl,-z,noexecstack", "-Wl,--fatal-warnings", "-Wl,-z,separate-code")
Labels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> NativeFiles:
    return shared_package(tmp_path_factory)


@pytest.fixture(scope="module")
def arm_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The static library for aarch64."""
    need_arm()
    folder = tmp_path_factory.mktemp("arm")
    sources = sorted((ROOT / "runtime-c" / "src").glob("*.c"))
    include = ROOT / "runtime-c" / "include"
    run(ARM_COMPILER, "-std=c11", "-O0", "-pthread", "-DSMALTI_STATIC", "-I", include, "-c", *sources, cwd=folder)
    run("aarch64-linux-gnu-ar", "rcs", "libsmalti.a", *sorted(folder.glob("*.o")), cwd=folder)
    return folder / "libsmalti.a"


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of five convolutions, with one program for any x86-64 and, where it is another, one for this CPU."""
    targets = tuple(dict.fromkeys((resolve_target("native"), resolve_target("generic"))))
    options = CompileOptions(targets=targets, labels=LABELS)
    made = compile_graph(network(), options)
    path = tmp_path_factory.mktemp("model") / "segmenter.smalti"
    write_programs(path, made.programs, made.constants)
    return path


@pytest.fixture(scope="module")
def arm_segmenter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network for two architectures."""
    targets = (Target.parse("aarch64"), generic("x86_64"))
    made = compile_graph(network(), CompileOptions(targets=targets, labels=LABELS))
    path = tmp_path_factory.mktemp("arm-model") / "net.smalti"
    write_programs(path, made.programs, made.constants)
    return path


def picture(height: int, width: int) -> Labels:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)


def write_ppm(path: Path, pixels: Labels) -> Path:
    height, width, _ = pixels.shape
    path.write_bytes(b"P6\n%d %d\n255\n" % (width, height) + pixels.tobytes())
    return path


def read_pgm(path: Path) -> Labels:
    found = re.match(rb"P5 (\d+) (\d+) 255\n", path.read_bytes())
    assert found is not None
    return np.frombuffer(path.read_bytes()[found.end() :], np.uint8).reshape(int(found[2]), int(found[1]))


def labels_of_python(model: Path, pixels: Labels) -> Labels:
    with smalti.load(model) as engine:
        return np.asarray(engine(pixels)).reshape(pixels.shape[:2]).astype(np.uint8)


def compile_example(library: NativeFiles, folder: Path, *flags: str) -> Path:
    static = f"{library.cflags(static=True)} main.c {next(folder.glob('*.o')).name} {library.libs(static=True)}"
    run("cc", *STRICT, *flags, *LINK, *static.split(), "-o", "program", cwd=folder)
    return folder / "program"


@pytest.mark.parametrize("flags", [(), ("-static",), ("-static-pie", "-fPIE"), ("-no-pie", "-Wl,--gc-sections")])
def test_the_labels_are_those_of_python(
    library: NativeFiles, segmenter: Path, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    need_link(*flags)
    export_c(segmenter, tmp_path, "net")
    program = compile_example(library, tmp_path, *flags)
    pixels = picture(SIDE, SIDE)
    write_ppm(tmp_path / "p.ppm", pixels)
    expected = labels_of_python(segmenter, pixels)
    assert len(np.unique(expected)) > 1
    for threads in ("1", "3"):
        said = run(program, "p.ppm", "l.pgm", threads, cwd=tmp_path)
        assert np.array_equal(read_pgm(tmp_path / "l.pgm"), expected)
        with open_model(segmenter) as file:
            assert said == f"l.pgm for {file.targets[0]}, {threads} threads\n"


def test_sizes_left_open_and_errors(library: NativeFiles, tmp_path: Path) -> None:
    model = label_parts().write(tmp_path / "sums.smalti")
    export_c(model, tmp_path / "out")
    program = compile_example(library, tmp_path / "out")
    for height, width in ((1, 1), (7, 600), (31, 17)):
        pixels = picture(height, width)
        run(program, write_ppm(tmp_path / "p.ppm", pixels), tmp_path / "l.pgm")
        assert np.array_equal(read_pgm(tmp_path / "l.pgm"), pixels.sum(axis=2).astype(np.uint8))
    large = write_ppm(tmp_path / "p.ppm", picture(601, 5))
    assert "600" in run(program, large, tmp_path / "l.pgm", code=ExitCode.BAD_DATA)
    (tmp_path / "p.ppm").write_bytes(b"P6\n9 9\n255\nshort")
    assert "cut" in run(program, tmp_path / "p.ppm", tmp_path / "l.pgm", code=ExitCode.BAD_DATA)
    assert "PPM" in run(program, model, tmp_path / "l.pgm", code=ExitCode.BAD_DATA)
    write_ppm(tmp_path / "p.ppm", picture(5, 5))
    assert "cannot write" in run(program, tmp_path / "p.ppm", tmp_path / "no" / "l.pgm", code=ExitCode.FETCH)
    assert "PICTURE" in run(program, code=ExitCode.USAGE)
    run(program, tmp_path / "p.ppm", tmp_path / "l.pgm", "100000", code=ExitCode.USAGE)


def test_networks_of_other_kinds_run_on_zeros(library: NativeFiles, tmp_path: Path) -> None:
    export_c(reverse_parts().write(tmp_path / "reverse.smalti"), tmp_path / "out")
    assert run(compile_example(library, tmp_path / "out")) == "y:0 float32 1 1\n"


def test_two_models_in_one_program_and_in_a_library(library: NativeFiles, tmp_path: Path) -> None:
    """C++ includes both headers twice; a shared library hides the models and keeps their addresses."""
    for name, parts in (("one", label_parts()), ("two", reverse_parts())):
        export_c(parts.write(tmp_path / f"{name}.smalti"), tmp_path, name)
    (tmp_path / "both.cpp").write_text(
        '#include "one.h"\n#include "two.h"\n#include "one.h"\n'
        'extern "C" int both() {\n'
        "  smalti_model *first = nullptr, *second = nullptr;\n"
        "  if (smalti_model_open_static(&one_model, nullptr, &first, nullptr)) return 1;\n"
        "  if (smalti_model_open_static(&two_model, nullptr, &second, nullptr)) return 2;\n"
        "  const bool right = smalti_model_shape_mutable(first) && smalti_model_input_count(second) == 1;\n"
        "  smalti_model_close(first);\n  smalti_model_close(second);\n  return right ? 0 : 3;\n}\n"
    )
    (tmp_path / "main.c").write_text("int both(void);\nint main(void) { return both(); }\n")
    flags = f"-fPIC -shared both.cpp one.o two.o {library.cflags(static=True)} {library.libs(static=True)}"
    need("c++", "nm")
    run("c++", "-std=c++17", "-Wall", "-Wextra", "-Werror", *LINK, *flags.split(), "-o", "libboth.so", cwd=tmp_path)
    run("cc", "-no-pie", "main.c", "libboth.so", f"-Wl,-rpath,{tmp_path}", "-o", "program", cwd=tmp_path)
    run(tmp_path / "program")
    visible = {
        line.split()[0] for line in run("nm", "-D", "--defined-only", "-P", tmp_path / "libboth.so").splitlines()
    }
    assert "both" in visible and not any(name.startswith(("one_", "two_", "smalti_")) for name in visible)


def test_the_project_builds_with_cmake(library: NativeFiles, tmp_path: Path) -> None:
    need_link("-static")
    model = label_parts().write(tmp_path / "sums.smalti")
    export_c(model, tmp_path)
    options = (f"-Dsmalti_DIR={library.cmake_dir}", "-DCMAKE_EXE_LINKER_FLAGS=-static")
    cmake_build(tmp_path, tmp_path / "b", *options)
    pixels = picture(9, 4)
    run(tmp_path / "b" / "sums_example", write_ppm(tmp_path / "p.ppm", pixels), tmp_path / "l.pgm")
    assert np.array_equal(read_pgm(tmp_path / "l.pgm"), pixels.sum(axis=2).astype(np.uint8))


@pytest.mark.parametrize("flags", [("-static",), ("-fPIE", "-pie")])
def test_arm(arm_library: Path, arm_segmenter: Path, segmenter: Path, tmp_path: Path, flags: tuple[str, ...]) -> None:
    """A network of convolutions built on this machine, linked for aarch64, run by an emulator: Python's labels."""
    export_c(arm_segmenter, tmp_path, "net")
    words = (*STRICT, *flags, *LINK, "-DSMALTI_STATIC", "-I", ROOT / "runtime-c" / "include", "main.c")
    run(ARM_COMPILER, *words, "net-aarch64.o", arm_library, "-pthread", "-o", "program", cwd=tmp_path)
    pixels = picture(SIDE, SIDE)
    write_ppm(tmp_path / "p.ppm", pixels)
    said = run("qemu-aarch64", "-L", ARM_LIBRARIES, tmp_path / "program", "p.ppm", "l.pgm", "2", cwd=tmp_path)
    assert said == "l.pgm for aarch64, 2 threads\n"
    assert np.array_equal(read_pgm(tmp_path / "l.pgm"), labels_of_python(segmenter, pixels))


def test_a_header_for_another_processor_says_so(library: NativeFiles, tmp_path: Path) -> None:
    other = {"x86_64": "aarch64", "aarch64": "x86-64-v2"}[resolve_target("generic").arch]
    export_c(label_parts(target=Target.parse(other)).write(tmp_path / "m.smalti"), tmp_path, "net")
    said = run("cc", *library.cflags().split(), "-c", "main.c", cwd=tmp_path, code=1)
    assert "this model was exported for" in said


def test_a_program_that_no_cpu_here_can_run_is_refused(library: NativeFiles, tmp_path: Path) -> None:
    parts = label_parts()
    features = tuple(sorted({*parts.manifest.features, "not-yet-invented"}))
    manifest = dataclasses.replace(parts.manifest, features=features)
    Parts(manifest, parts.constants, parts.code).write(tmp_path / "m.smalti")
    export_c(tmp_path / "m.smalti", tmp_path, "net")
    program = compile_example(library, tmp_path)
    said = run(program, write_ppm(tmp_path / "p.ppm", picture(2, 2)), tmp_path / "l.pgm", code=ExitCode.MODEL_FILE)
    assert "not-yet-invented" in said


def test_the_program_of_the_page_runs(library: NativeFiles, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "deploy-c.md").read_text()
    found = re.search(r"^```c\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    project = re.search(r"^```cmake\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert found is not None and project is not None
    (tmp_path / "program.c").write_text(found[1])
    (tmp_path / "CMakeLists.txt").write_text(project[1])
    model = label_parts().write(tmp_path / "sums.smalti")
    words = f"{library.cflags()} program.c {library.libs()}"
    run("cc", "-Wall", "-Wextra", "-Werror", *words.split(), "-o", "program", cwd=tmp_path)
    target = resolve_target("generic")
    assert run(tmp_path / "program", model) == f"360000 labels by {target}\n"
    cmake_build(tmp_path, tmp_path / "b", f"-Dsmalti_DIR={library.cmake_dir}")
    assert run(tmp_path / "b" / "program", model) == f"360000 labels by {target}\n"
