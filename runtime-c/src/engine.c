/* SPDX-License-Identifier: Apache-2.0 */
/* Engines: a model made ready to run.  One run at a time; a child process after a fork gets memory and helpers anew. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

/* What belongs to one process.  A child that finds its parent's state makes its own and leaves that one alone: its lock
 * may be held, and its helpers exist in the parent only. */
typedef struct state {
  struct state *parent;
  pid_t process;
  pthread_mutex_t lock;
  smi_region memory, workspace;
  uint64_t *context, *tensors;
  void *counters;
  size_t counter_bytes;
  smi_team team;
  smi_plans plans;
  smalti_shape *shapes; /* of the inputs of one part */
  smi_helper helpers[SMALTI_MAX_THREADS];
} state;

struct smalti_engine {
  smalti_model *model;
  _Atomic int64_t threads;
  int64_t cpus;
  smalti_parallel_for parallel_for;
  void *pool;
  void *workspace;
  size_t workspace_bytes;
  bool huge_pages;
  _Atomic(state *) state;
};

/* ---- states ------------------------------------------------------------------------------------------------------ */

static void free_state(state *s) {
  if (s->process == getpid()) {
    smi_team_end(&s->team);
    (void)pthread_mutex_destroy(&s->lock);
  }
  smi_plans_free(&s->plans);
  smi_unmap(&s->workspace);
  smi_unmap(&s->memory);
  free(s->shapes);
  free(s);
}

static size_t lines(size_t bytes) { return (bytes + SMI_LINE - 1) / SMI_LINE * SMI_LINE; }

static smalti_status make_state(const smalti_engine *engine, state **out, smalti_error *error) {
  const smi_manifest *m = &engine->model->manifest;
  state *s = calloc(1, sizeof(*s));
  if (s == NULL) return smi_no_memory(error, "an engine");
  s->shapes = calloc(m->input_count, sizeof(*s->shapes));
  s->counter_bytes = lines(SMI_COUNTERS(m->step_count) * sizeof(int32_t));
  size_t context_bytes = lines(SMI_CTX_WORDS * 8), tensor_bytes = lines((m->input_count + m->output_count) * 8);
  size_t bytes = context_bytes + tensor_bytes + s->counter_bytes + SMI_TEAM_BYTES;
  smalti_status status = s->shapes == NULL ? smi_no_memory(error, "an engine") : SMALTI_OK;
  if (status == SMALTI_OK) status = smi_map(bytes, false, "an engine", &s->memory, error);
  if (status == SMALTI_OK && pthread_mutex_init(&s->lock, NULL) != 0) {
    status = smi_fail(error, SMALTI_RESOURCE, "the system refuses a lock");
  }
  if (status != SMALTI_OK) {
    smi_unmap(&s->memory);
    free(s->shapes);
    free(s);
    return status;
  }
  uint8_t *at = s->memory.address;
  s->process = getpid();
  s->context = (uint64_t *)(void *)at;
  s->tensors = (uint64_t *)(void *)(at + context_bytes);
  s->counters = at + context_bytes + tensor_bytes;
  s->team.helpers = s->helpers;
  smi_team_start(&s->team, at + context_bytes + tensor_bytes + s->counter_bytes, engine->model);
  s->context[SMI_CTX_CONSTANTS] = (uint64_t)(uintptr_t)engine->model->constants;
  s->context[SMI_CTX_TENSORS] = (uint64_t)(uintptr_t)s->tensors;
  s->context[SMI_CTX_COUNTERS] = (uint64_t)(uintptr_t)s->counters;
  s->context[SMI_CTX_YIELD] = smi_yield_address();
  *out = s;
  return SMALTI_OK;
}

