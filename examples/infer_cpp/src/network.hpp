// The offline model, seen as what this program needs: pictures in, label maps out.
#pragma once

#include <smalti.h>

#include <memory>
#include <string>
#include <vector>

#include "options.hpp"
#include "picture.hpp"
#include "resize.hpp"

namespace app {

class Network {
 public:
  // Throws Problem: model_file, resource, or usage when the model does not map one picture to one label map.
  explicit Network(const Options& options);

  // The labels of an RGB picture, at the size that the model gives.  Throws Problem(Exit::bad_data) for a picture that
  // does not fit the model.
  LabelMap label(const Picture& picture);

  Preprocess preprocess() const;
  long long threads() const;
  std::string name() const;
  std::string precision() const;
  std::string target() const;                 // of the program that was taken
  std::vector<std::string> targets() const;   // of all programs in the file

 private:
  void check_kind(const Options& options);

  struct CloseModel {
    void operator()(smalti_model* model) const { smalti_model_close(model); }
  };
  struct DestroyEngine {
    void operator()(smalti_engine* engine) const { smalti_engine_destroy(engine); }
  };
  std::unique_ptr<smalti_model, CloseModel> model_;
  std::unique_ptr<smalti_engine, DestroyEngine> engine_;
  smalti_dtype label_type_ = SMALTI_INT32;
  Bytes output_;
};

}  // namespace app
