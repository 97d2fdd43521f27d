// SPDX-License-Identifier: Apache-2.0
// Result files: whole or not at all, by one job at a time.
#pragma once

#include <filesystem>
#include <set>
#include <string>

#include "picture.hpp"

namespace app {

// A folder that one job writes to.  It is made if it is not there, locked while the object lives (a killed process
// leaves no lock behind); what a killed job left unfinished there is removed.
class OutputFolder {
 public:
  // Throws Problem: usage when the path is no folder, resource when another job writes there, output when the disk
  // refuses.
  explicit OutputFolder(const std::string& path);
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  // Write one file under its final name, or nothing; `name` may lie in a sub-folder.  Throws Problem: usage for a name
  // that the file system refuses, output when the disk does.
  void write(const std::string& name, const Bytes& data);

 private:
  void lock();
  void prepare(const std::filesystem::path& folder);
  int make_temporary(const std::filesystem::path& folder, std::filesystem::path& made);

  std::filesystem::path path_;
  std::set<std::filesystem::path> prepared_;
  int handle_ = -1;
  unsigned long long next_ = 0;
};

}  // namespace app
