/// \file
/// Timing of repeated runs.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace lenet::apps {

/// Times in milliseconds.
struct Latency {
  double median = 0;
  double p90 = 0;
  double p99 = 0;
  double images_per_second = 0;  ///< of the median
};

/// Seconds that `action` takes, by the monotonic clock.
double seconds_of(const std::function<void()>& action);

/// The most memory that this process has had resident so far (VmHWM); 0 where that is not known.
std::int64_t peak_resident_bytes();

/// The value below or at which `percent` of the values lie (nearest-rank definition).
/// \param sorted ascending, not empty
double percentile(const std::vector<double>& sorted, double percent);

/// Runs `run` `warmup` times, then `repeats` times with the clock.
Latency measure(const std::function<void()>& run, int warmup, int repeats, double images);

}  // namespace lenet::apps
