// SPDX-License-Identifier: Apache-2.0
#include "report.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "resize.hpp"
#include "text.hpp"

namespace app {
namespace {

constexpr const char* kStageNames[kStages] = {"decode", "resize", "infer", "post", "save"};
constexpr std::size_t kMostListed = 20;

struct StageTimes {
  double mean = 0, median = 0, p95 = 0, total = 0;  // milliseconds
};

// The value below which a share of the sorted values lies, linear between two of them.
double percentile(const std::vector<double>& sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (place - static_cast<double>(below));
}

StageTimes stage_times(std::vector<double> seconds) {
  std::sort(seconds.begin(), seconds.end());
  const double total = std::accumulate(seconds.begin(), seconds.end(), 0.0);
  return {1e3 * total / static_cast<double>(seconds.size()), 1e3 * percentile(seconds, 0.5),
          1e3 * percentile(seconds, 0.95), 1e3 * total};
}

template <typename... Values>
std::string format(const char* form, Values... values) {
  char text[256];
  std::snprintf(text, sizeof text, form, values...);
  return text;
}

std::string number(double value) { return format("%.17g", value); }

double rate(const Result& result) {
  return result.wall_seconds > 0 ? static_cast<double>(result.images) / result.wall_seconds : 0;
}

std::string joined(const std::vector<std::string>& texts, const std::string& between) {
  std::string all;
  for (const std::string& text : texts) all += (all.empty() ? "" : between) + text;
  return all;
}

std::string threads_text(const Network& network) {
  return std::to_string(network.threads()) + (network.threads() == 1 ? " thread" : " threads");
}

bool saves(const Options& options) { return options.save_img || options.overlay; }

std::string json_preprocess(const Preprocess& how) {
  const std::string size =
      how.fit == Fit::none ? "null"
      : how.exact.height > 0
          ? "[" + std::to_string(how.exact.height) + ", " + std::to_string(how.exact.width) + "]"
          : std::to_string(how.input_size);
  return std::string("{\"resize\": \"") + fit_name(how.fit) +
         "\", \"input_size\": " + size + "}";
}

std::string json_stages(const Result& result) {
  std::vector<std::string> rows;
  for (int i = 0; i < kStages; ++i) {
    const auto& seconds = result.seconds[static_cast<std::size_t>(i)];
    if (seconds.empty()) continue;
    const StageTimes t = stage_times(seconds);
    rows.push_back(std::string("    {\"stage\": \"") + kStageNames[i] + "\", \"count\": " + std::to_string(seconds.size()) +
                   ", \"mean_ms\": " + number(t.mean) + ", \"median_ms\": " + number(t.median) +
                   ", \"p95_ms\": " + number(t.p95) + ", \"total_ms\": " + number(t.total) + "}");
  }
  return rows.empty() ? "[]" : "[\n" + joined(rows, ",\n") + "\n  ]";
}

std::string json_failures(const Result& result) {
  std::vector<std::string> rows;
  for (const Failure& failure : result.failures)
    rows.push_back("    {\"name\": " + json_string(failure.name) + ", \"reason\": " + json_string(printable(failure.reason)) +
                   "}");
  return rows.empty() ? "[]" : "[\n" + joined(rows, ",\n") + "\n  ]";
}

}  // namespace

std::string model_line(const Network& network) {
  const std::vector<std::string> targets = network.targets();
  const std::string of = targets.size() > 1 ? " of " + joined(targets, ", ") : "";
  const std::string name = network.name().empty() ? "model" : printable(network.name());
  return name + ", " + network.precision() + ", program " + network.target() + of + ", " + threads_text(network);
}

std::string text_report(const Result& result, const Network& network, const Options& options) {
  std::string text = "time of each stage, " + threads_text(network) + ", program " + network.target() + "\n\n";
  text += format("%-8s %9s %9s %9s %9s\n", "stage", "mean ms", "median ms", "p95 ms", "total s");
  for (int i = 0; i < kStages; ++i) {
    const auto& seconds = result.seconds[static_cast<std::size_t>(i)];
    if (seconds.empty()) continue;
    const StageTimes t = stage_times(seconds);
    text += format("%-8s %9.2f %9.2f %9.2f %9.2f\n", kStageNames[i], t.mean, t.median, t.p95, t.total / 1e3);
  }
  if (!result.failures.empty()) text += "\n" + std::to_string(result.failures.size()) + " skipped:\n";
  for (std::size_t i = 0; i < std::min(kMostListed, result.failures.size()); ++i)
    text += "  " + result.failures[i].name + ": " + printable(result.failures[i].reason) + "\n";
  if (result.failures.size() > kMostListed)
    text += "  and " + std::to_string(result.failures.size() - kMostListed) + " more\n";
  text += format("\n%zu images in %.2f s (%.1f a second)", result.images, result.wall_seconds, rate(result));
  if (!result.failures.empty()) text += ", " + std::to_string(result.failures.size()) + " skipped";
  if (saves(options)) text += " -> " + printable(options.output_dir);
  return text + "\n";
}

std::string json_report(const Result& result, const Network& network, const Options& options) {
  std::vector<std::string> targets = network.targets();
  for (std::string& target : targets) target = json_string(target);
  return "{\n  \"images\": " + std::to_string(result.images) +
         ",\n  \"failed\": " + std::to_string(result.failures.size()) + ",\n  \"failures\": " + json_failures(result) +
         ",\n  \"seconds\": " + number(result.wall_seconds) + ",\n  \"images_per_second\": " + number(rate(result)) +
         ",\n  \"stages\": " + json_stages(result) + ",\n  \"threads\": " + std::to_string(network.threads()) +
         ",\n  \"preprocess\": " + json_preprocess(network.preprocess()) +
         ",\n  \"output_dir\": " + (saves(options) ? json_string(printable(options.output_dir)) : "null") +
         ",\n  \"model\": " + json_string(printable(network.name())) +
         ",\n  \"precision\": " + json_string(network.precision()) +
         ",\n  \"target\": " + json_string(network.target()) + ",\n  \"targets\": [" + joined(targets, ", ") + "]\n}\n";
}

}  // namespace app
