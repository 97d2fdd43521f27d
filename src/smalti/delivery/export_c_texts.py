"""The texts that go with an exported model: its header, an example program, a CMake project, a short page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Template
from typing import Final

DEFINED: Final[Mapping[str, str]] = {"x86_64": "__x86_64__", "aarch64": "__aarch64__"}
_PROCESSORS: Final[Mapping[str, str]] = {"x86_64": "x86_64|amd64|AMD64", "aarch64": "aarch64|arm64"}


@dataclass(frozen=True, slots=True)
class ProgramText:
    """What the header says of a program: its target, its symbols without ``_code`` and ``_manifest``, their sizes."""

    target: str
    symbol: str
    manifest_bytes: int
    code_bytes: int


def header_text(
    name: str,
    about: str,
    programs: Mapping[str, Sequence[ProgramText]],
    constants_bytes: int,
    objects: Mapping[str, str],
) -> str:
    """Return NAME.h for the programs of each architecture, which lie in the object files ``objects``."""
    branches = "".join(
        f"#{'elif' if index else 'if'} defined({DEFINED[arch]}) /* {objects[arch]} */\n\n"
        + _declarations(name, programs[arch])
        for index, arch in enumerate(programs)
    )
    known = " and ".join(programs)
    return _HEADER.substitute(
        name=name, NAME=name.upper(), about=about, branches=branches, known=known, constants_bytes=constants_bytes
    )


def _declarations(name: str, programs: Sequence[ProgramText]) -> str:
    externals = "".join(
        f"extern SMALTI_LINKED const unsigned char {p.symbol}_manifest[];\n"
        f"extern SMALTI_LINKED const unsigned char {p.symbol}_code[];\n"
        for p in programs
    )
    rows = "".join(
        f'  {{"{p.target}", {p.symbol}_manifest, {p.manifest_bytes}u, {p.symbol}_code, {p.code_bytes}u}},\n'
        for p in programs
    )
    return (
        f"{externals}\n/* The most demanding first; the library takes the first that the CPU can run. */\n"
        f"static const smalti_static_program {name}_programs[] = {{\n{rows}}};\n\n"
    )


_HEADER: Final = Template("""\
/* SPDX-License-Identifier: Apache-2.0 */
/* $about
 * Written by `smalti export-c`; not meant to be edited.
 *
 *   smalti_model *model;
 *   smalti_status status = smalti_model_open_static(&${name}_model, NULL, &model, &error);
 */
#ifndef SMALTI_MODEL_${NAME}_H
#define SMALTI_MODEL_${NAME}_H

#include "smalti.h"

#define SMALTI_LINKED __attribute__((visibility("hidden")))
#define SMALTI_UNUSED __attribute__((unused))

#ifdef __cplusplus
extern "C" {
#endif

extern SMALTI_LINKED const unsigned char ${name}_constants[];

$branches#else
#error "this model was exported for $known; export a file built with --target for this CPU"
#endif

static const smalti_static_model ${name}_model SMALTI_UNUSED = {
    SMALTI_ABI_VERSION, sizeof ${name}_programs / sizeof ${name}_programs[0], ${name}_programs, ${name}_constants,
    ${constants_bytes}u,
};

#ifdef __cplusplus
}
#endif

#undef SMALTI_LINKED
#undef SMALTI_UNUSED
#endif
""")


def cmake_text(name: str, objects: Mapping[str, str]) -> str:
    """Return the CMakeLists.txt of the example."""
    if len(objects) == 1:
        choice = f"set(object {next(iter(objects.values()))})\n"
    else:
        choice = "".join(
            f'{"elseif" if index else "if"}(CMAKE_SYSTEM_PROCESSOR MATCHES "^({_PROCESSORS[arch]})$$")\n'
            f"  set(object {file})\n".replace("$$", "$")
            for index, (arch, file) in enumerate(objects.items())
        )
        choice += 'else()\n  message(FATAL_ERROR "no object file for ${CMAKE_SYSTEM_PROCESSOR}")\nendif()\n'
    return _CMAKE.substitute(name=name, choice=choice)


_CMAKE: Final = Template("""\
# SPDX-License-Identifier: Apache-2.0
cmake_minimum_required(VERSION 3.16)
project(${name}_example LANGUAGES C)
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release)
endif()

find_package(smalti CONFIG REQUIRED) # -Dsmalti_DIR="$$(smalti config --cmake-dir)"

