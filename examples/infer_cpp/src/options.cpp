// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

#include <algorithm>
#include <charconv>
#include <functional>
#include <map>
#include <utility>

#include "problem.hpp"
#include "text.hpp"

namespace app {
namespace {

Problem wrong(const std::string& text) { return Problem(Exit::usage, text + " (infer_cpp --help lists the options)"); }

std::int64_t whole_number(const std::string& name, const std::string& text, std::int64_t largest) {
  std::int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, value);
  if (read.ec != std::errc() || read.ptr != end || value < 1 || value > largest)
    throw wrong("--" + name + " must be a whole number from 1 to " + std::to_string(largest) + ", not '" + text + "'");
  return value;
}

bool toggle(const std::string& name, const std::string& text) {
  if (lower(text) == "true") return true;
  if (lower(text) == "false") return false;
  throw wrong("--" + name + " must be true or false, not '" + text + "'");
}

using Setter = std::function<void(const std::string& name, const std::string& value)>;

std::map<std::string, Setter> value_options(Options& o) {
  const auto text = [](std::string& field) {
    return [&field](const std::string& name, const std::string& value) {
      if (value.empty()) throw wrong("--" + name + " must not be empty");
      field = value;
    };
  };
  return {
      {"model", text(o.model)},
      {"image_dir", text(o.image_dir)},
      {"file_list", text(o.file_list)},
      {"output_dir", text(o.output_dir)},
      {"target", text(o.target)},
      {"image_num", [&o](auto& n, auto& v) { o.image_num = whole_number(n, v, INT64_MAX); }},
      {"threads", [&o](auto& n, auto& v) { o.threads = whole_number(n, v, 1024); }},
      {"max_pixels", [&o](auto& n, auto& v) { o.max_pixels = whole_number(n, v, kLargestMaxPixels); }},
      {"save_img", [&o](auto& n, auto& v) { o.save_img = toggle(n, v); }},
      {"shape_mutable", [&o](auto& n, auto& v) { o.shape_mutable = toggle(n, v); }},
  };
}

void check(const Options& o) {
  if (o.model.empty()) throw wrong("--model is missing: the offline model file");
  if (o.image_dir.empty()) throw wrong("--image_dir is missing: the folder of pictures");
  if ((o.save_img || o.overlay) && o.output_dir.empty())
    throw wrong("an output folder is needed to save pictures: give --output_dir");
}

}  // namespace

Options parse_options(int argc, const char* const* argv) {
  Options options;
  const auto values = value_options(options);
  const std::map<std::string, bool*> flags = {
      {"overlay", &options.overlay}, {"json", &options.json}, {"help", &options.help}};
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "-h") {
      options.help = true;
      continue;
    }
    if (word.compare(0, 2, "--") != 0) throw wrong("what is '" + word + "'?");
    const std::size_t equals = word.find('=');
    std::string name = word.substr(2, equals == std::string::npos ? equals : equals - 2);
    std::replace(name.begin(), name.end(), '-', '_');
    if (const auto flag = flags.find(name); flag != flags.end()) {
      *flag->second = equals == std::string::npos || toggle(name, word.substr(equals + 1));
      continue;
    }
    const auto option = values.find(name);
    if (option == values.end()) throw wrong("there is no option " + word);
    if (equals != std::string::npos) {
      option->second(name, word.substr(equals + 1));
    } else if (++i < argc) {
      option->second(name, argv[i]);
    } else {
      throw wrong(word + " needs a value");
    }
  }
  if (!options.help) check(options);
  return options;
}

const char* help_text() {
  return "Usage: infer_cpp --model M --image_dir D --output_dir O [options]\n"
         "\n"
         "Label every picture of a folder with an offline model. Each label map is a palette PNG of the picture's\n"
         "size: the pixel index is the label. Pictures are JPEG or PNG; another kind (WebP, BMP and TIFF are read\n"
         "by `smalti infer`) or a bad one is listed and skipped, and the exit code is then 3. Two pictures of one\n"
         "name, a.jpg and a.png, give a.jpg.png and a.png.png.\n"
         "\n"
         "  --model FILE            offline model file (.smalti)\n"
         "  --image_dir DIR         folder of pictures, or a VOC root with JPEGImages in it\n"
         "  --file_list FILE        text file, one id or name a line; default: every picture\n"
         "  --output_dir DIR        folder for the label maps\n"
         "  --image_num N           only the first N pictures\n"
         "  --shape_mutable BOOL    true or false: refuse a model that is not so; default: take it as it is\n"
         "  --save_img BOOL         true or false: write the label maps; default: true\n"
         "  --overlay               also write overlay/NAME.jpg: the classes on the picture\n"
         "  --threads N             threads of one inference; default: the CPUs this process may use\n"
         "  --target NAME           program of a file with several, as x86-64-v3; default: the best for this CPU\n"
         "  --max_pixels N          refuse larger pictures from their header; default: 67108864\n"
         "  --json                  print one JSON object instead of tables\n"
         "  --help                  print this\n"
         "\n"
         "Options may be written --name value or --name=value, with - or _ between words.\n"
         "\n"
         "Exit codes: 0 everything was done, 2 a wrong option, 3 some pictures were skipped, 5 the model file is damaged\n"
         "or for another CPU, 6 the disk refused a file, 7 no memory or threads, or another job writes to the same\n"
         "folder, 130 interrupted.\n";
}

}  // namespace app
