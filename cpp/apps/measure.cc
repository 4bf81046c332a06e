#include "measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>

namespace lenet::apps {

double seconds_of(const std::function<void()>& action) {
  const auto start = std::chrono::steady_clock::now();
  action();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double percentile(const std::vector<double>& sorted, double percent) {
  const double rank = std::ceil(percent / 100.0 * static_cast<double>(sorted.size()));
  return sorted[static_cast<std::size_t>(std::max(rank, 1.0)) - 1];
}

Latency measure(const std::function<void()>& run, int warmup, int repeats, double images) {
  for (int i = 0; i < warmup; ++i) run();
  std::vector<double> milliseconds;
  for (int i = 0; i < repeats; ++i) milliseconds.push_back(1e3 * seconds_of(run));
  std::sort(milliseconds.begin(), milliseconds.end());
  const double median = percentile(milliseconds, 50);
  return {median, percentile(milliseconds, 90), percentile(milliseconds, 99),
          1e3 * images / median};
}

}  // namespace lenet::apps
