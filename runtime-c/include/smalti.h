/* SPDX-License-Identifier: Apache-2.0 */
/* Smalti runtime: runs offline model files (*.smalti) on ordinary CPUs, without Python and without a compiler.
 *
 * Three kinds of objects:
 *   smalti_model   what a file holds, checked and mapped; immutable, may be used from any number of threads at once.
 *   smalti_engine  a model made ready to run: workspace, counters, helper threads.  One run at a time; concurrent calls
 *                  on the same engine wait for each other.  Make one engine per thread that shall run at the same time.
 *   smalti_error   where a function says what went wrong; belongs to the caller, nothing is kept in global state.
 *
 * Every function that can fail returns a smalti_status and takes a `smalti_error *`, which may be NULL.  Outputs are
 * written on success only.  A model file is a program: loading it runs the code of whoever made it.
 */
#ifndef SMALTI_H
#define SMALTI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(SMALTI_STATIC)
#define SMALTI_API
#else
#define SMALTI_API __attribute__((visibility("default")))
#endif

#define SMALTI_VERSION_MAJOR 0
#define SMALTI_VERSION_MINOR 1
#define SMALTI_VERSION_PATCH 0

/* Changes when a program compiled against one header cannot use a library of another. */
#define SMALTI_ABI_VERSION 1u

#define SMALTI_MAX_RANK 16
#define SMALTI_MAX_THREADS 1024

/* Version of the library that is linked, as text ("0.1.0") and as SMALTI_ABI_VERSION. */
SMALTI_API const char *smalti_version(void);
SMALTI_API uint32_t smalti_abi_version(void);

/* ---- errors ------------------------------------------------------------------------------------------------------ */

typedef enum smalti_status {
  SMALTI_OK = 0,
  SMALTI_USAGE = 1,       /* an argument is out of range or does not fit the model */
  SMALTI_NOT_A_MODEL = 2, /* the file is something else */
  SMALTI_DAMAGED = 3,     /* the file is cut or was changed */
  SMALTI_VERSION = 4,     /* the file was written in a newer format */
  SMALTI_TARGET = 5,      /* this CPU lacks a feature that the code needs */
  SMALTI_FILE = 6,        /* the file cannot be opened or read */
  SMALTI_INPUT = 7,       /* a tensor has the wrong shape or type */
  SMALTI_RESOURCE = 8,    /* memory, threads or an executable mapping were refused by the system */
  SMALTI_INTERNAL = 9     /* the code of the model reports a failure */
} smalti_status;

typedef struct smalti_error {
  smalti_status status;
  char message[1020]; /* UTF-8, NUL-terminated, cut if longer */
} smalti_error;

/* Name of a status as the Python runtime calls the error: "DamagedModelError". */
SMALTI_API const char *smalti_status_name(smalti_status status);

/* ---- tensors ----------------------------------------------------------------------------------------------------- */

/* Element types; bfloat16 and float16 elements are two bytes each, bool one. */
typedef enum smalti_dtype {
  SMALTI_FLOAT32 = 1,
  SMALTI_FLOAT64 = 2,
  SMALTI_FLOAT16 = 3,
  SMALTI_BFLOAT16 = 4,
  SMALTI_UINT8 = 5,
  SMALTI_INT8 = 6,
  SMALTI_UINT16 = 7,
  SMALTI_INT16 = 8,
  SMALTI_INT32 = 9,
  SMALTI_INT64 = 10,
  SMALTI_BOOL = 11,
  SMALTI_UINT32 = 12,
  SMALTI_UINT64 = 13
} smalti_dtype;

SMALTI_API const char *smalti_dtype_name(smalti_dtype dtype); /* "float32"; NULL if unknown */
SMALTI_API size_t smalti_dtype_bytes(smalti_dtype dtype);     /* bytes of one element; 0 if unknown */

typedef struct smalti_shape {
  int32_t rank;
  int64_t dims[SMALTI_MAX_RANK];
} smalti_shape;

/* A graph input or output as the file describes it. */
typedef struct smalti_tensor_info {
  const char *name; /* TensorFlow's name, "ImageTensor:0"; lives as long as the model */
  smalti_dtype dtype;
  smalti_shape shape;                /* -1 where the size is open */
  int64_t minimum[SMALTI_MAX_RANK];  /* smallest accepted size of an open input dimension */
  int64_t maximum[SMALTI_MAX_RANK];  /* largest; -1: no limit */
} smalti_tensor_info;

