#include "measure.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>

namespace lenet::apps {
namespace {

// A bucket for each power of two and 10 bits of the mantissa. A positive double's bits, read as an
// integer, begin with these.
constexpr int kMantissaBits = 10;
constexpr int kDroppedBits = 52 - kMantissaBits;
constexpr int kMaxExponent = 30;
constexpr std::uint64_t kExponentBias = 1023;
constexpr std::uint64_t kFirstBucket = (kExponentBias - kMaxExponent) << kMantissaBits;
constexpr std::size_t kBuckets = std::size_t{2 * kMaxExponent + 1} << kMantissaBits;

}  // namespace

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

void Latencies::add(double milliseconds) {
  ++count_;
  if (!buckets_.empty()) return count_in_bucket(milliseconds);
  exact_.push_back(milliseconds);
  if (exact_.size() <= kExact) return;
  buckets_.resize(kBuckets);
  for (const double value : exact_) count_in_bucket(value);
  exact_ = {};
}

void Latencies::count_in_bucket(double milliseconds) {
  const double value =
      std::clamp(milliseconds, std::ldexp(1.0, -kMaxExponent), std::ldexp(1.0, kMaxExponent));
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  ++buckets_[static_cast<std::size_t>((bits >> kDroppedBits) - kFirstBucket)];
}

double Latencies::percentile(double percent) {
  const double rank = std::max(1.0, std::ceil(percent / 100.0 * static_cast<double>(count_)));
  if (buckets_.empty()) {
    const auto found = exact_.begin() + static_cast<std::ptrdiff_t>(rank) - 1;
    std::nth_element(exact_.begin(), found, exact_.end());
    return *found;
  }
  std::size_t bucket = 0;
  for (std::int64_t below = buckets_[0]; below < static_cast<std::int64_t>(rank);) {
    below += buckets_[++bucket];
  }
  // Its middle.
  const std::uint64_t bits = (2 * (kFirstBucket + bucket) + 1) << (kDroppedBits - 1);
  double value = 0;
  std::memcpy(&value, &bits, sizeof value);
  return value;
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
