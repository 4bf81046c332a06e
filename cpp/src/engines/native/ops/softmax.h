/// \file
/// Softmax, as a step and of what is written.
#pragma once

#include "engines/native/network.h"

namespace lenet::native {

/// Of [count] numbers that lie `inner` apart. \param to may be `from`
/// \param logarithm of the result
void softmax(const float* from, const Axis& axis, bool logarithm, float* to);

}  // namespace lenet::native
