#include "engines/native/int8/program.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "lenet/error.h"

namespace lenet::native::int8 {
namespace {

constexpr std::int64_t kLine = 64;  // bytes
/// Inputs of a layer and its result, where they are not float32 without a border already.
constexpr std::size_t kScratches = 3;
constexpr std::size_t kResult = 2;

std::int64_t round_up(std::int64_t value, std::int64_t to) { return (value + to - 1) / to * to; }

bool is_whole_image(const TensorShape& image, const Layer& layer, const TensorShape& output) {
  const auto& padding = layer.window.padding;
  return output.height == 1 && output.width == 1 && layer.window.kernel[0] == image.height &&
         layer.window.kernel[1] == image.width && layer.groups == 1 &&
         std::all_of(padding.begin(), padding.end(), [](auto pad) { return pad == 0; });
}

bool of_integers(const PlannedLayer& planned) { return !planned.layer.integers.empty(); }

void softmax(float* row, std::int64_t count) {
  const float largest = *std::max_element(row, row + count);
  double sum = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    row[i] = std::exp(row[i] - largest);
    sum += row[i];
  }
  for (std::int64_t i = 0; i < count; ++i) row[i] = static_cast<float>(row[i] / sum);
}

}  // namespace

Program::Program(const Network& network, const Kernels& kernels) : kernels_(kernels) {
  Plan plan = make_plan(network);
  input_shape_ = plan.tensors[plan.input];
  if (!plan.layers.empty() && plan.layers.back().layer.kind == LayerKind::Softmax) {
    softmax_ = true;
    plan.output = plan.layers.back().layer.inputs[0];
    plan.layers.pop_back();
  }
  for (const PlannedLayer& planned : plan.layers) {
    has_integers_ |= of_integers(planned);
    if (planned.layer.kind == LayerKind::Softmax) {
      throw Error(ErrorCode::Unsupported,
                  "the native engine has softmax as the last layer only; use engine paddle");
    }
  }
  // What rounds the image reads it.
  std::size_t input = plan.input;
  const auto reads = [&](const PlannedLayer& planned) {
    const auto& inputs = planned.layer.inputs;
    return std::find(inputs.begin(), inputs.end(), plan.input) != inputs.end();
  };
  if (std::count_if(plan.layers.begin(), plan.layers.end(), reads) == 1 &&
      plan.input != plan.output && reads(plan.layers[0]) &&
      plan.layers[0].layer.kind == LayerKind::Quantize && !plan.layers[0].layer.relu) {
    input = plan.layers[0].layer.output;
    plan.layers.erase(plan.layers.begin());
  }
  place(plan);
  input_ = places_[input];
  output_ = places_[plan.output];
  for (const PlannedLayer& planned : plan.layers) steps_.push_back(compile(planned));
}

void Program::place(const Plan& plan) {
  // The layers at the end that take several images at once, and what they take.
  std::size_t first = plan.layers.size();
  while (first > 0) {
    const PlannedLayer& planned = plan.layers[first - 1];
    const Layer& layer = planned.layer;
    const bool joins = layer.kind == LayerKind::Convolution && of_integers(planned) &&
                       is_whole_image(plan.tensors[layer.inputs[0]], layer,
                                      plan.tensors[layer.output]);
    if (!joins) break;
    --first;
  }
  side_by_side_ = first;

  std::vector<std::int64_t> borders(plan.tensors.size());
  places_.resize(plan.tensors.size());
  places_[plan.output].kept = true;
  for (std::size_t i = 0; i < plan.layers.size(); ++i) {
    const Layer& layer = plan.layers[i].layer;
    if (i >= first) {
      places_[layer.inputs[0]].kept = true;
      places_[layer.output].kept = true;
    }
    if (layer.kind == LayerKind::Convolution && of_integers(plan.layers[i])) {
      std::int64_t& border = borders[layer.inputs[0]];
      for (const std::int64_t pad : layer.window.padding) border = std::max(border, pad);
    }
  }
  for (std::size_t t = 0; t < places_.size(); ++t) {
    places_[t].shape = plan.tensors[t];
    places_[t].range = plan.ranges[t];
    place(places_[t], borders[t]);
    scratch_floats_ = std::max(scratch_floats_, round_up(plan.tensors[t].values(), kLine));
  }
}

