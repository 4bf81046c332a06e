/// \file
/// What is asked of a model before an engine computes it in another precision than float32.
#pragma once

#include "model/model.h"

namespace lenet {

/// Whether a Paddle model can be computed in int8.
/// \throws Error Unsupported: it is a .json, not quantized, or its weights are stored as float32.
void require_quantized(const Model& model);

}  // namespace lenet
