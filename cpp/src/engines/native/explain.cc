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

PlanStep plan_step(const std::string& name, const std::string& kernel, const TensorShape& output,
                   double multiply_adds) {
  PlanStep step;
  step.name = name;
  step.kernel = kernel;
  step.output = {output.channels, output.height, output.width};
  step.multiply_adds = multiply_adds;
  return step;
}

std::vector<PlanStep> with_ends(std::vector<PlanStep> steps, bool softmax) {
  PlanStep end;
  end.name = "reading the images";
  steps.insert(steps.begin(), end);
  end.name = softmax ? "softmax" : "writing the output";
  steps.push_back(end);
  return steps;
}

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
