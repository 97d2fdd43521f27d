/* SPDX-License-Identifier: Apache-2.0 */
/* What an offline model file says about itself: schema, types and every index are checked; unknown keys are refused. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* A place in the document, for messages: "steps[3].shape[1]". */
typedef struct place {
  const struct place *up;
  const char *key; /* NULL: an item of a list */
  size_t index;
} place;

typedef struct reader {
  smi_document document;
  smi_manifest *manifest;
  smalti_error *error;
} reader;

#define TRY(call)                                \
  do {                                           \
    smalti_status try_status = (call);           \
    if (try_status != SMALTI_OK) return try_status; \
  } while (0)

static void add_place(smi_text *text, const place *where) {
  if (where->up != NULL) add_place(text, where->up);
  if (where->key == NULL) {
    smi_add(text, "[%zu]", where->index);
  } else {
    smi_add(text, where->up != NULL ? ".%s" : "%s", where->key);
  }
}

static smalti_status bad(reader *r, const char *what) {
  smi_fail(r->error, SMALTI_DAMAGED, "the file is damaged: its manifest %s", what);
  return SMALTI_DAMAGED;
}

static smalti_status bad_at(reader *r, const char *what, const place *where) {
  smi_text text;
  smi_start(&text);
  smi_add(&text, "the file is damaged: its manifest %s ", what);
  add_place(&text, where);
  smi_fail_text(r->error, SMALTI_DAMAGED, &text);
  return SMALTI_DAMAGED;
}

static smalti_status bad_item(reader *r, const char *what, const char *list, size_t index) {
  return smi_fail(r->error, SMALTI_DAMAGED, "the file is damaged: its manifest %s (%s[%zu])", what, list, index);
}

/* ---- single values ----------------------------------------------------------------------------------------------- */

static smalti_status read_integer(reader *r, const smi_json *value, const place *where, int64_t *out) {
  if (value->kind != SMI_INTEGER) return bad_at(r, "needs a 64-bit integer at", where);
  *out = value->value.integer;
  return SMALTI_OK;
}

static smalti_status read_natural(reader *r, const smi_json *value, const place *where, int64_t *out) {
  TRY(read_integer(r, value, where, out));
  return *out < 0 ? bad_at(r, "has a negative number at", where) : SMALTI_OK;
}

static smalti_status read_positive(reader *r, const smi_json *value, const place *where, int64_t *out) {
  TRY(read_integer(r, value, where, out));
  return *out < 1 ? bad_at(r, "needs a positive number at", where) : SMALTI_OK;
}

/* -1 for null. */
static smalti_status read_limit(reader *r, const smi_json *value, const place *where, int64_t *out) {
  *out = -1;
  return value->kind == SMI_NULL ? SMALTI_OK : read_positive(r, value, where, out);
}

static smalti_status read_flag(reader *r, const smi_json *value, const place *where, bool *out) {
  if (value->kind != SMI_TRUE && value->kind != SMI_FALSE) return bad_at(r, "needs true or false at", where);
  *out = value->kind == SMI_TRUE;
  return SMALTI_OK;
}

/* The text stays in the document. */
static smalti_status view_text(reader *r, const smi_json *value, const place *where, smi_name *out) {
  if (value->kind == SMI_TEXT) {
    *out = (smi_name){r->document.texts + value->value.text.at, value->value.text.bytes};
    if (out->bytes <= SMI_NAME_CHARACTERS || smi_characters(out->text, out->bytes) <= SMI_NAME_CHARACTERS) return SMALTI_OK;
  }
  return bad_at(r, "needs a text of at most " SMI_TEXT_OF(SMI_NAME_CHARACTERS) " characters at", where);
}

static smalti_status read_text(reader *r, const smi_json *value, const place *where, smi_name *out) {
  smi_name text = {NULL, 0};
  TRY(view_text(r, value, where, &text));
  out->text = smi_take_text(&r->manifest->pool, text.text, text.bytes);
  out->bytes = text.bytes;
  return out->text == NULL ? smi_no_memory(r->error, "the manifest") : SMALTI_OK;
}

