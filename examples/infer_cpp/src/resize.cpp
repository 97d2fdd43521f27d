// SPDX-License-Identifier: Apache-2.0
#include "resize.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace app {
namespace {

constexpr int kChannels = 3;
constexpr int kOne = 2048;  // 1.0 as a weight of the linear scaling

// Scaling down by a fraction: which source pixels make a target pixel, and how much of each.
struct Share {
  int target;
  int source;
  float weight;
};

std::vector<Share> area_shares(int source, int target, double scale) {
  std::vector<Share> shares;
  for (int t = 0; t < target; ++t) {
    const double begin = t * scale, end = begin + scale, cell = std::min(scale, source - begin);
    const int last = std::min(static_cast<int>(std::floor(end)), source - 1);
    const int first = std::min(static_cast<int>(std::ceil(begin)), last);
    if (first - begin > 1e-3) shares.push_back({t, first - 1, static_cast<float>((first - begin) / cell)});
    for (int s = first; s < last; ++s) shares.push_back({t, s, static_cast<float>(1.0 / cell)});
    if (end - last > 1e-3)
      shares.push_back({t, last, static_cast<float>(std::min(std::min(end - last, 1.0), cell) / cell)});
  }
  return shares;
}

// Halves to even, as the processor rounds by default.
std::uint8_t to_byte(float value) {
  return static_cast<std::uint8_t>(std::min(255L, std::max(0L, std::lrintf(value))));
}

void shrink(const Picture& from, Picture& to, double scale_y, double scale_x) {
  const auto columns = area_shares(from.width, to.width, scale_x), rows = area_shares(from.height, to.height, scale_y);
  const std::size_t samples = static_cast<std::size_t>(to.width) * kChannels;
  std::vector<float> line(samples), sum(samples, 0.0f);
  const auto store = [&](int row) {
    std::uint8_t* out = &to.rgb[static_cast<std::size_t>(row) * samples];
    for (std::size_t i = 0; i < samples; ++i) out[i] = to_byte(sum[i]);
    std::fill(sum.begin(), sum.end(), 0.0f);
  };
  int row = 0, have = -1;
  for (const Share& share : rows) {
    if (share.target != row) store(row);
    row = share.target;
    if (share.source != have) {
      have = share.source;
      const std::uint8_t* source = &from.rgb[static_cast<std::size_t>(have) * static_cast<std::size_t>(from.width) * 3];
      std::fill(line.begin(), line.end(), 0.0f);
      for (const Share& column : columns)
        for (int c = 0; c < kChannels; ++c)
          line[static_cast<std::size_t>(column.target * kChannels + c)] +=
              static_cast<float>(source[column.source * kChannels + c]) * column.weight;
    }
    for (std::size_t i = 0; i < samples; ++i) sum[i] += share.weight * line[i];
  }
  store(row);
}

// Scaling down by whole numbers: the mean of each block.
void shrink_blocks(const Picture& from, Picture& to, int block_height, int block_width) {
  const int count = block_height * block_width;
  const float scale = 1.0f / static_cast<float>(count);
  std::uint8_t* out = to.rgb.data();
  for (int y = 0; y < to.height; ++y) {
    for (int x = 0; x < to.width; ++x) {
      const std::size_t corner = (static_cast<std::size_t>(y) * static_cast<std::size_t>(block_height) *
                                      static_cast<std::size_t>(from.width) +
                                  static_cast<std::size_t>(x) * static_cast<std::size_t>(block_width)) *
                                 kChannels;
      for (int c = 0; c < kChannels; ++c) {
        int sum = 0;
        const std::uint8_t* line = &from.rgb[corner + static_cast<std::size_t>(c)];
        for (int v = 0; v < block_height; ++v, line += from.width * kChannels)
          for (int u = 0; u < block_width; ++u) sum += line[u * kChannels];
        const bool pair = block_height == 2 && block_width == 2;
        *out++ = pair ? static_cast<std::uint8_t>((sum + 2) >> 2) : to_byte(static_cast<float>(sum) * scale);
      }
    }
  }
}

// Scaling up in at least one direction: linear between pixels, in whole numbers.
struct Pair {
  int first;
  int second;
  int weight_first;
  int weight_second;
};

std::vector<Pair> linear_pairs(int source, int target, double inverse, double scale) {
  std::vector<Pair> pairs(static_cast<std::size_t>(target));
  for (int t = 0; t < target; ++t) {
    int first = static_cast<int>(std::floor(t * scale));
    auto part = static_cast<float>((t + 1) - (first + 1) * inverse);
    part = part <= 0.0f ? 0.0f : part - std::floor(part);
    if (first >= source - 1) {
      first = source - 1;
      part = 0.0f;
    }
    pairs[static_cast<std::size_t>(t)] = {first, std::min(first + 1, source - 1),
                                          static_cast<int>(std::lrintf((1.0f - part) * kOne)),
                                          static_cast<int>(std::lrintf(part * kOne))};
  }
  return pairs;
}

// A line in 1/128ths: 15 bits, so that the compiler can use 16-bit vector instructions for it.
void enlarge_line(const std::uint8_t* source, const std::vector<Pair>& columns, std::int16_t* line) {
  for (const Pair& p : columns) {
    const std::uint8_t *a = source + p.first * kChannels, *b = source + p.second * kChannels;
    for (int c = 0; c < kChannels; ++c)
      *line++ = static_cast<std::int16_t>((a[c] * p.weight_first + b[c] * p.weight_second) >> 4);
  }
}

void enlarge(const Picture& from, Picture& to, double inverse_y, double inverse_x, double scale_y, double scale_x) {
  const auto columns = linear_pairs(from.width, to.width, inverse_x, scale_x);
  const auto rows = linear_pairs(from.height, to.height, inverse_y, scale_y);
  const std::size_t samples = static_cast<std::size_t>(to.width) * kChannels;
  const std::size_t stride = static_cast<std::size_t>(from.width) * kChannels;
  std::vector<std::int16_t> upper(samples), lower(samples);
  int have_upper = -1, have_lower = -1;
  for (std::size_t y = 0; y < rows.size(); ++y) {
    const Pair& p = rows[y];
    if (p.first != have_upper && p.first == have_lower) {
      upper.swap(lower);
      std::swap(have_upper, have_lower);
    }
    if (p.first != have_upper)
      enlarge_line(&from.rgb[static_cast<std::size_t>(p.first) * stride], columns, upper.data());
    have_upper = p.first;
    if (p.second != have_lower)
      enlarge_line(&from.rgb[static_cast<std::size_t>(p.second) * stride], columns, lower.data());
    have_lower = p.second;
    std::uint8_t* out = &to.rgb[y * samples];
    const std::int16_t *u = upper.data(), *l = lower.data();
    const auto wu = static_cast<std::int16_t>(p.weight_first), wl = static_cast<std::int16_t>(p.weight_second);
    for (std::size_t i = 0; i < samples; ++i) {
      const auto above = static_cast<std::int16_t>((wu * u[i]) >> 16), below = static_cast<std::int16_t>((wl * l[i]) >> 16);
      out[i] = static_cast<std::uint8_t>((above + below + 2) >> 2);
    }
  }
}

}  // namespace

