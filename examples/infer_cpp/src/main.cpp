// SPDX-License-Identifier: Apache-2.0
// Label a folder of pictures with an offline model: see --help, or the README beside this folder.
#include <atomic>
#include <csignal>
#include <cstdio>
#include <exception>
#include <new>
#include <system_error>

#include "listing.hpp"
#include "network.hpp"
#include "options.hpp"
#include "pipeline.hpp"
#include "problem.hpp"
#include "report.hpp"

namespace {

std::atomic<bool> stop{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler writes it");

extern "C" void interrupt(int signal) {
  stop = true;
  std::signal(signal, SIG_DFL);  // the second one ends the program at once
}

int finish(app::Exit code) { return static_cast<int>(code); }

int fail(app::Exit code, const char* text) {
  std::fprintf(stderr, "infer_cpp: %s\n", text);
  return finish(code);
}

int run(const app::Options& options) {
  app::Network network(options);
  std::fprintf(stderr, "%s\n", app::model_line(network).c_str());
  const auto entries = app::list_pictures(options.image_dir, options.file_list, options.image_num);
  std::vector<std::string> names;
  if (options.save_img || options.overlay) {
    names = app::output_names(entries);
    app::refuse_own_pictures(entries, options.output_dir, names);
  }
  const app::Result result = app::run_pipeline(network, entries, names, options, stop);
  const std::string report =
      options.json ? app::json_report(result, network, options) : app::text_report(result, network, options);
  const bool written = std::fputs(report.c_str(), stdout) >= 0 && std::fflush(stdout) == 0;
  if (result.interrupted) return fail(app::Exit::interrupted, "interrupted");
  if (!written) return fail(app::Exit::output, "cannot write to standard output");
  return finish(result.failures.empty() ? app::Exit::ok : app::Exit::done_with_errors);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const app::Options options = app::parse_options(argc, argv);
    if (options.help) {
      std::fputs(app::help_text(), stdout);
      return finish(app::Exit::ok);
    }
    std::signal(SIGINT, interrupt);
    std::signal(SIGTERM, interrupt);
    return run(options);
  } catch (const app::Problem& problem) {
    return fail(problem.code(), problem.what());
  } catch (const std::bad_alloc&) {
    return fail(app::Exit::resource, "no memory");
  } catch (const std::system_error& error) {
    return fail(app::Exit::resource, error.what());
  } catch (const std::exception& error) {
    return fail(app::Exit::bug, error.what());
  }
}
