/// \file
/// Copies short runs of numbers, such as vectors of channels, without a call for each.
#pragma once

#include <cstdint>

namespace lenet::native {

/// Numbers that lie side by side, several times.
struct Runs {
  std::int64_t count;      ///< of numbers
  std::int64_t times;      ///< so many runs
  std::int64_t from_step;  ///< from a run to the next
  std::int64_t to_step;
};

/// Copies all runs. \pre no value goes where another one is read
void copy_runs(const Runs& runs, const float* from, float* to);

}  // namespace lenet::native
