/// \file
/// What a program's steps cost.
#pragma once

#include <cstdint>

#include "engines/native/program.h"
#include "lenet/plan.h"

namespace lenet::native {

/// How often something is measured: `runs` times, or with 0 as often as half a second allows.
class Repetition {
 public:
  explicit Repetition(int runs) : runs_(runs) {}

  /// \param run measured after a first time that is not counted; gives seconds
  /// \returns the seconds of each run
  template <typename Run>
  auto measure(const Run& run) const {
    run();
    std::vector<decltype(run())> found;
    double seconds = 0;
    const auto start = now();
    do {
      found.push_back(run());
      seconds = now() - start;
    } while (runs_ > 0 ? found.size() < static_cast<std::size_t>(runs_)
                       : seconds < kSeconds && found.size() < kMostRuns);
    return found;
  }

  /// Seconds, of the monotonic clock.
  static double now();

 private:
  static constexpr double kSeconds = 0.5;
  static constexpr std::size_t kMostRuns = 2000;
  int runs_;
};

double median(std::vector<double> values);

/// \param at_once images that a run of the program takes together, of `images`
PlanPart explain_program(const Program& program, std::int64_t images, std::int64_t at_once,
                         const Repetition& repetition);

}  // namespace lenet::native
