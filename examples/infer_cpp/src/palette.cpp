// SPDX-License-Identifier: Apache-2.0
#include "palette.hpp"

#include <optional>
#include <vector>

#include "problem.hpp"

namespace app {
namespace {

Problem damaged() {
  return Problem(Exit::model_file,
                 "the file is damaged: its manifest needs #rrggbb or null for each label (graph.colours)");
}

// Steps over values of JSON that the library has found to be well-formed; it goes nowhere but forward, and no deeper.
class Json {
 public:
  explicit Json(std::string_view text) : text_(text) {}

  bool take(char wanted) {
    space();
    if (at_ >= text_.size() || text_[at_] != wanted) return false;
    ++at_;
    return true;
  }

  // A string, without its quotes and with its escapes.
  std::string_view string() {
    if (!take('"')) throw damaged();
    const std::size_t begin = at_;
    while (at_ < text_.size() && text_[at_] != '"') at_ += text_[at_] == '\\' ? 2 : 1;
    if (at_ >= text_.size()) throw damaged();
    return text_.substr(begin, at_++ - begin);
  }

  // Whatever stands before the next comma or closing bracket of the same depth.
  std::string_view value() {
    space();
    const std::size_t begin = at_;
    for (std::size_t depth = 0; at_ < text_.size();) {
      const char next = text_[at_];
      if (next == '"') {
        string();
        continue;
      }
      if (next == '[' || next == '{') ++depth;
      if (depth == 0 && (next == ',' || next == ']' || next == '}')) break;
      if (next == ']' || next == '}') --depth;
      ++at_;
    }
    std::size_t end = at_;
    while (end > begin && is_space(text_[end - 1])) --end;
    return text_.substr(begin, end - begin);
  }

 private:
  static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
  void space() {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

// The value of a name in an object; nothing where the object does not have it.
std::optional<std::string_view> member(std::string_view object, std::string_view wanted) {
  Json json(object);
  std::optional<std::string_view> found;
  if (!json.take('{')) return found;
  while (!json.take('}')) {
    const std::string_view name = json.string();
    if (!json.take(':')) throw damaged();
    const std::string_view value = json.value();
    if (name == wanted) found = value;
    json.take(',');
  }
  return found;
}

std::vector<std::string_view> elements(std::string_view array) {
  Json json(array);
  std::vector<std::string_view> found;
  if (!json.take('[')) throw damaged();
  while (!json.take(']')) {
    found.push_back(json.value());
    if (found.back().empty()) throw damaged();
    json.take(',');
  }
  return found;
}

std::uint8_t digit(char c) {
  if (c >= '0' && c <= '9') return static_cast<std::uint8_t>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<std::uint8_t>(c - 'a' + 10);
  throw damaged();
}

// "#rrggbb", with its quotes.
Colour colour_of(std::string_view text) {
  if (text.size() != 9 || text.substr(0, 2) != "\"#" || text.back() != '"') throw damaged();
  const auto channel = [&](std::size_t at) {
    return static_cast<std::uint8_t>(16 * digit(text[at]) + digit(text[at + 1]));
  };
  return {channel(2), channel(4), channel(6)};
}

}  // namespace

// PASCAL VOC defines its colours by bits: bit 3 * i + c of the label is bit 7 - i of channel c.
Palette voc_palette() {
  Palette palette{};
  for (unsigned label = 0; label < 256; ++label) {
    std::uint8_t channel[3] = {0, 0, 0};
    for (unsigned bit = 0; bit < 8; ++bit)
      channel[bit % 3] = static_cast<std::uint8_t>(channel[bit % 3] | (label >> bit & 1) << (7 - bit / 3));
    palette[label] = {channel[0], channel[1], channel[2]};
  }
  return palette;
}

Palette file_palette(std::string_view manifest, std::size_t labels) {
  Palette palette = voc_palette();
  const auto graph = member(manifest, "graph");
  const auto colours = graph ? member(*graph, "colours") : std::nullopt;
  if (!colours || *colours == "null") return palette;
  const auto all = elements(*colours);
  if (all.size() != labels) throw damaged();
  for (std::size_t label = 0; label < all.size(); ++label) {
    if (all[label] == "null") continue;
    const Colour colour = colour_of(all[label]);
    if (label < palette.size()) palette[label] = colour;
  }
  return palette;
}

}  // namespace app