/* ---- objects and lists ------------------------------------------------------------------------------------------- */

static smalti_status need_object(reader *r, const smi_json *value, const place *where) {
  return value->kind == SMI_OBJECT ? SMALTI_OK : bad_at(r, "needs an object at", where);
}

static smi_json *first_item(reader *r, const smi_json *value) {
  return value->value.items.count == 0 ? NULL : &r->document.values[value->value.items.first];
}

static smi_json *next_item(reader *r, const smi_json *item) {
  return item->next == 0 ? NULL : &r->document.values[item->next];
}

static smi_json *find(reader *r, const smi_json *object, const char *key) {
  size_t bytes = strlen(key);
  smi_json *item = first_item(r, object);
  while (item != NULL && (item->key_bytes != bytes || memcmp(r->document.texts + item->key, key, bytes) != 0)) {
    item = next_item(r, item);
  }
  return item;
}

static smalti_status take(reader *r, const smi_json *object, const place *where, const smi_json **out) {
  smi_json *item = find(r, object, where->key);
  if (item == NULL) return bad_at(r, "lacks", where);
  item->taken = true;
  *out = item;
  return SMALTI_OK;
}

static smalti_status finish(reader *r, const smi_json *object, const place *where) {
  smi_name least = {NULL, 0};
  for (const smi_json *item = first_item(r, object); item != NULL; item = next_item(r, item)) {
    if (item->taken) continue;
    smi_name key = {r->document.texts + item->key, item->key_bytes};
    if (least.text == NULL || smi_compare_names(&key, &least) < 0) least = key;
  }
  if (least.text == NULL) return SMALTI_OK;
  smi_text text;
  smi_start(&text);
  smi_add(&text, "the file is damaged: its manifest has an unknown key ");
  smi_add_quoted(&text, least.text, least.bytes, 80);
  if (where != NULL) {
    smi_add(&text, " in ");
    add_place(&text, where);
  }
  return smi_fail_text(r->error, SMALTI_DAMAGED, &text);
}

/* Read the member `key` of `object` at `where` with `read`. */
#define TAKE(read, object, where, name, out)            \
  do {                                                  \
    const place taken_at = {(where), (name), 0};        \
    const smi_json *taken_value = NULL;                 \
    TRY(take(r, (object), &taken_at, &taken_value));    \
    TRY(read(r, taken_value, &taken_at, (out)));        \
  } while (0)

/* The items of a list, in memory of the manifest. */
static smalti_status start_list(reader *r, const smi_json *value, const place *where, size_t size, void **items,
                                size_t *count) {
  if (value->kind != SMI_LIST) return bad_at(r, "needs a list at", where);
  *count = value->value.items.count;
  *items = smi_take(&r->manifest->pool, *count, size);
  return *items == NULL ? smi_no_memory(r->error, "the manifest") : SMALTI_OK;
}

#define READ_LIST(read, value, where, type, items, count)                                             \
  do {                                                                                                \
    void *list_items;                                                                                 \
    TRY(start_list(r, (value), (where), sizeof(type), &list_items, &(count)));                        \
    type *list_at = list_items;                                                                       \
    (items) = list_at;                                                                                \
    place list_place = {(where), NULL, 0};                                                            \
    for (const smi_json *item = first_item(r, (value)); item != NULL; item = next_item(r, item)) {    \
      TRY(read(r, item, &list_place, list_at++));                                                     \
      list_place.index++;                                                                             \
    }                                                                                                 \
  } while (0)

static smalti_status read_indices(reader *r, const smi_json *value, const place *where, smi_indices *out) {
  READ_LIST(read_natural, value, where, int64_t, out->at, out->count);
  return SMALTI_OK;
}

