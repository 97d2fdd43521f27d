// SPDX-License-Identifier: Apache-2.0
// Pictures in memory: decode JPEG and PNG, encode label maps and overlays.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "palette.hpp"

namespace app {

using Bytes = std::vector<std::uint8_t>;

struct Picture {
  int height = 0;
  int width = 0;
  Bytes rgb;  // height x width x 3
};

struct LabelMap {
  int height = 0;
  int width = 0;
  std::vector<std::int32_t> labels;  // height x width
};

// Read and decode a picture, turned upright by its EXIF orientation.  Throws Problem: bad_data when this picture is no
// good, resource when the system is out of memory or files.
Picture read_picture(const std::string& path, std::int64_t max_pixels);
Picture decode_picture(const Bytes& data, std::int64_t max_pixels);

// A palette PNG in the colours of the classes: a pixel's index is its label.  Throws Problem for labels over 255.
Bytes encode_mask(const LabelMap& map, const Palette& palette);

// A JPEG of quality 92 with the class colours mixed into the picture where its label is not 0.
Bytes encode_overlay(const Picture& picture, const LabelMap& map, const Palette& palette);

}  // namespace app
