#include "network.hpp"

#include <cstring>

#include "problem.hpp"

namespace app {
namespace {

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

// Every call takes a place for its error text; a status that is not SMALTI_OK becomes an exception.
template <typename Call>
void check(Call call) {
  smalti_error error{};
  const smalti_status status = call(&error);
  if (status != SMALTI_OK) throw Problem(exit_of(status), error.message);
}

template <typename Element>
void widen(const Bytes& bytes, std::vector<std::int32_t>& labels) {
  for (std::size_t i = 0; i < labels.size(); ++i) {
    Element value;
    std::memcpy(&value, bytes.data() + i * sizeof value, sizeof value);
    labels[i] = static_cast<std::int32_t>(value);
  }
}

bool is_float(smalti_dtype type) {
  return type == SMALTI_FLOAT32 || type == SMALTI_FLOAT64 || type == SMALTI_FLOAT16 || type == SMALTI_BFLOAT16;
}

}  // namespace

Network::Network(const Options& options) {
  if (smalti_abi_version() != SMALTI_ABI_VERSION)
    throw Problem(Exit::resource, std::string("the library smalti ") + smalti_version() +
                                      " does not fit the header that this program was compiled with");
  smalti_load_options load = SMALTI_LOAD_OPTIONS_INIT;
  if (!options.target.empty()) load.target = options.target.c_str();
  smalti_model* model = nullptr;
  check([&](smalti_error* error) { return smalti_model_open(options.model.c_str(), &load, &model, error); });
  model_.reset(model);
  check_kind(options);
  smalti_engine_options run = SMALTI_ENGINE_OPTIONS_INIT;
  run.threads = options.threads;
  smalti_engine* engine = nullptr;
  check([&](smalti_error* error) { return smalti_engine_create(model, &run, &engine, error); });
  engine_.reset(engine);
}

void Network::check_kind(const Options& options) {
  if (smalti_model_input_count(model_.get()) != 1 || smalti_model_output_count(model_.get()) != 1)
    throw Problem(Exit::usage, "this model does not map one picture to one label map");
  smalti_tensor_info input{}, output{};
  check([&](smalti_error* error) { return smalti_model_input(model_.get(), 0, &input, error); });
  check([&](smalti_error* error) { return smalti_model_output(model_.get(), 0, &output, error); });
  if (input.shape.rank != 4 || output.shape.rank != 3)
    throw Problem(Exit::usage, "this model does not map one picture to one label map");
  if (is_float(output.dtype))
    throw Problem(Exit::usage, std::string("this model gives ") + smalti_dtype_name(output.dtype) + " values, not labels");
  label_type_ = output.dtype;
  const bool open = smalti_model_shape_mutable(model_.get()) != 0;
  if (options.shape_mutable.value_or(open) != open)
    throw Problem(Exit::usage, open ? "this model takes pictures of many sizes: it was built with --shape-mutable true"
                                    : "this model takes one size only: it was built with --shape-mutable false");
}

LabelMap Network::label(const Picture& picture) {
  const smalti_shape input_shape = {4, {1, picture.height, picture.width, 3}};
  smalti_shape output_shape{};
  check([&](smalti_error* error) {
    return smalti_engine_output_shapes(engine_.get(), &input_shape, 1, &output_shape, 1, error);
  });
  LabelMap map{static_cast<int>(output_shape.dims[1]), static_cast<int>(output_shape.dims[2]), {}};
  map.labels.resize(static_cast<std::size_t>(map.height) * static_cast<std::size_t>(map.width));
  const bool direct = label_type_ == SMALTI_INT32;
  if (!direct) output_.resize(map.labels.size() * smalti_dtype_bytes(label_type_));
  // Inputs are only read; the C interface has one type for both.
  const smalti_tensor input = {const_cast<std::uint8_t*>(picture.rgb.data()), picture.rgb.size(), SMALTI_UINT8,
                               input_shape};
  const smalti_tensor output = {direct ? static_cast<void*>(map.labels.data()) : output_.data(),
                                direct ? map.labels.size() * sizeof(std::int32_t) : output_.size(), label_type_,
                                output_shape};
  check([&](smalti_error* error) { return smalti_engine_run(engine_.get(), &input, 1, &output, 1, error); });
  switch (label_type_) {
    case SMALTI_INT64: widen<std::int64_t>(output_, map.labels); break;
    case SMALTI_UINT16: widen<std::uint16_t>(output_, map.labels); break;
    case SMALTI_INT16: widen<std::int16_t>(output_, map.labels); break;
    case SMALTI_INT8: widen<std::int8_t>(output_, map.labels); break;
    case SMALTI_UINT8:
    case SMALTI_BOOL: widen<std::uint8_t>(output_, map.labels); break;
    default: break;
  }
  return map;
}

Preprocess Network::preprocess() const {
  const std::string named = smalti_model_resize(model_.get());
  const std::int64_t size = smalti_model_input_size(model_.get());
  const Fit fit = named == "fit" ? Fit::fit : named == "stretch" ? Fit::stretch : Fit::none;
  if (fit == Fit::none) return {fit, 0};
  if (size < 1 || size > 16384)
    throw Problem(Exit::usage, "the input size must be 1 to 16384, not " + std::to_string(size));
  return {fit, size};
}

long long Network::threads() const { return smalti_engine_threads(engine_.get()); }
std::string Network::name() const { return smalti_model_name(model_.get()); }
std::string Network::precision() const { return smalti_model_precision(model_.get()); }
std::string Network::target() const { return smalti_model_target(model_.get()); }

std::vector<std::string> Network::targets() const {
  std::vector<std::string> all;
  for (std::size_t i = 0; i < smalti_model_program_count(model_.get()); ++i)
    all.emplace_back(smalti_model_program_target(model_.get(), i));
  return all;
}

}  // namespace app
