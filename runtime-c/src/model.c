/* SPDX-License-Identifier: Apache-2.0 */
/* Models: which program of a file is taken, and what it says about itself. */
#define _POSIX_C_SOURCE 200809L
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* ---- choice of a program ----------------------------------------------------------------------------------------- */

static smalti_status parse_program(const smi_program *program, const char *path, smi_manifest *manifest,
                                   smalti_error *error) {
  smalti_status status = smi_manifest_parse(program->manifest, program->manifest_bytes, manifest, error);
  if (status == SMALTI_OK) {
    int64_t bytes = (int64_t)program->code_bytes;
    bool same = strlen(program->target) == manifest->target.bytes &&
                memcmp(program->target, manifest->target.text, manifest->target.bytes) == 0;
    if (!same) {
      status = smi_fail(error, SMALTI_DAMAGED,
                        "the file is damaged: its code is for another target than its manifest says");
    } else if (manifest->entry >= bytes || manifest->drive >= bytes || manifest->serve >= bytes) {
      status = smi_fail(error, SMALTI_DAMAGED, "the file is damaged: an entry point lies outside the code");
    }
    if (status != SMALTI_OK) smi_manifest_free(manifest);
  }
  if (status == SMALTI_DAMAGED && path != NULL) smi_prefix(error, path);
  return status;
}

/* Find the least part of a target's extensions that is above `last`; false: there is none. */
static bool next_extension(const char *extensions, const smi_name *last, smi_name *out) {
  *out = (smi_name){NULL, 0};
  while (*extensions == '+') {
    smi_name name = {extensions + 1, strcspn(extensions + 1, "+")};
    extensions = name.text + name.bytes;
    bool is_above = last->text == NULL || smi_compare_names(&name, last) > 0;
    if (is_above && (out->text == NULL || smi_compare_names(&name, out) < 0)) *out = name;
  }
  return out->text != NULL;
}

/* Whether two targets are the same but for the order of their extensions. */
static bool is_same_target(const char *a, const char *b) {
  size_t base = strcspn(a, "+");
  if (strlen(a) != strlen(b) || base != strcspn(b, "+") || memcmp(a, b, base) != 0) return false;
  smi_name x = {NULL, 0}, y = {NULL, 0};
  for (;;) {
    smi_name next_x, next_y;
    bool more_x = next_extension(a + base, &x, &next_x), more_y = next_extension(b + base, &y, &next_y);
    if (!more_x || !more_y) return more_x == more_y;
    if (smi_compare_names(&next_x, &next_y) != 0) return false;
    x = next_x;
    y = next_y;
  }
}

/* Programs are parsed one by one: those behind the one that is taken are not even looked at. */
typedef struct choice {
  const smi_contents *contents;
  const char *path; /* NULL: memory */
  smi_manifest first, *taken;
  size_t index;
  smalti_error *error;
} choice;

static smalti_status choose_named(choice *c, const char *wanted) {
  size_t index = 0;
  while (index < c->contents->count && !is_same_target(wanted, c->contents->programs[index].target)) index++;
  if (index == c->contents->count) {
    smi_text text;
    smi_start(&text);
    smi_add(&text, "%s holds no program for ", c->path != NULL ? c->path : "the model");
    smi_add_quoted(&text, wanted, strlen(wanted), SIZE_MAX);
    for (size_t i = 0; i < c->contents->count; i++) {
      smi_add(&text, i == 0 ? ", only for %s" : ", %s", c->contents->programs[i].target);
    }
    return smi_fail_text(c->error, SMALTI_USAGE, &text);
  }
  if (index > 0) {
    smi_manifest_free(&c->first);
    smalti_status status = parse_program(&c->contents->programs[index], c->path, &c->first, c->error);
    if (status != SMALTI_OK) return status;
  }
  c->index = index;
  smi_text text;
  if (!smi_obstacle(&c->first, &text)) return SMALTI_OK;
  smi_describe_target(&c->first, &text);
  return smi_fail_text(c->error, SMALTI_TARGET, &text);
}