void Program::place(Place& place, std::int64_t border) {
  const bool rounded = place.range > 0;
  const std::int64_t size = rounded ? kernels_.bytes : static_cast<std::int64_t>(sizeof(float));
  place.column = place.shape.channels;
  place.row = place.column * (place.shape.width + 2 * border);
  // Behind the last pixel: the rest of a group of taps, and of a vector of channels.
  const std::int64_t values = place.row * (place.shape.height + 2 * border) + kernels_.lanes + 4;
  std::int64_t& end = place.kept ? image_bytes_ : shared_bytes_;
  place.begin = end + border * (place.row + place.column) * size;
  end += round_up(values * size, kLine);
  if (rounded) rounded_.push_back(place);
}

Step Program::compile(const PlannedLayer& planned) const {
  Step step;
  step.planned = planned;
  const Layer& layer = planned.layer;
  for (const std::size_t input : layer.inputs) step.inputs.push_back(places_[input]);
  step.output = places_[layer.output];
  if (of_integers(planned)) {
    compile_convolution(step);
  } else if (layer.kind == LayerKind::Convolution) {
    step.float_weights = outputs_last(layer);
  } else if (layer.kind == LayerKind::Pool) {
    const TensorShape& image = step.inputs[0].shape;
    step.rows = pool_windows(layer, 0, image.height, step.output.shape.height);
    step.columns = pool_windows(layer, 1, image.width, step.output.shape.width);
  }
  return step;
}

void Program::compile_convolution(Step& step) const {
  const PlannedLayer& planned = step.planned;
  const Layer& layer = planned.layer;
  const Window& window = layer.window;
  const Place& from = step.inputs[0];
  const TensorShape& output = step.output.shape;
  const std::int64_t inputs = from.shape.channels / layer.groups;
  const std::int64_t outputs = output.channels / layer.groups;
  const std::int64_t per_group = static_cast<std::int64_t>(sizeof(std::int32_t)) / kernels_.bytes;
  step.whole_image = is_whole_image(from.shape, layer, output);

  // Each tap: how far it lies from the first, and its place in [input channel][height][width].
  std::vector<std::pair<std::int64_t, std::int64_t>> taps;
  for (std::int64_t c = 0; c < inputs; ++c) {
    for (std::int64_t i = 0; i < window.kernel[0]; ++i) {
      for (std::int64_t j = 0; j < window.kernel[1]; ++j) {
        const std::int64_t offset =
            i * window.dilations[0] * from.row + j * window.dilations[1] * from.column + c;
        taps.emplace_back(offset, static_cast<std::int64_t>(taps.size()));
      }
    }
  }
  std::sort(taps.begin(), taps.end());
  if (taps.back().first > std::numeric_limits<std::int32_t>::max()) {
    throw Error(ErrorCode::Unsupported,
                "the native engine has no kernel for tensors as large as " + layer.name +
                    " takes; use engine paddle");
  }
  constexpr std::int64_t kNone = -1;
  std::vector<std::vector<std::int64_t>> groups;
  for (const auto& [offset, tap] : taps) {
    if (groups.empty() || offset >= step.offsets.back() + per_group) {
      step.offsets.push_back(static_cast<std::int32_t>(offset));
      groups.emplace_back(static_cast<std::size_t>(per_group), kNone);
    }
    groups.back()[static_cast<std::size_t>(offset - step.offsets.back())] = tap;
  }

  ConvTask task{};
  task.groups = static_cast<std::int32_t>(groups.size());
  task.input_column = window.strides[1] * from.column;
  task.input_row = window.strides[0] * from.row;
  task.output_column = step.output.column;
  task.output_row = step.output.row;
  const std::int64_t after = planned.pool ? 2 : 1;
  task.columns = static_cast<std::int32_t>(output.width * after);
  task.rows = static_cast<std::int32_t>(output.height * after);
  task.channels = static_cast<std::int32_t>(outputs);
  task.tile = step.whole_image ? kernels_.widest_linear : kernels_.widest;
  if (planned.pool) task.tile = std::min(task.tile, 2);
  task.pool = planned.pool;
  task.floats = planned.range == 0;
  task.relu = layer.relu;
  task.least = static_cast<float>(layer.relu ? 0 : kLeastInteger);
  task.spare = layer.groups == 1 && output.height * output.width == 1;

  const std::int64_t packed = round_up(outputs, kernels_.lanes);
  const auto channels = static_cast<std::size_t>(packed * layer.groups);
  step.weights = Aligned<std::int32_t>(channels * groups.size());
  step.start = Aligned<std::int32_t>(channels);
  step.factor = Aligned<float>(channels);
  step.addend = Aligned<float>(channels);
  for (std::int64_t g = 0; g < layer.groups; ++g) {
    const std::int64_t at = g * packed;
    pack(step, g * outputs, outputs, groups, static_cast<std::int64_t>(taps.size()),
         static_cast<std::int64_t>(task.tile), at);
    task.weights = step.weights.data() + at * task.groups;
    task.start = step.start.data() + at;
    task.factor = step.factor.data() + at;
    task.addend = step.addend.data() + at;
    step.tasks.push_back(task);
    step.task_inputs.push_back(g * inputs - window.padding[0] * from.row -
                               window.padding[2] * from.column);
  }
}

