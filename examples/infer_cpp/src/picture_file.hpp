// SPDX-License-Identifier: Apache-2.0
// The structure of JPEG and PNG files, read before any decoder sees them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "picture.hpp"

namespace app {

enum class Format { jpeg, png };

struct PictureFile {
  Format format = Format::jpeg;
  int width = 0;   // as stored, before any rotation
  int height = 0;
  int orientation = 1;  // EXIF: 1 to 8
  Bytes data;           // only the parts that make pixels: no profiles, texts, thumbnails, rotation, animation
  // Of a JPEG: where in `data` coded pixels end, and whether they are one piece that a decoder gives out as it reads.
  std::vector<std::size_t> piece_ends;
  bool in_order = false;
};

const char* format_name(Format format);

// Check a picture to its end.  The format is taken from the content, the size is checked before anything is decoded.
// Throws Problem(Exit::bad_data).
PictureFile open_picture(const Bytes& data, std::int64_t max_pixels);

// Decode a checked picture, as stored.  One of decode_libs.cpp and decode_opencv.cpp implements this.
Picture decode_pixels(const PictureFile& file);

// A JPEG of quality 92; implemented beside decode_pixels.
Bytes encode_jpeg(const Picture& picture);

}  // namespace app
