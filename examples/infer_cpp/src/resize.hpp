// SPDX-License-Identifier: Apache-2.0
// Fit pictures to a network's input, and label maps back to pictures.
#pragma once

#include <cstdint>

#include "picture.hpp"

namespace app {

enum class Fit { none, fit, stretch };

struct Size {
  int height = 0;
  int width = 0;
};

// `exact` is for networks of one height and width that differ; without, `stretch` gives the square of `input_size`.
struct Preprocess {
  Fit fit = Fit::none;
  std::int64_t input_size = 0;
  Size exact = {};
};

const char* fit_name(Fit fit);

// The size at which a network sees a picture.  `fit` scales the longer side to the input size and rounds both sides to
// the nearest pixel, halves to even, at least 1; `stretch` gives the exact size or the square; `none` keeps the size.
Size target_size(int height, int width, const Preprocess& preprocess);

// Scale a picture as OpenCV's cv::resize does with INTER_AREA, which is what the reference protocol uses.
Picture resize_picture(const Picture& picture, Size size);

// Scale a label map by the nearest neighbour, as OpenCV's INTER_NEAREST does.
LabelMap resize_labels(const LabelMap& map, Size size);

}  // namespace app