static smalti_status read_shape(reader *r, const smi_json *value, const place *where, smi_indices *out) {
  TRY(read_indices(r, value, where, out));
  return out->count > SMALTI_MAX_RANK ? bad_at(r, "has more than " SMI_TEXT_OF(SMALTI_MAX_RANK) " dimensions at", where) : SMALTI_OK;
}

/* ---- the parts of a manifest ------------------------------------------------------------------------------------- */

static bool is_name(const smi_name *name, const char *text) {
  return name->bytes == strlen(text) && memcmp(name->text, text, name->bytes) == 0;
}

static smalti_status read_dtype(reader *r, const smi_json *value, const place *where, smalti_dtype *out) {
  smi_name name = {NULL, 0};
  TRY(view_text(r, value, where, &name));
  for (int dtype = SMALTI_FLOAT32; dtype <= SMALTI_UINT64; dtype++) {
    if (is_name(&name, smalti_dtype_name((smalti_dtype)dtype))) {
      *out = (smalti_dtype)dtype;
      return SMALTI_OK;
    }
  }
  return bad_at(r, "has an unknown element type at", where);
}

static smalti_status read_dim(reader *r, const smi_json *value, const place *where, smi_dim *out) {
  static const char *const names[] = {SMI_OP_NAMES};
  if (value->kind != SMI_LIST || value->value.items.count == 0) return bad_at(r, "needs an instruction at", where);
  const smi_json *first = first_item(r, value);
  smi_name name = {NULL, 0};
  TRY(view_text(r, first, where, &name));
  int op = 0;
  while (op < SMI_OPS && !is_name(&name, names[op])) op++;
  if (op == SMI_OPS) return bad_at(r, "has an unknown instruction at", where);
  out->op = (smi_op)op;
  uint32_t operands = op <= SMI_SYMBOL ? 1 : 2;
  if (value->value.items.count != operands + 1) {
    return bad_at(r, "has an instruction with the wrong number of operands at", where);
  }
  const smi_json *a = next_item(r, first);
  if (op == SMI_CONST) return read_integer(r, a, where, &out->a);
  TRY(read_natural(r, a, where, &out->a));
  return operands == 2 ? read_natural(r, next_item(r, a), where, &out->b) : SMALTI_OK;
}

static smalti_status read_symbol(reader *r, const smi_json *value, const place *where, smi_symbol *out) {
  TRY(need_object(r, value, where));
  TAKE(read_text, value, where, "name", &out->name);
  TAKE(read_positive, value, where, "min", &out->minimum);
  TAKE(read_limit, value, where, "max", &out->maximum);
  TAKE(read_positive, value, where, "multiple", &out->multiple);
  TRY(finish(r, value, where));
  return out->maximum >= 0 && out->maximum < out->minimum ? bad_at(r, "has an empty range at", where) : SMALTI_OK;
}

static smalti_status read_tensor(reader *r, const smi_json *value, const place *where, smi_tensor *out) {
  TRY(need_object(r, value, where));
  TAKE(read_text, value, where, "name", &out->name);
  TAKE(read_dtype, value, where, "dtype", &out->dtype);
  TAKE(read_shape, value, where, "shape", &out->shape);
  return finish(r, value, where);
}

static smalti_status read_buffer(reader *r, const smi_json *value, const place *where, smi_buffer *out) {
  smi_name name = {NULL, 0};
  TRY(need_object(r, value, where));
  TAKE(view_text, value, where, "name", &name);
  TAKE(read_natural, value, where, "size", &out->size);
  TAKE(read_natural, value, where, "first", &out->first);
  TAKE(read_natural, value, where, "last", &out->last);
  TAKE(read_flag, value, where, "per_thread", &out->per_thread);
  return finish(r, value, where);
}

static smalti_status read_step(reader *r, const smi_json *value, const place *where, smi_step *out) {
  smi_name text = {NULL, 0};
  TRY(need_object(r, value, where));
  TAKE(read_text, value, where, "name", &out->name);
  TAKE(view_text, value, where, "kernel", &text);
  TAKE(view_text, value, where, "op", &text);
  TAKE(read_shape, value, where, "shape", &out->shape);
  TAKE(read_natural, value, where, "macs", &out->macs);
  TAKE(read_natural, value, where, "bytes", &out->bytes);
  TAKE(read_indices, value, where, "inner", &out->inner);
  return finish(r, value, where);
}

