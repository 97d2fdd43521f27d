// SPDX-License-Identifier: Apache-2.0
// The offline model, seen as what this program needs: pictures in, label maps out.
#pragma once

#include <smalti.hpp>

#include <string>
#include <vector>

#include "options.hpp"
#include "palette.hpp"
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
  Palette palette() const;  // throws Problem(Exit::model_file) when the file's own colours are damaged
  std::int64_t threads() const { return engine_.threads(); }
  std::string name() const { return model_.name(); }
  std::string precision() const { return model_.precision(); }
  std::string target() const { return model_.target(); }  // of the program that was taken
  std::vector<std::string> targets() const;               // of all programs in the file

 private:
  smalti::Model model_;
  smalti::Engine engine_;
  std::vector<smalti::Tensor> outputs_;  // used again for pictures of one size
};

}  // namespace app
