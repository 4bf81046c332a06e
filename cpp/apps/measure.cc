#include "measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <string>
#include <utility>

namespace lenet::apps {
namespace {

// Buckets on a logarithmic scale, of which so many are a factor of 2.
constexpr double kSteps = 1024;
constexpr double kMaxExponent = 30;

std::size_t bucket_of(double milliseconds) {
  const double exponent = std::clamp(std::log2(milliseconds), -kMaxExponent, kMaxExponent);
  return static_cast<std::size_t>(kSteps * (exponent + kMaxExponent));
}

double middle_of(std::size_t bucket) {
  return std::exp2((static_cast<double>(bucket) + 0.5) / kSteps - kMaxExponent);
}

}  // namespace

double seconds_of(const std::function<void()>& action) {
  const auto start = std::chrono::steady_clock::now();
  action();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::int64_t peak_resident_bytes() {
  // Of getrusage the maximum goes back to before exec, to what the process that started this had.
  std::ifstream status("/proc/self/status");
  std::int64_t kilobytes = 0;
  for (std::string word; status >> word;) {
    if (word == "VmHWM:" && status >> kilobytes) break;
  }
  return 1024 * kilobytes;
}

void Latencies::add(double milliseconds) {
  ++count_;
  if (buckets_.empty()) {
    exact_.push_back(milliseconds);
    if (exact_.size() <= kExact) return;
    buckets_.resize(bucket_of(std::exp2(kMaxExponent)) + 1);
    for (const double value : std::exchange(exact_, {})) ++buckets_[bucket_of(value)];
  } else {
    ++buckets_[bucket_of(milliseconds)];
  }
}

double Latencies::percentile(double percent) {
  const auto rank =
      std::max(std::int64_t{1},
               static_cast<std::int64_t>(std::ceil(percent / 100.0 * static_cast<double>(count_))));
  if (buckets_.empty()) {
    const auto found = exact_.begin() + static_cast<std::ptrdiff_t>(rank) - 1;
    std::nth_element(exact_.begin(), found, exact_.end());
    return *found;
  }
  std::size_t bucket = 0;
  for (std::int64_t below = buckets_[0]; below < rank;) below += buckets_[++bucket];
  return middle_of(bucket);
}

Latency measure(const std::function<void()>& run, int warmup, int repeats, double max_seconds,
                double images) {
  double elapsed = 0;
  for (int i = 0; i < warmup && elapsed < max_seconds; ++i) elapsed += seconds_of(run);
  Latencies latencies;
  do {
    const double seconds = seconds_of(run);
    latencies.add(1e3 * seconds);
    elapsed += seconds;
  } while (latencies.count() < repeats && elapsed < max_seconds);
  const double median = latencies.percentile(50);
  return {median, latencies.percentile(90), latencies.percentile(99), 1e3 * images / median,
          latencies.count()};
}

}  // namespace lenet::apps
