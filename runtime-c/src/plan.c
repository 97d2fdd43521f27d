/* SPDX-License-Identifier: Apache-2.0 */
/* What a run needs to know about one set of input shapes: sizes, placement of the temporaries, output shapes. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define SCALE_DOWN "scale the image down to that (`smalti infer --resize fit` does)"
#define STRETCH "scale the image to that (`smalti infer --resize stretch` does)"

/* ---- sizes ------------------------------------------------------------------------------------------------------- */

static bool divide(int64_t a, int64_t b, int64_t *value) {
  if (b == 0) return false;
  if (b == -1) return !__builtin_sub_overflow((int64_t)0, a, value); /* what C cannot compute is what does not fit */
  int64_t rest = a % b;
  *value = a / b - (rest != 0 && (rest < 0) != (b < 0)); /* towards minus infinity */
  return true;
}

bool smi_dim_value(const smi_dim *dim, const int64_t *values, const int64_t *symbols, int64_t *value) {
  if (dim->op == SMI_CONST || dim->op == SMI_SYMBOL) {
    *value = dim->op == SMI_CONST ? dim->a : symbols[dim->a];
    return true;
  }
  int64_t a = values[dim->a], b = values[dim->b];
  switch (dim->op) {
    case SMI_ADD: return !__builtin_add_overflow(a, b, value);
    case SMI_MUL: return !__builtin_mul_overflow(a, b, value);
    case SMI_FLOORDIV: return divide(a, b, value);
    case SMI_MAX: *value = a > b ? a : b; return true;
    case SMI_MIN: *value = a < b ? a : b; return true;
    case SMI_CONST:
    case SMI_SYMBOL: break;
  }
  return false;
}

static const char *op_name(smi_op op) {
  static const char *const names[] = {SMI_OP_NAMES};
  return names[op];
}

static const smi_dim *dim_of(const smi_manifest *m, const smi_tensor *tensor, size_t axis) {
  return &m->dims[tensor->shape.at[axis]];
}

/* The limits of the symbol of an axis, unless an axis before it has the same. */
static void add_limits(smi_text *text, const smi_manifest *m, const smi_tensor *tensor, size_t axis) {
  const smi_dim *dim = dim_of(m, tensor, axis);
  for (size_t before = 0; before < axis; before++) {
    const smi_dim *other = dim_of(m, tensor, before);
    if (other->op == SMI_SYMBOL && other->a == dim->a) return;
  }
  const smi_symbol *symbol = &m->symbols[dim->a];
  const char *from = symbol->maximum < 0 ? "at least" : "from";
  smi_add(text, ", %s %s %lld", symbol->name.text, from, (long long)symbol->minimum);
  if (symbol->maximum >= 0) smi_add(text, " to %lld", (long long)symbol->maximum);
  if (symbol->multiple > 1) smi_add(text, " in multiples of %lld", (long long)symbol->multiple);
}

void smi_add_expected_shape(smi_text *text, const smi_manifest *m, const smi_tensor *tensor) {
  smi_add(text, "[");
  for (size_t axis = 0; axis < tensor->shape.count; axis++) {
    const smi_dim *dim = dim_of(m, tensor, axis);
    if (axis > 0) smi_add(text, ", ");
    if (dim->op == SMI_CONST) {
      smi_add(text, "%lld", (long long)dim->a);
    } else {
      smi_add(text, "%s", dim->op == SMI_SYMBOL ? m->symbols[dim->a].name.text : "?");
    }
  }
  smi_add(text, "]");
  for (size_t axis = 0; axis < tensor->shape.count; axis++) {
    if (dim_of(m, tensor, axis)->op == SMI_SYMBOL) add_limits(text, m, tensor, axis);
  }
}

static smalti_status refuse(smalti_error *error, const smi_text *text) {
  return smi_fail_text(error, SMALTI_INPUT, text);
}

