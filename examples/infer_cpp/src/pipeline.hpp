// SPDX-License-Identifier: Apache-2.0
// The work on all pictures: one thread decodes and scales ahead, the caller's thread runs the network, one thread saves.
#pragma once

#include <array>
#include <atomic>
#include <string>
#include <vector>

#include "listing.hpp"
#include "network.hpp"
#include "options.hpp"

namespace app {

enum Stage { kDecode, kResize, kInfer, kPost, kSave, kStages };

struct Failure {
  std::string name;
  std::string reason;
};

struct Result {
  std::size_t images = 0;          // that got a label map
  std::vector<Failure> failures;   // the others, in the order of the list
  std::array<std::vector<double>, kStages> seconds;
  double wall_seconds = 0;
  bool interrupted = false;
};

// Label the pictures and save the results under their names.  A picture that is no good is listed in the result; what
// is not about one picture (a full disk, no memory) is thrown.  `stop` becomes true when the user interrupts.
Result run_pipeline(Network& network, const std::vector<Entry>& entries, const std::vector<std::string>& names,
                    const Options& options, const std::atomic<bool>& stop);

}  // namespace app