/* What the dimensions of a graph input or output mean.  Texts live as long as the model. */
typedef struct smalti_tensor_layout {
  const char *layout; /* "NHWC" for pictures, the last of 4 dimensions being 1 to 4 colours; "" if not known */
  /* Name of an open size ("H"), which is the same number in all inputs and outputs of a run; "batch" where any batch
   * size is taken, "?" where the model computes the size from others; NULL where it is fixed. */
  const char *symbol[SMALTI_MAX_RANK];
  int64_t multiple[SMALTI_MAX_RANK]; /* an open size must be a multiple of this; 1 elsewhere */
} smalti_tensor_layout;

/* A tensor in the caller's memory: contiguous, row-major, aligned to its element type. */
typedef struct smalti_tensor {
  void *data; /* inputs are only read */
  size_t bytes;
  smalti_dtype dtype;
  smalti_shape shape;
} smalti_tensor;

/* ---- models ------------------------------------------------------------------------------------------------------ */

typedef struct smalti_model smalti_model;

typedef struct smalti_load_options {
  size_t struct_bytes;  /* sizeof(smalti_load_options) */
  const char *sha256;   /* expected SHA-256 of the whole file, 64 hexadecimal digits, or NULL */
  const char *target;   /* take this program of the file ("x86-64-v3"), or NULL: the best for this CPU */
  int copy_constants;   /* non-zero: private memory in place of a shared mapping of the file */
} smalti_load_options;
#define SMALTI_LOAD_OPTIONS_INIT {sizeof(smalti_load_options), NULL, NULL, 0}

/* Open and check a file; `options` may be NULL.  Everything is checked before any page becomes executable. */
SMALTI_API smalti_status smalti_model_open(const char *path, const smalti_load_options *options, smalti_model **model,
                                           smalti_error *error);

/* The same for the bytes of a file in memory.  Constants are used in place when `data` is aligned to 64 bytes (then it
 * must live, unchanged, as long as the model and its engines), and copied otherwise. */
SMALTI_API smalti_status smalti_model_open_memory(const void *data, size_t bytes, const smalti_load_options *options,
                                                  smalti_model **model, smalti_error *error);

/* A model that is linked into the program: what `smalti export-c` writes. Code and constants are used in place. */
typedef struct smalti_static_program {
  const char *target;
  const void *manifest;
  size_t manifest_bytes;
  const void *code;
  size_t code_bytes;
} smalti_static_program;

typedef struct smalti_static_model {
  uint32_t abi_version;
  uint32_t program_count;
  const smalti_static_program *programs;
  const void *constants; /* aligned to 64 bytes */
  size_t constants_bytes;
} smalti_static_model;

SMALTI_API smalti_status smalti_model_open_static(const smalti_static_model *linked,
                                                  const smalti_load_options *options, smalti_model **model,
                                                  smalti_error *error);

/* Give a model back.  Engines made from it keep what they need, so the order of closing does not matter. NULL is fine. */
SMALTI_API void smalti_model_close(smalti_model *model);

/* Number of programs in the file and their targets, the most demanding first; `smalti_model_target` is the one taken. */
SMALTI_API size_t smalti_model_program_count(const smalti_model *model);
SMALTI_API const char *smalti_model_program_target(const smalti_model *model, size_t index); /* NULL: no such program */
SMALTI_API const char *smalti_model_target(const smalti_model *model);

SMALTI_API const char *smalti_model_name(const smalti_model *model);      /* of the graph; "" if the file has none */
SMALTI_API const char *smalti_model_precision(const smalti_model *model); /* "qint8_mixed_float16" */
SMALTI_API int smalti_model_shape_mutable(const smalti_model *model);
SMALTI_API size_t smalti_model_constants_bytes(const smalti_model *model);
SMALTI_API size_t smalti_model_code_bytes(const smalti_model *model);

SMALTI_API size_t smalti_model_input_count(const smalti_model *model);
SMALTI_API size_t smalti_model_output_count(const smalti_model *model);
SMALTI_API smalti_status smalti_model_input(const smalti_model *model, size_t index, smalti_tensor_info *info,
                                            smalti_error *error);
SMALTI_API smalti_status smalti_model_output(const smalti_model *model, size_t index, smalti_tensor_info *info,
                                             smalti_error *error);
SMALTI_API smalti_status smalti_model_input_layout(const smalti_model *model, size_t index,
                                                   smalti_tensor_layout *layout, smalti_error *error);
