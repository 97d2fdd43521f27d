/* SPDX-License-Identifier: Apache-2.0 */
/* smalti-run: run a model on raw tensors.
 *
 *   smalti-run MODEL --info
 *   smalti-run MODEL IMAGE.bin --shape 1x513x513x3 --output LABELS.bin
 *
 * Inputs and outputs are files of plain row-major bytes, one for each tensor, in the order that --info shows. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <smalti.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MOST 64 /* inputs, and outputs */

/* Exit codes of the smalti command. */
enum { DONE = 0, BUG = 1, USAGE = 2, BAD_DATA = 4, MODEL_FILE = 5, OUTPUT = 6, RESOURCE = 7 };

static const char help[] =
    "usage: smalti-run MODEL INPUT... [--shape 1x513x513x3]... [--output FILE]...\n"
    "                  [--threads N] [--times N] [--target NAME] [--sha256 HEX] [--copy-constants]\n"
    "       smalti-run MODEL --info\n"
    "Give --shape once for each input (not needed where the model has one shape only) and --output once for each\n"
    "output to keep. --times runs several times and prints the times.\n";

typedef struct arguments {
  const char *model, *inputs[MOST], *outputs[MOST];
  smalti_shape shapes[MOST];
  size_t input_count, output_count, shape_count;
  long long threads, times;
  int info;
  smalti_load_options load;
} arguments;

static int exit_code(smalti_status status) {
  switch (status) {
    case SMALTI_OK: return DONE;
    case SMALTI_USAGE: return USAGE;
    case SMALTI_INPUT: return BAD_DATA;
    case SMALTI_RESOURCE: return RESOURCE;
    case SMALTI_INTERNAL: return BUG;
    default: return MODEL_FILE;
  }
}

static int complain(const smalti_error *error) {
  fprintf(stderr, "smalti-run: %s: %s\n", smalti_status_name(error->status), error->message);
  return exit_code(error->status);
}

static int wrong(const char *what, const char *value) {
  fprintf(stderr, "smalti-run: %s%s\n%s", what, value, help);
  return USAGE;
}

static int parse_number(const char *text, long long *number) {
  char *end;
  errno = 0;
  *number = strtoll(text, &end, 10);
  return errno == 0 && end != text && *end == '\0';
}

static int parse_shape(const char *text, smalti_shape *shape) {
  memset(shape, 0, sizeof(*shape));
  while (*text != '\0') {
    char *end;
    errno = 0;
    long long size = strtoll(text, &end, 10);
    if (errno != 0 || end == text || size < 0 || shape->rank == SMALTI_MAX_RANK) return 0;
    shape->dims[shape->rank++] = size;
    if (*end != '\0' && *end != 'x') return 0;
    text = *end == 'x' ? end + 1 : end;
  }
  return 1;
}

static int parse(int argc, char **argv, arguments *a) {
  for (int i = 1; i < argc; i++) {
    const char *name = argv[i];
    if (strcmp(name, "--info") == 0) {
      a->info = 1;
    } else if (strcmp(name, "--copy-constants") == 0) {
      a->load.copy_constants = 1;
    } else if (name[0] != '-') {
      if (a->model == NULL) {
        a->model = name;
      } else if (a->input_count == MOST) {
        return wrong("too many inputs", "");
      } else {
        a->inputs[a->input_count++] = name;
      }
    } else if (i + 1 == argc) {
      return wrong("unknown, or without its value: ", name);
    } else {
      const char *value = argv[++i];
      if (strcmp(name, "--shape") == 0 && a->shape_count < MOST) {
        if (!parse_shape(value, &a->shapes[a->shape_count++])) return wrong("this is not a shape: ", value);
      } else if (strcmp(name, "--output") == 0 && a->output_count < MOST) {
        a->outputs[a->output_count++] = value;
      } else if (strcmp(name, "--threads") == 0) {
        if (!parse_number(value, &a->threads) || a->threads < 1) return wrong("this is not a number of threads: ", value);
      } else if (strcmp(name, "--times") == 0) {
        if (!parse_number(value, &a->times) || a->times < 1) return wrong("this is not a number of runs: ", value);
      } else if (strcmp(name, "--target") == 0) {
        a->load.target = value;
      } else if (strcmp(name, "--sha256") == 0) {
        a->load.sha256 = value;
      } else {
        return wrong("unknown option ", name);
      }
    }
  }
  return a->model == NULL ? wrong("which model?", "") : DONE;
}