/* The locked state of this process. */
static smalti_status lock_state(smalti_engine *engine, state **out, smalti_error *error) {
  state *s = atomic_load(&engine->state);
  pid_t process = getpid();
  while (s == NULL || s->process != process) {
    state *made = NULL;
    smalti_status status = make_state(engine, &made, error);
    if (status != SMALTI_OK) return status;
    made->parent = s;
    if (atomic_compare_exchange_strong(&engine->state, &s, made)) {
      s = made;
    } else {
      free_state(made);
    }
  }
  if (pthread_mutex_lock(&s->lock) != 0) return smi_fail(error, SMALTI_RESOURCE, "the engine's lock fails");
  *out = s;
  return SMALTI_OK;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static smalti_status check_threads(int64_t threads, smalti_error *error) {
  if (threads >= 1 && threads <= SMALTI_MAX_THREADS) return SMALTI_OK;
  return smi_fail(error, SMALTI_USAGE, "threads must be a whole number from 1 to %d, not %lld", SMALTI_MAX_THREADS,
                  (long long)threads);
}

static smalti_status read_options(const smalti_engine_options *options, smalti_engine *engine, smalti_error *error) {
  int64_t threads = 0, huge = 1;
  if (options != NULL) {
    if (!smi_knows_options(options, options->struct_bytes, sizeof(*options))) {
      return smi_fail(error, SMALTI_USAGE, "these engine options are not those of this library: %s",
                      "start with SMALTI_ENGINE_OPTIONS_INIT of its own header");
    }
    if ((uintptr_t)options->workspace % SMI_LINE != 0) {
      return smi_fail(error, SMALTI_USAGE, "a workspace must be aligned to %u bytes", SMI_LINE);
    }
    threads = options->threads;
    engine->parallel_for = options->parallel_for;
    engine->pool = options->pool;
    engine->workspace = options->workspace;
    engine->workspace_bytes = options->workspace_bytes;
  }
  if (threads == 0) {
    threads = engine->cpus < SMALTI_MAX_THREADS ? engine->cpus : SMALTI_MAX_THREADS;
    smalti_status status = smi_knob("SMALTI_THREADS", 1, SMALTI_MAX_THREADS, &threads, error);
    if (status != SMALTI_OK) return status;
  }
  smalti_status status = check_threads(threads, error);
  if (status == SMALTI_OK) status = smi_knob("SMALTI_HUGE_PAGES", 0, 1, &huge, error);
  atomic_init(&engine->threads, threads);
  engine->huge_pages = huge != 0;
  return status;
}

smalti_status smalti_engine_create(smalti_model *model, const smalti_engine_options *options, smalti_engine **engine,
                                   smalti_error *error) {
  if (model == NULL || engine == NULL) return smi_fail(error, SMALTI_USAGE, "model and engine must not be NULL");
  smalti_engine *made = calloc(1, sizeof(*made));
  if (made == NULL) return smi_no_memory(error, "an engine");
  made->model = model;
  made->cpus = smalti_usable_cpus(NULL, 0);
  atomic_init(&made->state, NULL);
  smalti_status status = read_options(options, made, error);
  state *first = NULL;
  if (status == SMALTI_OK) status = make_state(made, &first, error);
  if (status != SMALTI_OK) {
    free(made);
    return status;
  }
  atomic_store(&made->state, first);
  smi_model_keep(model);
  *engine = made;
  return SMALTI_OK;
}

void smalti_engine_destroy(smalti_engine *engine) {
  if (engine == NULL) return;
  state *s = atomic_load(&engine->state);
  while (s != NULL) {
    state *parent = s->parent;
    free_state(s);
    s = parent;
  }
  smalti_model_close(engine->model);
  free(engine);
}

int64_t smalti_engine_threads(const smalti_engine *engine) { return atomic_load(&engine->threads); }

smalti_status smalti_engine_set_threads(smalti_engine *engine, int64_t threads, smalti_error *error) {
  if (engine == NULL) return smi_fail(error, SMALTI_USAGE, "engine must not be NULL");
  smalti_status status = check_threads(threads, error);
  if (status == SMALTI_OK) atomic_store(&engine->threads, threads);
  return status;
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static void name_tensor(smi_text *text, const char *what, const smi_tensor *tensor) {
  smi_start(text);
  smi_add(text, "%s ", what);
  smi_add_quoted(text, tensor->name.text, tensor->name.bytes, SIZE_MAX);
}

static smalti_status check_shape(const smi_tensor *tensor, const smalti_shape *shape, smalti_error *error) {
  bool good = shape->rank >= 0 && shape->rank <= SMALTI_MAX_RANK;
  for (int32_t axis = 0; good && axis < shape->rank; axis++) good = shape->dims[axis] >= 0;
  if (good) return SMALTI_OK;
  smi_text text;
  smi_start(&text);
  smi_add(&text, "the shape of input ");
  smi_add_quoted(&text, tensor->name.text, tensor->name.bytes, SIZE_MAX);
  smi_add(&text, " must be whole numbers");
  return smi_fail_text(error, SMALTI_INPUT, &text);
}

static smalti_status wrong_count(const char *what, size_t wanted, size_t count, smalti_error *error) {
  return smi_fail(error, SMALTI_INPUT, "this model has %zu %s, got %zu", wanted, what, count);
}

static int by_size(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

static smalti_status different_counts(const smalti_shape *inputs, size_t count, smalti_error *error) {
  smi_text text;
  smi_start(&text);
  smi_add(&text, "all inputs must have the same leading dimension, got ");
  int64_t few[64];
  size_t used = 0;
  for (size_t i = 0; i < count && used < 64; i++) {
    bool known = false;
    for (size_t j = 0; j < used; j++) known = known || few[j] == inputs[i].dims[0];
    if (!known) few[used++] = inputs[i].dims[0];
  }
  qsort(few, used, sizeof(few[0]), by_size);
  smi_add_sizes(&text, few, used);
  return smi_fail_text(error, SMALTI_INPUT, &text);
}

/* Split a batch: the number of parts, and the shapes of one of them in `s->shapes`. */
static smalti_status split(const smi_manifest *m, const smalti_shape *inputs, state *s, int64_t *parts,
                           smalti_error *error) {
  bool splits = m->batch_size != 1, differ = false;
  for (size_t i = 0; i < m->input_count; i++) {
    s->shapes[i] = inputs[i];
    splits = splits && (size_t)inputs[i].rank == m->inputs[i].shape.count && smi_is_batchable(m, &m->inputs[i]);
  }
  *parts = 1;
  if (!splits) return SMALTI_OK;
  int64_t count = inputs[0].dims[0];
  for (size_t i = 1; i < m->input_count; i++) differ = differ || inputs[i].dims[0] != count;
  if (differ) return different_counts(inputs, m->input_count, error);
  smi_text text;
  name_tensor(&text, "input", &m->inputs[0]);
  if (m->batch_size >= 0 && count != m->batch_size) {
    smi_add(&text, ": the batch size of this model is %lld, got %lld", (long long)m->batch_size, (long long)count);
    return smi_fail_text(error, SMALTI_INPUT, &text);
  }
  if (count == 0) {
    smi_add(&text, " must have shape ");
    smi_add_expected_shape(&text, m, &m->inputs[0]);
    smi_add(&text, ", got an empty batch");
    return smi_fail_text(error, SMALTI_INPUT, &text);
  }
  for (size_t i = 0; i < m->input_count; i++) s->shapes[i].dims[0] = 1;
  *parts = count;
  return SMALTI_OK;
}

/* Shape of output `index` of all parts together. */
static smalti_status whole_shape(const smi_manifest *m, const smi_plan *plan, size_t index, int64_t parts,
                                 smalti_shape *shape, smalti_error *error) {
  *shape = plan->outputs[index];
  if (parts == 1) return SMALTI_OK;
  if (!smi_is_batchable(m, &m->outputs[index])) {
    smi_text text;
    name_tensor(&text, "output", &m->outputs[index]);
    smi_add(&text, " has no leading dimension 1, so this model takes one image at a time");
    return smi_fail_text(error, SMALTI_INPUT, &text);
  }
  shape->dims[0] = parts;
  return SMALTI_OK;
}

/* The plan for inputs of these shapes.  The state is locked. */
static smalti_status plan_inputs(smalti_engine *engine, state *s, const smalti_shape *inputs, int64_t threads,
                                 const smi_plan **plan, int64_t *parts, smalti_error *error) {
  const smi_manifest *m = &engine->model->manifest;
  for (size_t i = 0; i < m->input_count; i++) {
    smalti_status status = check_shape(&m->inputs[i], &inputs[i], error);
    if (status != SMALTI_OK) return status;
  }
  smalti_status status = split(m, inputs, s, parts, error);
  return status == SMALTI_OK ? smi_plan_get(&s->plans, m, s->shapes, threads, plan, error) : status;
}

smalti_status smalti_engine_output_shapes(smalti_engine *engine, const smalti_shape *inputs, size_t input_count,
                                          smalti_shape *outputs, size_t output_count, smalti_error *error) {
  if (engine == NULL || inputs == NULL || outputs == NULL) {
    return smi_fail(error, SMALTI_USAGE, "engine, inputs and outputs must not be NULL");
  }
  const smi_manifest *m = &engine->model->manifest;
  if (input_count != m->input_count) return wrong_count("inputs", m->input_count, input_count, error);
  if (output_count != m->output_count) return wrong_count("outputs", m->output_count, output_count, error);
  state *s;
  smalti_status status = lock_state(engine, &s, error);
  if (status != SMALTI_OK) return status;
  const smi_plan *plan = NULL;
  int64_t parts;
  smalti_shape ignored;
  status = plan_inputs(engine, s, inputs, 1, &plan, &parts, error);
  for (size_t i = 0; status == SMALTI_OK && i < output_count; i++) {
    status = whole_shape(m, plan, i, parts, &ignored, error);
  }
  for (size_t i = 0; status == SMALTI_OK && i < output_count; i++) {
    status = whole_shape(m, plan, i, parts, &outputs[i], error);
  }
  (void)pthread_mutex_unlock(&s->lock);
  return status;
}

smalti_status smalti_engine_workspace_bytes(smalti_engine *engine, const smalti_shape *inputs, size_t input_count,
                                            size_t *bytes, smalti_error *error) {
  if (engine == NULL || inputs == NULL || bytes == NULL) {
    return smi_fail(error, SMALTI_USAGE, "engine, inputs and bytes must not be NULL");
  }
  const smi_manifest *m = &engine->model->manifest;
  if (input_count != m->input_count) return wrong_count("inputs", m->input_count, input_count, error);
  state *s;
  smalti_status status = lock_state(engine, &s, error);
  if (status != SMALTI_OK) return status;
  const smi_plan *plan = NULL;
  int64_t parts;
  status = plan_inputs(engine, s, inputs, smalti_engine_threads(engine), &plan, &parts, error);
  if (status == SMALTI_OK) *bytes = plan->workspace_bytes;
  (void)pthread_mutex_unlock(&s->lock);
  return status;
}

/* ---- runs -------------------------------------------------------------------------------------------------------- */

static bool is_same_shape(const smalti_shape *a, const smalti_shape *b) {
  return a->rank == b->rank && memcmp(a->dims, b->dims, (size_t)a->rank * sizeof(a->dims[0])) == 0;
}

/* Bytes of a tensor; false: more than there can be. */
static bool tensor_bytes(smalti_dtype dtype, const smalti_shape *shape, size_t *bytes) {
  *bytes = smalti_dtype_bytes(dtype);
  bool empty = false, large = false;
  for (int32_t axis = 0; axis < shape->rank; axis++) {
    empty = empty || shape->dims[axis] == 0;
    large = large || __builtin_mul_overflow(*bytes, (size_t)shape->dims[axis], bytes);
  }
  if (empty) *bytes = 0;
  return empty || !large;
}

/* Check what is said about a tensor's memory; `shape` is the one it must have. */
static smalti_status check_tensor(const char *what, const smi_tensor *tensor, const smalti_tensor *given,
                                  const smalti_shape *shape, smalti_error *error) {
  smi_text text;
  size_t bytes = 0, element = smalti_dtype_bytes(tensor->dtype);
  name_tensor(&text, what, tensor);
  if (given->dtype != tensor->dtype) {
    const char *name = smalti_dtype_name(given->dtype);
    smi_add(&text, " needs %s values, got %s", smalti_dtype_name(tensor->dtype), name != NULL ? name : "an unknown type");
  } else if (!is_same_shape(&given->shape, shape)) {
    smi_add(&text, " must have shape ");
    smi_add_sizes(&text, shape->dims, (size_t)shape->rank);
    smi_add(&text, ", got ");
    int32_t rank = given->shape.rank;
    smi_add_sizes(&text, given->shape.dims, rank > 0 && rank <= SMALTI_MAX_RANK ? (size_t)rank : 0);
  } else if (!tensor_bytes(tensor->dtype, shape, &bytes) || given->bytes != bytes) {
    smi_add(&text, " of shape ");
    smi_add_sizes(&text, shape->dims, (size_t)shape->rank);
    smi_add(&text, " has %zu bytes, got %zu", bytes, given->bytes);
  } else if ((given->data == NULL && bytes > 0) || (uintptr_t)given->data % element != 0) {
    smi_add(&text, " needs memory aligned to %zu bytes", element);
  } else {
    return SMALTI_OK;
  }
  return smi_fail_text(error, SMALTI_INPUT, &text);
}

static bool overlaps(const smalti_tensor *a, const smalti_tensor *b) {
  uintptr_t x = (uintptr_t)a->data, y = (uintptr_t)b->data;
  return a->bytes > 0 && b->bytes > 0 && x < y + b->bytes && y < x + a->bytes;
}

static smalti_status check_overlap(const smi_manifest *m, const smalti_tensor *inputs, const smalti_tensor *outputs,
                                   smalti_error *error) {
  for (size_t i = 0; i < m->output_count; i++) {
    bool found = false;
    for (size_t j = 0; j < m->input_count; j++) found = found || overlaps(&outputs[i], &inputs[j]);
    for (size_t j = 0; j < i; j++) found = found || overlaps(&outputs[i], &outputs[j]);
    if (!found) continue;
    smi_text text;
    name_tensor(&text, "output", &m->outputs[i]);
    smi_add(&text, " overlaps another tensor");
    return smi_fail_text(error, SMALTI_USAGE, &text);
  }
  return SMALTI_OK;
}

static smalti_status check_tensors(const smi_manifest *m, const smi_plan *plan, int64_t parts,
                                   const smalti_tensor *inputs, const smalti_tensor *outputs, smalti_error *error) {
  smalti_status status = SMALTI_OK;
  for (size_t i = 0; status == SMALTI_OK && i < m->input_count; i++) {
    status = check_tensor("input", &m->inputs[i], &inputs[i], &inputs[i].shape, error);
  }
  for (size_t i = 0; status == SMALTI_OK && i < m->output_count; i++) {
    smalti_shape shape;
    status = whole_shape(m, plan, i, parts, &shape, error);
    if (status == SMALTI_OK) status = check_tensor("output", &m->outputs[i], &outputs[i], &shape, error);
  }
  return status == SMALTI_OK ? check_overlap(m, inputs, outputs, error) : status;
}

/* Where the workspace is, grown if that is needed. */
static smalti_status find_workspace(smalti_engine *engine, state *s, size_t bytes, void **at, smalti_error *error) {
  if (engine->workspace != NULL) {
    if (bytes > engine->workspace_bytes) {
      return smi_fail(error, SMALTI_RESOURCE, "this run needs a workspace of %zu bytes, the caller's has %zu", bytes,
                      engine->workspace_bytes);
    }
    *at = engine->workspace;
    return SMALTI_OK;
  }
  if (s->workspace.base == NULL || s->workspace.size < bytes) {
    smi_text what;
    smi_start(&what);
    smi_add(&what, "a workspace of %zu bytes", bytes);
    smi_unmap(&s->workspace);
    smalti_status status = smi_map(bytes, engine->huge_pages, what.bytes, &s->workspace, error);
    if (status != SMALTI_OK) return status;
  }
  *at = s->workspace.address;
  return SMALTI_OK;
}

static smalti_status run_parts(smalti_engine *engine, state *s, const smi_plan *plan, int64_t parts,
                               const smalti_tensor *inputs, const smalti_tensor *outputs, smalti_error *error) {
  const smi_manifest *m = &engine->model->manifest;
  void *workspace = NULL;
  smalti_status status = find_workspace(engine, s, plan->workspace_bytes, &workspace, error);
  s->context[SMI_CTX_WORKSPACE] = (uint64_t)(uintptr_t)workspace;
  s->context[SMI_CTX_DIMS] = (uint64_t)(uintptr_t)plan->dims;
  s->context[SMI_CTX_OFFSETS] = (uint64_t)(uintptr_t)plan->offsets;
  s->context[SMI_CTX_SPINS] = plan->threads <= engine->cpus ? SMI_SPINS : SMI_SPINS_IN_A_CROWD;
  for (int64_t part = 0; status == SMALTI_OK && part < parts; part++) {
    for (size_t i = 0; i < m->input_count + m->output_count; i++) {
      const smalti_tensor *t = i < m->input_count ? &inputs[i] : &outputs[i - m->input_count];
      s->tensors[i] = (uint64_t)(uintptr_t)t->data + (uint64_t)part * (t->bytes / (uint64_t)parts);
    }
    memset(s->counters, 0, s->counter_bytes);
    status = engine->parallel_for == NULL
                 ? smi_team_run(&s->team, s->context, plan->threads, error)
                 : smi_team_lend(&s->team, s->context, plan->threads, engine->parallel_for, engine->pool, error);
  }
  return status;
}

static smalti_status run_locked(smalti_engine *engine, state *s, const smalti_tensor *inputs,
                                const smalti_tensor *outputs, const smalti_shape *shapes, smalti_error *error) {
  const smi_plan *plan = NULL;
  int64_t parts;
  smalti_status status = plan_inputs(engine, s, shapes, smalti_engine_threads(engine), &plan, &parts, error);
  if (status != SMALTI_OK) return status;
  status = check_tensors(&engine->model->manifest, plan, parts, inputs, outputs, error);
  return status == SMALTI_OK ? run_parts(engine, s, plan, parts, inputs, outputs, error) : status;
}

smalti_status smalti_engine_run(smalti_engine *engine, const smalti_tensor *inputs, size_t input_count,
                                const smalti_tensor *outputs, size_t output_count, smalti_error *error) {
  if (engine == NULL || inputs == NULL || outputs == NULL) {
    return smi_fail(error, SMALTI_USAGE, "engine, inputs and outputs must not be NULL");
  }
  const smi_manifest *m = &engine->model->manifest;
  if (input_count != m->input_count) return wrong_count("inputs", m->input_count, input_count, error);
  if (output_count != m->output_count) return wrong_count("outputs", m->output_count, output_count, error);
  smalti_shape few[8], *shapes = few;
  if (input_count > 8) {
    shapes = calloc(input_count, sizeof(*shapes));
    if (shapes == NULL) return smi_no_memory(error, "the shapes of the inputs");
  }
  for (size_t i = 0; i < input_count; i++) shapes[i] = inputs[i].shape;
  state *s;
  smalti_status status = lock_state(engine, &s, error);
  if (status == SMALTI_OK) {
    status = run_locked(engine, s, inputs, outputs, shapes, error);
    (void)pthread_mutex_unlock(&s->lock);
  }
  if (shapes != few) free(shapes);
  return status;
}
