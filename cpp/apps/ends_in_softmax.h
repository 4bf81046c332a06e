/// \file
#pragma once

#include "lenet/config.h"
#include "lenet/tensor.h"

namespace lenet::apps {

/// Whether the last operator of a program is a softmax, so that its outputs are probabilities.
/// Loads a Paddle model once more and runs it on zeros of the shape of `input`. \throws Error as
/// `Predictor` does.
bool ends_in_softmax(Config config, const Shape& input);

}  // namespace lenet::apps
