// SPDX-License-Identifier: Apache-2.0
#include "png_pixels.hpp"

#include <zlib.h>

#include <cstring>
#include <iterator>
#include <new>

#include "problem.hpp"

namespace app {
namespace {

struct Pass {
  std::int64_t left, top, right, down;  // where it starts, and its steps
};
constexpr std::int64_t kSpare = 1 << 20;  // some programs write a row too many
constexpr Pass kWhole[] = {{0, 0, 1, 1}};
constexpr Pass kInterlaced[] = {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4},
                                {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}};

std::uint32_t big32(const std::uint8_t* p) {
  return std::uint32_t{p[0]} << 24 | std::uint32_t{p[1]} << 16 | std::uint32_t{p[2]} << 8 | p[3];
}

// How many bytes the rows of all passes take, each with the byte of its filter.
std::int64_t row_bytes(const Bytes& data) {
  constexpr int kChannels[] = {1, 0, 3, 1, 2, 0, 4};  // by colour type; the decoder refuses those with 0
  const std::int64_t width = big32(&data[16]), height = big32(&data[20]);
  const std::int64_t bits = data[25] <= 6 ? data[24] * kChannels[data[25]] : 0;
  const bool interlaced = data[28] != 0;
  const Pass* const end = interlaced ? std::end(kInterlaced) : std::end(kWhole);
  std::int64_t total = 0;
  for (const Pass* pass = interlaced ? kInterlaced : kWhole; pass != end; ++pass) {
    if (width <= pass->left || height <= pass->top) continue;
    const std::int64_t columns = (width - pass->left + pass->right - 1) / pass->right;
    total += (height - pass->top + pass->down - 1) / pass->down * (1 + (columns * bits + 7) / 8);
  }
  return total;
}

class Unpacker {
 public:
  explicit Unpacker(std::int64_t bytes) : left_(bytes) {
    if (inflateInit(&state_) != Z_OK) throw std::bad_alloc();
  }
  ~Unpacker() { inflateEnd(&state_); }
  Unpacker(const Unpacker&) = delete;
  Unpacker& operator=(const Unpacker&) = delete;

  void feed(const std::uint8_t* bytes, std::size_t count) {
    state_.next_in = const_cast<std::uint8_t*>(bytes);
    state_.avail_in = static_cast<uInt>(count);
    while (!ended_) {
      std::uint8_t unpacked[1 << 15];
      state_.next_out = unpacked;
      state_.avail_out = sizeof(unpacked);
      const int result = inflate(&state_, Z_NO_FLUSH);
      if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
        throw bad_picture("the PNG data is damaged, cut or of a kind that is not supported");
      const auto got = static_cast<std::int64_t>(sizeof(unpacked)) - state_.avail_out;
      left_ -= got;
      ended_ = result == Z_STREAM_END;
      if (left_ < -kSpare) throw bad_picture("the PNG has far more pixels than its header says");
      if (got == 0 && state_.avail_in == 0) break;
    }
  }

  void check() const {
    if (left_ > 0) throw bad_picture("the PNG is cut: pixels are missing");
    if (!ended_) throw bad_picture("the PNG is cut: the end of its packed pixels is missing");
  }

 private:
  z_stream state_{};
  std::int64_t left_;  // of the rows
  bool ended_ = false;
};

}  // namespace

void check_png_pixels(const Bytes& data) {
  Unpacker unpacker(row_bytes(data));
  bool seen = false;
  for (std::size_t at = 8; at < data.size();) {
    const std::size_t length = big32(&data[at]);
    const bool pixels = std::memcmp(&data[at + 4], "IDAT", 4) == 0;
    if (seen && !pixels) break;
    if (pixels) unpacker.feed(&data[at + 8], length);
    seen = pixels;
    at += 12 + length;
  }
  unpacker.check();
}

}  // namespace app
