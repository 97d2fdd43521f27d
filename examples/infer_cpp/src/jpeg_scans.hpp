// SPDX-License-Identifier: Apache-2.0
// Whether the scans of a JPEG hold every coefficient of every component, as far as their headers tell.
//
// A decoder paints what is missing grey and tells nobody.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "picture.hpp"

namespace app {

struct JpegFrame {
  std::uint8_t marker = 0;  // of the frame header: 0xc0 and on
  Bytes body;               // of the frame header, behind its length
  unsigned interval = 0;    // units between two restart markers, as said before the first scan; 0: no such markers
};

struct JpegScans {
  std::size_t end = 0;  // behind the end marker
  std::int64_t count = 0;
  std::vector<std::size_t> piece_ends;  // where coded pixels end: in front of every marker that ends or parts a scan
};

// Walk from the first scan at `at` to the end marker.  Throws Problem(Exit::bad_data) where a scan, a part of one between
// two restart markers, or the end is missing.
JpegScans check_jpeg_scans(const Bytes& data, std::size_t at, const JpegFrame& frame);

}  // namespace app
