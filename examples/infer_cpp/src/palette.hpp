// SPDX-License-Identifier: Apache-2.0
// The colours of the classes: those in the model file, else those of PASCAL VOC.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace app {

struct Colour {
  std::uint8_t red = 0;
  std::uint8_t green = 0;
  std::uint8_t blue = 0;
};

using Palette = std::array<Colour, 256>;  // by label

Palette voc_palette();

// The palette of a model file: its manifest may have a colour, "#rrggbb", or null for each of its `labels` class names;
// where it has none, a class has VOC's.  Throws Problem(Exit::model_file) when something else stands there.
Palette file_palette(std::string_view manifest, std::size_t labels);

}  // namespace app