static smalti_status read_team(reader *r, const smi_json *value, const place *where, smi_manifest *out) {
  TRY(need_object(r, value, where));
  TAKE(read_natural, value, where, "drive", &out->drive);
  TAKE(read_natural, value, where, "serve", &out->serve);
  return finish(r, value, where);
}

static smalti_status read_features(reader *r, const smi_json *value, const place *where, smi_manifest *out) {
  READ_LIST(read_text, value, where, smi_name, out->features, out->feature_count);
  return SMALTI_OK;
}

static smalti_status read_labels(reader *r, const smi_json *value, const place *where, smi_manifest *out) {
  if (value->kind == SMI_NULL) return SMALTI_OK;
  READ_LIST(read_text, value, where, smi_name, out->labels, out->label_count);
  return SMALTI_OK;
}

static smalti_status read_dims(reader *r, const smi_json *value, const place *where, smi_manifest *out) {
  READ_LIST(read_dim, value, where, smi_dim, out->dims, out->dim_count);
  return SMALTI_OK;
}

static smalti_status read_symbols(reader *r, const smi_json *value, const place *where, smi_manifest *out) {
  READ_LIST(read_symbol, value, where, smi_symbol, out->symbols, out->symbol_count);
  return SMALTI_OK;
}

static smalti_status read_inputs(reader *r, const smi_json *value, const place *where, smi_manifest *out) {
  READ_LIST(read_tensor, value, where, smi_tensor, out->inputs, out->input_count);
  return SMALTI_OK;
}

static smalti_status read_outputs(reader *r, const smi_json *value, const place *where, smi_manifest *out) {
  READ_LIST(read_tensor, value, where, smi_tensor, out->outputs, out->output_count);
  return SMALTI_OK;
}

static smalti_status read_arena(reader *r, const smi_json *value, const place *where, smi_manifest *out) {
  READ_LIST(read_buffer, value, where, smi_buffer, out->arena, out->arena_count);
  return SMALTI_OK;
}

static smalti_status read_steps(reader *r, const smi_json *value, const place *where, smi_manifest *out) {
  READ_LIST(read_step, value, where, smi_step, out->steps, out->step_count);
  return SMALTI_OK;
}

/* Free-form objects: the few members that the runtime looks at are taken where they are what they should be. */

static smalti_status read_any(reader *r, const smi_json *value, const place *where, smi_manifest *out) {
  (void)out;
  return need_object(r, value, where);
}

static smalti_status keep_text(reader *r, const smi_json *object, const char *key, smi_name *out) {
  const smi_json *item = find(r, object, key);
  if (item == NULL || item->kind != SMI_TEXT) return SMALTI_OK;
  out->bytes = item->value.text.bytes;
  out->text = smi_take_text(&r->manifest->pool, r->document.texts + item->value.text.at, out->bytes);
  return out->text == NULL ? smi_no_memory(r->error, "the manifest") : SMALTI_OK;
}

static smalti_status read_graph(reader *r, const smi_json *value, const place *where, smi_manifest *out) {
  TRY(need_object(r, value, where));
  return keep_text(r, value, "name", &out->graph);
}

static smalti_status read_preprocess(reader *r, const smi_json *value, const place *where, smi_manifest *out) {
  TRY(need_object(r, value, where));
  const smi_json *size = find(r, value, "input_size");
  if (size != NULL && size->kind == SMI_INTEGER && size->value.integer > 0) out->input_size = size->value.integer;
  return keep_text(r, value, "resize", &out->resize);
}

static smalti_status read_format(reader *r, const smi_json *value, const place *where, smi_manifest *out) {
  (void)out;
  smi_name name = {NULL, 0};
  TRY(view_text(r, value, where, &name));
  return is_name(&name, SMI_MANIFEST_FORMAT) ? SMALTI_OK : bad(r, "has an unknown format name");
}

