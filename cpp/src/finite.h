/// \file
/// Whether numbers are numbers.
#pragma once

#include <cstddef>
#include <string_view>

namespace lenet {

/// The formats of floating-point numbers that a file may hold.
enum class FloatFormat { Float16, BFloat16, Float32, Float64 };

/// Whether none of them is NaN or infinity.
/// \param values numbers as a file holds them, at any address; an incomplete last one is ignored
bool all_finite(std::string_view values, FloatFormat format) noexcept;

inline bool all_finite(const float* values, std::size_t count) noexcept {
  return all_finite({reinterpret_cast<const char*>(values), count * sizeof(float)},
                    FloatFormat::Float32);
}

}  // namespace lenet
