#include "engines/native/int8/program.h"

#include <algorithm>
#include <utility>

#include "engines/native/int8/ops.h"
#include "engines/native/ops/pool.h"
#include "pixels.h"

namespace lenet::native::int8 {
namespace {

bool multiplies_integers(const PlannedLayer& planned) { return !planned.layer.integers.empty(); }

/// The largest of several integers, which is an integer.
std::unique_ptr<Op> make_max_pool(const IntLayer& source) {
  const Layer& layer = source.planned.layer;
  return make_pool(source.kernels.pool, layer, source.inputs[0], source.output,
                   source.output.shape.channels, layer.relu && !source.output.quant.is_unsigned);
}

}  // namespace

std::int64_t float_bytes(const TensorShape& shape) {
  return round_up(shape.values() * static_cast<std::int64_t>(sizeof(float)), kCacheLine);
}

void quantize(const Kernels& kernels, const float* from, std::int64_t count,
              const QuantParams& quant, bool relu, char* to) {
  kernels.quantize(from, count, quant.inverse_scale(), least_of(quant, relu), most_of(quant),
                   shift_of(quant), to);
}

const float* float_values(const Kernels& kernels, const Placement& tensor, const QuantParams& quant,
                          const char* first, char* scratch) {
  if (!tensor.quant) return reinterpret_cast<const float*>(first);
  auto* to = reinterpret_cast<float*>(scratch);
  const std::int64_t row = tensor.shape.width * tensor.shape.channels;
  for (std::int64_t y = 0; y < tensor.shape.height; ++y) {
    kernels.dequantize(first + y * tensor.row * tensor.element_bytes, row, quant.scale(),
                       shift_of(quant), to + y * row);
  }
  return to;
}

Program::Program(Network network, const Kernels& kernels, std::int64_t min_shared_bytes)
    : native::Program(1, min_shared_bytes), kernels_(kernels), file_bytes_(network.file_bytes) {
  const Layer* softmax = last_softmax(network);
  const bool has_softmax = softmax != nullptr;
  if (has_softmax) {
    network.output = softmax->inputs[0];
    network.layers.erase(network.layers.begin() + (softmax - network.layers.data()));
  }
  plan_ = make_plan(std::move(network));
  read_rounded();
  set_tensors(plan_.tensors, plan_.input, plan_.output, has_softmax);
  for (const PlannedLayer& planned : plan_.layers) {
    has_integers_ |= multiplies_integers(planned);
    if (!multiplies_integers(planned)) float_multiply_adds_ += planned.multiply_adds;
  }
  lay_out();
}

/// What rounds the image reads it.
void Program::read_rounded() {
  std::vector<PlannedLayer>& layers = plan_.layers;
  std::ptrdiff_t readers = 0;
  for (const PlannedLayer& planned : layers) {
    const auto& inputs = planned.layer.inputs;
    readers += std::count(inputs.begin(), inputs.end(), plan_.input);
  }
  if (plan_.input != plan_.output && readers == 1 && layers[0].layer.kind == LayerKind::Quantize &&
      layers[0].layer.inputs[0] == plan_.input && !layers[0].layer.relu) {
    plan_.input = layers[0].layer.output;
    layers.erase(layers.begin());
  }
}

void Program::lay_out() {
  const std::vector<PlannedLayer>& layers = plan_.layers;
  // The layers at the end that take several images at once, and what they take.
  const auto alone = std::find_if_not(layers.rbegin(), layers.rend(), [&](const auto& planned) {
    return multiplies_integers(planned) &&
           is_whole_image(plan_.tensors[planned.layer.inputs[0]], planned.layer,
                          plan_.tensors[planned.layer.output]);
  });
  first_batched_ = static_cast<std::size_t>(layers.rend() - alone);
  std::vector<bool> kept(placements_.size());  // of each image
  std::vector<std::size_t> used = {input_};
  kept[output_] = true;
  std::vector<StepIo> steps;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const Layer& layer = layers[i].layer;
    used.push_back(layer.output);
    if (i >= first_batched_) kept[layer.inputs[0]] = kept[layer.output] = true;
    if (multiplies_integers(layers[i])) {
      std::int64_t& border = placements_[layer.inputs[0]].border;
      for (const std::int64_t pad : layer.window.padding) border = std::max(border, pad);
    }
    steps.push_back({layer.inputs, layer.output});
  }
  for (const std::size_t t : used) {
    Placement& tensor = placements_[t];
    tensor.quant = plan_.roundings[t];
    tensor.per_unit = kept[t];
    if (tensor.quant) {
      tensor.element_bytes = kernels_.bytes;
      tensor.zero = kernels_.zero - shift_of(tensor.quant);
    }
    // Behind the last pixel: the rest of a group of taps, and of a vector of channels.
    tensor.channels_last(tensor.shape.channels, kernels_.lanes + 4);
    largest_floats_ = std::max(largest_floats_, float_bytes(tensor.shape));
  }
  place(steps);
  const TensorShape& image = placements_[input_].shape;
  need_scratch(float_bytes({image.channels + 1, 1, image.width}));
  if (placements_[output_].quant) need_scratch(float_bytes(placements_[output_].shape));
}

