// SPDX-License-Identifier: Apache-2.0
#include "output_folder.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "problem.hpp"
#include "text.hpp"

namespace fs = std::filesystem;

namespace app {
namespace {

constexpr const char* kTemporary = ".smalti-tmp";

Problem write_error(const fs::path& path, int error) {
  const bool name = error == ENAMETOOLONG || error == EISDIR || error == ENOTDIR;
  return Problem(name ? Exit::usage : Exit::output,
                 "cannot write " + printable(path.string()) + ": " + std::strerror(error));
}

int write_all(int handle, const Bytes& data) {
  std::size_t done = 0;
  while (done < data.size()) {
    const ssize_t wrote = write(handle, data.data() + done, data.size() - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return errno;
    done += static_cast<std::size_t>(wrote);
  }
  return 0;
}

}  // namespace

OutputFolder::OutputFolder(const std::string& path) : path_(path) {
  std::error_code error;
  fs::create_directories(path_, error);
  std::error_code ignored;
  if (error == std::errc::not_a_directory || (fs::exists(path_, ignored) && !fs::is_directory(path_, ignored)))
    throw Problem(Exit::usage, printable(path) + " is not a folder");
  if (error) throw write_error(path_, error.value());
  handle_ = open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (handle_ < 0) throw write_error(path_, errno);
  try {
    lock();
    prepare(path_);
  } catch (...) {
    close(handle_);
    throw;
  }
}

OutputFolder::~OutputFolder() { close(handle_); }

void OutputFolder::lock() {
  if (flock(handle_, LOCK_EX | LOCK_NB) == 0) return;
  if (errno == EWOULDBLOCK)
    throw Problem(Exit::resource, "another job is writing to " + printable(path_.string()));
  // Some file systems know no locks: then there is none.
  if (errno != ENOTSUP && errno != ENOSYS && errno != EINVAL && errno != ENOLCK) throw write_error(path_, errno);
}

void OutputFolder::prepare(const fs::path& folder) {
  if (!prepared_.insert(folder).second) return;
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw write_error(folder, error.value());
  for (const auto& item : fs::directory_iterator(folder, error)) {
    const std::string name = item.path().filename().string();
    if (name.front() == '.' && ends_with(name, kTemporary)) fs::remove(item.path(), error);
  }
}

int OutputFolder::make_temporary(const fs::path& folder, fs::path& made) {
  for (;;) {
    made = folder / ("." + std::to_string(getpid()) + "-" + std::to_string(next_++) + kTemporary);
    const int handle = open(made.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (handle >= 0 || errno != EEXIST) return handle;
  }
}

void OutputFolder::write(const std::string& name, const Bytes& data) {
  const fs::path path = path_ / name;
  prepare(path.parent_path());
  fs::path temporary;
  const int handle = make_temporary(path.parent_path(), temporary);
  if (handle < 0) throw write_error(path, errno);
  int failed = write_all(handle, data);
  if (close(handle) != 0 && failed == 0) failed = errno;
  if (failed == 0 && std::rename(temporary.c_str(), path.c_str()) != 0) failed = errno;
  if (failed == 0) return;
  std::error_code ignored;
  fs::remove(temporary, ignored);
  throw write_error(path, failed);
}

}  // namespace app