const char* fit_name(Fit fit) { return fit == Fit::none ? "none" : fit == Fit::fit ? "fit" : "stretch"; }

Size target_size(int height, int width, const Preprocess& preprocess) {
  const auto size = static_cast<int>(preprocess.input_size);
  if (preprocess.fit == Fit::none) return {height, width};
  if (preprocess.fit == Fit::stretch) return preprocess.exact.height > 0 ? preprocess.exact : Size{size, size};
  const double ratio = static_cast<double>(size) / std::max(height, width);
  return {std::max(1, static_cast<int>(std::nearbyint(ratio * height))),
          std::max(1, static_cast<int>(std::nearbyint(ratio * width)))};
}

Picture resize_picture(const Picture& picture, Size size) {
  if (picture.height == size.height && picture.width == size.width) return picture;
  Picture scaled{size.height, size.width, {}};
  scaled.rgb.resize(static_cast<std::size_t>(size.height) * static_cast<std::size_t>(size.width) * kChannels);
  const double inverse_y = static_cast<double>(size.height) / picture.height;
  const double inverse_x = static_cast<double>(size.width) / picture.width;
  const double scale_y = 1.0 / inverse_y, scale_x = 1.0 / inverse_x;
  if (scale_x < 1 || scale_y < 1) {
    enlarge(picture, scaled, inverse_y, inverse_x, scale_y, scale_x);
    return scaled;
  }
  const double block_y = std::nearbyint(scale_y), block_x = std::nearbyint(scale_x);
  constexpr double kSame = std::numeric_limits<double>::epsilon();
  if (std::abs(scale_y - block_y) < kSame && std::abs(scale_x - block_x) < kSame)
    shrink_blocks(picture, scaled, static_cast<int>(block_y), static_cast<int>(block_x));
  else
    shrink(picture, scaled, scale_y, scale_x);
  return scaled;
}

LabelMap resize_labels(const LabelMap& map, Size size) {
  if (map.height == size.height && map.width == size.width) return map;
  LabelMap scaled{size.height, size.width, {}};
  scaled.labels.reserve(static_cast<std::size_t>(size.height) * static_cast<std::size_t>(size.width));
  const double step_y = 1.0 / (static_cast<double>(size.height) / map.height);
  const double step_x = 1.0 / (static_cast<double>(size.width) / map.width);
  std::vector<int> columns(static_cast<std::size_t>(size.width));
  for (int x = 0; x < size.width; ++x)
    columns[static_cast<std::size_t>(x)] = std::min(static_cast<int>(std::floor(x * step_x)), map.width - 1);
  for (int y = 0; y < size.height; ++y) {
    const std::int64_t row = std::min(static_cast<int>(std::floor(y * step_y)), map.height - 1);
    const std::int32_t* line = map.labels.data() + row * map.width;
    for (const int x : columns) scaled.labels.push_back(line[x]);
  }
  return scaled;
}

}  // namespace app
