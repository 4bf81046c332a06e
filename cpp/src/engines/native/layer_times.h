/// \file
/// Measures a program's layers.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "lenet/profile.h"

namespace lenet::native {

/// How often something is measured: `runs` times, or with 0 as often as half a second allows.
class Repetition {
 public:
  explicit Repetition(int runs) : runs_(runs) {}

  /// \param run measured after a first time that is not counted; gives seconds
  /// \param limit of runs, 1 or more
  /// \returns the seconds of each run
  template <typename Run>
  auto measure(const Run& run, std::size_t limit) const {
    run();
    std::vector<decltype(run())> found;
    const std::size_t most = runs_ > 0 ? static_cast<std::size_t>(runs_) : kMaxRuns;
    double seconds = 0;
    const auto start = now();
    do {
      found.push_back(run());
      seconds = now() - start;
    } while (found.size() < std::min(limit, most) && (runs_ > 0 || seconds < kSeconds));
    return found;
  }

  /// Seconds, of the monotonic clock.
  static double now();

 private:
  static constexpr double kSeconds = 0.5;
  static constexpr std::size_t kMaxRuns = 2000;
  int runs_;
};

/// Measures the whole batch.
/// \param run gives seconds
void measure_batch(Profile& profile, const Repetition& repetition,
                   const std::function<double()>& run);

/// Measures images that are computed in the same way, and adds them to a profile that has limits.
/// \param part its layers without times
/// \param run gives the seconds of each layer
void measure_part(Profile& profile, ProfilePart part, const Repetition& repetition,
                  const std::function<std::vector<double>()>& run);

}  // namespace lenet::native
