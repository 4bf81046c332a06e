#include "engines/native/explain.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace lenet::native {

double Repetition::now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

void add_step(std::vector<PlanStep>& steps, const std::string& name, const std::string& kernel,
              const TensorShape& output, double multiply_adds) {
  add_step(steps, name.c_str());
  PlanStep& step = steps.back();
  step.kernel = kernel;
  step.output = {output.channels, output.height, output.width};
  step.multiply_adds = multiply_adds;
}

void add_step(std::vector<PlanStep>& steps, const char* name) {
  steps.emplace_back();
  steps.back().name = name;
}

const char* last_step(bool softmax) { return softmax ? "softmax" : "writing the output"; }

PlanPart measure_part(std::vector<PlanStep> steps, const Repetition& repetition,
                      const std::function<std::vector<double>()>& run) {
  const auto runs = repetition.measure(run);
  PlanPart part;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    std::vector<double> seconds;
    for (const std::vector<double>& times : runs) seconds.push_back(times[i]);
    steps[i].microseconds = 1e6 * median(std::move(seconds));
  }
  part.steps = std::move(steps);
  return part;
}

}  // namespace lenet::native
