// SPDX-License-Identifier: Apache-2.0
// Small helpers for texts: UTF-8 in, UTF-8 out.
#pragma once

#include <string>

namespace app {

// ASCII letters in lower case; other bytes stay.
std::string lower(std::string text);

bool ends_with(const std::string& text, const std::string& end);

// Without blanks and line ends at both sides.
std::string strip(const std::string& text);

// In one line that any terminal can show: control characters and bytes that are not UTF-8 are escaped.
std::string printable(const std::string& text);

// A JSON string with its quotation marks; `text` must be printable.
std::string json_string(const std::string& text);

}  // namespace app
