/// \file
/// Whether numbers are numbers.
#pragma once

#include <cstddef>
#include <string_view>

namespace lenet {

/// Whether none of them is NaN or infinity.
bool all_finite(const float* values, std::size_t count) noexcept;

/// The formats of floating-point numbers that a file may hold.
enum class FloatFormat { Float16, BFloat16, Float32, Float64 };

/// The same of numbers as a file holds them, at any address.
/// \param values numbers of that format; an incomplete one at the end is ignored
bool all_finite(std::string_view values, FloatFormat format) noexcept;

}  // namespace lenet
