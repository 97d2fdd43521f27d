// SPDX-License-Identifier: Apache-2.0
// What can go wrong, and the exit code that says so: the same codes as those of the `smalti` command.
#pragma once

#include <stdexcept>
#include <string>

namespace app {

enum class Exit {
  ok = 0,
  bug = 1,
  usage = 2,
  done_with_errors = 3,
  bad_data = 4,
  model_file = 5,
  output = 6,
  resource = 7,
  interrupted = 130,
};

class Problem : public std::runtime_error {
 public:
  Problem(Exit code, const std::string& text) : std::runtime_error(text), code_(code) {}
  Exit code() const { return code_; }

 private:
  Exit code_;
};

// A picture that is damaged, over a limit or not supported: it is listed, and the run goes on.
inline Problem bad_picture(const std::string& text) { return Problem(Exit::bad_data, text); }

}  // namespace app
