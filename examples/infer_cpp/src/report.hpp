// SPDX-License-Identifier: Apache-2.0
// What a run did, as tables for people or as one JSON object.
#pragma once

#include <string>

#include "network.hpp"
#include "options.hpp"
#include "pipeline.hpp"

namespace app {

// One line about the model and which program of the file was taken.
std::string model_line(const Network& network);

std::string text_report(const Result& result, const Network& network, const Options& options);
std::string json_report(const Result& result, const Network& network, const Options& options);

}  // namespace app