static smalti_status choose_best(choice *c) {
  smi_text why, refused;
  smi_start(&refused);
  size_t count = c->contents->count;
  for (size_t i = 0; i < count; i++) {
    if (i > 0) {
      smi_manifest_free(&c->first);
      smalti_status status = parse_program(&c->contents->programs[i], c->path, &c->first, c->error);
      if (status != SMALTI_OK) return status;
    }
    c->index = i;
    if (!smi_obstacle(&c->first, &why)) return SMALTI_OK;
    smi_add(&refused, i == 0 ? "%s %s" : "; %s %s", c->first.target.text, why.bytes);
  }
  if (count == 1) {
    smi_describe_target(&c->first, &why);
    return smi_fail_text(c->error, SMALTI_TARGET, &why);
  }
  char model[128];
  smi_cpu_model(model, sizeof(model));
  return smi_fail(c->error, SMALTI_TARGET,
                  "none of the %zu programs in the model runs on this CPU (%s, %s): %s. Build it again with "
                  "--target native on this machine, or with generic among its targets for any machine",
                  count, model, smi_cpu_arch(), refused.bytes);
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static smalti_status take_code(smalti_model *model, smi_program *program, bool in_place, smalti_error *error) {
  model->code_bytes = program->code_bytes;
  if (in_place) {
    model->code = program->code;
    return SMALTI_OK;
  }
  if (program->region.base != NULL) {
    model->code_region = program->region;
    memset(&program->region, 0, sizeof(program->region));
  } else {
    smalti_status status = smi_map(program->code_bytes, false, "the model's code", &model->code_region, error);
    if (status != SMALTI_OK) return status;
    memcpy(model->code_region.address, program->code, program->code_bytes);
  }
  model->code = model->code_region.address;
  return smi_make_executable(&model->code_region, error);
}

/* Move what is taken out of `contents`. */
static smalti_status fill(smalti_model *model, smi_contents *contents, const smi_program *program,
                          smalti_error *error) {
  static _Alignas(64) const uint8_t nothing[64];
  model->program_count = contents->count;
  for (size_t i = 0; i < contents->count; i++) {
    model->targets[i] = smi_take_text(&model->manifest.pool, contents->programs[i].target,
                                      strlen(contents->programs[i].target));
    if (model->targets[i] == NULL) return smi_no_memory(error, "the model");
  }
  model->text_bytes = program->manifest_bytes;
  model->text = smi_take_text(&model->manifest.pool, (const char *)program->manifest, program->manifest_bytes);
  if (model->text == NULL) return smi_no_memory(error, "the model");
  model->constants = contents->constants != NULL ? contents->constants : nothing;
  model->constants_bytes = contents->constants_bytes;
  model->constants_region = contents->constants_region;
  memset(&contents->constants_region, 0, sizeof(contents->constants_region));
  return SMALTI_OK;
}

static void free_model(smalti_model *model) {
  smi_manifest_free(&model->manifest);
  smi_unmap(&model->code_region);
  smi_unmap(&model->constants_region);
  free(model);
}

/* Make a model of `contents`, and free them. */
static smalti_status make_model(smi_contents *contents, const char *path, const smi_wish *wish, bool in_place,
                                smalti_model **out, smalti_error *error) {
  choice c = {.contents = contents, .path = path, .error = error};
  smalti_model *model = NULL;
  smalti_status status = parse_program(&contents->programs[0], path, &c.first, error);
  if (status == SMALTI_OK) status = wish->target != NULL ? choose_named(&c, wish->target) : choose_best(&c);
  if (status == SMALTI_OK) {
    model = calloc(1, sizeof(*model));
    if (model == NULL) status = smi_no_memory(error, "the model");
  }
  if (status != SMALTI_OK) {
    smi_manifest_free(&c.first);
    smi_contents_free(contents);
    return status;
  }
  atomic_init(&model->references, 1);
  model->manifest = c.first;
  status = fill(model, contents, &contents->programs[c.index], error);
  if (status == SMALTI_OK) status = take_code(model, &contents->programs[c.index], in_place, error);
  smi_contents_free(contents);
  if (status != SMALTI_OK) {
    free_model(model);
    return status;
  }
  *out = model;
  return SMALTI_OK;
}

static smalti_status read_options(const smalti_load_options *options, smi_wish *wish, smalti_error *error) {
  memset(wish, 0, sizeof(*wish));
  int64_t copy = 0;
  smalti_status status = smi_knob("SMALTI_COPY_CONSTANTS", 0, 1, &copy, error);
  if (status != SMALTI_OK) return status;
  if (options != NULL) {
    if (!smi_knows_options(options, options->struct_bytes, sizeof(*options))) {
      return smi_fail(error, SMALTI_USAGE, "these load options are not those of this library: %s",
                      "start with SMALTI_LOAD_OPTIONS_INIT of its own header");
    }
    wish->sha256 = options->sha256;
    wish->target = options->target;
    copy |= options->copy_constants != 0;
  }
  wish->copy_constants = copy != 0;
  return SMALTI_OK;
}

smalti_status smalti_model_open(const char *path, const smalti_load_options *options, smalti_model **model,
                                smalti_error *error) {
  if (path == NULL || model == NULL) return smi_fail(error, SMALTI_USAGE, "path and model must not be NULL");
  smi_wish wish;
  smi_contents contents;
  smalti_status status = read_options(options, &wish, error);
  if (status != SMALTI_OK) return status;
  status = smi_read_file(path, &wish, &contents, error);
  if (status == SMALTI_OK) return make_model(&contents, path, &wish, false, model, error);
  smi_contents_free(&contents);
  return status;
}

smalti_status smalti_model_open_memory(const void *data, size_t bytes, const smalti_load_options *options,
                                       smalti_model **model, smalti_error *error) {
  if ((data == NULL && bytes > 0) || model == NULL) {
    return smi_fail(error, SMALTI_USAGE, "data and model must not be NULL");
  }
  smi_wish wish;
  smi_contents contents;
  smalti_status status = read_options(options, &wish, error);
  if (status != SMALTI_OK) return status;
  status = smi_read_memory(data, bytes, &wish, &contents, error);
  if (status == SMALTI_OK) return make_model(&contents, NULL, &wish, false, model, error);
  smi_contents_free(&contents);
  return status;
}

smalti_status smalti_model_open_static(const smalti_static_model *linked, const smalti_load_options *options,
                                       smalti_model **model, smalti_error *error) {
  if (linked == NULL || model == NULL) return smi_fail(error, SMALTI_USAGE, "linked and model must not be NULL");
  if (linked->abi_version != SMALTI_ABI_VERSION) {
    return smi_fail(error, SMALTI_USAGE, "the linked model was made for ABI version %lu, this library has %u",
                    (unsigned long)linked->abi_version, SMALTI_ABI_VERSION);
  }
  if (linked->program_count < 1 || linked->program_count > SMI_PROGRAMS || linked->programs == NULL ||
      (uintptr_t)linked->constants % 64 != 0 || (linked->constants == NULL && linked->constants_bytes > 0)) {
    return smi_fail(error, SMALTI_USAGE, "the linked model must have 1 to %d programs and constants aligned to 64 bytes",
                    SMI_PROGRAMS);
  }
  smi_wish wish;
  smi_contents contents;
  smalti_status status = read_options(options, &wish, error);
  if (status != SMALTI_OK) return status;
  if (wish.sha256 != NULL) return smi_fail(error, SMALTI_USAGE, "a linked model is not a file: it has no SHA-256");
  memset(&contents, 0, sizeof(contents));
  contents.count = linked->program_count;
  contents.constants = linked->constants;
  contents.constants_bytes = linked->constants_bytes;
  for (size_t i = 0; i < contents.count; i++) {
    const smalti_static_program *p = &linked->programs[i];
    if (p->target == NULL || p->manifest == NULL || p->code == NULL) {
      return smi_fail(error, SMALTI_USAGE, "program %zu of the linked model is not complete", i);
    }
    contents.programs[i].target = p->target;
    contents.programs[i].manifest = p->manifest;
    contents.programs[i].manifest_bytes = p->manifest_bytes;
    contents.programs[i].code = p->code;
    contents.programs[i].code_bytes = p->code_bytes;
  }
  return make_model(&contents, NULL, &wish, true, model, error);
}

void smi_model_keep(smalti_model *model) { atomic_fetch_add_explicit(&model->references, 1, memory_order_relaxed); }

void smalti_model_close(smalti_model *model) {
  if (model == NULL || atomic_fetch_sub_explicit(&model->references, 1, memory_order_acq_rel) > 1) return;
  free_model(model);
}

/* ---- what it says ------------------------------------------------------------------------------------------------ */

size_t smalti_model_program_count(const smalti_model *model) { return model->program_count; }

const char *smalti_model_program_target(const smalti_model *model, size_t index) {
  return index < model->program_count ? model->targets[index] : NULL;
}

const char *smalti_model_target(const smalti_model *model) { return model->manifest.target.text; }

const char *smalti_model_name(const smalti_model *model) { return model->manifest.graph.text; }

const char *smalti_model_precision(const smalti_model *model) { return model->manifest.precision.text; }

int smalti_model_shape_mutable(const smalti_model *model) { return model->manifest.shape_mutable; }

size_t smalti_model_constants_bytes(const smalti_model *model) { return model->constants_bytes; }

size_t smalti_model_code_bytes(const smalti_model *model) { return model->code_bytes; }

size_t smalti_model_input_count(const smalti_model *model) { return model->manifest.input_count; }

size_t smalti_model_output_count(const smalti_model *model) { return model->manifest.output_count; }

size_t smalti_model_label_count(const smalti_model *model) { return model->manifest.label_count; }

const char *smalti_model_label(const smalti_model *model, size_t index) {
  return index < model->manifest.label_count ? model->manifest.labels[index].text : NULL;
}

const char *smalti_model_resize(const smalti_model *model) {
  if (model->manifest.resize.text[0] != '\0') return model->manifest.resize.text;
  return model->manifest.input_size > 0 ? "fit" : "none";
}

int64_t smalti_model_input_size(const smalti_model *model) { return model->manifest.input_size; }

const char *smalti_model_manifest(const smalti_model *model, size_t *bytes) {
  *bytes = model->text_bytes;
  return model->text;
}

/* Whether inputs may have any number of images in their leading dimension. */
static bool is_any_batch(const smi_manifest *m) {
  bool all = m->batch_size != 1;
  for (size_t i = 0; i < m->input_count; i++) all = all && smi_is_batchable(m, &m->inputs[i]);
  for (size_t i = 0; i < m->output_count; i++) all = all && smi_is_batchable(m, &m->outputs[i]);
  return all;
}

static const smi_dim *dim_of(const smi_manifest *m, const smi_tensor *tensor, size_t axis) {
  return &m->dims[tensor->shape.at[axis]];
}

static void describe(const smalti_model *model, const smi_tensor *tensor, smalti_tensor_info *info) {
  const smi_manifest *m = &model->manifest;
  memset(info, 0, sizeof(*info));
  info->name = tensor->name.text;
  info->dtype = tensor->dtype;
  info->shape.rank = (int32_t)tensor->shape.count;
  for (size_t axis = 0; axis < tensor->shape.count; axis++) {
    const smi_dim *dim = dim_of(m, tensor, axis);
    bool fixed = dim->op == SMI_CONST;
    info->shape.dims[axis] = info->maximum[axis] = fixed ? dim->a : -1;
    info->minimum[axis] = fixed ? dim->a : 1;
    if (dim->op == SMI_SYMBOL) {
      info->minimum[axis] = m->symbols[dim->a].minimum;
      info->maximum[axis] = m->symbols[dim->a].maximum;
    }
  }
  if (is_any_batch(m)) {
    info->shape.dims[0] = info->maximum[0] = m->batch_size;
    info->minimum[0] = m->batch_size > 0 ? m->batch_size : 1;
  }
}

static bool is_colours(const smi_dim *dim) { return dim->op == SMI_CONST && dim->a >= 1 && dim->a <= 4; }

static void lay_out(const smalti_model *model, const smi_tensor *tensor, smalti_tensor_layout *layout) {
  const smi_manifest *m = &model->manifest;
  memset(layout, 0, sizeof(*layout));
  bool picture = tensor->shape.count == 4 && is_colours(dim_of(m, tensor, 3)) && !is_colours(dim_of(m, tensor, 1));
  layout->layout = picture ? "NHWC" : "";
  for (size_t axis = 0; axis < tensor->shape.count; axis++) {
    const smi_dim *dim = dim_of(m, tensor, axis);
    layout->multiple[axis] = dim->op == SMI_SYMBOL ? m->symbols[dim->a].multiple : 1;
    if (dim->op != SMI_CONST) layout->symbol[axis] = dim->op == SMI_SYMBOL ? m->symbols[dim->a].name.text : "?";
  }
  if (m->batch_size < 0 && is_any_batch(m)) layout->symbol[0] = "batch";
}

/* The input or output that is to be written about at `out`. */
static smalti_status find_tensor(const smalti_model *model, bool output, size_t index, const void *out,
                                 const smi_tensor **tensor, smalti_error *error) {
  if (model == NULL) return smi_fail(error, SMALTI_USAGE, "model must not be NULL");
  const smi_manifest *m = &model->manifest;
  if (out == NULL || index >= (output ? m->output_count : m->input_count)) {
    return smi_fail(error, SMALTI_USAGE, "there is no tensor %zu", index);
  }
  *tensor = output ? &m->outputs[index] : &m->inputs[index];
  return SMALTI_OK;
}

smalti_status smalti_model_input(const smalti_model *model, size_t index, smalti_tensor_info *info,
                                 smalti_error *error) {
  const smi_tensor *tensor = NULL;
  smalti_status status = find_tensor(model, false, index, info, &tensor, error);
  if (status == SMALTI_OK) describe(model, tensor, info);
  return status;
}

smalti_status smalti_model_output(const smalti_model *model, size_t index, smalti_tensor_info *info,
                                  smalti_error *error) {
  const smi_tensor *tensor = NULL;
  smalti_status status = find_tensor(model, true, index, info, &tensor, error);
  if (status == SMALTI_OK) describe(model, tensor, info);
  return status;
}

smalti_status smalti_model_input_layout(const smalti_model *model, size_t index, smalti_tensor_layout *layout,
                                        smalti_error *error) {
  const smi_tensor *tensor = NULL;
  smalti_status status = find_tensor(model, false, index, layout, &tensor, error);
  if (status == SMALTI_OK) lay_out(model, tensor, layout);
  return status;
}

smalti_status smalti_model_output_layout(const smalti_model *model, size_t index, smalti_tensor_layout *layout,
                                         smalti_error *error) {
  const smi_tensor *tensor = NULL;
  smalti_status status = find_tensor(model, true, index, layout, &tensor, error);
  if (status == SMALTI_OK) lay_out(model, tensor, layout);
  return status;
}
