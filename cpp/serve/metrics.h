/// \file
/// What is counted, and how Prometheus reads it. Counters may be used by any number of threads at
/// once.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

namespace lenet::serve {

using Clock = std::chrono::steady_clock;

/// Events, and the time that they took in all.
struct Counter {
  std::atomic<std::uint64_t> count{0};
  std::atomic<std::uint64_t> nanoseconds{0};

  void add(Clock::duration time);
};

/// Events by the time that they took.
struct Histogram {
  /// Upper limits in seconds; infinity follows.
  static constexpr std::array<double, 15> kLimits = {
      1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 5e-3, 1e-2, 2.5e-2, 0.1, 0.5, 1, 2.5, 10};
  Counter all;
  std::array<std::atomic<std::uint64_t>, kLimits.size() + 1> buckets{};

  void add(Clock::duration time);
};

/// Of the requests to a model.
struct Statistics {
  Counter success, fail;                      ///< from arrival to response
  Counter queue, input, infer, output;        ///< of those that succeeded: the parts of the time
  Histogram times;                            ///< of both kinds
  std::atomic<std::uint64_t> images{0};       ///< that were computed
  std::atomic<std::uint64_t> runs{0};         ///< of the network
  std::atomic<std::uint64_t> last_run_ms{0};  ///< since 1970

  void add_request(bool succeeded, Clock::duration time);
};

/// Text in the format of Prometheus.
struct MetricsText {
  std::string text;

  /// What is added next has this name.
  void begin(const std::string& name, const char* type, const char* help);
  /// \param labels such as `model="a",version="1"`
  void add(const std::string& labels, std::uint64_t value) { add(labels, std::to_string(value)); }
  void add(const std::string& labels, const std::string& value, const char* suffix = "");
  void add(const std::string& labels, const Histogram& histogram);
  void one(const char* name, const char* type, std::uint64_t value, const char* help);

 private:
  std::string name_;
};

/// In seconds.
std::string seconds_text(std::uint64_t nanoseconds);

}  // namespace lenet::serve
