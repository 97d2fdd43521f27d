// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace app {

constexpr std::int64_t kDefaultMaxPixels = std::int64_t{64} << 20;
constexpr std::int64_t kLargestMaxPixels = std::int64_t{85} << 20;

struct Options {
  std::string model;
  std::string image_dir;
  std::string file_list;                // empty: every picture of the folder
  std::string output_dir;
  std::string target;                   // empty: the best program of the file for this CPU
  std::optional<std::int64_t> image_num;
  std::optional<bool> shape_mutable;    // what the caller takes the model for; nothing: as it is
  std::int64_t threads = 0;             // 0: the CPUs this process may use
  std::int64_t max_pixels = kDefaultMaxPixels;
  bool save_img = true;
  bool overlay = false;
  bool json = false;
  bool help = false;
};

// Read the command line: --name value or --name=value, with - or _ between words.  Throws Problem(Exit::usage).
Options parse_options(int argc, const char* const* argv);

const char* help_text();

}  // namespace app
