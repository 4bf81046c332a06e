/// \file
/// Whether numbers are numbers.
#pragma once

#include <cstddef>

namespace lenet {

/// Whether none of them is NaN or infinity.
bool all_finite(const float* values, std::size_t count) noexcept;

}  // namespace lenet