void Program::pack(Step& step, std::int64_t first_output, std::int64_t outputs,
                   const std::vector<std::vector<std::int64_t>>& groups, std::int64_t taps,
                   std::int64_t tile, std::int64_t at) const {
  const Layer& layer = step.planned.layer;
  const double from = step.inputs[0].range / kMostInteger;
  const double to = step.planned.range == 0 ? 1 : step.planned.range / kMostInteger;
  const std::int64_t lanes = kernels_.lanes;
  std::int32_t* weights = step.weights.data() + at * static_cast<std::int64_t>(groups.size());
  std::int64_t left = (outputs + lanes - 1) / lanes;
  std::int64_t block = tile;
  for (std::int64_t first = 0; left > 0; left -= block, first += block * lanes) {
    while (block > left) block /= 2;
    for (const std::vector<std::int64_t>& group : groups) {
      for (std::int64_t o = first; o < first + block * lanes; ++o, ++weights) {
        if (o >= outputs) continue;
        const std::int8_t* of_output =
            layer.integers.data() + (first_output + o) * taps;
        std::uint32_t bits = 0;
        const auto width = static_cast<std::uint32_t>(8 * kernels_.bytes);
        const std::uint32_t mask = (std::uint32_t{1} << width) - 1;
        for (std::size_t i = 0; i < group.size(); ++i) {
          if (group[i] < 0) continue;
          const std::int32_t weight = of_output[group[i]];
          bits |= (static_cast<std::uint32_t>(weight) & mask) << (width * i);
          step.start.data()[at + o] -= kernels_.zero * weight;
        }
        std::memcpy(weights, &bits, sizeof(bits));
      }
    }
  }
  for (std::int64_t o = 0; o < outputs; ++o) {
    const auto channel = static_cast<std::size_t>(first_output + o);
    step.factor.data()[at + o] = static_cast<float>(from * layer.steps[channel] / to);
    step.addend.data()[at + o] = static_cast<float>(layer.bias[channel] / to);
  }
}

// ---- running

Aligned<char> Program::memory(std::int64_t images) const {
  const std::int64_t scratches = static_cast<std::int64_t>(kScratches * sizeof(float));
  const std::int64_t bytes =
      scratch_floats_ * scratches + shared_bytes_ + images * image_bytes_;
  Aligned<char> memory(static_cast<std::size_t>(bytes));
  if (kernels_.zero == 0) return memory;
  std::memset(memory.data() + scratch_floats_ * scratches, kernels_.zero,
              static_cast<std::size_t>(shared_bytes_ + images * image_bytes_));
  return memory;
}

