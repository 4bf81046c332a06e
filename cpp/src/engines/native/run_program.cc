#include <algorithm>
#include <array>
#include <cstring>

#include "engines/native/explain.h"
#include "engines/native/program.h"
#include "engines/native/softmax.h"

namespace lenet::native {

Aligned<float> Program::memory(std::int64_t images) const {
  return Aligned<float>(static_cast<std::size_t>(units(images) * unit_floats_));
}

std::vector<PlanStep> Program::plan() const {
  std::vector<PlanStep> plan;
  add_step(plan, kFirstStep);
  for (const Step& step : steps_) {
    add_step(plan, step.name, step.kernel, step.shape, step.multiply_adds);
  }
  add_step(plan, last_step(softmax_));
  return plan;
}

void Program::run(const float* input, std::int64_t images, float* memory, float* output) const {
  read_input(input, images, memory);
  for (const Step& step : steps_) run_step(step, memory, units(images));
  write_output(memory, images, output);
}

std::vector<double> Program::run_timed(const float* input, std::int64_t images, float* memory,
                                       float* output, double (*now)()) const {
  std::vector<double> times;
  times.reserve(steps_.size() + 2);
  double before = now();
  const auto done = [&] {
    const double after = now();
    times.push_back(after - before);
    before = after;
  };
  read_input(input, images, memory);
  done();
  for (const Step& step : steps_) {
    run_step(step, memory, units(images));
    done();
  }
  write_output(memory, images, output);
  done();
  return times;
}

void Program::read_input(const float* input, std::int64_t images, float* memory) const {
  const std::int64_t image_values = input_shape_.values();
  const std::int64_t height = input_shape_.height;
  const std::int64_t width = input_shape_.width;
  const std::int64_t per_unit = images_per_unit();
  for (std::int64_t first = 0; first < images; first += per_unit) {
    float* unit = memory + first / per_unit * unit_floats_ + input_.begin;
    std::array<const float*, 16> sources{};
    for (std::int64_t l = 0; l < per_unit; ++l) {
      // A unit that is not full repeats its last image.
      sources[static_cast<std::size_t>(l)] = input + std::min(first + l, images - 1) * image_values;
    }
    for (std::int64_t c = 0; c < input_shape_.channels; ++c) {
      for (std::int64_t y = 0; y < height; ++y) {
        float* to = unit + c * input_.channel + y * input_.row;
        if (interleaved_) {
          kernels_.interleave(sources.data(), width, to, input_.column);
          for (const float*& source : sources) source = source == nullptr ? source : source + width;
        } else {
          std::memcpy(to, sources[0] + (c * height + y) * width,
                      static_cast<std::size_t>(width) * sizeof(float));
        }
      }
    }
  }
}

void Program::write_output(const float* memory, std::int64_t images, float* output) const {
  const std::int64_t per_unit = images_per_unit();
  const std::int64_t values = output_shape_.values();
  for (std::int64_t i = 0; i < images; ++i) {
    const float* from = memory + i / per_unit * unit_floats_ + output_.begin + i % per_unit;
    float* row = output + i * values;
    float* to = row;
    for (std::int64_t c = 0; c < output_shape_.channels; ++c) {
      for (std::int64_t y = 0; y < output_shape_.height; ++y) {
        for (std::int64_t x = 0; x < output_shape_.width; ++x) {
          *to++ = from[c * output_.channel + y * output_.row + x * output_.column];
        }
      }
    }
    if (softmax_) softmax(row, values);
  }
}

void Program::run_step(const Step& step, float* memory, std::int64_t units) const {
  const std::int64_t height = step.shape.height;
  const std::int64_t width = step.shape.width;
  if (step.winograd != nullptr) {
    for (std::int64_t unit = 0; unit < units; ++unit) {
      WinogradTask task = step.winograd_task;
      task.input = memory + unit * unit_floats_ + step.task_inputs[0];
      task.output = memory + unit * unit_floats_ + step.task_outputs[0];
      task.scratch = memory + scratch_;
      step.winograd(task);
    }
    return;
  }
  if (step.kind == LayerKind::Convolution) {
    for (std::int64_t unit = 0; unit < (step.whole_image ? 1 : units); ++unit) {
      for (std::size_t g = 0; g < step.tasks.size(); ++g) {
        ConvTask task = step.tasks[g];
        task.offsets = step.offsets.data();
        task.input = memory + unit * unit_floats_ + step.task_inputs[g];
        task.output = memory + unit * unit_floats_ + step.task_outputs[g];
        if (step.whole_image) {
          task.columns = static_cast<std::int32_t>(units);
          task.input_column = unit_floats_;
          task.output_column = unit_floats_;
        }
        step.convolution(task);
      }
    }
    return;
  }
  const std::int64_t lanes = kernels_.lanes;
  const std::int64_t values =
      interleaved_ ? step.shape.channels * lanes : round_up(step.shape.channels, lanes);
  for (std::int64_t unit = 0; unit < units; ++unit) {
    float* base = memory + unit * unit_floats_;
    if (step.kind == LayerKind::Pool) {
      PoolTask task = step.pool;
      const auto columns = static_cast<std::size_t>(width);
      const auto rows = static_cast<std::size_t>(height);
      task.column_begin = step.bounds.data();
      task.column_end = step.bounds.data() + columns;
      task.row_begin = step.bounds.data() + 2 * columns;
      task.row_end = step.bounds.data() + 2 * columns + rows;
      task.column_size = step.sizes.data();
      task.row_size = step.sizes.data() + columns;
      task.input = base + step.inputs[0].begin;
      task.output = base + step.output.begin;
      kernels_.pool(task);
      continue;
    }
    for (std::int64_t y = 0; y < height; ++y) {
      for (std::int64_t x = 0; x < width; ++x) {
        float* to = base + step.output.begin + y * step.output.row + x * step.output.column;
        const auto from = [&](std::size_t i) {
          return base + step.inputs[i].begin + y * step.inputs[i].row + x * step.inputs[i].column;
        };
        if (step.kind == LayerKind::Add) {
          kernels_.add(from(0), from(1), to, values, step.relu);
        } else if (step.kind == LayerKind::Relu) {
          kernels_.relu(from(0), to, values);
        } else if (step.kind == LayerKind::ChannelScale) {
          const std::int64_t per = interleaved_ ? lanes : 1;
          for (std::int64_t v = 0; v < step.shape.channels * per; ++v) {
            const float value = from(0)[v] * step.scale.data()[v / per] + step.bias.data()[v / per];
            to[v] = step.relu ? std::max(value, 0.0F) : value;
          }
        } else if (step.kind == LayerKind::Concat) {
          for (std::size_t i = 0; i < step.inputs.size(); ++i) {
            const std::int64_t count = step.input_channels[i] * (interleaved_ ? lanes : 1);
            std::memcpy(to, from(i), static_cast<std::size_t>(count) * sizeof(float));
            to += count;
          }
        }
      }
    }
  }
}

}  // namespace lenet::native