# The model.  In a project of your own: target_link_libraries(... PRIVATE ${name}_model)
${choice}add_library(${name}_model INTERFACE)
target_include_directories(${name}_model INTERFACE "$${CMAKE_CURRENT_SOURCE_DIR}")
target_link_libraries(${name}_model INTERFACE "$${CMAKE_CURRENT_SOURCE_DIR}/$${object}" smalti::static)

add_executable(${name}_example main.c)
target_link_libraries(${name}_example PRIVATE ${name}_model)
""")


def readme_text(name: str, about: str, files: Sequence[tuple[str, str]], command: str, size: str) -> str:
    """Return README.md; ``files`` are names and what they are, ``command`` runs the example."""
    rows = "".join(f"| `{file}` | {what} |\n" for file, what in files)
    objects = " ".join(file for file, _ in files if file.endswith(".o"))
    first = objects.split()[0]
    return _README.substitute(name=name, about=about, rows=rows, object=first, command=command, size=size)


_README: Final = Template("""\
# $name

$about

| file | what |
|---|---|
$rows
The model is part of the program: no file is read at run time. To build the example, with Smalti and a C compiler:

    cc -O2 main.c $object $$(smalti config --cflags --libs --static) -o ${name}_example
    $command

`-static` makes a program that needs no shared library at all. With CMake:

    cmake -B build -Dsmalti_DIR="$$(smalti config --cmake-dir)"
    cmake --build build

$size
In a program of your own, include `$name.h`, link the object file, and open `${name}_model` with
`smalti_model_open_static`; from there on everything is as in `smalti.h`. The symbols of the model are visible inside
the program or shared library that links it, and not outside.

The texts of this folder are a part of Smalti (SPDX-License-Identifier: Apache-2.0); the network is its owner's.
""")


def picture_example_text(name: str) -> str:
    """Return main.c for a network that labels the pixels of a picture."""
    return _PICTURE.substitute(name=name)


_PICTURE: Final = Template("""\
/* SPDX-License-Identifier: Apache-2.0 */
/* ${name}_example PICTURE.ppm LABELS.pgm [THREADS]: label the pixels of a binary PPM picture.  It is not scaled. */
#include <stdio.h>
#include <stdlib.h>

#include "${name}.h"

static void stop(int code, const char *text) {
  fprintf(stderr, "${name}_example: %s\\n", text);
  exit(code);
}

static void check(smalti_status status, const smalti_error *error) {
  static const int codes[] = {0, 2, 5, 5, 5, 5, 5, 4, 7, 1}; /* exit codes of the smalti command, by status */
  if (status != SMALTI_OK) stop(codes[status], error->message);
}

static smalti_tensor read_picture(const char *path, smalti_shape shape) {
  FILE *file = fopen(path, "rb");
  int width, height;
  if (!file || fscanf(file, "P6 %d %d 255", &width, &height) != 2 || fgetc(file) == EOF) stop(4, "no 8-bit binary PPM");
  if (width < 1 || height < 1 || width > 65535 || height > 65535) stop(4, "the picture is too large");
  shape.dims[shape.rank - 3] = height;
  shape.dims[shape.rank - 2] = width;
  if (shape.rank == 4) shape.dims[0] = 1;
  size_t bytes = (size_t)3 * (size_t)width * (size_t)height;
  smalti_tensor tensor = {malloc(bytes), bytes, SMALTI_UINT8, shape};
  if (!tensor.data || fread(tensor.data, 1, bytes, file) != bytes) stop(4, "the picture is cut");
  fclose(file);
  return tensor;
}

static void write_labels(const char *path, const smalti_tensor *labels) {
  const unsigned char *data = labels->data; /* little-endian: the first byte of an element is the label, up to 255 */
  size_t step = smalti_dtype_bytes(labels->dtype);
  FILE *file = fopen(path, "wb");
  if (!file) stop(6, "cannot write the labels");
  const int64_t *dims = labels->shape.dims + labels->shape.rank - 2;
  fprintf(file, "P5 %d %d 255\\n", (int)dims[1], (int)dims[0]);
  for (size_t at = 0; at < labels->bytes; at += step) putc(data[at], file);
  if (ferror(file) | fclose(file)) stop(6, "cannot write the labels");
}