float* Program::scratch(std::size_t index, char* memory) const {
  return reinterpret_cast<float*>(memory) + static_cast<std::int64_t>(index) * scratch_floats_;
}

char* Program::at(const Place& place, char* memory, std::int64_t image) const {
  char* from = memory + static_cast<std::int64_t>(kScratches * sizeof(float)) * scratch_floats_;
  return from + place.begin + (place.kept ? shared_bytes_ + image * image_bytes_ : 0);
}

void Program::run(const float* input, std::int64_t images, char* memory, float* output) const {
  for (std::int64_t i = 0; i < images; ++i) {
    read_input(input + i * input_values(), memory, i);
    for (std::size_t s = 0; s < side_by_side_; ++s) run_step(steps_[s], memory, i);
  }
  for (std::size_t s = side_by_side_; s < steps_.size(); ++s) run_linear(steps_[s], memory, images);
  for (std::int64_t i = 0; i < images; ++i) {
    write_output(memory, i, output + i * output_values());
  }
}

void Program::read_input(const float* input, char* memory, std::int64_t image) const {
  const auto& [channels, height, width] = input_shape_;
  const bool rounded = input_.range > 0;
  const auto inverse = static_cast<float>(kMostInteger) * (1 / input_.range);
  char* to = at(input_, memory, image);
  for (std::int64_t y = 0; y < height; ++y) {
    const float* row = input + y * width;
    if (channels > 1 || !rounded) {
      float* gathered = rounded ? scratch(0, memory) : reinterpret_cast<float*>(to) + y * input_.row;
      for (std::int64_t c = 0; c < channels; ++c) {
        const float* from = input + (c * height + y) * width;
        for (std::int64_t x = 0; x < width; ++x) gathered[x * channels + c] = from[x];
      }
      row = gathered;
    }
    if (rounded) {
      kernels_.quantize(row, width * channels, inverse, kLeastInteger,
                        to + y * input_.row * kernels_.bytes);
    }
  }
}

void Program::write_output(char* memory, std::int64_t image, float* output) const {
  const float* values = floats(output_, 0, memory, image);
  const auto& [channels, height, width] = output_.shape;
  for (std::int64_t c = 0; c < channels; ++c) {
    for (std::int64_t p = 0; p < height * width; ++p) {
      output[c * height * width + p] = values[p * channels + c];
    }
  }
  if (softmax_) softmax(output, output_values());
}

void Program::run_step(const Step& step, char* memory, std::int64_t image) const {
  const Layer& layer = step.planned.layer;
  if (of_integers(step.planned)) {
    run_convolution(step, memory, image);
  } else if (layer.kind == LayerKind::Pool && layer.pool == PoolKind::Max &&
             step.output.range > 0) {
    run_pool(step, memory, image);
  } else {
    run_floats(step, memory, image);
  }
}

void Program::run_convolution(const Step& step, char* memory, std::int64_t image) const {
  const std::int64_t size =
      step.output.range > 0 ? kernels_.bytes : static_cast<std::int64_t>(sizeof(float));
  const std::int64_t apart = step.tasks[0].channels * size;
  for (std::size_t g = 0; g < step.tasks.size(); ++g) {
    ConvTask task = step.tasks[g];
    task.offsets = step.offsets.data();
    task.input = at(step.inputs[0], memory, image) + step.task_inputs[g] * kernels_.bytes;
    task.output = at(step.output, memory, image) + static_cast<std::int64_t>(g) * apart;
    kernels_.conv_channels(task);
  }
}

void Program::run_linear(const Step& step, char* memory, std::int64_t images) const {
  const std::int64_t size =
      step.output.range > 0 ? kernels_.bytes : static_cast<std::int64_t>(sizeof(float));
  ConvTask task = step.tasks[0];
  task.offsets = step.offsets.data();
  task.columns = static_cast<std::int32_t>(images);
  task.input_column = image_bytes_ / kernels_.bytes;
  task.output_column = image_bytes_ / size;
  task.input = at(step.inputs[0], memory, 0);
  task.output = at(step.output, memory, 0);
  kernels_.conv_channels(task);
}

