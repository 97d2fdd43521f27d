/* SPDX-License-Identifier: Apache-2.0 */
/* Smalti runtime for C++17: models and engines that give themselves back, tensors of plain values.
 *
 * Every operation that can fail exists twice: as a function whose name begins with `try_` and that returns a
 * smalti::Status, and under its plain name, which throws smalti::Error.  With -fno-exceptions, or where
 * SMALTI_NO_EXCEPTIONS is defined, only the first kind exists.  smalti.h says what the operations do. */
#ifndef SMALTI_HPP
#define SMALTI_HPP

#include <smalti.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#if !defined(SMALTI_NO_EXCEPTIONS) && !defined(__cpp_exceptions)
#define SMALTI_NO_EXCEPTIONS
#endif
#ifndef SMALTI_NO_EXCEPTIONS
#include <new>
#include <stdexcept>
#endif

namespace smalti {

/* Whether something worked, and if not, why. */
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(smalti_status code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == SMALTI_OK; }
  smalti_status code() const { return code_; }
  const char *name() const { return smalti_status_name(code_); }
  const std::string &message() const { return message_; }

 private:
  smalti_status code_ = SMALTI_OK;
  std::string message_;
};

#ifndef SMALTI_NO_EXCEPTIONS
class Error : public std::runtime_error {
 public:
  explicit Error(const Status &status) : std::runtime_error(status.message()), code_(status.code()) {}
  smalti_status code() const { return code_; }

 private:
  smalti_status code_;
};
#endif

namespace detail {
template <class Function>
Status call(Function function) {
  smalti_error error;
  const smalti_status code = function(&error);
  return code == SMALTI_OK ? Status() : Status(code, error.message);
}

#ifndef SMALTI_NO_EXCEPTIONS
inline void check(const Status &status) {
  if (!status.ok()) throw Error(status);
}
#endif

template <class T>
struct dtype;
template <> struct dtype<float> : std::integral_constant<smalti_dtype, SMALTI_FLOAT32> {};
template <> struct dtype<double> : std::integral_constant<smalti_dtype, SMALTI_FLOAT64> {};
template <> struct dtype<std::uint8_t> : std::integral_constant<smalti_dtype, SMALTI_UINT8> {};
template <> struct dtype<std::int8_t> : std::integral_constant<smalti_dtype, SMALTI_INT8> {};
template <> struct dtype<std::uint16_t> : std::integral_constant<smalti_dtype, SMALTI_UINT16> {};
template <> struct dtype<std::int16_t> : std::integral_constant<smalti_dtype, SMALTI_INT16> {};
template <> struct dtype<std::int32_t> : std::integral_constant<smalti_dtype, SMALTI_INT32> {};
template <> struct dtype<std::int64_t> : std::integral_constant<smalti_dtype, SMALTI_INT64> {};
template <> struct dtype<bool> : std::integral_constant<smalti_dtype, SMALTI_BOOL> {};
template <> struct dtype<std::uint32_t> : std::integral_constant<smalti_dtype, SMALTI_UINT32> {};
template <> struct dtype<std::uint64_t> : std::integral_constant<smalti_dtype, SMALTI_UINT64> {};
}  // namespace detail

/* Sizes of a tensor.  No model has more than SMALTI_MAX_RANK of them; what is given beyond is dropped. */
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<std::int64_t> sizes) {
    for (const std::int64_t size : sizes) push_back(size);
  }
  explicit Shape(const smalti_shape &raw) : raw_(raw) {}

  std::size_t rank() const { return static_cast<std::size_t>(raw_.rank); }
  std::int64_t operator[](std::size_t axis) const { return raw_.dims[axis]; }
  std::int64_t &operator[](std::size_t axis) { return raw_.dims[axis]; }
  const std::int64_t *begin() const { return raw_.dims; }
  const std::int64_t *end() const { return raw_.dims + raw_.rank; }
  void push_back(std::int64_t size) {
    if (raw_.rank < SMALTI_MAX_RANK) raw_.dims[raw_.rank++] = size;
  }
  std::size_t elements() const {
    std::size_t count = 1;
    for (const std::int64_t size : *this) count *= static_cast<std::size_t>(size);
    return count;
  }
  const smalti_shape &raw() const { return raw_; }

 private:
  smalti_shape raw_{};
};