int main(int count, char **words) {
  if (count < 3) stop(2, "give PICTURE.ppm LABELS.pgm [THREADS]");
  smalti_error error;
  smalti_model *model;
  smalti_engine *engine;
  smalti_tensor_info in, out;
  smalti_engine_options options = SMALTI_ENGINE_OPTIONS_INIT;
  if (count > 3) options.threads = atoi(words[3]);
  check(smalti_model_open_static(&${name}_model, NULL, &model, &error), &error);
  check(smalti_engine_create(model, &options, &engine, &error), &error);
  check(smalti_model_input(model, 0, &in, &error), &error);
  check(smalti_model_output(model, 0, &out, &error), &error);
  smalti_tensor picture = read_picture(words[1], in.shape);
  smalti_tensor labels = {NULL, smalti_dtype_bytes(out.dtype), out.dtype, out.shape};
  check(smalti_engine_output_shapes(engine, &picture.shape, 1, &labels.shape, 1, &error), &error);
  for (int i = 0; i < labels.shape.rank; i++) labels.bytes *= (size_t)labels.shape.dims[i];
  if (!(labels.data = malloc(labels.bytes))) stop(7, "out of memory");
  check(smalti_engine_run(engine, &picture, 1, &labels, 1, &error), &error);
  write_labels(words[2], &labels);
  printf("%s for %s, %d threads\\n", words[2], smalti_model_target(model), (int)smalti_engine_threads(engine));
  smalti_engine_destroy(engine);
  smalti_model_close(model);
  free(picture.data);
  free(labels.data);
  return 0;
}
""")


def tensor_example_text(name: str) -> str:
    """Return main.c for any network: it runs once on zeros."""
    return _TENSORS.substitute(name=name)


_TENSORS: Final = Template("""\
/* SPDX-License-Identifier: Apache-2.0 */
/* ${name}_example: run the network once on zeros of the smallest sizes and print the shapes of its outputs. */
#include <stdio.h>
#include <stdlib.h>

#include "${name}.h"

static void check(smalti_status status, const smalti_error *error) {
  static const int codes[] = {0, 2, 5, 5, 5, 5, 5, 4, 7, 1}; /* exit codes of the smalti command, by status */
  if (status == SMALTI_OK) return;
  fprintf(stderr, "${name}_example: %s\\n", error->message);
  exit(codes[status]);
}

static smalti_tensor zeros(smalti_dtype dtype, smalti_shape shape) {
  smalti_tensor tensor = {NULL, smalti_dtype_bytes(dtype), dtype, shape};
  for (int i = 0; i < shape.rank; i++) tensor.bytes *= (size_t)shape.dims[i];
  tensor.data = calloc(tensor.bytes, 1);
  if (!tensor.data) exit(7);
  return tensor;
}

int main(void) {
  smalti_error error;
  smalti_model *model;
  smalti_engine *engine;
  check(smalti_model_open_static(&${name}_model, NULL, &model, &error), &error);
  check(smalti_engine_create(model, NULL, &engine, &error), &error);
  size_t input_count = smalti_model_input_count(model), output_count = smalti_model_output_count(model);
  smalti_tensor *inputs = calloc(input_count, sizeof *inputs), *outputs = calloc(output_count, sizeof *outputs);
  smalti_shape *in_shapes = calloc(input_count, sizeof *in_shapes);
  smalti_shape *out_shapes = calloc(output_count, sizeof *out_shapes);
  if (!inputs || !outputs || !in_shapes || !out_shapes) return 7;
  smalti_tensor_info info;
  for (size_t k = 0; k < input_count; k++) {
    check(smalti_model_input(model, k, &info, &error), &error);
    for (int i = 0; i < info.shape.rank; i++)
      if (info.shape.dims[i] < 0) info.shape.dims[i] = info.minimum[i];
    inputs[k] = zeros(info.dtype, in_shapes[k] = info.shape);
  }
  check(smalti_engine_output_shapes(engine, in_shapes, input_count, out_shapes, output_count, &error), &error);
  for (size_t k = 0; k < output_count; k++) {
    check(smalti_model_output(model, k, &info, &error), &error);
    outputs[k] = zeros(info.dtype, out_shapes[k]);
    printf("%s %s", info.name, smalti_dtype_name(info.dtype));
    for (int i = 0; i < out_shapes[k].rank; i++) printf(" %lld", (long long)out_shapes[k].dims[i]);
    printf("\\n");
  }
  check(smalti_engine_run(engine, inputs, input_count, outputs, output_count, &error), &error);
  for (size_t k = 0; k < input_count; k++) free(inputs[k].data);
  for (size_t k = 0; k < output_count; k++) free(outputs[k].data);
  free(inputs), free(outputs), free(in_shapes), free(out_shapes);
  smalti_engine_destroy(engine);
  smalti_model_close(model);
  return 0;
}
""")
