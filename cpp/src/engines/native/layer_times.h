/// Measures a program's layers.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "lenet/profile.h"

namespace lenet::native {

/// Of the monotonic clock.
double seconds_now();

/// What ends repeated measurements, whichever comes first.
struct Repetition {
  std::size_t max_runs;  ///< 1 or more
  double seconds;
};

/// \param run measured after a first time that is not counted
/// \returns what each run gave; of one at least
template <class Run>
auto measure(const Run& run, const Repetition& repetition) {
  run();
  std::vector<decltype(run())> found;
  const double end = seconds_now() + repetition.seconds;
  do {
    found.push_back(run());
  } while (found.size() < repetition.max_runs && seconds_now() < end);
  return found;
}

/// Measures the whole batch.
/// \param runs how often; 0: as often as half a second allows
/// \param run gives seconds
void measure_batch(Profile& profile, int runs, const std::function<double()>& run);

/// Measures images that are computed in the same way, and adds them to a profile that has limits.
/// \param part its layers without times
/// \param runs as above
/// \param run gives the seconds of each layer
void measure_part(Profile& profile, ProfilePart part, int runs,
                  const std::function<std::vector<double>()>& run);

}  // namespace lenet::native