static smalti_status check_limits(const smi_symbol *symbol, int64_t size, const smi_tensor *tensor, size_t axis,
                                  smalti_error *error) {
  smi_text text;
  smi_start(&text);
  smi_add(&text, "input ");
  smi_add_quoted(&text, tensor->name.text, tensor->name.bytes, SIZE_MAX);
  smi_add(&text, ": dimension %zu (%s) must be ", axis, symbol->name.text);
  if (size < symbol->minimum) {
    smi_add(&text, "at least %lld, got %lld", (long long)symbol->minimum, (long long)size);
  } else if (symbol->maximum >= 0 && size > symbol->maximum) {
    smi_add(&text, "at most %lld, got %lld: %s", (long long)symbol->maximum, (long long)size, SCALE_DOWN);
  } else if (size % symbol->multiple != 0) {
    smi_add(&text, "a multiple of %lld, got %lld", (long long)symbol->multiple, (long long)size);
  } else {
    return SMALTI_OK;
  }
  return refuse(error, &text);
}

static smalti_status wrong_rank(const smi_manifest *m, const smi_tensor *tensor, const smalti_shape *shape,
                                smalti_error *error) {
  smi_text text;
  smi_start(&text);
  smi_add(&text, "input ");
  smi_add_quoted(&text, tensor->name.text, tensor->name.bytes, SIZE_MAX);
  smi_add(&text, " needs %zu dimensions ", tensor->shape.count);
  smi_add_expected_shape(&text, m, tensor);
  smi_add(&text, ", got shape ");
  smi_add_sizes(&text, shape->dims, (size_t)shape->rank);
  return refuse(error, &text);
}

/* `symbols` start at 0: not known.  No accepted size is. */
static smalti_status bind_symbols(const smi_manifest *m, const smalti_shape *inputs, int64_t *symbols,
                                  smalti_error *error) {
  for (size_t i = 0; i < m->input_count; i++) {
    const smi_tensor *tensor = &m->inputs[i];
    if ((size_t)inputs[i].rank != tensor->shape.count) return wrong_rank(m, tensor, &inputs[i], error);
    for (size_t axis = 0; axis < tensor->shape.count; axis++) {
      const smi_dim *dim = &m->dims[tensor->shape.at[axis]];
      if (dim->op != SMI_SYMBOL) continue;
      int64_t size = inputs[i].dims[axis];
      smalti_status status = check_limits(&m->symbols[dim->a], size, tensor, axis, error);
      if (status != SMALTI_OK) return status;
      if (symbols[dim->a] != 0 && symbols[dim->a] != size) {
        smi_text text;
        smi_start(&text);
        smi_add(&text, "input ");
        smi_add_quoted(&text, tensor->name.text, tensor->name.bytes, SIZE_MAX);
        smi_add(&text, ": dimension %zu (%s) must be %lld, got %lld", axis, m->symbols[dim->a].name.text,
                (long long)symbols[dim->a], (long long)size);
        return refuse(error, &text);
      }
      symbols[dim->a] = size;
    }
  }
  return SMALTI_OK;
}

static smalti_status evaluate(const smi_manifest *m, const int64_t *symbols, int64_t *dims, smalti_error *error) {
  for (size_t i = 0; i < m->dim_count; i++) {
    if (!smi_dim_value(&m->dims[i], dims, symbols, &dims[i])) {
      return smi_fail(error, SMALTI_INPUT, "these input sizes cannot be computed with (dims[%zu], %s)", i,
                      op_name(m->dims[i].op));
    }
  }
  return SMALTI_OK;
}

/* ---- checks ------------------------------------------------------------------------------------------------------ */

static smalti_status check_input(const smi_manifest *m, const smi_tensor *tensor, const smalti_shape *shape,
                                 const int64_t *dims, smalti_error *error) {
  bool same = true, differs_in_size = tensor->shape.count == 4;
  for (size_t axis = 0; axis < tensor->shape.count; axis++) {
    if (dims[tensor->shape.at[axis]] == shape->dims[axis]) continue;
    same = false;
    differs_in_size = differs_in_size && (axis == 1 || axis == 2);
  }
  if (same) return SMALTI_OK;
  smi_text text;
  smi_start(&text);
  smi_add(&text, "input ");
  smi_add_quoted(&text, tensor->name.text, tensor->name.bytes, SIZE_MAX);
  smi_add(&text, " must have shape ");
  smi_add_expected_shape(&text, m, tensor);
  smi_add(&text, ", got ");
  smi_add_sizes(&text, shape->dims, (size_t)shape->rank);
  if (differs_in_size) smi_add(&text, ": %s", STRETCH);
  return refuse(error, &text);
}