/* A tensor in the caller's memory.  What an input points to is only read. */
class View {
 public:
  View(smalti_dtype dtype, const void *data, const Shape &shape)
      : raw_{const_cast<void *>(data), shape.elements() * smalti_dtype_bytes(dtype), dtype, shape.raw()} {}
  template <class T, class = std::enable_if_t<!std::is_void_v<T>>>
  View(const T *data, const Shape &shape) : View(detail::dtype<std::remove_cv_t<T>>::value, data, shape) {}
  template <class T>
  View(const std::vector<T> &values, const Shape &shape) : View(values.data(), shape) {
    raw_.bytes = values.size() * sizeof(T); /* a shape of another size is refused */
  }
  const smalti_tensor &raw() const { return raw_; }

 private:
  smalti_tensor raw_;
};

/* A tensor that owns its memory. */
class Tensor {
 public:
  Tensor() = default;
  Tensor(smalti_dtype dtype, const Shape &shape) : Tensor(try_make(dtype, shape)) {
#ifndef SMALTI_NO_EXCEPTIONS
    if (!data_) throw std::bad_alloc();
#endif
  }
  /* The same without an exception: data() is a null pointer where there is no memory. */
  static Tensor try_make(smalti_dtype dtype, const Shape &shape) {
    Tensor made;
    made.dtype_ = dtype;
    made.shape_ = shape;
    made.bytes_ = shape.elements() * smalti_dtype_bytes(dtype);
    made.data_.reset(std::calloc(made.bytes_ > 0 ? made.bytes_ : 1, 1));
    return made;
  }

  smalti_dtype dtype() const { return dtype_; }
  const Shape &shape() const { return shape_; }
  std::size_t bytes() const { return bytes_; }
  void *data() { return data_.get(); }
  const void *data() const { return data_.get(); }
  /* The elements, or nullptr if they are of another type. */
  template <class T>
  T *as() {
    return detail::dtype<T>::value == dtype_ ? static_cast<T *>(data()) : nullptr;
  }
  View view() const { return View(dtype_, data(), shape_); }

 private:
  struct Free {
    void operator()(void *data) const { std::free(data); }
  };
  smalti_dtype dtype_ = SMALTI_UINT8;
  Shape shape_;
  std::size_t bytes_ = 0;
  std::unique_ptr<void, Free> data_;
};

struct LoadOptions {
  std::string sha256; /* empty: whatever it is */
  std::string target; /* empty: the best for this CPU */
  bool copy_constants = false;
};

struct TensorInfo {
  std::string name;
  smalti_dtype dtype;
  Shape shape; /* -1 where the size is open */
  Shape minimum, maximum;
  std::string layout;              /* "NHWC" for pictures, empty if not known */
  std::vector<std::string> symbol; /* names of open sizes, empty where the size is fixed */
  Shape multiple;                  /* what an open size must be a multiple of */
};

/* What a file holds.  May be used from any number of threads at once. */
class Model {
 public:
  Model() = default;

  static Status try_open(const std::string &path, Model &model, const LoadOptions &options = {}) {
    const smalti_load_options raw = raw_options(options);
    return model.take([&](smalti_model **out, smalti_error *e) { return smalti_model_open(path.c_str(), &raw, out, e); });
  }
  static Status try_open(const void *data, std::size_t bytes, Model &model, const LoadOptions &options = {}) {
    const smalti_load_options raw = raw_options(options);
    return model.take([&](smalti_model **out, smalti_error *e) { return smalti_model_open_memory(data, bytes, &raw, out, e); });
  }
  static Status try_open(const smalti_static_model &linked, Model &model, const LoadOptions &options = {}) {
    const smalti_load_options raw = raw_options(options);
    return model.take([&](smalti_model **out, smalti_error *e) { return smalti_model_open_static(&linked, &raw, out, e); });
  }
#ifndef SMALTI_NO_EXCEPTIONS
  explicit Model(const std::string &path, const LoadOptions &options = {}) { detail::check(try_open(path, *this, options)); }
  Model(const void *data, std::size_t bytes, const LoadOptions &options = {}) {
    detail::check(try_open(data, bytes, *this, options));
  }
  explicit Model(const smalti_static_model &linked, const LoadOptions &options = {}) {
    detail::check(try_open(linked, *this, options));
  }
#endif