static smalti_status read_record(reader *r) {
  const smi_json *top = r->document.values;
  smi_manifest *m = r->manifest;
  if (top->kind != SMI_OBJECT) return bad(r, "is not a JSON object");
  TAKE(read_format, top, NULL, "format", m);
  TAKE(read_dims, top, NULL, "dims", m);
  TAKE(read_symbols, top, NULL, "symbols", m);
  TAKE(read_steps, top, NULL, "steps", m);
  TAKE(read_text, top, NULL, "target", &m->target);
  TAKE(read_features, top, NULL, "features", m);
  TAKE(read_inputs, top, NULL, "inputs", m);
  TAKE(read_outputs, top, NULL, "outputs", m);
  TAKE(read_natural, top, NULL, "entry", &m->entry);
  TAKE(read_team, top, NULL, "team", m);
  TAKE(read_arena, top, NULL, "arena", m);
  TAKE(read_text, top, NULL, "precision", &m->precision);
  TAKE(read_limit, top, NULL, "batch_size", &m->batch_size);
  TAKE(read_flag, top, NULL, "shape_mutable", &m->shape_mutable);
  TAKE(read_labels, top, NULL, "labels", m);
  TAKE(read_any, top, NULL, "producer", m);
  TAKE(read_graph, top, NULL, "graph", m);
  TAKE(read_preprocess, top, NULL, "preprocess", m);
  TAKE(read_any, top, NULL, "quantisation", m);
  TAKE(read_any, top, NULL, "report", m);
  return finish(r, top, NULL);
}

/* ---- rules between the parts ------------------------------------------------------------------------------------- */

static smalti_status check_dims(reader *r, const smi_manifest *m) {
  for (size_t i = 0; i < m->dim_count; i++) {
    const smi_dim *dim = &m->dims[i];
    if (dim->op > SMI_SYMBOL && ((uint64_t)dim->a >= i || (uint64_t)dim->b >= i)) {
      return bad_item(r, "uses a size before it is computed", "dims", i);
    }
    if (dim->op == SMI_SYMBOL && (uint64_t)dim->a >= m->symbol_count) {
      return bad_item(r, "uses a symbol that does not exist", "dims", i);
    }
  }
  return SMALTI_OK;
}

static bool all_exist(const smi_manifest *m, const smi_indices *indices) {
  for (size_t i = 0; i < indices->count; i++) {
    if ((uint64_t)indices->at[i] >= m->dim_count) return false;
  }
  return true;
}

static smalti_status check_indices(reader *r, const smi_manifest *m) {
  static const char what[] = "uses a size that does not exist";
  for (size_t i = 0; i < m->input_count; i++) {
    if (!all_exist(m, &m->inputs[i].shape)) return bad_item(r, what, "inputs", i);
  }
  for (size_t i = 0; i < m->output_count; i++) {
    if (!all_exist(m, &m->outputs[i].shape)) return bad_item(r, what, "outputs", i);
  }
  for (size_t i = 0; i < m->step_count; i++) {
    const smi_step *step = &m->steps[i];
    bool exist = (uint64_t)step->macs < m->dim_count && (uint64_t)step->bytes < m->dim_count;
    if (!exist || !all_exist(m, &step->shape) || !all_exist(m, &step->inner)) return bad_item(r, what, "steps", i);
  }
  for (size_t i = 0; i < m->arena_count; i++) {
    if ((uint64_t)m->arena[i].size >= m->dim_count) return bad_item(r, what, "arena", i);
  }
  for (size_t i = 0; i < m->arena_count; i++) {
    const smi_buffer *b = &m->arena[i];
    if (b->first > b->last || (uint64_t)b->last >= m->step_count) {
      return bad_item(r, "has a buffer with impossible steps", "arena", i);
    }
  }
  return SMALTI_OK;
}