SMALTI_API smalti_status smalti_model_output_layout(const smalti_model *model, size_t index,
                                                    smalti_tensor_layout *layout, smalti_error *error);

/* Class names, UTF-8; 0 and NULL if the file has none. */
SMALTI_API size_t smalti_model_label_count(const smalti_model *model);
SMALTI_API const char *smalti_model_label(const smalti_model *model, size_t index);

/* How pictures are brought to the network: "none", "fit" or "stretch", and the size for it.  0: none; with "stretch", to
   the height and width of the input's own shape, which differ. */
SMALTI_API const char *smalti_model_resize(const smalti_model *model);
SMALTI_API int64_t smalti_model_input_size(const smalti_model *model);

/* The manifest of the program taken: JSON text of `*bytes` bytes, not NUL-terminated. */
SMALTI_API const char *smalti_model_manifest(const smalti_model *model, size_t *bytes);

/* ---- engines ----------------------------------------------------------------------------------------------------- */

typedef struct smalti_engine smalti_engine;

/* The caller's own threads: must call task(argument, 0) ... task(argument, count - 1), each once, in any order, at the
 * same time as far as it can, and return when all have returned.  Nobody waits for a task that has not begun.  Returns 0
 * on success; on failure it must run none and return non-zero.  It must not throw or jump out: the engine would stay
 * locked for ever.  Nor may it call functions of the engine that it works for. */
typedef int (*smalti_parallel_for)(void *pool, int64_t count, void (*task)(void *argument, int64_t index),
                                   void *argument);

typedef struct smalti_engine_options {
  size_t struct_bytes;   /* sizeof(smalti_engine_options) */
  int64_t threads;       /* of one run, the caller's included; 0: every CPU this process may use, or SMALTI_THREADS */
  smalti_parallel_for parallel_for; /* NULL: the engine's own helper threads */
  void *pool;                       /* given to parallel_for */
  void *workspace;        /* the caller's memory, aligned to 64 bytes, or NULL: the engine's own, grown as needed */
  size_t workspace_bytes; /* a run that needs more than the caller gave is refused with SMALTI_RESOURCE */
} smalti_engine_options;
#define SMALTI_ENGINE_OPTIONS_INIT {sizeof(smalti_engine_options), 0, NULL, NULL, NULL, 0}

SMALTI_API smalti_status smalti_engine_create(smalti_model *model, const smalti_engine_options *options,
                                              smalti_engine **engine, smalti_error *error);
/* Ends the helper threads and gives the memory back; no run may be in flight.  NULL is fine. */
SMALTI_API void smalti_engine_destroy(smalti_engine *engine);

SMALTI_API int64_t smalti_engine_threads(const smalti_engine *engine);
/* From the next run on; results stay the same to the last bit. */
SMALTI_API smalti_status smalti_engine_set_threads(smalti_engine *engine, int64_t threads, smalti_error *error);

/* Shapes of all outputs for these input shapes (one per input, in the order of the file), without running.  Where every
 * input and output has a leading dimension 1 and the model's batch size is open, inputs may have N there. */
SMALTI_API smalti_status smalti_engine_output_shapes(smalti_engine *engine, const smalti_shape *inputs,
                                                     size_t input_count, smalti_shape *outputs, size_t output_count,
                                                     smalti_error *error);

/* Bytes of workspace that a run needs for these input shapes and the present number of threads. */
SMALTI_API smalti_status smalti_engine_workspace_bytes(smalti_engine *engine, const smalti_shape *inputs,
                                                       size_t input_count, size_t *bytes, smalti_error *error);

/* Run the model.  Tensors come in the order of the file; every output's memory must fit its shape exactly.  After an
 * error nothing of the outputs is promised; the next call works. */
SMALTI_API smalti_status smalti_engine_run(smalti_engine *engine, const smalti_tensor *inputs, size_t input_count,
                                           const smalti_tensor *outputs, size_t output_count, smalti_error *error);

/* ---- this machine ------------------------------------------------------------------------------------------------ */

/* CPUs this process may keep busy (affinity mask, cut by the cgroup quota); `reason` says why, cut to `bytes`. */
SMALTI_API int64_t smalti_usable_cpus(char *reason, size_t bytes);

/* Features of this CPU as LLVM names them, sorted, separated by commas.  Returns the length it would need. */
SMALTI_API size_t smalti_cpu_features(char *text, size_t bytes);

#ifdef __cplusplus
}
#endif
#endif /* SMALTI_H */