static int is_named_before(const smalti_tensor_layout *layout, int32_t axis) {
  for (int32_t before = 0; before < axis; before++) {
    if (layout->symbol[before] != NULL && strcmp(layout->symbol[before], layout->symbol[axis]) == 0) return 1;
  }
  return 0;
}

/* As Python shows it: "input ImageTensor:0 uint8 [1, H, W, 3], H from 1 to 513, W from 1 to 513". */
static void print_tensor(const char *what, const smalti_tensor_info *info, const smalti_tensor_layout *layout) {
  printf("%s %s %s [", what, info->name, smalti_dtype_name(info->dtype));
  for (int32_t axis = 0; axis < info->shape.rank; axis++) {
    if (axis > 0) printf(", ");
    if (layout->symbol[axis] != NULL) {
      printf("%s", layout->symbol[axis]);
    } else {
      printf("%lld", (long long)info->shape.dims[axis]);
    }
  }
  printf("]");
  for (int32_t axis = 0; axis < info->shape.rank; axis++) {
    const char *symbol = layout->symbol[axis];
    if (symbol == NULL || strcmp(symbol, "?") == 0 || is_named_before(layout, axis)) continue;
    printf(", %s %s %lld", symbol, info->maximum[axis] < 0 ? "at least" : "from", (long long)info->minimum[axis]);
    if (info->maximum[axis] >= 0) printf(" to %lld", (long long)info->maximum[axis]);
    if (layout->multiple[axis] > 1) printf(" in multiples of %lld", (long long)layout->multiple[axis]);
  }
  printf("\n");
}

static int print_info(const smalti_model *model) {
  smalti_tensor_info info;
  smalti_tensor_layout layout;
  smalti_error error;
  char reason[256], features[512];
  printf("model %s\nprecision %s\ntarget %s\n", smalti_model_name(model), smalti_model_precision(model),
         smalti_model_target(model));
  for (size_t i = 0; i < smalti_model_program_count(model); i++) {
    printf("program %s\n", smalti_model_program_target(model, i));
  }
  printf("constants %zu bytes\ncode %zu bytes\n", smalti_model_constants_bytes(model), smalti_model_code_bytes(model));
  printf("resize %s %lld\nlabels %zu\n", smalti_model_resize(model), (long long)smalti_model_input_size(model),
         smalti_model_label_count(model));
  for (size_t i = 0; i < smalti_model_input_count(model); i++) {
    if (smalti_model_input(model, i, &info, &error) != SMALTI_OK) return complain(&error);
    if (smalti_model_input_layout(model, i, &layout, &error) != SMALTI_OK) return complain(&error);
    print_tensor("input", &info, &layout);
  }
  for (size_t i = 0; i < smalti_model_output_count(model); i++) {
    if (smalti_model_output(model, i, &info, &error) != SMALTI_OK) return complain(&error);
    if (smalti_model_output_layout(model, i, &layout, &error) != SMALTI_OK) return complain(&error);
    print_tensor("output", &info, &layout);
  }
  smalti_usable_cpus(reason, sizeof(reason));
  smalti_cpu_features(features, sizeof(features));
  printf("cpus %s\nfeatures %s\n", reason, features);
  return DONE;
}

/* The bytes of a file, in memory for any element type. */
static int read_input(const char *path, size_t bytes, void **data) {
  *data = aligned_alloc(64, (bytes + 64) / 64 * 64);
  FILE *file = fopen(path, "rb");
  size_t got = file != NULL && *data != NULL ? fread(*data, 1, bytes, file) : 0;
  int more = file != NULL && fgetc(file) != EOF;
  if (file != NULL) fclose(file);
  if (file != NULL && got == bytes && !more) return DONE;
  fprintf(stderr, "smalti-run: %s: cannot read %zu bytes%s\n", path, bytes, more ? ": it has more" : "");
  return BAD_DATA;
}

static int write_output(const char *path, const smalti_tensor *tensor) {
  FILE *file = fopen(path, "wb");
  size_t written = file != NULL ? fwrite(tensor->data, 1, tensor->bytes, file) : 0;
  int failed = file == NULL || written != tensor->bytes;
  if (file != NULL && fclose(file) != 0) failed = 1;
  if (failed) fprintf(stderr, "smalti-run: %s: cannot write: %s\n", path, strerror(errno));
  return failed ? OUTPUT : DONE;
}

static size_t tensor_bytes(smalti_dtype dtype, const smalti_shape *shape) {
  size_t bytes = smalti_dtype_bytes(dtype);
  for (int32_t axis = 0; axis < shape->rank; axis++) bytes *= (size_t)shape->dims[axis];
  return bytes;
}

