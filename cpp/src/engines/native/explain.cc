#include "engines/native/explain.h"

#include <algorithm>
#include <chrono>
#include <string>
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

PlanPart explain_program(const Program& program, std::int64_t images, std::int64_t at_once,
                         const Repetition& repetition) {
  const std::int64_t per_unit = program.images_per_unit();
  const std::int64_t units = (at_once + per_unit - 1) / per_unit;
  Aligned<float> memory(static_cast<std::size_t>(units * program.unit_floats()));
  const std::vector<float> input(static_cast<std::size_t>(at_once * program.input_values()), 0.5F);
  std::vector<float> output(static_cast<std::size_t>(at_once * program.output_values()));
  const auto runs = repetition.measure([&] {
    return program.run_timed(input.data(), at_once, memory.data(), output.data(), Repetition::now);
  });

  PlanPart part;
  part.layout = per_unit == 1 ? "one by one" : std::to_string(per_unit) + " side by side";
  part.images = images;
  part.at_once = at_once;
  const std::vector<Step>& steps = program.steps();
  for (std::size_t i = 0; i < steps.size() + 2; ++i) {
    PlanStep step;
    if (i == 0) {
      step.name = "reading the images";
    } else if (i > steps.size()) {
      step.name = program.ends_in_softmax() ? "softmax" : "writing the output";
    } else {
      const Step& compiled = steps[i - 1];
      const TensorShape& shape = compiled.shape;
      step.name = compiled.name;
      step.kernel = compiled.kernel;
      step.multiply_adds = compiled.multiply_adds;
      step.output = {shape.channels, shape.height, shape.width};
    }
    std::vector<double> seconds;
    for (const std::vector<double>& run : runs) seconds.push_back(run[i]);
    step.microseconds = 1e6 * median(std::move(seconds));
    part.steps.push_back(std::move(step));
  }
  return part;
}

}  // namespace lenet::native
