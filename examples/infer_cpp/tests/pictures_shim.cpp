// SPDX-License-Identifier: Apache-2.0
// The picture code as plain C functions, so that tests can compare it with Python's value by value.
// Results are kept until the next call; every function returns 0, or the exit code with the text in shim_error().
#include <cstring>
#include <exception>
#include <string>

#include "../src/palette.hpp"
#include "../src/picture.hpp"
#include "../src/problem.hpp"
#include "../src/resize.hpp"

namespace {

std::string text;
app::Bytes bytes;
app::LabelMap labels;
int height = 0;
int width = 0;

template <typename Work>
int guarded(Work work) {
  try {
    work();
    return 0;
  } catch (const app::Problem& problem) {
    text = problem.what();
    return static_cast<int>(problem.code());
  } catch (const std::exception& error) {
    text = error.what();
    return -1;
  }
}

void keep(app::Picture picture) {
  height = picture.height;
  width = picture.width;
  bytes = std::move(picture.rgb);
}

app::Picture picture_of(const std::uint8_t* rgb, int rows, int columns) {
  return {rows, columns, app::Bytes(rgb, rgb + std::size_t{3} * static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns))};
}

app::LabelMap map_of(const std::int32_t* values, int rows, int columns) {
  return {rows, columns, {values, values + static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns)}};
}

}  // namespace

extern "C" {

const char* shim_error() { return text.c_str(); }
const std::uint8_t* shim_bytes() { return bytes.data(); }
std::size_t shim_count() { return bytes.size(); }
const std::int32_t* shim_labels() { return labels.labels.data(); }
int shim_height() { return height; }
int shim_width() { return width; }

int shim_decode(const std::uint8_t* data, std::size_t count, std::int64_t max_pixels) {
  return guarded([&] { keep(app::decode_picture(app::Bytes(data, data + count), max_pixels)); });
}

int shim_read(const char* path, std::int64_t max_pixels) {
  return guarded([&] { keep(app::read_picture(path, max_pixels)); });
}

int shim_resize(const std::uint8_t* rgb, int rows, int columns, int new_rows, int new_columns) {
  return guarded([&] { keep(app::resize_picture(picture_of(rgb, rows, columns), {new_rows, new_columns})); });
}

int shim_resize_labels(const std::int32_t* values, int rows, int columns, int new_rows, int new_columns) {
  return guarded([&] { labels = app::resize_labels(map_of(values, rows, columns), {new_rows, new_columns}); });
}

int shim_target_size(int rows, int columns, int fit, std::int64_t input_size) {
  return guarded([&] {
    const app::Size size = app::target_size(rows, columns, {static_cast<app::Fit>(fit), input_size, {}});
    height = size.height;
    width = size.width;
  });
}

int shim_palette(const char* manifest, std::size_t count, std::size_t classes) {
  return guarded([&] {
    bytes.clear();
    for (const app::Colour& colour : app::file_palette({manifest, count}, classes))
      bytes.insert(bytes.end(), {colour.red, colour.green, colour.blue});
  });
}

int shim_mask(const std::int32_t* values, int rows, int columns) {
  return guarded([&] { bytes = app::encode_mask(map_of(values, rows, columns), app::voc_palette()); });
}

int shim_overlay(const std::uint8_t* rgb, const std::int32_t* values, int rows, int columns) {
  return guarded([&] {
    const app::Picture picture = picture_of(rgb, rows, columns);
    bytes = app::encode_overlay(picture, map_of(values, rows, columns), app::voc_palette());
  });
}
}