  explicit operator bool() const { return raw_ != nullptr; }
  smalti_model *raw() const { return raw_.get(); }

  std::string name() const { return smalti_model_name(raw()); }
  std::string target() const { return smalti_model_target(raw()); }
  std::string precision() const { return smalti_model_precision(raw()); }
  bool shape_mutable() const { return smalti_model_shape_mutable(raw()) != 0; }
  std::vector<TensorInfo> inputs() const {
    return describe(smalti_model_input_count(raw()), smalti_model_input, smalti_model_input_layout);
  }
  std::vector<TensorInfo> outputs() const {
    return describe(smalti_model_output_count(raw()), smalti_model_output, smalti_model_output_layout);
  }
  std::vector<std::string> labels() const {
    std::vector<std::string> all;
    for (std::size_t i = 0; i < smalti_model_label_count(raw()); i++) all.emplace_back(smalti_model_label(raw(), i));
    return all;
  }

 private:
  struct Close {
    void operator()(smalti_model *model) const { smalti_model_close(model); }
  };

  static smalti_load_options raw_options(const LoadOptions &options) {
    smalti_load_options raw = SMALTI_LOAD_OPTIONS_INIT;
    raw.sha256 = options.sha256.empty() ? nullptr : options.sha256.c_str();
    raw.target = options.target.empty() ? nullptr : options.target.c_str();
    raw.copy_constants = options.copy_constants ? 1 : 0;
    return raw;
  }
  template <class Open>
  Status take(Open open) {
    smalti_model *opened = nullptr;
    Status status = detail::call([&](smalti_error *error) { return open(&opened, error); });
    if (status.ok()) raw_.reset(opened);
    return status;
  }
  template <class Describe, class Layout>
  std::vector<TensorInfo> describe(std::size_t count, Describe one, Layout lay_out) const {
    std::vector<TensorInfo> all;
    for (std::size_t i = 0; i < count; i++) {
      smalti_tensor_info info;
      smalti_tensor_layout layout;
      if (one(raw(), i, &info, nullptr) != SMALTI_OK) continue; /* every index below the count is there */
      if (lay_out(raw(), i, &layout, nullptr) != SMALTI_OK) continue;
      TensorInfo made{info.name, info.dtype, Shape(info.shape), {}, {}, layout.layout, {}, {}};
      for (std::size_t axis = 0; axis < made.shape.rank(); axis++) {
        made.minimum.push_back(info.minimum[axis]);
        made.maximum.push_back(info.maximum[axis]);
        made.symbol.emplace_back(layout.symbol[axis] != nullptr ? layout.symbol[axis] : "");
        made.multiple.push_back(layout.multiple[axis]);
      }
      all.push_back(std::move(made));
    }
    return all;
  }

  std::unique_ptr<smalti_model, Close> raw_;
};

/* A model made ready to run; keeps what it needs of the model.  Calls from several threads wait for each other. */
class Engine {
 public:
  Engine() = default;

