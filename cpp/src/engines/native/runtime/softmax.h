/// \file
/// Softmax without vectors: of the few values of an output, and along any axis.
#pragma once

#include "engines/native/network.h"

namespace lenet::native {

/// Computes the softmax of [count] numbers that lie `inner` apart.
/// \param logarithm whether the result is its logarithm
/// \param to may be `from`
void softmax(const float* from, const Axis& axis, bool logarithm, float* to);

}  // namespace lenet::native