static double milliseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

typedef struct job {
  smalti_engine *engine;
  smalti_tensor inputs[MOST], outputs[MOST];
  size_t input_count, output_count;
} job;

/* Shapes of all tensors, memory for them, and the inputs' bytes. */
static int prepare(const arguments *a, const smalti_model *model, job *j, smalti_error *error) {
  smalti_shape shapes[MOST];
  smalti_tensor_info info;
  for (size_t i = 0; i < j->input_count; i++) {
    if (smalti_model_input(model, i, &info, error) != SMALTI_OK) return complain(error);
    j->inputs[i].dtype = info.dtype;
    shapes[i] = i < a->shape_count ? a->shapes[i] : info.shape;
    for (int32_t axis = 0; axis < shapes[i].rank; axis++) {
      if (shapes[i].dims[axis] < 0) shapes[i].dims[axis] = info.minimum[axis];
    }
    j->inputs[i].shape = shapes[i];
  }
  smalti_shape results[MOST];
  if (smalti_engine_output_shapes(j->engine, shapes, j->input_count, results, j->output_count, error) != SMALTI_OK) {
    return complain(error);
  }
  for (size_t i = 0; i < j->input_count; i++) {
    j->inputs[i].bytes = tensor_bytes(j->inputs[i].dtype, &shapes[i]);
    int code = read_input(a->inputs[i], j->inputs[i].bytes, &j->inputs[i].data);
    if (code != DONE) return code;
  }
  for (size_t i = 0; i < j->output_count; i++) {
    if (smalti_model_output(model, i, &info, error) != SMALTI_OK) return complain(error);
    smalti_tensor *t = &j->outputs[i];
    t->dtype = info.dtype;
    t->shape = results[i];
    t->bytes = tensor_bytes(info.dtype, &results[i]);
    t->data = aligned_alloc(64, (t->bytes + 64) / 64 * 64);
    if (t->data == NULL) {
      fprintf(stderr, "smalti-run: there is no memory for the outputs\n");
      return RESOURCE;
    }
  }
  return DONE;
}

static int run(const arguments *a, job *j, smalti_error *error) {
  double best = 0, total = 0;
  for (long long i = 0; i < a->times; i++) {
    double start = milliseconds();
    if (smalti_engine_run(j->engine, j->inputs, j->input_count, j->outputs, j->output_count, error) != SMALTI_OK) {
      return complain(error);
    }
    double spent = milliseconds() - start;
    best = i == 0 || spent < best ? spent : best;
    total += spent;
  }
  if (a->times > 1) printf("%lld runs: best %.3f ms, mean %.3f ms\n", a->times, best, total / (double)a->times);
  for (size_t i = 0; i < a->output_count; i++) {
    int code = write_output(a->outputs[i], &j->outputs[i]);
    if (code != DONE) return code;
  }
  return DONE;
}

static int work(const arguments *a, smalti_model *model, job *j) {
  smalti_error error;
  j->input_count = smalti_model_input_count(model);
  j->output_count = smalti_model_output_count(model);
  if (j->input_count > MOST || j->output_count > MOST) return wrong("this model has too many tensors", "");
  if (a->input_count != j->input_count) return wrong("the model needs another number of inputs: see --info", "");
  if (a->output_count > j->output_count) return wrong("the model has fewer outputs: see --info", "");
  smalti_engine_options options = SMALTI_ENGINE_OPTIONS_INIT;
  options.threads = a->threads;
  if (smalti_engine_create(model, &options, &j->engine, &error) != SMALTI_OK) return complain(&error);
  int code = prepare(a, model, j, &error);
  return code == DONE ? run(a, j, &error) : code;
}

int main(int argc, char **argv) {
  static arguments a = {.times = 1, .load = SMALTI_LOAD_OPTIONS_INIT};
  static job j;
  smalti_error error;
  smalti_model *model = NULL;
  int code = parse(argc, argv, &a);
  if (code != DONE) return code;
  double start = milliseconds();
  if (smalti_model_open(a.model, &a.load, &model, &error) != SMALTI_OK) return complain(&error);
  if (a.times > 1) printf("loaded in %.3f ms\n", milliseconds() - start);
  code = a.info ? print_info(model) : work(&a, model, &j);
  smalti_engine_destroy(j.engine);
  for (size_t i = 0; i < MOST; i++) {
    free(j.inputs[i].data);
    free(j.outputs[i].data);
  }
  smalti_model_close(model);
  return code;
}