/* Whether a size is below 1 because of the input; one that is always 0 is the graph's own wish. */
static bool too_small(const smi_manifest *m, const smi_indices *indices, const int64_t *dims) {
  for (size_t i = 0; i < indices->count; i++) {
    if (dims[indices->at[i]] < 1 && m->dims[indices->at[i]].op != SMI_CONST) return true;
  }
  return false;
}

static void add_values(smi_text *text, const smi_indices *indices, const int64_t *dims) {
  smi_add(text, "[");
  for (size_t i = 0; i < indices->count && text->used + 1 < sizeof(text->bytes); i++) {
    smi_add(text, i == 0 ? "%lld" : ", %lld", (long long)dims[indices->at[i]]);
  }
  smi_add(text, "]");
}

static smalti_status check_step(const smi_manifest *m, const smi_step *step, const int64_t *dims,
                                smalti_error *error) {
  bool shape = too_small(m, &step->shape, dims);
  if (!shape && !too_small(m, &step->inner, dims)) return SMALTI_OK;
  smi_text text;
  smi_start(&text);
  smi_add(&text, "these input sizes are too small for this model: ");
  smi_add_quoted(&text, step->name.text, step->name.bytes, SIZE_MAX);
  smi_add(&text, " would have %s ", shape ? "shape" : "sizes inside");
  add_values(&text, shape ? &step->shape : &step->inner, dims);
  return refuse(error, &text);
}

static smalti_status output_shape(const smi_manifest *m, const smi_tensor *tensor, const int64_t *dims,
                                  smalti_shape *shape, smalti_error *error) {
  bool small = too_small(m, &tensor->shape, dims), large = false, empty = false;
  uint64_t bytes = smalti_dtype_bytes(tensor->dtype);
  shape->rank = (int32_t)tensor->shape.count;
  for (size_t axis = 0; axis < tensor->shape.count; axis++) {
    int64_t size = dims[tensor->shape.at[axis]];
    shape->dims[axis] = size;
    empty = empty || size == 0;
    large = large || (size > 0 && __builtin_mul_overflow(bytes, (uint64_t)size, &bytes));
  }
  large = !empty && (large || bytes > SMI_WORKSPACE_BYTES);
  if (!small && !large) return SMALTI_OK;
  smi_text text;
  smi_start(&text);
  smi_add(&text, "these input sizes are too %s: output ", small ? "small" : "large");
  smi_add_quoted(&text, tensor->name.text, tensor->name.bytes, SIZE_MAX);
  smi_add(&text, " would have shape ");
  add_values(&text, &tensor->shape, dims);
  return refuse(error, &text);
}

static void add_number(smi_text *text, smi_u128 number) {
  char digits[40];
  size_t at = sizeof(digits);
  do {
    digits[--at] = (char)('0' + (int)(number % 10));
    number /= 10;
  } while (number > 0);
  smi_add(text, "%.*s", (int)(sizeof(digits) - at), digits + at);
}

static smalti_status place(const smi_manifest *m, smi_plan *plan, uint64_t *sizes, smalti_error *error) {
  smi_u128 sum = 0;
  for (size_t i = 0; i < m->arena_count; i++) {
    int64_t size = plan->dims[m->arena[i].size];
    if (size < 0) return smi_fail(error, SMALTI_INPUT, "these input sizes are too small for this model: give larger arrays");
    sum += (smi_u128)(uint64_t)size * (uint64_t)(m->arena[i].per_thread ? plan->threads : 1);
  }
  if (sum > SMI_WORKSPACE_BYTES) {
    smi_text text;
    smi_start(&text);
    smi_add(&text, "these input sizes need ");
    add_number(&text, sum);
    smi_add(&text, " bytes of workspace, more than any machine has");
    return refuse(error, &text);
  }
  for (size_t i = 0; i < m->arena_count; i++) {
    sizes[i] = (uint64_t)plan->dims[m->arena[i].size] * (uint64_t)(m->arena[i].per_thread ? plan->threads : 1);
  }
  return smi_arena_place(m->arena, sizes, m->arena_count, plan->offsets, &plan->workspace_bytes, error);
}

/* ---- plans ------------------------------------------------------------------------------------------------------- */

