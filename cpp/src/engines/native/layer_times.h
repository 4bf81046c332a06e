/// \file
/// Measures how long a program and its layers take.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "lenet/profile.h"

namespace lenet::native {

/// Returns the time of the monotonic clock.
double seconds_now();

/// Repeated measurements end after so many runs or after so much time, whichever comes first.
struct Repetition {
  std::size_t max_runs;  ///< 1 or more
  double seconds;
};

/// Calls `run` once without counting it, and then at least once.
/// \returns the results of the calls that count
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
/// \param run returns the seconds that it took
void measure_batch(Profile& profile, int runs, const std::function<double()>& run);

/// Measures images that are computed in the same way, and adds them to a profile that has limits.
/// \param part has the layers without their times
/// \param runs as for measure_batch
/// \param run returns the seconds of each layer
void measure_part(Profile& profile, ProfilePart part, int runs,
                  const std::function<std::vector<double>()>& run);

}  // namespace lenet::native