  static Status try_create(const Model &model, Engine &engine, const smalti_engine_options &options = SMALTI_ENGINE_OPTIONS_INIT) {
    smalti_engine *created = nullptr;
    Status status = detail::call([&](smalti_error *e) { return smalti_engine_create(model.raw(), &options, &created, e); });
    if (status.ok()) {
      engine.raw_.reset(created);
      engine.outputs_ = model.outputs();
    }
    return status;
  }
  Status try_output_shapes(const std::vector<Shape> &inputs, std::vector<Shape> &outputs) {
    std::vector<smalti_shape> given, found(outputs_.size());
    for (const Shape &shape : inputs) given.push_back(shape.raw());
    given.reserve(1); /* never a null pointer */
    Status status = detail::call([&](smalti_error *e) {
      return smalti_engine_output_shapes(raw(), given.data(), given.size(), found.data(), found.size(), e);
    });
    if (!status.ok()) return status;
    outputs.clear();
    for (const smalti_shape &shape : found) outputs.emplace_back(shape);
    return status;
  }
  /* Run on memory of the caller. */
  Status try_run(const std::vector<View> &inputs, const std::vector<View> &outputs) {
    std::vector<smalti_tensor> in, out;
    for (const View &view : inputs) in.push_back(view.raw());
    for (const View &view : outputs) out.push_back(view.raw());
    in.reserve(1);
    out.reserve(1);
    return detail::call([&](smalti_error *e) {
      return smalti_engine_run(raw(), in.data(), in.size(), out.data(), out.size(), e);
    });
  }
  /* Run, and make the outputs.  Tensors in `outputs` that have the right type and shape are filled in place. */
  Status try_run(const std::vector<View> &inputs, std::vector<Tensor> &outputs) {
    std::vector<Shape> given, found;
    for (const View &view : inputs) given.emplace_back(view.raw().shape);
    Status status = try_output_shapes(given, found);
    if (!status.ok()) return status;
    outputs.resize(found.size());
    std::vector<View> views;
    for (std::size_t i = 0; i < found.size(); i++) {
      if (outputs[i].data() == nullptr || outputs[i].dtype() != outputs_[i].dtype || !same(outputs[i].shape(), found[i])) {
        outputs[i] = Tensor::try_make(outputs_[i].dtype, found[i]);
        if (outputs[i].data() == nullptr) return Status(SMALTI_RESOURCE, "there is no memory for the outputs");
      }
      views.push_back(outputs[i].view());
    }
    return try_run(inputs, views);
  }
  Status try_set_threads(std::int64_t threads) {
    return detail::call([&](smalti_error *e) { return smalti_engine_set_threads(raw(), threads, e); });
  }
#ifndef SMALTI_NO_EXCEPTIONS
  explicit Engine(const Model &model, std::int64_t threads = 0) {
    smalti_engine_options options = SMALTI_ENGINE_OPTIONS_INIT;
    options.threads = threads;
    detail::check(try_create(model, *this, options));
  }
  Engine(const Model &model, const smalti_engine_options &options) { detail::check(try_create(model, *this, options)); }
  std::vector<Shape> output_shapes(const std::vector<Shape> &inputs) {
    std::vector<Shape> outputs;
    detail::check(try_output_shapes(inputs, outputs));
    return outputs;
  }
  void run(const std::vector<View> &inputs, const std::vector<View> &outputs) { detail::check(try_run(inputs, outputs)); }
  std::vector<Tensor> run(const std::vector<View> &inputs) {
    std::vector<Tensor> outputs;
    detail::check(try_run(inputs, outputs));
    return outputs;
  }
  void set_threads(std::int64_t threads) { detail::check(try_set_threads(threads)); }
#endif

  explicit operator bool() const { return raw_ != nullptr; }
  smalti_engine *raw() const { return raw_.get(); }
  std::int64_t threads() const { return smalti_engine_threads(raw()); }

 private:
  struct Destroy {
    void operator()(smalti_engine *engine) const { smalti_engine_destroy(engine); }
  };
  static bool same(const Shape &a, const Shape &b) {
    return a.rank() == b.rank() && std::memcmp(a.begin(), b.begin(), a.rank() * sizeof(std::int64_t)) == 0;
  }

  std::unique_ptr<smalti_engine, Destroy> raw_;
  std::vector<TensorInfo> outputs_;
};

}  // namespace smalti
#endif /* SMALTI_HPP */
