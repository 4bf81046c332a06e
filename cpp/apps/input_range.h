/// \file
/// Notices values, such as float pixels from 0 to 255, far beyond what a model was trained on.
#pragma once

#include <string>

#include "lenet/tensor.h"

namespace lenet::apps {

/// \param model_file the model's program; `preprocess.json` beside it says what it takes
/// \returns a warning in one line; empty when there is nothing to warn of, or no such file.
std::string input_range_warning(const Tensor& images, const std::string& model_file);

}  // namespace lenet::apps
