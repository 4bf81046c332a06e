/// \file
/// What the transport counts.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

namespace lenet::serve {

/// Thread-safety: everything may be called from any number of threads at once.
class Metrics {
 public:
  void count_response(int status, double seconds, std::size_t received, std::size_t sent);

  std::atomic<std::size_t> connections{0};  ///< that are open
  std::atomic<std::uint64_t> refused{0};    ///< connections, as there were too many
  std::atomic<std::uint64_t> timeouts{0};   ///< connections that were closed for one
  std::atomic<std::size_t> buffered{0};     ///< bytes of bodies and of unsent responses
  std::atomic<std::size_t> unanswered{0};   ///< requests that a forced stop cut off

  /// In the text format of Prometheus.
  std::string text() const;

 private:
  /// Upper bounds in seconds; one more counts what takes longer.
  static constexpr std::array<double, 15> kBounds = {0.00002, 0.00005, 0.0001, 0.0002, 0.0005,
                                                     0.001,   0.002,   0.005,  0.01,   0.02,
                                                     0.05,    0.1,     0.5,    2.5,    10};
  std::array<std::atomic<std::uint64_t>, 600> responses_{};  ///< by status
  std::array<std::atomic<std::uint64_t>, kBounds.size() + 1> durations_{};
  std::atomic<std::uint64_t> nanoseconds_{0};
  std::atomic<std::uint64_t> received_{0};
  std::atomic<std::uint64_t> sent_{0};
};

}  // namespace lenet::serve
