// SPDX-License-Identifier: Apache-2.0
#include "network.hpp"

#include "problem.hpp"

namespace app {
namespace {

constexpr std::int64_t kMaxSide = 16384;

Exit exit_of(smalti_status status) {
  switch (status) {
    case SMALTI_OK: return Exit::ok;
    case SMALTI_USAGE: return Exit::usage;
    case SMALTI_NOT_A_MODEL:
    case SMALTI_DAMAGED:
    case SMALTI_VERSION:
    case SMALTI_TARGET:
    case SMALTI_FILE: return Exit::model_file;
    case SMALTI_INPUT: return Exit::bad_data;
    case SMALTI_RESOURCE: return Exit::resource;
    case SMALTI_INTERNAL: break;
  }
  return Exit::bug;
}

void check(const smalti::Status& status) {
  if (!status.ok()) throw Problem(exit_of(status.code()), status.message());
}

bool is_float(smalti_dtype type) {
  return type == SMALTI_FLOAT32 || type == SMALTI_FLOAT64 || type == SMALTI_FLOAT16 || type == SMALTI_BFLOAT16;
}

void check_kind(const smalti::Model& model, const Options& options) {
  const auto inputs = model.inputs(), outputs = model.outputs();
  if (inputs.size() != 1 || outputs.size() != 1 || inputs[0].shape.rank() != 4 || outputs[0].shape.rank() != 3)
    throw Problem(Exit::usage, "this model does not map one picture to one label map");
  if (is_float(outputs[0].dtype))
    throw Problem(Exit::usage, std::string("this model gives ") + smalti_dtype_name(outputs[0].dtype) +
                                   " values, not labels");
  const bool open = model.shape_mutable();
  if (options.shape_mutable.value_or(open) != open)
    throw Problem(Exit::usage, open ? "this model takes pictures of many sizes: it was built with --shape-mutable true"
                                    : "this model takes one size only: it was built with --shape-mutable false");
}

// False when the labels are of another type than `Element`.
template <typename Element>
bool copy_labels(smalti::Tensor& tensor, std::vector<std::int32_t>& labels) {
  const Element* values = tensor.as<Element>();
  if (values != nullptr) labels.assign(values, values + tensor.shape().elements());
  return values != nullptr;
}

}  // namespace

Network::Network(const Options& options) {
  if (smalti_abi_version() != SMALTI_ABI_VERSION)
    throw Problem(Exit::resource, std::string("the library smalti ") + smalti_version() +
                                      " does not fit the header that this program was compiled with");
  smalti::LoadOptions load;
  load.target = options.target;
  check(smalti::Model::try_open(options.model, model_, load));
  check_kind(model_, options);
  smalti_engine_options run = SMALTI_ENGINE_OPTIONS_INIT;
  run.threads = options.threads;
  check(smalti::Engine::try_create(model_, engine_, run));
}

LabelMap Network::label(const Picture& picture) {
  const smalti::View input(picture.rgb.data(), {1, picture.height, picture.width, 3});
  check(engine_.try_run({input}, outputs_));
  smalti::Tensor& output = outputs_[0];
  LabelMap map{static_cast<int>(output.shape()[1]), static_cast<int>(output.shape()[2]), {}};
  const bool copied = copy_labels<std::int32_t>(output, map.labels) || copy_labels<std::int64_t>(output, map.labels) ||
                      copy_labels<std::uint8_t>(output, map.labels) || copy_labels<std::int8_t>(output, map.labels) ||
                      copy_labels<std::uint16_t>(output, map.labels) || copy_labels<std::int16_t>(output, map.labels) ||
                      copy_labels<bool>(output, map.labels);
  if (!copied) throw Problem(Exit::usage, "this model gives labels of an unknown type");
  return map;
}

Preprocess Network::preprocess() const {
  const std::string named = smalti_model_resize(model_.raw());
  const std::int64_t size = smalti_model_input_size(model_.raw());
  const Fit fit = named == "fit" ? Fit::fit : named == "stretch" ? Fit::stretch : Fit::none;
  // A file of one height and width has no side to give, or says nothing of sizes at all: its input says both.
  const smalti::Shape shape = model_.inputs()[0].shape;
  const bool one_size = shape[1] >= 1 && shape[1] <= kMaxSide && shape[2] >= 1 && shape[2] <= kMaxSide;
  if (one_size && size == 0 && fit != Fit::fit)
    return {Fit::stretch, 0, {static_cast<int>(shape[1]), static_cast<int>(shape[2])}};
  if (fit == Fit::none) return {fit, 0, {}};
  if (size < 1 || size > kMaxSide)
    throw Problem(Exit::usage, "the input size must be 1 to 16384, not " + std::to_string(size));
  return {fit, size, {}};
}

Palette Network::palette() const {
  std::size_t bytes = 0;
  const char* manifest = smalti_model_manifest(model_.raw(), &bytes);
  return file_palette({manifest, bytes}, smalti_model_label_count(model_.raw()));
}

std::vector<std::string> Network::targets() const {
  std::vector<std::string> all;
  for (std::size_t i = 0; i < smalti_model_program_count(model_.raw()); ++i)
    all.emplace_back(smalti_model_program_target(model_.raw(), i));
  return all;
}

}  // namespace app