void Program::run_pool(const Step& step, char* memory, std::int64_t image) const {
  PoolTask task{};
  task.input = at(step.inputs[0], memory, image);
  task.input_column = step.inputs[0].column;
  task.input_row = step.inputs[0].row;
  task.output = at(step.output, memory, image);
  task.output_column = step.output.column;
  task.output_row = step.output.row;
  task.column_begin = step.columns.begins.data();
  task.column_end = step.columns.ends.data();
  task.row_begin = step.rows.begins.data();
  task.row_end = step.rows.ends.data();
  task.columns = static_cast<std::int32_t>(step.output.shape.width);
  task.rows = static_cast<std::int32_t>(step.output.shape.height);
  task.channels = static_cast<std::int32_t>(step.output.shape.channels);
  task.relu = step.planned.layer.relu;
  kernels_.pool(task);
}

const float* Program::floats(const Place& place, std::size_t index, char* memory,
                             std::int64_t image) const {
  const char* from = at(place, memory, image);
  if (place.range == 0) return reinterpret_cast<const float*>(from);
  float* to = scratch(index, memory);
  const std::int64_t values = place.shape.width * place.shape.channels;
  for (std::int64_t y = 0; y < place.shape.height; ++y) {
    kernels_.dequantize(from + y * place.row * kernels_.bytes, values,
                        place.range / static_cast<float>(kMostInteger), to + y * values);
  }
  return to;
}

void Program::give(const Step& step, float* values, char* memory, std::int64_t image) const {
  const Place& place = step.output;
  const bool relu = step.planned.layer.relu;
  const std::int64_t count = place.shape.values();
  if (place.range == 0) {
    for (std::int64_t i = 0; relu && i < count; ++i) values[i] = std::max(values[i], 0.0F);
    return;  // they are in their place
  }
  const auto inverse = static_cast<float>(kMostInteger) * (1 / place.range);
  const std::int64_t row = place.shape.width * place.shape.channels;
  for (std::int64_t y = 0; y < place.shape.height; ++y) {
    kernels_.quantize(values + y * row, row, inverse, static_cast<float>(relu ? 0 : kLeastInteger),
                      at(place, memory, image) + y * place.row * kernels_.bytes);
  }
}

void Program::run_floats(const Step& step, char* memory, std::int64_t image) const {
  const Layer& layer = step.planned.layer;
  float* result = step.output.range > 0 ? scratch(kResult, memory)
                                        : reinterpret_cast<float*>(at(step.output, memory, image));
  const std::int64_t count = step.output.shape.values();
  const std::int64_t channels = step.output.shape.channels;
  if (layer.kind == LayerKind::Concat) {
    std::int64_t first = 0;
    for (const Place& input : step.inputs) {
      const float* from = floats(input, 0, memory, image);
      const std::int64_t width = input.shape.channels;
      for (std::int64_t p = 0; p < count / channels; ++p) {
        std::copy_n(from + p * width, width, result + p * channels + first);
      }
      first += width;
    }
    return give(step, result, memory, image);
  }
  const float* from = floats(step.inputs[0], 0, memory, image);
  const TensorShape& shape = step.inputs[0].shape;
  if (layer.kind == LayerKind::Convolution) {
    convolve(layer, step.float_weights, shape, step.output.shape, from, result);
  } else if (layer.kind == LayerKind::Pool) {
    (layer.pool == PoolKind::Max ? largest : average)(step.rows, step.columns, shape, from, result);
  } else if (layer.kind == LayerKind::Add) {
    const float* other = floats(step.inputs[1], 1, memory, image);
    for (std::int64_t i = 0; i < count; ++i) result[i] = from[i] + other[i];
  } else if (layer.kind == LayerKind::ChannelScale) {
    for (std::int64_t i = 0; i < count; ++i) {
      const auto c = static_cast<std::size_t>(i % channels);
      result[i] = from[i] * layer.scale[c] + layer.bias[c];
    }
  } else {
    std::copy_n(from, count, result);  // relu and rounding follow
  }
  give(step, result, memory, image);
}

}  // namespace lenet::native::int8