static void free_plan(smi_plan *plan) {
  if (plan == NULL) return;
  free(plan->dims);
  free(plan->offsets);
  free(plan->inputs);
  free(plan->outputs);
  free(plan);
}

static void *some(size_t count, size_t size) { return calloc(count > 0 ? count : 1, size); }

static smalti_status fill(smi_plan *plan, const smi_manifest *m, const smalti_shape *inputs, int64_t *symbols,
                          uint64_t *sizes, smalti_error *error) {
  smalti_status status = bind_symbols(m, inputs, symbols, error);
  if (status == SMALTI_OK) status = evaluate(m, symbols, plan->dims, error);
  for (size_t i = 0; status == SMALTI_OK && i < m->input_count; i++) {
    status = check_input(m, &m->inputs[i], &inputs[i], plan->dims, error);
    plan->inputs[i] = inputs[i];
  }
  for (size_t i = 0; status == SMALTI_OK && i < m->step_count; i++) {
    status = check_step(m, &m->steps[i], plan->dims, error);
  }
  for (size_t i = 0; status == SMALTI_OK && i < m->output_count; i++) {
    status = output_shape(m, &m->outputs[i], plan->dims, &plan->outputs[i], error);
  }
  return status == SMALTI_OK ? place(m, plan, sizes, error) : status;
}

static smalti_status make_plan(const smi_manifest *m, const smalti_shape *inputs, int64_t threads, smi_plan **out,
                               smalti_error *error) {
  smalti_status status = SMALTI_OK;
  smi_plan *plan = calloc(1, sizeof(*plan));
  int64_t *symbols = some(m->symbol_count, sizeof(*symbols));
  uint64_t *sizes = some(m->arena_count, sizeof(*sizes));
  if (plan != NULL) {
    plan->threads = threads;
    plan->dims = some(m->dim_count, sizeof(*plan->dims));
    plan->offsets = some(m->arena_count, sizeof(*plan->offsets));
    plan->inputs = some(m->input_count, sizeof(*plan->inputs));
    plan->outputs = some(m->output_count, sizeof(*plan->outputs));
  }
  if (plan == NULL || symbols == NULL || sizes == NULL || plan->dims == NULL || plan->offsets == NULL ||
      plan->inputs == NULL || plan->outputs == NULL) {
    status = smi_no_memory(error, "a plan");
  } else {
    status = fill(plan, m, inputs, symbols, sizes, error);
  }
  free(symbols);
  free(sizes);
  if (status != SMALTI_OK) {
    free_plan(plan);
    return status;
  }
  *out = plan;
  return SMALTI_OK;
}

static bool is_plan_for(const smi_plan *plan, const smi_manifest *m, const smalti_shape *inputs, int64_t threads) {
  if (plan == NULL || plan->threads != threads) return false;
  for (size_t i = 0; i < m->input_count; i++) {
    const smalti_shape *a = &plan->inputs[i], *b = &inputs[i];
    if (a->rank != b->rank || memcmp(a->dims, b->dims, (size_t)a->rank * sizeof(a->dims[0])) != 0) return false;
  }
  return true;
}

smalti_status smi_plan_get(smi_plans *plans, const smi_manifest *manifest, const smalti_shape *inputs,
                           int64_t threads, const smi_plan **plan, smalti_error *error) {
  size_t oldest = 0;
  for (size_t i = 0; i < SMI_PLANS; i++) {
    smi_plan *cached = plans->cached[i];
    if (is_plan_for(cached, manifest, inputs, threads)) {
      cached->used = ++plans->clock;
      *plan = cached;
      return SMALTI_OK;
    }
    const smi_plan *old = plans->cached[oldest];
    if (old != NULL && (cached == NULL || cached->used < old->used)) oldest = i;
  }
  smi_plan *made = NULL;
  smalti_status status = make_plan(manifest, inputs, threads, &made, error);
  if (status != SMALTI_OK) return status;
  free_plan(plans->cached[oldest]);
  plans->cached[oldest] = made;
  made->used = ++plans->clock;
  *plan = made;
  return SMALTI_OK;
}

void smi_plans_free(smi_plans *plans) {
  for (size_t i = 0; i < SMI_PLANS; i++) free_plan(plans->cached[i]);
  memset(plans, 0, sizeof(*plans));
}
