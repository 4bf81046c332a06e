/// \file
/// `preprocess.json`.
#pragma once

#include <string>
#include <vector>

#include "images/steps.h"

namespace lenet {

/// A whole preprocessing. ToCHW, which is always last, is not among the steps.
struct Description {
  Mode mode = Mode::Rgb;
  std::vector<ImageStep> image_steps;
  Normalize normalize;
};

/// \param path for messages; may be empty
/// \throws Error BadModel naming `path`, the place and the problem.
Description parse_description(const std::string& text, const std::string& path);

}  // namespace lenet
