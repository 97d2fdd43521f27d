// SPDX-License-Identifier: Apache-2.0
// Which pictures to label, and what their label maps are called.
//
// A file list holds one picture a line: an id (2007_000033), a name with a suffix, or a path relative to the folder; a
// second column is ignored.  A folder alone stands for every picture directly in it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace app {

struct Entry {
  std::string name;     // relative to the folder
  std::string path;     // where the file is; empty if the list names something that is not there
  std::string problem;  // why it is not there
};

// At most the first `image_num` pictures, in the list's order, or sorted.  `image_dir` may also be a VOC root that has
// JPEGImages in it.  Throws Problem(Exit::usage) when the folder or the list cannot be read or names nothing.
std::vector<Entry> list_pictures(const std::string& image_dir, const std::string& file_list,
                                 std::optional<std::int64_t> image_num);

// A name for each entry, all different: the name without its suffix plus .png.  Entries that would share one (a.jpg and
// a.png) keep their whole names: a.jpg.png, a.png.png.  Throws Problem(Exit::usage) when an entry stands there twice.
std::vector<std::string> output_names(const std::vector<Entry>& entries);

// A run must never write over the pictures it reads.  Throws Problem(Exit::usage).
void refuse_own_pictures(const std::vector<Entry>& entries, const std::string& output_dir,
                         const std::vector<std::string>& names);

}  // namespace app
