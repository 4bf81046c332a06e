/// \file
/// The rounding and the medians of digit.md.
#pragma once

#include <array>
#include <cstddef>

#include "images/digit/grid.h"

namespace lenet::digit {

/// Returns a / b, rounded down also below zero. \pre b > 0
constexpr Integer floor_divide(Integer a, Integer b) { return a / b - (a % b < 0 ? 1 : 0); }

/// Returns a / b, rounded to the nearest, halves up. \pre b > 0
constexpr Integer divide(Integer a, Integer b) { return floor_divide(2 * a + b, 2 * b); }

/// Divides many numbers by one divisor as divide() does, exactly, without a division for each.
class Divisor {
 public:
  explicit Divisor(Integer b)
      : half_(static_cast<double>(b) / 2), inverse_(1 / static_cast<double>(b)) {}
  /// \param a an integer, of at most 2^40, whose quotient is above -1024 and below 2^20
  Value round(double a) const {
    // A multiple of 1/2, to which 1/4 is added, stays 1 / (4 b) from the next integer or farther
    // when it is divided by b, and rounding errors are smaller than that.
    return static_cast<Value>((a + half_ + 0.25) * inverse_ + 1024) - 1024;
  }

 private:
  double half_;
  double inverse_;
};

/// Counts small integers, which orders them in linear time.
class Histogram {
 public:
  /// \param value of a pixel less two levels between those of pixels: from -510 to 510
  void add(Value value) {
    ++counts_[static_cast<std::size_t>(value + kLargest)];
    ++total_;
  }
  /// Returns the value, in ascending order, at `quarters` / 4 of the last one's place.
  /// \pre there is a value
  Value quartile(Integer quarters) const {
    Integer before = (total_ - 1) * quarters / 4;
    std::size_t bin = 0;
    for (; before >= counts_[bin]; ++bin) before -= counts_[bin];
    return static_cast<Value>(bin) - kLargest;
  }

 private:
  static constexpr Value kLargest = 2 * (kLevels - 1);
  std::array<Integer, 2 * kLargest + 1> counts_{};
  Integer total_ = 0;
};

/// Returns the median of the absolute values.
Value median_magnitude(const Grid& grid);

}  // namespace lenet::digit
