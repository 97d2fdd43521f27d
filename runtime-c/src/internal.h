/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the library share.  Nothing of this is visible outside it. */
#ifndef SMALTI_INTERNAL_H
#define SMALTI_INTERNAL_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "abi.h"
#include "smalti.h"

_Static_assert(sizeof(void *) == 8, "model code exists for 64-bit CPUs only");

__extension__ typedef unsigned __int128 smi_u128;

/* A number of abi.h as text, for messages. */
#define SMI_TEXT_OF(number) SMI_TEXT_OF_TOKEN(number)
#define SMI_TEXT_OF_TOKEN(token) #token

/* ---- text.c ------------------------------------------------------------------------------------------------------ */

/* Text that is cut where its room ends. */
typedef struct smi_text {
  size_t used;
  char bytes[1024];
} smi_text;

void smi_start(smi_text *text);
void smi_add(smi_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* `name` in quotes, unprintable characters escaped, as Python shows it; at most `limit` characters of it. */
void smi_add_quoted(smi_text *text, const char *name, size_t bytes, size_t limit);
void smi_add_sizes(smi_text *text, const int64_t *sizes, size_t count);

smalti_status smi_fail(smalti_error *error, smalti_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
smalti_status smi_fail_text(smalti_error *error, smalti_status status, const smi_text *text);
smalti_status smi_no_memory(smalti_error *error, const char *what);
/* Put "path: " in front of the message. */
void smi_prefix(smalti_error *error, const char *path);
const char *smi_system_error(int number, char *room, size_t bytes);

typedef struct smi_name {
  const char *text;
  size_t bytes;
} smi_name;

int smi_compare_names(const void *a, const void *b); /* two smi_name, for qsort; the order of Python */

/* An on/off or whole-number variable of the environment; `*value` stays as it is where the variable is empty. */
smalti_status smi_knob(const char *name, int64_t low, int64_t high, int64_t *value, smalti_error *error);

/* Whether a struct of options holds nothing that this library does not know. */
bool smi_knows_options(const void *options, size_t given, size_t known);

/* ---- pool.c: memory that is given back all at once --------------------------------------------------------------- */

typedef struct smi_pool {
  struct smi_chunk *chunks;
} smi_pool;

void *smi_take(smi_pool *pool, size_t count, size_t size); /* zeroed; NULL: no memory */
char *smi_take_text(smi_pool *pool, const char *text, size_t bytes);
void smi_pool_free(smi_pool *pool);

/* ---- memory.c ---------------------------------------------------------------------------------------------------- */

typedef struct smi_region {
  void *base; /* NULL: nothing is mapped */
  size_t length;
  uint8_t *address;
  size_t size;
} smi_region;

smalti_status smi_map(size_t size, bool huge, const char *what, smi_region *region, smalti_error *error);
smalti_status smi_map_file(int descriptor, uint64_t offset, size_t size, smi_region *region, smalti_error *error);
smalti_status smi_make_executable(const smi_region *region, smalti_error *error);
smalti_status smi_make_read_only(const smi_region *region, smalti_error *error);
void smi_unmap(smi_region *region);

/* ---- sha256.c ---------------------------------------------------------------------------------------------------- */

typedef void (*smi_sha256_blocks)(uint32_t state[8], const uint8_t *data, size_t blocks);

typedef struct smi_sha256 {
  uint32_t state[8];
  uint64_t bytes;
  uint8_t block[64];
  smi_sha256_blocks blocks;
} smi_sha256;

void smi_sha256_start(smi_sha256 *hash);
void smi_sha256_add(smi_sha256 *hash, const void *data, size_t bytes);
void smi_sha256_end(smi_sha256 *hash, uint8_t digest[32]);
uint32_t smi_crc32(const uint8_t *data, size_t bytes);

/* ---- json.c ------------------------------------------------------------------------------------------------------ */

typedef enum smi_kind {
  SMI_NULL,
  SMI_FALSE,
  SMI_TRUE,
  SMI_INTEGER,
  SMI_HUGE, /* an integer beyond 64 bits */
  SMI_REAL,
  SMI_TEXT,
  SMI_LIST,
  SMI_OBJECT
} smi_kind;

/* One value.  Values of a document lie in the order of its text; `next` is the following one in the same list. */
typedef struct smi_json {
  uint8_t kind;
  bool taken;
  uint32_t next; /* 0: the last */
  uint32_t key, key_bytes;
  union {
    int64_t integer;
    struct {
      uint32_t at, bytes;
    } text;
    struct {
      uint32_t first, count;
    } items;
  } value;
} smi_json;

typedef struct smi_document {
  smi_json *values; /* the first is the whole document */
  char *texts;      /* each followed by a NUL */
} smi_document;

/* Fails with a manifest's message; strict in the ways of the Python reader. */
smalti_status smi_json_parse(const uint8_t *data, size_t bytes, smi_document *document, smalti_error *error);
void smi_json_free(smi_document *document);
size_t smi_characters(const char *text, size_t bytes);

/* ---- manifest.c -------------------------------------------------------------------------------------------------- */

typedef struct smi_dim {
  smi_op op;
  int64_t a, b;
} smi_dim;

typedef struct smi_symbol {
  smi_name name;
  int64_t minimum, maximum, multiple; /* maximum -1: none */
} smi_symbol;

typedef struct smi_indices {
  const int64_t *at; /* indices into dims */
  size_t count;
} smi_indices;

typedef struct smi_tensor {
  smi_name name;
  smalti_dtype dtype;
  smi_indices shape;
} smi_tensor;

typedef struct smi_buffer {
  int64_t size, first, last;
  bool per_thread;
} smi_buffer;

typedef struct smi_step {
  smi_name name;
  smi_indices shape, inner;
  int64_t macs, bytes; /* indices into dims too */
} smi_step;

typedef struct smi_manifest {
  smi_pool pool;
  smi_name target, precision, graph, resize;
  smi_name *features, *labels;
  smi_symbol *symbols;
  smi_dim *dims;
  smi_tensor *inputs, *outputs;
  smi_buffer *arena;
  smi_step *steps;
  size_t feature_count, label_count, symbol_count, dim_count, input_count, output_count, arena_count, step_count;
  int64_t entry, drive, serve;
  int64_t batch_size; /* -1: any */
  int64_t input_size; /* 0: none */
  bool shape_mutable;
} smi_manifest;

smalti_status smi_manifest_parse(const uint8_t *data, size_t bytes, smi_manifest *manifest, smalti_error *error);
void smi_manifest_free(smi_manifest *manifest);
bool smi_is_batchable(const smi_manifest *manifest, const smi_tensor *tensor);

/* ---- cpu.c ------------------------------------------------------------------------------------------------------- */

/* NULL where this CPU can run a program; else writes why not in a few words. */
bool smi_obstacle(const smi_manifest *manifest, smi_text *why);
/* The message for a file whose only program (or the one asked for) does not run here. */
void smi_describe_target(const smi_manifest *manifest, smi_text *message);
void smi_cpu_model(char *room, size_t bytes);
const char *smi_cpu_arch(void);
bool smi_cpu_has_sha(void);

/* ---- cpus.c ------------------------------------------------------------------------------------------------------ */

/* `root` is "" but in tests. */
int64_t smi_usable_cpus(const char *root, char *reason, size_t bytes);
size_t smi_read_small_file(const char *path, char *room, size_t bytes); /* NUL-terminated; "" if it cannot be read */

/* ---- file.c ------------------------------------------------------------------------------------------------------ */

/* A program before it is chosen.  `region` holds the code if it was read from a file. */
typedef struct smi_program {
  const char *target;
  const uint8_t *manifest, *code;
  size_t manifest_bytes, code_bytes;
  smi_region region;
} smi_program;

typedef struct smi_contents {
  smi_program programs[SMI_PROGRAMS];
  size_t count;
  char names[SMI_PROGRAMS][SMI_NAME_BYTES + 1];
  uint8_t *manifests[SMI_PROGRAMS]; /* those that were read from a file */
  const uint8_t *constants;
  size_t constants_bytes;
  smi_region constants_region;
} smi_contents;

typedef struct smi_wish {
  const char *sha256, *target;
  bool copy_constants;
} smi_wish;

/* Both check everything but manifests.  What they leave in `contents` is freed by smi_contents_free, also on failure. */
smalti_status smi_read_file(const char *path, const smi_wish *wish, smi_contents *contents, smalti_error *error);
smalti_status smi_read_memory(const void *data, size_t bytes, const smi_wish *wish, smi_contents *contents,
                              smalti_error *error);
void smi_contents_free(smi_contents *contents);

/* ---- model.c ----------------------------------------------------------------------------------------------------- */

struct smalti_model {
  atomic_size_t references;
  smi_manifest manifest;
  size_t program_count;
  char *targets[SMI_PROGRAMS];
  char *text; /* the manifest */
  size_t text_bytes;
  smi_region code_region, constants_region;
  const uint8_t *code, *constants;
  size_t code_bytes, constants_bytes;
};

void smi_model_keep(smalti_model *model);

/* ---- plan.c and arena.c ------------------------------------------------------------------------------------------ */

/* Sizes for one image and a number of threads.  `dims` and `offsets` are read by the code. */
typedef struct smi_plan {
  int64_t *dims, *offsets;
  size_t workspace_bytes;
  int64_t threads;
  smalti_shape *inputs, *outputs;
  uint64_t used; /* when it was used last */
} smi_plan;

#define SMI_PLANS 16

typedef struct smi_plans {
  smi_plan *cached[SMI_PLANS];
  uint64_t clock;
} smi_plans;

/* The plan stays valid until the next call for the same plans. */
smalti_status smi_plan_get(smi_plans *plans, const smi_manifest *manifest, const smalti_shape *inputs,
                           int64_t threads, const smi_plan **plan, smalti_error *error);
void smi_plans_free(smi_plans *plans);

/* Evaluate one instruction; false: a value leaves 64 bits or a division is by zero. */
bool smi_dim_value(const smi_dim *dim, const int64_t *values, const int64_t *symbols, int64_t *value);
void smi_add_expected_shape(smi_text *text, const smi_manifest *manifest, const smi_tensor *tensor);

/* Sizes are rounded up to multiples of 64 in place.  SMALTI_RESOURCE: no memory. */
smalti_status smi_arena_place(const smi_buffer *buffers, uint64_t *sizes, size_t count, int64_t *offsets,
                              size_t *total, smalti_error *error);

/* ---- team.c ------------------------------------------------------------------------------------------------------ */

typedef struct smi_helper {
  struct smi_team *team;
  int64_t number;
  uint64_t thread; /* pthread_t, wherever that is an integer or a pointer */
} smi_helper;

typedef struct smi_team {
  uint64_t *words;
  uint8_t *semaphores;
  const uint8_t *drive, *serve, *run;
  smi_helper *helpers;
  int64_t count;
} smi_team;

#define SMI_TEAM_BYTES (SMI_TEAM_WORDS * 8 + SMI_LINE * (SMALTI_MAX_THREADS + 1))

/* `memory` has SMI_TEAM_BYTES zeroed bytes. */
void smi_team_start(smi_team *team, void *memory, const smalti_model *model);
smalti_status smi_team_run(smi_team *team, uint64_t *context, int64_t threads, smalti_error *error);
smalti_status smi_team_lend(smi_team *team, uint64_t *context, int64_t threads, smalti_parallel_for parallel_for,
                            void *pool, smalti_error *error);
void smi_team_end(smi_team *team);
uint64_t smi_yield_address(void);

#endif
