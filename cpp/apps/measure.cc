#include "measure.h"

#include <algorithm>
#include <array>
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
  const auto close = [](std::FILE* file) { std::fclose(file); };
  const std::unique_ptr<std::FILE, decltype(close)> status(std::fopen("/proc/self/status", "r"),
                                                           close);
  std::array<char, 256> line{};
  long kilobytes = 0;
  while (status &&
         std::fgets(line.data(), static_cast<int>(line.size()), status.get()) != nullptr) {
    if (std::sscanf(line.data(), "VmHWM: %ld kB", &kilobytes) == 1) break;
  }
  return std::int64_t{1024} * kilobytes;
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
