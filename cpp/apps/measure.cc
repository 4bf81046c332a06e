#include "measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>

namespace lenet::apps {
double seconds_of(const std::function<void()>& action) {
  const auto start = std::chrono::steady_clock::now();
  action();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::int64_t peak_resident_bytes() {
  // Of getrusage the maximum goes back to before exec, to what the process that started this had.
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> status(std::fopen("/proc/self/status", "r"),
                                                               std::fclose);
  long long kilobytes = 0;
  char line[256];
  while (status && std::fgets(line, sizeof(line), status.get()) != nullptr) {
    if (std::sscanf(line, "VmHWM: %lld", &kilobytes) == 1) break;
  }
  return 1024 * kilobytes;
}

// Buckets on a logarithmic scale, of which so many are a factor of 2.
constexpr int kSteps = 1024;

void Latencies::add(double milliseconds) {
  constexpr double kMaxExponent = 30;
  const double exponent = std::clamp(std::log2(milliseconds), -kMaxExponent, kMaxExponent);
  ++buckets_[static_cast<int>(std::lround(kSteps * exponent))];
  ++count_;
}

double Latencies::percentile(double percent) const {
  const double rank = std::ceil(percent / 100.0 * static_cast<double>(count_));
  auto found = buckets_.begin();
  for (auto below = found->second; static_cast<double>(below) < rank; below += found->second)
    ++found;
  return std::exp2(static_cast<double>(found->first) / kSteps);
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
