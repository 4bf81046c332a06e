/// \file
/// What a program's steps cost.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engines/native/network.h"
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
                       : seconds < kSeconds && found.size() < kMaxRuns);
    return found;
  }

  /// Seconds, of the monotonic clock.
  static double now();

 private:
  static constexpr double kSeconds = 0.5;
  static constexpr std::size_t kMaxRuns = 2000;
  int runs_;
};

double median(std::vector<double> values);

inline constexpr const char* kFirstStep = "reading the images";

/// Adds a step without a time, of a layer.
void add_step(std::vector<PlanStep>& steps, const std::string& name, const std::string& kernel,
              const TensorShape& output, double multiply_adds);
/// Adds what comes before the layers, or after them.
void add_step(std::vector<PlanStep>& steps, const char* name);
const char* last_step(bool softmax);

/// \param steps without times
/// \param run gives the seconds of each
/// \returns a part without layout and images
PlanPart measure_part(std::vector<PlanStep> steps, const Repetition& repetition,
                      const std::function<std::vector<double>()>& run);

}  // namespace lenet::native