std::int64_t Program::image_bytes() const noexcept { return tensor_bytes() + 3 * largest_floats_; }

void Program::prepare() {
  LayerMemory memory(file_bytes_);
  for (PlannedLayer& planned : plan_.layers) {
    const std::size_t output = planned.layer.output;
    IntLayer source{kernels_, std::move(planned), {}, placements_[output], memory};
    const Layer& layer = source.planned.layer;
    for (const std::size_t input : layer.inputs) source.inputs.push_back(placements_[input]);
    LayerProfile step = describe(layer, source.planned.multiply_adds, output);
    if (multiplies_integers(source.planned)) {
      add_step(std::move(step), output, make_convolution(source));
    } else if (is_max_pool(layer) && source.output.quant) {
      add_step(std::move(step), output, make_max_pool(source));
    } else {
      add_step(std::move(step), output, make_float_layer(std::move(source)));
    }
  }
  plan_ = {};
}

void Program::read_input(const TensorView& input, std::int64_t first, std::int64_t count,
                         const Frame& frame) const {
  const Placement& tensor = placements_[input_];
  const auto& [channels, height, width] = tensor.shape;
  const bool rounded = static_cast<bool>(tensor.quant);
  for (std::int64_t image = 0; image < count; ++image) {
    const auto row_of = [&](std::int64_t c, std::int64_t y) -> const float* {
      const std::int64_t row = ((first + image) * channels + c) * height + y;
      if (input.pixels == nullptr) return input.data + row * width;
      float* values = reinterpret_cast<float*>(frame.scratch) + channels * width;
      read_row(input, first + image, c, y, values);
      return values;
    };
    char* to = frame.at<char>(tensor, image);
    for (std::int64_t y = 0; y < height; ++y, to += tensor.row * tensor.element_bytes) {
      const float* row = nullptr;
      if (channels == 1 && rounded) {
        row = row_of(0, y);
      } else {
        auto* gathered = reinterpret_cast<float*>(rounded ? frame.scratch : to);
        for (std::int64_t c = 0; c < channels; ++c) {
          const float* from = row_of(c, y);
          for (std::int64_t x = 0; x < width; ++x) gathered[x * channels + c] = from[x];
        }
        row = gathered;
      }
      if (rounded) quantize(kernels_, row, width * channels, tensor.quant, false, to);
    }
  }
}

void Program::write_output(const Frame& frame, std::int64_t image, float* output) const {
  const Placement& tensor = placements_[output_];
  const float* values =
      float_values(kernels_, tensor, tensor.quant, frame.at<char>(tensor, image), frame.scratch);
  const auto& [channels, height, width] = tensor.shape;
  for (std::int64_t c = 0; c < channels; ++c) {
    for (std::int64_t p = 0; p < height * width; ++p) {
      output[c * height * width + p] = values[p * channels + c];
    }
  }
}

}  // namespace lenet::native::int8
