/// \file
/// Whether floating-point numbers are finite.
#pragma once

#include <cstddef>
#include <string_view>

#include "model/element_types.h"

namespace lenet {

/// Whether none of them is NaN or infinity.
/// \param values numbers as a file holds them, at any address; an incomplete last one is ignored
/// \param dtype their element type; of one that is not floating-point, all are
bool all_finite(std::string_view values, int dtype) noexcept;

/// Whether each of them is a finite number or -infinity, as a mask holds it. Arguments are those of
/// all_finite.
bool all_below_infinity(std::string_view values, int dtype) noexcept;

inline bool all_finite(const float* values, std::size_t count) noexcept {
  return all_finite({reinterpret_cast<const char*>(values), count * sizeof(float)}, kFloat32);
}

}  // namespace lenet
