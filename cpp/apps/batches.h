/// \file
/// Tensors of several images.
#pragma once

#include <cstdint>
#include <string>

#include "lenet/tensor.h"

namespace lenet::apps {

/// `count` images of `images` from number `begin` on.
TensorView slice(const Tensor& images, std::int64_t begin, std::int64_t count);

/// Adds the rows of `part`, of the same shape, to those of `all`, which may still be empty.
void append(Tensor& all, const Tensor& part);

/// Detects values, such as float pixels from 0 to 255, far beyond what a model was trained on.
/// \param model_file the model's program; `preprocess.json` beside it says what it takes
/// \returns a warning in one line; empty when there is nothing to warn of, or no such file.
std::string input_range_warning(const Tensor& images, const std::string& model_file);

}  // namespace lenet::apps
