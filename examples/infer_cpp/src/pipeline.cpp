// SPDX-License-Identifier: Apache-2.0
#include "pipeline.hpp"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>

#include "output_folder.hpp"
#include "problem.hpp"
#include "queue.hpp"
#include "resize.hpp"
#include "text.hpp"

namespace app {
namespace {

constexpr std::size_t kAhead = 2;  // pictures that wait between two threads: memory does not grow with the list

class Watch {
 public:
  // Seconds since the last call, or since the object was made.
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - last_).count();
    last_ = now;
    return seconds;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

struct Prepared {
  std::size_t index = 0;
  std::string problem;  // why there is no picture
  Picture picture;
  std::optional<Picture> scaled;  // nothing: the network sees the picture itself
  double decode_seconds = 0;
  double resize_seconds = 0;
};

struct Labelled {
  std::size_t index = 0;
  Size size;        // of the picture
  Picture picture;  // kept only for an overlay
  LabelMap map;
};

class Pipeline {
 public:
  Pipeline(Network& network, const std::vector<Entry>& entries, const std::vector<std::string>& names,
           const Options& options, const std::atomic<bool>& stop)
      : network_(network), entries_(entries), names_(names), options_(options), stop_(stop),
        preprocess_(network.preprocess()), palette_(network.palette()), problems_(entries.size()) {}

  Result run() {
    if (options_.save_img || options_.overlay) folder_.emplace(options_.output_dir);
    Watch watch;
    std::thread decoder([this] { guarded([this] { decode_all(); }, prepared_); });
    std::thread saver;
    guarded(
        [&] {
          saver = std::thread([this] { guarded([this] { save_all(); }, labelled_); });
          infer_all();
        },
        labelled_);
    prepared_.close();
    decoder.join();
    if (saver.joinable()) saver.join();
    result_.wall_seconds = watch.lap();
    if (error_) std::rethrow_exception(error_);
    return finish();
  }

 private:
  // Runs one thread's loop.  When it ends its queue is closed; when it fails, all stop.
  template <typename Work, typename Items>
  void guarded(Work work, Queue<Items>& queue) {
    try {
      work();
    } catch (...) {
      const std::lock_guard lock(error_mutex_);
      if (!error_) error_ = std::current_exception();
      prepared_.close();
      labelled_.close();
    }
    queue.close();
  }

  // True when the problem is about this picture alone; then it is noted.
  void note_or_throw(std::size_t index, const Problem& problem, bool names_too = false) {
    if (problem.code() != Exit::bad_data && !(names_too && problem.code() == Exit::usage)) throw problem;
    problems_[index] = problem.what();
  }

  void decode_all() {
    for (std::size_t i = 0; i < entries_.size() && !stop_; ++i)
      if (!prepared_.push(prepare(i))) return;
  }

  Prepared prepare(std::size_t index) {
    Prepared made;
    made.index = index;
    const Entry& entry = entries_[index];
    if (entry.path.empty()) {
      made.problem = entry.problem;
      return made;
    }
    Watch watch;
    try {
      made.picture = read_picture(entry.path, options_.max_pixels);
      made.decode_seconds = watch.lap();
      const Size size = target_size(made.picture.height, made.picture.width, preprocess_);
      if (size.height != made.picture.height || size.width != made.picture.width)
        made.scaled = resize_picture(made.picture, size);
      made.resize_seconds = watch.lap();
    } catch (const Problem& problem) {
      note_or_throw(index, problem);
      made.problem = problem.what();
    }
    return made;
  }

  void infer_all() {
    std::size_t done = 0;
    while (auto item = prepared_.pop()) {
      if (stop_) return;
      if (!item->problem.empty()) {
        problems_[item->index] = item->problem;
      } else if (!infer(std::move(*item))) {
        return;
      }
      show_progress(++done);
    }
  }

  bool infer(Prepared item) {
    Labelled made;
    made.index = item.index;
    made.size = {item.picture.height, item.picture.width};
    Watch watch;
    try {
      made.map = network_.label(item.scaled ? *item.scaled : item.picture);
    } catch (const Problem& problem) {
      note_or_throw(item.index, problem);
      return true;
    }
    result_.seconds[kInfer].push_back(watch.lap());
    result_.seconds[kDecode].push_back(item.decode_seconds);
    result_.seconds[kResize].push_back(item.resize_seconds);
    if (options_.overlay) made.picture = std::move(item.picture);
    return labelled_.push(std::move(made));
  }

  void save_all() {
    while (auto item = labelled_.pop()) {
      try {
        save(*item);
      } catch (const Problem& problem) {
        note_or_throw(item->index, problem, true);
      }
    }
  }

  void save(const Labelled& item) {
    Watch watch;
    const LabelMap map = resize_labels(item.map, item.size);
    const Bytes mask = options_.save_img ? encode_mask(map, palette_) : Bytes();
    const Bytes drawn = options_.overlay ? encode_overlay(item.picture, map, palette_) : Bytes();
    result_.seconds[kPost].push_back(watch.lap());
    if (!folder_) return;
    const std::string& name = names_[item.index];
    if (options_.save_img) folder_->write(name, mask);
    if (options_.overlay) folder_->write("overlay/" + name.substr(0, name.size() - 4) + ".jpg", drawn);
    result_.seconds[kSave].push_back(watch.lap());
  }

  void show_progress(std::size_t done) const {
    static const bool terminal = isatty(STDERR_FILENO) != 0;
    if (terminal) std::fprintf(stderr, "\r%zu/%zu%s", done, entries_.size(), done == entries_.size() ? "\n" : "");
  }

  Result finish() {
    for (std::size_t i = 0; i < problems_.size(); ++i)
      if (problems_[i]) result_.failures.push_back({printable(entries_[i].name), *problems_[i]});
    result_.interrupted = stop_;
    result_.images = result_.interrupted ? result_.seconds[kPost].size() : entries_.size() - result_.failures.size();
    return std::move(result_);
  }

  Network& network_;
  const std::vector<Entry>& entries_;
  const std::vector<std::string>& names_;
  const Options& options_;
  const std::atomic<bool>& stop_;
  const Preprocess preprocess_;
  const Palette palette_;
  std::optional<OutputFolder> folder_;
  Queue<Prepared> prepared_{kAhead};
  Queue<Labelled> labelled_{kAhead};
  // Each picture is in one thread's hands at a time, and so is its place here.
  std::vector<std::optional<std::string>> problems_;
  Result result_;
  std::mutex error_mutex_;
  std::exception_ptr error_;
};

}  // namespace

Result run_pipeline(Network& network, const std::vector<Entry>& entries, const std::vector<std::string>& names,
                    const Options& options, const std::atomic<bool>& stop) {
  return Pipeline(network, entries, names, options, stop).run();
}

}  // namespace app
