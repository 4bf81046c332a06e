/// \file
/// A table of polynomials that Gelu is computed by. This header has no inline functions: see
/// kernels.h.
#pragma once

namespace lenet::native {

/// The middle of the last interval, where the table gives 0.5: the function differs from that by
/// less than 6e-8.
constexpr float kGeluEnd = 5.5F;

/// erf(x / sqrt(2)) / 2 for x from 0 to kGeluEnd, by intervals of the same width, the first one
/// around 0 and the last one around the end. The value at the middle of an interval plus u widths,
/// u from -0.5 to 0.5, is a polynomial of u.
/// \param intervals 32, for polynomials of degree 4, or 16, for those of degree 5. Their errors are
///   below 1e-8 but in the last interval, those of their rounding aside
/// \returns [degree + 1][intervals] coefficients, those of the highest power first; they live as
///   long as the program. Thread-safe
const float* gelu_table(int intervals) noexcept;

}  // namespace lenet::native
