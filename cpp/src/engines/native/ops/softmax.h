/// \file
/// Softmax, the last layer of many classifiers.
#pragma once

#include <cstdint>

namespace lenet::native {

/// Of one row, in its place.
void softmax(float* row, std::int64_t count);

}  // namespace lenet::native
