// SPDX-License-Identifier: Apache-2.0
#include "picture.hpp"

#include <fcntl.h>
#include <png.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csetjmp>
#include <cstring>
#include <new>

#include "picture_file.hpp"
#include "problem.hpp"

namespace app {
namespace {

constexpr std::size_t kMaxFileBytes = std::size_t{256} << 20;

class Descriptor {
 public:
  explicit Descriptor(int handle) : handle_(handle) {}
  ~Descriptor() {
    if (handle_ >= 0) close(handle_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return handle_; }

 private:
  int handle_;
};

Problem read_error(int error) {
  if (error == EMFILE || error == ENFILE || error == ENOMEM)
    return Problem(Exit::resource, std::string("cannot open a picture: ") + std::strerror(error));
  return bad_picture(std::string("cannot read: ") + std::strerror(error));
}

// The bytes of a regular file; never waits for a pipe.
Bytes read_file(const std::string& path) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) throw read_error(errno);
  struct stat facts {};
  if (fstat(file.get(), &facts) != 0) throw read_error(errno);
  if (!S_ISREG(facts.st_mode)) throw bad_picture("not a regular file");
  const auto size = static_cast<std::size_t>(facts.st_size);
  if (size > kMaxFileBytes)
    throw bad_picture("the file has " + std::to_string(size) + " bytes, more than the limit of " +
                      std::to_string(kMaxFileBytes));
  // One byte more than there are: a file that is longer by now is still being written.
  Bytes data(size + 1);
  std::size_t filled = 0;
  while (filled < data.size()) {
    const ssize_t got = read(file.get(), data.data() + filled, data.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw read_error(errno);
    if (got == 0) break;
    filled += static_cast<std::size_t>(got);
  }
  if (filled > size) throw bad_picture("the file grew while it was read");
  data.resize(filled);
  return data;
}

// Undo an EXIF orientation: 2, 4 mirror; 3 turns by 180 degrees; 5 to 8 also swap the sides.
Picture upright(Picture stored, int orientation) {
  if (orientation == 1) return stored;
  const bool swap = orientation >= 5;
  const bool mirror = orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
  const bool flip = orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;
  Picture turned{swap ? stored.width : stored.height, swap ? stored.height : stored.width, {}};
  turned.rgb.resize(stored.rgb.size());
  std::uint8_t* to = turned.rgb.data();
  for (int y = 0; y < turned.height; ++y) {
    const int v = flip ? turned.height - 1 - y : y;
    for (int x = 0; x < turned.width; ++x, to += 3) {
      const int u = mirror ? turned.width - 1 - x : x;
      const auto from = swap ? std::int64_t{u} * stored.width + v : std::int64_t{v} * stored.width + u;
      std::memcpy(to, stored.rgb.data() + 3 * from, 3);
    }
  }
  return turned;
}

struct PngEncoder {
  png_structp state = nullptr;
  png_infop info = nullptr;
  Bytes made;
  bool no_memory = false;
  PngEncoder() {
    state = png_create_write_struct(
        PNG_LIBPNG_VER_STRING, nullptr, [](png_structp png, png_const_charp) { png_longjmp(png, 1); },
        [](png_structp, png_const_charp) {});
    if (state != nullptr) info = png_create_info_struct(state);
    if (info == nullptr) {
      png_destroy_write_struct(&state, nullptr);
      throw std::bad_alloc();
    }
  }
  ~PngEncoder() { png_destroy_write_struct(&state, &info); }
  PngEncoder(const PngEncoder&) = delete;
  PngEncoder& operator=(const PngEncoder&) = delete;
};

void png_more_bytes(png_structp png, png_bytep from, png_size_t bytes) {
  auto* encoder = static_cast<PngEncoder*>(png_get_io_ptr(png));
  try {
    encoder->made.insert(encoder->made.end(), from, from + bytes);
    return;
  } catch (const std::bad_alloc&) {
    encoder->no_memory = true;
  }
  png_error(png, "no memory");
}

// Label maps have long runs of equal bytes: without row filters the fastest deflate finds them all.
bool png_write(PngEncoder& encoder, png_uint_32 width, png_uint_32 height, png_bytepp rows, const png_color* colours) {
  png_structp png = encoder.state;
  if (setjmp(png_jmpbuf(png))) return false;
  png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
  png_set_write_fn(png, &encoder, png_more_bytes, [](png_structp) {});
  png_set_IHDR(png, encoder.info, width, height, 8, PNG_COLOR_TYPE_PALETTE, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_set_PLTE(png, encoder.info, colours, 256);
  png_set_filter(png, PNG_FILTER_TYPE_BASE, PNG_FILTER_NONE);
  png_set_compression_level(png, 4);
  png_write_info(png, encoder.info);
  png_write_image(png, rows);
  png_write_end(png, encoder.info);
  return true;
}

}  // namespace

Picture decode_picture(const Bytes& data, std::int64_t max_pixels) {
  const PictureFile file = open_picture(data, max_pixels);
  try {
    return upright(decode_pixels(file), file.orientation);
  } catch (const std::bad_alloc&) {
    throw Problem(Exit::resource, "no memory to decode " + std::to_string(file.width) + " x " +
                                      std::to_string(file.height) + " pixels");
  }
}

Picture read_picture(const std::string& path, std::int64_t max_pixels) {
  return decode_picture(read_file(path), max_pixels);
}

Bytes encode_mask(const LabelMap& map, const Palette& palette) {
  Bytes indices(map.labels.size());
  for (std::size_t i = 0; i < indices.size(); ++i) {
    if (map.labels[i] < 0 || map.labels[i] > 255)
      throw bad_picture("a label map of a PNG can only hold the labels 0 to 255");
    indices[i] = static_cast<std::uint8_t>(map.labels[i]);
  }
  std::vector<png_bytep> rows(static_cast<std::size_t>(map.height));
  for (std::size_t y = 0; y < rows.size(); ++y) rows[y] = &indices[y * static_cast<std::size_t>(map.width)];
  std::array<png_color, 256> colours{};
  for (std::size_t i = 0; i < colours.size(); ++i) colours[i] = {palette[i].red, palette[i].green, palette[i].blue};
  PngEncoder encoder;
  const bool written = png_write(encoder, static_cast<png_uint_32>(map.width), static_cast<png_uint_32>(map.height),
                                 rows.data(), colours.data());
  if (encoder.no_memory) throw std::bad_alloc();
  if (!written) throw bad_picture("this label map cannot be stored as a PNG");
  return std::move(encoder.made);
}

Bytes encode_overlay(const Picture& picture, const LabelMap& map, const Palette& palette) {
  constexpr int kShare = 154;  // of 256: how strong the colours are
  Picture drawn = picture;
  std::uint8_t* pixel = drawn.rgb.data();
  for (const std::int32_t label : map.labels) {
    if (label > 0 && label < 256) {
      const Colour& colour = palette[static_cast<std::size_t>(label)];
      const int channels[3] = {colour.red, colour.green, colour.blue};
      for (int c = 0; c < 3; ++c)
        pixel[c] = static_cast<std::uint8_t>((pixel[c] * (256 - kShare) + channels[c] * kShare + 128) >> 8);
    }
    pixel += 3;
  }
  return encode_jpeg(drawn);
}

}  // namespace app
