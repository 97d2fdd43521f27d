// SPDX-License-Identifier: Apache-2.0
#include "jpeg_scans.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <utility>
#include <vector>

#include "problem.hpp"

namespace app {
namespace {

constexpr int kMaxSegments = 10000;
constexpr std::size_t kMaxRestarts = 1 << 20;
constexpr int kCoefficients = 64;
constexpr std::uint8_t kProgressive = 0xc2;
constexpr int kNever = 99;

unsigned big16(const std::uint8_t* p) { return unsigned{p[0]} << 8 | p[1]; }

int ceil_div(int a, int b) { return (a + b - 1) / b; }

bool is_restart(std::uint8_t marker) { return marker >= 0xd0 && marker <= 0xd7; }

struct Sampling {
  int across;
  int down;
};

// What the scans sent so far leave open.
class Coverage {
 public:
  explicit Coverage(const JpegFrame& frame) : progressive_(frame.marker == kProgressive) {
    const Bytes& body = frame.body;  // at least 6 bytes: depth, height, width, number of components
    const std::size_t count = body[5];
    if (count == 0 || body.size() < 6 + 3 * count) throw bad_picture("the JPEG frame header is cut");
    height_ = static_cast<int>(big16(&body[1]));
    width_ = static_cast<int>(big16(&body[3]));
    for (std::size_t i = 0; i < count; ++i) {
      const Sampling sampling = {body[7 + 3 * i] >> 4, body[7 + 3 * i] & 15};
      const bool possible = sampling.across >= 1 && sampling.across <= 4 && sampling.down >= 1 && sampling.down <= 4;
      if (!possible || !sampling_.emplace(body[6 + 3 * i], sampling).second)
        throw bad_picture("the JPEG frame header gives impossible components");
      most_ = {std::max(most_.across, sampling.across), std::max(most_.down, sampling.down)};
      left_[body[6 + 3 * i]].fill(kNever);
    }
  }

  // `header` is the body of the header of a scan with `pieces` parts between restart markers.
  void add(const Bytes& header, std::size_t pieces, unsigned interval) {
    const std::size_t count = header.empty() ? 0 : header[0];
    if (header.size() < 4 + 2 * count) throw bad_picture("the JPEG has a scan header that is cut");
    const std::uint8_t* range = &header[1 + 2 * count];
    bool fits = count > 0 && range[0] <= range[1] && range[1] < kCoefficients;
    for (std::size_t i = 0; i < count; ++i) fits = fits && left_.count(header[1 + 2 * i]) != 0;
    if (!fits) throw bad_picture("the JPEG has a scan that does not fit its frame");
    const int first = progressive_ ? range[0] : 0, last = progressive_ ? range[1] : kCoefficients - 1;
    for (std::size_t i = 0; i < count; ++i) {
      auto& bits = left_[header[1 + 2 * i]];
      // A scan that refines follows on the one that sent the bits above its own.
      const int high = progressive_ ? range[2] >> 4 : 0;
      if (high != 0 && std::any_of(bits.begin() + first, bits.begin() + last + 1, [&](int left) { return left > high; }))
        throw bad_picture("the JPEG is cut: a scan is missing");
      std::fill(bits.begin() + first, bits.begin() + last + 1, progressive_ ? range[2] & 15 : 0);
    }
    if (interval != 0) {
      const std::int64_t units = units_of(count, header[1]);
      if (static_cast<std::int64_t>(pieces) < (units + interval - 1) / interval)  // some cameras end with a marker too many
        throw bad_picture("the JPEG is cut: a part between two restart markers is missing");
    }
  }

  void check() const {
    for (const auto& [component, bits] : left_)
      if (std::any_of(bits.begin(), bits.end(), [](int left) { return left != 0; }))
        throw bad_picture("the JPEG is cut: a scan is missing");
  }

 private:
  // A scan of one component has blocks of that alone; otherwise a unit holds blocks of each.
  std::int64_t units_of(std::size_t components, std::uint8_t component) const {
    if (components > 1)
      return std::int64_t{ceil_div(width_, 8 * most_.across)} * ceil_div(height_, 8 * most_.down);
    const Sampling& own = sampling_.at(component);
    return std::int64_t{ceil_div(ceil_div(width_ * own.across, most_.across), 8)} *
           ceil_div(ceil_div(height_ * own.down, most_.down), 8);
  }

  bool progressive_;
  int height_ = 0;
  int width_ = 0;
  Sampling most_ = {0, 0};
  std::map<std::uint8_t, Sampling> sampling_;
  std::map<std::uint8_t, std::array<int, kCoefficients>> left_;  // bits of each coefficient that are still to come
};

Problem cut() { return bad_picture("the JPEG is cut: its end marker is missing"); }

// The next marker that is neither a restart marker nor data.  Throws where there is none.
std::size_t next_marker(const Bytes& data, std::size_t at) {
  for (; at + 1 < data.size(); ++at)
    if (data[at] == 0xff && data[at + 1] != 0 && data[at + 1] != 0xff && !is_restart(data[at + 1])) return at;
  throw cut();
}

// Adds the ends of the pieces of the scan whose coded pixels start at `at`; returns where the marker behind it is.
std::size_t find_pieces(const Bytes& data, std::size_t at, std::vector<std::size_t>& ends) {
  std::size_t start = at;
  for (std::size_t restarts = 0; at + 1 < data.size(); ++at) {
    if (data[at] != 0xff || data[at + 1] == 0 || data[at + 1] == 0xff) continue;
    std::size_t end = at;
    while (end > start && data[end - 1] == 0xff) --end;  // bytes of 255 before a marker belong to the marker
    ends.push_back(end);
    if (!is_restart(data[at + 1])) return at;
    if (++restarts > kMaxRestarts) throw bad_picture("the JPEG has too many restart markers");
    start = at + 2;
  }
  throw cut();
}

}  // namespace

JpegScans check_jpeg_scans(const Bytes& data, std::size_t at, const JpegFrame& frame) {
  struct Scan {
    Bytes header;
    std::size_t pieces;
    unsigned interval;
  };
  std::vector<Scan> scans;
  std::vector<std::size_t> ends;
  unsigned interval = frame.interval;
  for (int i = 0; i < kMaxSegments; ++i) {
    at = next_marker(data, at);
    const std::uint8_t marker = data[at + 1];
    if (marker == 0xd9) {
      Coverage coverage(frame);
      for (const Scan& scan : scans) coverage.add(scan.header, scan.pieces, scan.interval);
      coverage.check();
      return {at + 2, static_cast<std::int64_t>(scans.size()), std::move(ends)};
    }
    if (marker == 1) {
      at += 2;
      continue;
    }
    if (at + 4 > data.size()) throw cut();
    const std::size_t body = at + 4, length = big16(&data[at + 2]);
    at += 2 + length;
    if (length < 2 || at >= data.size()) throw cut();
    if (marker == 0xdd && body + 2 <= data.size()) interval = big16(&data[body]);
    if (marker == 0xda) {
      Bytes header(&data[body], &data[at]);
      const std::size_t before = ends.size();
      at = find_pieces(data, at, ends);
      scans.push_back({std::move(header), ends.size() - before, interval});
    }
  }
  throw bad_picture("the JPEG has too many segments");
}

}  // namespace app
