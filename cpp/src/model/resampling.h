/// \file
/// How operators that resize images compute each value from those of their input: axis by axis, as
/// weighted sums.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "model/rules/operator_view.h"

namespace lenet {

/// Of each place along an axis of the output, the places of the input that it is the weighted sum
/// of. None at all: the axis stays as it is.
struct Taps {
  std::vector<std::int32_t> begins;  ///< in the lists below, and their end
  std::vector<std::int32_t> places;
  std::vector<float> weights;  ///< the weight of one alone is 1

  bool empty() const { return begins.empty(); }
  std::size_t bytes() const {
    return (begins.size() + places.size()) * sizeof(std::int32_t) + weights.size() * sizeof(float);
  }
};

/// What the taps of one axis take at most, in bytes.
constexpr double taps_bytes(std::int64_t inputs, std::int64_t outputs) {
  return 36.0 * static_cast<double>(outputs) + 32.0 * static_cast<double>(inputs);
}

/// How an operator of the kind Resize computes its output, whose sizes the check has set: by axis.
/// Axes whose size is open have no taps.
/// \throws Error Unsupported: a way of resizing that is not known here
std::vector<Taps> read_resampling(const OperatorView& op);

}  // namespace lenet
