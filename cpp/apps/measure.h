/// Timing of repeated runs.
#pragma once

#include <cstdint>
#include <functional>
#include <map>

namespace lenet::apps {

/// Times in milliseconds.
struct Latency {
  double median = 0;
  double p90 = 0;
  double p99 = 0;
  double images_per_second = 0;  ///< of the median
  std::int64_t runs = 0;         ///< that were measured
};

/// Seconds that `action` takes, by the monotonic clock.
double seconds_of(const std::function<void()>& action);

/// The most memory that this process has had resident so far (VmHWM); 0 where that is not known.
std::int64_t peak_resident_bytes();

/// The times of any number of runs, in little memory: each is known to 0.05 %, if it is between
/// 2^-30 and 2^30; values beyond count as these.
class Latencies {
 public:
  void add(double milliseconds);

  std::int64_t count() const noexcept { return count_; }

  /// The value below or at which `percent` of the values lie (nearest-rank definition).
  /// At least one value must have been added.
  double percentile(double percent) const;

 private:
  std::int64_t count_ = 0;
  std::map<int, std::int64_t> buckets_;  ///< how many values lie in each
};

/// Runs `run` `warmup` times, then `repeats` times with the clock, at least once. Ends before that
/// when all these runs together have taken `max_seconds`.
Latency measure(const std::function<void()>& run, int warmup, int repeats, double max_seconds,
                double images);

}  // namespace lenet::apps
