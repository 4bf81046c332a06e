#include "engines/native/int8/program.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "engines/native/explain.h"
#include "engines/native/softmax.h"

namespace lenet::native::int8 {
namespace {

/// Inputs of a layer and its result, where they are not float32 without a border already.
constexpr std::size_t kScratches = 3;
constexpr std::size_t kResult = 2;

bool of_integers(const PlannedLayer& planned) { return !planned.layer.integers.empty(); }

/// The largest of several integers is an integer.
bool pools_integers(const Step& step) {
  const Layer& layer = step.planned.layer;
  return layer.kind == LayerKind::Pool && layer.pool == PoolKind::Max && step.output.quant;
}

}  // namespace

Program::Program(const Network& network, const Kernels& kernels) : kernels_(kernels) {
  const Layer* softmax = last_softmax(network);
  Plan plan = make_plan(network);
  input_shape_ = plan.tensors[plan.input];
  if (softmax != nullptr) {
    softmax_ = true;
    plan.output = softmax->inputs[0];
    const auto gone = std::remove_if(plan.layers.begin(), plan.layers.end(), [](const auto& it) {
      return it.layer.kind == LayerKind::Softmax;
    });
    plan.layers.erase(gone, plan.layers.end());
  }
  for (const PlannedLayer& planned : plan.layers) {
    has_integers_ |= of_integers(planned);
    if (!of_integers(planned)) float_multiply_adds_ += planned.multiply_adds;
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
  LayerMemory layer_memory(network.file_bytes);
  input_ = places_[input];
  output_ = places_[plan.output];
  for (const PlannedLayer& planned : plan.layers) {
    steps_.push_back(compile(planned));
    const Convolution* convolution = steps_.back().convolution.get();
    if (convolution == nullptr) continue;
    planes_ = std::max(planes_, convolution->scratch());
    layer_memory.add(convolution->bytes());
  }
  planes_ = round_up(planes_, kCacheLine);
}

void Program::place(const Plan& plan) {
  // The layers at the end that take several images at once, and what they take.
  std::size_t first = plan.layers.size();
  while (first > 0) {
    const PlannedLayer& planned = plan.layers[first - 1];
    const Layer& layer = planned.layer;
    const bool batched =
        layer.kind == LayerKind::Convolution && of_integers(planned) &&
        is_whole_image(plan.tensors[layer.inputs[0]], layer, plan.tensors[layer.output]);
    if (!batched) break;
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
  ImageMemory memory;
  for (std::size_t t = 0; t < places_.size(); ++t) {
    const TensorShape& shape = plan.tensors[t];
    memory.add(static_cast<double>(shape.channels) *
               static_cast<double>(shape.height + 2 * borders[t]) *
               static_cast<double>(shape.width + 2 * borders[t]));
    places_[t].shape = plan.tensors[t];
    places_[t].quant = plan.roundings[t];
    place(places_[t], borders[t]);
    scratch_floats_ = std::max(scratch_floats_, round_up(plan.tensors[t].values(), kCacheLine));
  }
}

void Program::place(Place& place, std::int64_t border) {
  const bool rounded = static_cast<bool>(place.quant);
  const std::int64_t size = rounded ? kernels_.bytes : static_cast<std::int64_t>(sizeof(float));
  place.column = place.shape.channels;
  place.row = place.column * (place.shape.width + 2 * border);
  // Behind the last pixel: the rest of a group of taps, and of a vector of channels.
  place.values = place.row * (place.shape.height + 2 * border) + kernels_.lanes + 4;
  std::int64_t& end = place.kept ? image_bytes_ : shared_bytes_;
  place.before = border * (place.row + place.column);
  place.begin = end + place.before * size;
  end += round_up(place.values * size, kCacheLine);
}

Step Program::compile(const PlannedLayer& planned) const {
  Step step;
  step.planned = planned;
  const Layer& layer = planned.layer;
  for (const std::size_t input : layer.inputs) step.inputs.push_back(places_[input]);
  step.output = places_[layer.output];
  if (of_integers(planned)) {
    step.convolution =
        std::make_unique<Convolution>(planned, step.inputs[0], step.output, kernels_);
  } else if (layer.kind == LayerKind::Convolution) {
    step.float_weights = outputs_last(layer);
  } else if (layer.kind == LayerKind::Pool) {
    const TensorShape& image = step.inputs[0].shape;
    step.rows = pool_windows(layer, 0, image.height, step.output.shape.height);
    step.columns = pool_windows(layer, 1, image.width, step.output.shape.width);
  }
  return step;
}

// ---- running

std::int64_t Program::scratch_bytes() const noexcept {
  return static_cast<std::int64_t>(kScratches * sizeof(float)) * scratch_floats_ +
         static_cast<std::int64_t>(sizeof(std::int32_t)) * planes_;
}

Aligned<char> Program::memory(std::int64_t images) const {
  const std::int64_t tensors = shared_bytes_ + images * image_bytes_;
  Aligned<char> memory(static_cast<std::size_t>(scratch_bytes() + tensors));
  // Borders are zeros; the rest is written before it is read.
  for (const Place& place : places_) {
    const auto zero = kernels_.zero - shift_of(place.quant);
    if (!place.quant || zero == 0) continue;
    for (std::int64_t image = 0; image < (place.kept ? images : 1); ++image) {
      char* first = at(place, memory.data(), image) - place.before * kernels_.bytes;
      if (kernels_.bytes == 1) {
        std::memset(first, zero, static_cast<std::size_t>(place.values));
      } else {
        std::fill_n(reinterpret_cast<std::int16_t*>(first), place.values,
                    static_cast<std::int16_t>(zero));
      }
    }
  }
  return memory;
}

float* Program::scratch(std::size_t index, char* memory) const {
  return reinterpret_cast<float*>(memory) + static_cast<std::int64_t>(index) * scratch_floats_;
}

char* Program::at(const Place& place, char* memory, std::int64_t image) const {
  char* tensors = memory + scratch_bytes();
  return tensors + place.begin + (place.kept ? shared_bytes_ + image * image_bytes_ : 0);
}

std::vector<PlanStep> Program::plan() const {
  std::vector<PlanStep> plan;
  add_step(plan, kFirstStep);
  for (const Step& step : steps_) {
    const auto& [layer, roundings, pool, multiply_adds] = step.planned;
    std::string kernel = step.convolution ? step.convolution->kernel() : to_string(layer.kind);
    const bool whole =
        step.convolution || layer.kind == LayerKind::Quantize || pools_integers(step);
    if (!whole) kernel += ", float32";
    add_step(plan, layer.name, kernel, step.output.shape, multiply_adds);
  }
  add_step(plan, last_step(softmax_));
  return plan;
}

void Program::run(const float* input, std::int64_t images, char* memory, float* output) const {
  run_steps(input, images, memory, output, [](std::size_t) {});
}

std::vector<double> Program::run_timed(const float* input, std::int64_t images, char* memory,
                                       float* output, double (*now)()) const {
  std::vector<double> times(steps_.size() + 2);
  double before = now();
  run_steps(input, images, memory, output, [&](std::size_t step) {
    const double after = now();
    times[step] += after - before;
    before = after;
  });
  return times;
}

template <class Done>
void Program::run_steps(const float* input, std::int64_t images, char* memory, float* output,
                        const Done& done) const {
  for (std::int64_t i = 0; i < images; ++i) {
    read_input(input + i * input_values(), memory, i);
    done(0);
    for (std::size_t s = 0; s < side_by_side_; ++s) {
      run_step(steps_[s], memory, i);
      done(1 + s);
    }
  }
  for (std::size_t s = side_by_side_; s < steps_.size(); ++s) {
    const Step& step = steps_[s];
    step.convolution->run_images(at(step.inputs[0], memory, 0), at(step.output, memory, 0), images,
                                 image_bytes_);
    done(1 + s);
  }
  for (std::int64_t i = 0; i < images; ++i) {
    write_output(memory, i, output + i * output_values());
  }
  done(1 + steps_.size());
}

void Program::read_input(const float* input, char* memory, std::int64_t image) const {
  const auto& [channels, height, width] = input_shape_;
  const bool rounded = static_cast<bool>(input_.quant);
  char* to = at(input_, memory, image);
  for (std::int64_t y = 0; y < height; ++y) {
    const float* row = input + y * width;
    if (channels > 1 || !rounded) {
      float* gathered =
          rounded ? scratch(0, memory) : reinterpret_cast<float*>(to) + y * input_.row;
      for (std::int64_t c = 0; c < channels; ++c) {
        const float* from = input + (c * height + y) * width;
        for (std::int64_t x = 0; x < width; ++x) gathered[x * channels + c] = from[x];
      }
      row = gathered;
    }
    if (rounded) {
      quantize(row, width * channels, input_.quant, false, to + y * input_.row * kernels_.bytes);
    }
  }
}

void Program::write_output(char* memory, std::int64_t image, float* output) const {
  const float* values = floats(output_, output_.quant, 0, memory, image);
  const auto& [channels, height, width] = output_.shape;
  for (std::int64_t c = 0; c < channels; ++c) {
    for (std::int64_t p = 0; p < height * width; ++p) {
      output[c * height * width + p] = values[p * channels + c];
    }
  }
  if (softmax_) softmax(output, output_values());
}

void Program::run_step(const Step& step, char* memory, std::int64_t image) const {
  if (step.convolution) {
    auto* planes = reinterpret_cast<std::int32_t*>(scratch(kScratches, memory));
    step.convolution->run(at(step.inputs[0], memory, image), at(step.output, memory, image),
                          planes);
  } else if (pools_integers(step)) {
    run_pool(step, memory, image);
  } else {
    run_floats(step, memory, image);
  }
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
  task.relu = step.planned.layer.relu && !step.output.quant.is_unsigned;
  kernels_.pool(task);
}

const float* Program::floats(const Place& place, const QuantParams& quant, std::size_t index,
                             char* memory, std::int64_t image) const {
  const char* from = at(place, memory, image);
  if (!place.quant) return reinterpret_cast<const float*>(from);
  float* to = scratch(index, memory);
  const std::int64_t values = place.shape.width * place.shape.channels;
  for (std::int64_t y = 0; y < place.shape.height; ++y) {
    kernels_.dequantize(from + y * place.row * kernels_.bytes, values, quant.scale(),
                        shift_of(quant), to + y * values);
  }
  return to;
}

void Program::quantize(const float* from, std::int64_t count, const QuantParams& quant, bool relu,
                       char* to) const {
  kernels_.quantize(from, count, quant.inverse_scale(), least_of(quant, relu), most_of(quant),
                    shift_of(quant), to);
}

void Program::give(const Step& step, const QuantParams& quant, float* values, char* memory,
                   std::int64_t image) const {
  const Place& place = step.output;
  const Layer& layer = step.planned.layer;
  const std::int64_t count = place.shape.values();
  if (!quant) {
    for (std::int64_t i = 0; layer.relu && i < count; ++i) values[i] = std::max(values[i], 0.0F);
    return;  // they are in their place
  }
  const std::int64_t row = place.shape.width * place.shape.channels;
  for (std::int64_t y = 0; y < place.shape.height; ++y) {
    quantize(values + y * row, row, quant, step.planned.roundings.back().relu,
             at(place, memory, image) + y * place.row * kernels_.bytes);
  }
}

void Program::run_floats(const Step& step, char* memory, std::int64_t image) const {
  const Layer& layer = step.planned.layer;
  float* result = step.output.quant ? scratch(kResult, memory)
                                    : reinterpret_cast<float*>(at(step.output, memory, image));
  const std::int64_t count = step.output.shape.values();
  const std::int64_t channels = step.output.shape.channels;
  if (layer.kind == LayerKind::Concat) {
    std::int64_t first = 0;
    for (const Place& input : step.inputs) {
      const float* from = floats(input, input.quant, 0, memory, image);
      const std::int64_t width = input.shape.channels;
      for (std::int64_t p = 0; p < count / channels; ++p) {
        std::copy_n(from + p * width, width, result + p * channels + first);
      }
      first += width;
    }
    return give(step, step.output.quant, result, memory, image);
  }
  QuantParams taken = step.inputs[0].quant;
  QuantParams given = step.output.quant;
  // The mean of integers, so that one in the middle between two others is rounded to even.
  if (layer.kind == LayerKind::Pool && taken && taken == given)
    taken.range = given.range = taken.qmax;
  const float* from = floats(step.inputs[0], taken, 0, memory, image);
  const TensorShape& shape = step.inputs[0].shape;
  if (layer.kind == LayerKind::Convolution) {
    convolve(layer, step.float_weights, shape, step.output.shape, from, result);
  } else if (layer.kind == LayerKind::Pool) {
    (layer.pool == PoolKind::Max ? largest : average)(step.rows, step.columns, shape, from, result);
  } else if (layer.kind == LayerKind::Add) {
    const float* other = floats(step.inputs[1], step.inputs[1].quant, 1, memory, image);
    for (std::int64_t i = 0; i < count; ++i) result[i] = from[i] + other[i];
  } else if (layer.kind == LayerKind::ChannelScale) {
    for (std::int64_t i = 0; i < count; ++i) {
      const auto c = static_cast<std::size_t>(i % channels);
      result[i] = from[i] * layer.scale[c] + layer.bias[c];
    }
  } else {
    std::copy_n(from, count, result);  // relu and rounding follow
  }
  give(step, given, result, memory, image);
}

}  // namespace lenet::native::int8
