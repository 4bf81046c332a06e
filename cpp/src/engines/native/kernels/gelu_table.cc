#include "engines/native/kernels/gelu_table.h"

#include <array>
#include <cmath>
#include <cstddef>

namespace lenet::native {
namespace {

template <std::size_t kIntervals, std::size_t kDegree>
class Table {
 public:
  Table() noexcept {
    const double width = static_cast<double>(kGeluEnd) / (kIntervals - 1);
    for (std::size_t i = 0; i + 1 < kIntervals; ++i) {
      const auto function = [&](double u) {
        return std::erf((static_cast<double>(i) + u) * width / std::sqrt(2.0)) / 2;
      };
      const auto found = polynomial(function);
      for (std::size_t power = 0; power <= kDegree; ++power) {
        coefficients_[(kDegree - power) * kIntervals + i] = static_cast<float>(found[power]);
      }
    }
    coefficients_[kDegree * kIntervals + kIntervals - 1] = 0.5F;  // the last interval's constant
  }
  const float* coefficients() const { return coefficients_.data(); }

 private:
  /// The coefficients, by power, of the polynomial through a function's values at the zeros of a
  /// Chebyshev polynomial, which has nearly the least largest error. It is found by Newton's
  /// divided differences.
  template <class Function>
  static std::array<double, kDegree + 1> polynomial(const Function& function) {
    constexpr std::size_t kCount = kDegree + 1;
    std::array<double, kCount> places{};
    std::array<double, kCount> differences{};
    for (std::size_t k = 0; k < kCount; ++k) {
      places[k] = 0.5 * std::cos(std::acos(-1.0) * (static_cast<double>(k) + 0.5) / kCount);
      differences[k] = function(places[k]);
    }
    for (std::size_t order = 1; order < kCount; ++order) {
      for (std::size_t k = kCount - 1; k >= order; --k) {
        differences[k] = (differences[k] - differences[k - 1]) / (places[k] - places[k - order]);
      }
    }
    std::array<double, kCount> sum{};  // by power
    for (std::size_t k = kCount; k-- > 0;) {
      for (std::size_t power = kCount; power-- > 0;) {  // times (u - places[k])
        sum[power] = (power > 0 ? sum[power - 1] : 0) - places[k] * sum[power];
      }
      sum[0] += differences[k];
    }
    return sum;
  }

  std::array<float, (kDegree + 1) * kIntervals> coefficients_{};
};

}  // namespace

const float* gelu_table(int intervals) noexcept {
  static const Table<16, 5> quintics;
  static const Table<32, 4> quartics;
  return intervals == 16 ? quintics.coefficients() : quartics.coefficients();
}

}  // namespace lenet::native
