// SPDX-License-Identifier: Apache-2.0
#include "listing.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <unordered_map>
#include <unordered_set>

#include "problem.hpp"
#include "text.hpp"

namespace fs = std::filesystem;

namespace app {
namespace {

// Those of the kinds that are not read here, too: such a picture is listed and refused by name, not passed over.
const std::vector<std::string> kSuffixes = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff"};
constexpr std::uintmax_t kMaxListBytes = std::uintmax_t{256} << 20;

Problem wrong(const std::string& text) { return Problem(Exit::usage, text); }

bool is_picture(const std::string& name) {
  const std::string small = lower(name);
  return std::any_of(kSuffixes.begin(), kSuffixes.end(), [&](auto& suffix) { return ends_with(small, suffix); });
}

std::string strip_suffix(const std::string& name) {
  const std::string small = lower(name);
  const std::size_t slash = name.rfind('/');
  const std::size_t last_part = name.size() - (slash == std::string::npos ? 0 : slash + 1);
  for (const std::string& suffix : kSuffixes)
    if (ends_with(small, suffix) && last_part > suffix.size()) return name.substr(0, name.size() - suffix.size());
  return name;
}

std::vector<std::string> read_list(const std::string& file_list) {
  const std::string shown = printable(file_list);
  std::error_code error;
  if (!fs::is_regular_file(file_list, error)) throw wrong("there is no file list " + shown);
  if (fs::file_size(file_list, error) > kMaxListBytes) throw wrong("the file list " + shown + " is too large");
  std::ifstream file(file_list, std::ios::binary);
  if (!file) throw wrong("cannot read the file list " + shown);
  std::vector<std::string> lines;
  bool first = true;
  for (std::string line; std::getline(file, line); first = false) {
    if (first && line.compare(0, 3, "\xef\xbb\xbf") == 0) line.erase(0, 3);
    line = strip(line);
    if (!line.empty()) lines.push_back(line);
  }
  if (file.bad()) throw wrong("cannot read the file list " + shown);
  if (lines.empty()) throw wrong("the file list " + shown + " is empty");
  return lines;
}

// `name` relative to `folder` with single slashes, or nothing when it leads elsewhere.
std::optional<std::string> inside(const fs::path& folder, const std::string& name) {
  if (name.find('\0') != std::string::npos) return std::nullopt;
  std::vector<std::string> parts;
  for (const fs::path& part : fs::path(name))
    if (!part.empty() && part != "." && part != "/") parts.push_back(part.string());
  auto begin = parts.begin();
  if (name[0] == '/') {
    for (const fs::path& part : folder) {
      if (part.empty() || part == "." || part == "/") continue;
      if (begin == parts.end() || *begin++ != part.string()) return std::nullopt;
    }
    if (!folder.is_absolute()) return std::nullopt;
  }
  std::string joined;
  for (; begin != parts.end(); ++begin) {
    if (*begin == "..") return std::nullopt;
    joined += (joined.empty() ? "" : "/") + *begin;
  }
  if (joined.empty()) return std::nullopt;
  return joined;
}

std::optional<std::string> with_suffix(const fs::path& folder, const std::string& name) {
  std::vector<std::string> names = {name};
  const std::size_t slash = name.find('/');
  if (slash != std::string::npos) {
    const std::string top = name.substr(0, slash);
    if (top == "JPEGImages" || top == "SegmentationClass") names.push_back(name.substr(slash + 1));
  }
  std::vector<std::string> candidates;
  for (const std::string& form : names) {
    candidates.push_back(form);
    for (const std::string& suffix : kSuffixes) candidates.push_back(form + suffix);
  }
  for (const std::string& form : names)
    for (const std::string& suffix : kSuffixes) candidates.push_back(strip_suffix(form) + suffix);
  for (const std::string& candidate : candidates) {
    std::error_code error;
    const fs::file_type type = is_picture(candidate) ? fs::symlink_status(folder / candidate, error).type()
                                                     : fs::file_type::not_found;
    if (type != fs::file_type::not_found && type != fs::file_type::none) return candidate;
  }
  return std::nullopt;
}

// The file of one line: the whole line first (names may hold spaces), then its first column.
Entry resolve(const fs::path& folder, const std::string& line) {
  const std::string column = line.substr(0, line.find_first_of(" \t\r\v\f"));
  std::string problem = "no such picture";
  for (const std::string& name : {line, column}) {
    const auto relative = inside(folder, name);
    if (!relative) {
      problem = "the line leads out of the folder";
    } else if (const auto found = with_suffix(folder, *relative)) {
      return {*found, (folder / *found).string(), ""};
    }
    if (name == column) break;
  }
  return {column, "", problem};
}

std::vector<Entry> scan(const fs::path& folder) {
  std::vector<Entry> entries;
  try {
    for (const auto& item : fs::directory_iterator(folder))
      if (is_picture(item.path().filename().string()))
        entries.push_back({item.path().filename().string(), item.path().string(), ""});
  } catch (const fs::filesystem_error& error) {
    throw wrong("cannot read the folder " + printable(folder.string()) + ": " + error.code().message());
  }
  if (entries.empty())
    throw wrong("there is no picture (.jpg, .jpeg, .png, ...) in " + printable(folder.string()));
  std::sort(entries.begin(), entries.end(), [](auto& a, auto& b) { return a.name < b.name; });
  return entries;
}

}  // namespace

std::vector<Entry> list_pictures(const std::string& image_dir, const std::string& file_list,
                                 std::optional<std::int64_t> image_num) {
  std::error_code error;
  fs::path folder = image_dir;
  if (!fs::is_directory(folder, error)) throw wrong("there is no folder " + printable(image_dir));
  if (fs::is_directory(folder / "JPEGImages", error)) folder /= "JPEGImages";
  const auto most = static_cast<std::size_t>(image_num.value_or(INT64_MAX));
  if (file_list.empty()) {
    std::vector<Entry> entries = scan(folder);
    if (entries.size() > most) entries.resize(most);
    return entries;
  }
  std::vector<Entry> entries;
  for (const std::string& line : read_list(file_list)) {
    if (entries.size() == most) break;
    entries.push_back(resolve(folder, line));
  }
  return entries;
}

std::vector<std::string> output_names(const std::vector<Entry>& entries) {
  std::unordered_set<std::string> seen;
  for (const Entry& entry : entries)
    if (!seen.insert(entry.name).second) throw wrong("the list names " + printable(entry.name) + " twice");
  std::vector<bool> whole(entries.size());
  std::vector<std::string> names(entries.size());
  for (bool changed = true; changed;) {
    std::unordered_map<std::string, int> uses;
    for (std::size_t i = 0; i < names.size(); ++i) {
      names[i] = (whole[i] ? entries[i].name : strip_suffix(entries[i].name)) + ".png";
      ++uses[names[i]];
    }
    changed = false;
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (uses[names[i]] == 1 || whole[i]) continue;
      whole[i] = true;
      changed = true;
    }
  }
  return names;
}

void refuse_own_pictures(const std::vector<Entry>& entries, const std::string& output_dir,
                         const std::vector<std::string>& names) {
  // Links are resolved once for each folder; a file of its own is looked at only if it is a link.
  std::unordered_map<std::string, std::string> folders;
  const auto real = [&](const fs::path& path) -> std::string {
    std::error_code error;
    if (fs::is_symlink(path, error)) return fs::weakly_canonical(path, error).string();
    const std::string parent = path.parent_path().string();
    auto known = folders.find(parent);
    if (known == folders.end())
      known = folders.emplace(parent, fs::weakly_canonical(parent, error).string()).first;
    return known->second + "/" + path.filename().string();
  };
  std::unordered_set<std::string> sources;
  for (const Entry& entry : entries)
    if (!entry.path.empty()) sources.insert(real(fs::absolute(entry.path)));
  for (const std::string& name : names)
    if (sources.count(real(fs::absolute(fs::path(output_dir) / name))) != 0)
      throw wrong(printable((fs::path(output_dir) / name).string()) +
                  " is one of the pictures to label: choose another --output_dir");
}

}  // namespace app