static smalti_status check_unique(reader *r, const char *what, const void *first, size_t count, size_t stride) {
  if (count < 2) return SMALTI_OK;
  smi_name *names = malloc(count * sizeof(*names));
  if (names == NULL) return smi_no_memory(r->error, "the manifest");
  const unsigned char *at = first; /* each record starts with its name */
  for (size_t i = 0; i < count; i++) memcpy(&names[i], at + i * stride, sizeof(*names));
  qsort(names, count, sizeof(*names), smi_compare_names);
  bool repeats = false;
  for (size_t i = 1; i < count; i++) repeats = repeats || smi_compare_names(&names[i - 1], &names[i]) == 0;
  free(names);
  if (!repeats) return SMALTI_OK;
  return smi_fail(r->error, SMALTI_DAMAGED, "the file is damaged: its manifest names two of its %s alike", what);
}

static smalti_status check_names(reader *r, const smi_manifest *m) {
  _Static_assert(offsetof(smi_tensor, name) == 0 && offsetof(smi_symbol, name) == 0, "names come first");
  TRY(check_unique(r, "inputs", m->inputs, m->input_count, sizeof(*m->inputs)));
  TRY(check_unique(r, "outputs", m->outputs, m->output_count, sizeof(*m->outputs)));
  TRY(check_unique(r, "symbols", m->symbols, m->symbol_count, sizeof(*m->symbols)));
  TRY(check_unique(r, "features", m->features, m->feature_count, sizeof(*m->features)));
  for (size_t i = 1; i < m->feature_count; i++) {
    if (smi_compare_names(&m->features[i - 1], &m->features[i]) > 0) return bad(r, "lists its features out of order");
  }
  return SMALTI_OK;
}

static smalti_status check_symbols(reader *r, const smi_manifest *m) {
  if (m->symbol_count == 0) return SMALTI_OK;
  bool *bound = calloc(m->symbol_count, sizeof(*bound));
  if (bound == NULL) return smi_no_memory(r->error, "the manifest");
  size_t left = m->symbol_count;
  for (size_t i = 0; i < m->input_count; i++) {
    for (size_t axis = 0; axis < m->inputs[i].shape.count; axis++) {
      const smi_dim *dim = &m->dims[m->inputs[i].shape.at[axis]];
      if (dim->op != SMI_SYMBOL || bound[dim->a]) continue;
      bound[dim->a] = true;
      left--;
    }
  }
  free(bound);
  return left > 0 ? bad(r, "has a symbol that no input shape gives") : SMALTI_OK;
}

static smalti_status check_rules(reader *r) {
  const smi_manifest *m = r->manifest;
  if (m->input_count == 0 || m->output_count == 0 || m->step_count == 0) {
    return bad(r, "has no inputs, no outputs or no steps");
  }
  TRY(check_dims(r, m));
  TRY(check_indices(r, m));
  TRY(check_names(r, m));
  return check_symbols(r, m);
}

smalti_status smi_manifest_parse(const uint8_t *data, size_t bytes, smi_manifest *manifest, smalti_error *error) {
  memset(manifest, 0, sizeof(*manifest));
  manifest->graph.text = manifest->resize.text = "";
  reader r = {.manifest = manifest, .error = error};
  TRY(smi_json_parse(data, bytes, &r.document, error));
  smalti_status status = read_record(&r);
  if (status == SMALTI_OK) status = check_rules(&r);
  smi_json_free(&r.document);
  if (status != SMALTI_OK) smi_manifest_free(manifest);
  return status;
}

void smi_manifest_free(smi_manifest *manifest) {
  smi_pool_free(&manifest->pool);
  memset(manifest, 0, sizeof(*manifest));
}

bool smi_is_batchable(const smi_manifest *manifest, const smi_tensor *tensor) {
  if (tensor->shape.count == 0) return false;
  const smi_dim *dim = &manifest->dims[tensor->shape.at[0]];
  return dim->op == SMI_CONST && dim->a == 1;
}
