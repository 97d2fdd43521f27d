"""Calls that no program should make get a status: none ends the program, and C++ sees no exception but its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from model_kit import reverse_parts
from native_kit import RUNTIME, Builder, builder

_MISUSE = r"""
#include <smalti.h>
#include <stdio.h>
#include <stdlib.h>

static void show(const char *what, smalti_status status, const smalti_error *error) {
  printf("%s %s %s\n", what, smalti_status_name(status), error->message);
}

int main(int argc, char **argv) {
  smalti_error error;
  smalti_model *model = NULL;
  smalti_engine *engine = NULL;
  smalti_tensor_info info;
  smalti_load_options *load = calloc(1, sizeof(*load)); /* on the heap, where reading behind it is noticed */
  smalti_engine_options *options = calloc(1, sizeof(*options));
  if (argc != 2 || load == NULL || options == NULL || smalti_model_open(argv[1], NULL, &model, &error) != 0) return 2;
  show("threads", smalti_engine_set_threads(NULL, 1, &error), &error);
  show("input", smalti_model_input(NULL, 0, &info, &error), &error);
  show("output", smalti_model_output(NULL, 0, &info, &error), &error);
  printf("features %d\n", smalti_cpu_features(NULL, 100) == smalti_cpu_features(NULL, 0));
  load->struct_bytes = options->struct_bytes = (size_t)-1;
  show("load", smalti_model_open(argv[1], load, &model, &error), &error);
  show("create", smalti_engine_create(model, options, &engine, &error), &error);
  smalti_model_close(model);
  free(load);
  free(options);
  return 0;
}
"""
_NO_MEMORY = r"""
#include <cstdio>
#include <exception>
#include <smalti.hpp>

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  const smalti::Model model(argv[1]);
  smalti::Engine engine(model, 1);
  const std::vector<float> x = {1, 2, 3, 4};
  const smalti::View huge(x, {std::int64_t(1) << 45, 4}); /* outputs larger than any address space */
  std::vector<smalti::Tensor> outputs;
  try {
    const smalti::Status status = engine.try_run({huge}, outputs);
    std::printf("%s\n", status.name());
    engine.run({huge});
  } catch (const smalti::Error &error) {
    std::printf("%s\n", error.what());
  } catch (const std::exception &error) {
    std::printf("another exception: %s\n", error.what());
  }
  std::printf("%g\n", static_cast<double>(engine.run({smalti::View(x, {1, 4})})[0].as<float>()[0]));
}
"""
_SAID = [
    "threads UsageError engine must not be NULL",
    "input UsageError model must not be NULL",
    "output UsageError model must not be NULL",
    "features 1",
    "load UsageError these load options are not those of this library",
    "create UsageError these engine options are not those of this library",
]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    return builder(tmp_path_factory)


def _said(*command: object) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout}\n{done.stderr[-3000:]}"
    return done.stdout


def test_null_and_options_whose_size_was_never_set(build: Builder, tmp_path: Path) -> None:
    source = tmp_path / "misuse.c"
    source.write_text(_MISUSE)
    program = build.executable("misuse", source, ["-g", "-fsanitize=address,undefined"], optional=True)
    said = _said(program, reverse_parts().write(tmp_path / "m.smalti")).splitlines()
    assert [line.partition(":")[0] for line in said] == _SAID


def test_no_memory_for_the_outputs_in_cpp(build: Builder, tmp_path: Path) -> None:
    source, library = tmp_path / "memory.cpp", build.library()
    source.write_text(_NO_MEMORY)
    flags = (
        "-std=c++17",
        "-I" + str(RUNTIME / "include"),
        str(source),
        str(library),
        "-Wl,-rpath," + str(library.parent),
    )
    program = build.build("memory", flags, program="g++")
    said = _said(program, reverse_parts().write(tmp_path / "m.smalti")).splitlines()
    assert said == ["ResourceError", "there is no memory for the outputs", "8.5"]
