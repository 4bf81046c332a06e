#include "engines/native/kernels/gelu_table.h"

#include <array>
#include <cmath>
#include <cstddef>

namespace lenet::native {
namespace {

constexpr std::size_t kMostDegree = 5;
using Polynomial = std::array<double, kMostDegree + 1>;  ///< coefficients, by power

/// The function around the middle of an interval, where u is 0.
double function_at(std::size_t interval, double u, double width) {
  return std::erf((static_cast<double>(interval) + u) * width / std::sqrt(2.0)) / 2;
}

/// The polynomial through the function's values at the zeros of a Chebyshev polynomial, which has
/// nearly the least largest error. It is found by Newton's divided differences.
Polynomial fitted(std::size_t interval, double width, std::size_t degree) {
  constexpr double kPi = 3.14159265358979323846;
  const std::size_t count = degree + 1;
  Polynomial places{};
  Polynomial differences{};
  for (std::size_t k = 0; k < count; ++k) {
    const double angle = kPi * (static_cast<double>(k) + 0.5) / static_cast<double>(count);
    places[k] = 0.5 * std::cos(angle);
    differences[k] = function_at(interval, places[k], width);
  }
  for (std::size_t order = 1; order < count; ++order) {
    for (std::size_t k = count - 1; k >= order; --k) {
      differences[k] = (differences[k] - differences[k - 1]) / (places[k] - places[k - order]);
    }
  }
  Polynomial sum{};
  for (std::size_t k = count; k-- > 0;) {
    for (std::size_t power = count; power-- > 0;) {  // times u - places[k]
      sum[power] = (power > 0 ? sum[power - 1] : 0) - places[k] * sum[power];
    }
    sum[0] += differences[k];
  }
  return sum;
}

/// \param coefficients [degree + 1][intervals]
void fill(std::size_t intervals, std::size_t degree, float* coefficients) {
  const double width = static_cast<double>(kGeluEnd) / static_cast<double>(intervals - 1);
  for (std::size_t i = 0; i + 1 < intervals; ++i) {
    const Polynomial found = fitted(i, width, degree);
    for (std::size_t power = 0; power <= degree; ++power) {
      coefficients[(degree - power) * intervals + i] = static_cast<float>(found[power]);
    }
  }
  coefficients[degree * intervals + intervals - 1] = 0.5F;  // all of the last interval
}

struct Tables {
  Tables() noexcept {
    fill(16, 5, of_16);
    fill(32, 4, of_32);
  }
  float of_16[6 * 16] = {};
  float of_32[5 * 32] = {};
};

}  // namespace

const float* gelu_table(int intervals) noexcept {
  static const Tables tables;
  return intervals == 16 ? tables.of_16 : tables.of_32;
}

}  // namespace lenet::native
