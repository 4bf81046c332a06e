#include "engines/native/int8/program.h"

#include <algorithm>
#include <utility>

#include "engines/native/ops/ops.h"

namespace lenet::native::int8 {
namespace {

bool multiplies_integers(const PlannedLayer& planned) { return !planned.layer.integers.empty(); }

std::unique_ptr<Op> make_op(const IntLayer& source) {
  const Layer& layer = source.planned.layer;
  if (multiplies_integers(source.planned)) return make_convolution(source);
  if (!is_max_pool(layer) || !source.output.quant) return make_float_layer(source);
  // The largest of several integers, which is an integer.
  return make_pool(source.kernels.pool, layer, source.inputs[0], source.output,
                   layer.relu() && !source.output.quant.is_unsigned);
}

}  // namespace

void quantize(const Kernels& kernels, const float* from, std::int64_t count,
              const QuantParams& quant, bool relu, char* to) {
  kernels.quantize(from, count, quant.inverse_scale(), least_of(quant, relu), most_of(quant),
                   shift_of(quant), to);
}

const float* float_row(const Kernels& kernels, const Placement& tensor, const QuantParams& quant,
                       const char* first, std::int64_t row, float* scratch) {
  const char* from = first + row * tensor.row * tensor.element_bytes;
  if (!tensor.quant) return reinterpret_cast<const float*>(from);
  kernels.dequantize(from, tensor.shape.width * tensor.shape.channels, quant.scale(),
                     shift_of(quant), scratch);
  return scratch;
}

Program::Program(Network network, const Kernels& kernels, std::int64_t min_shared_bytes)
    : native::Program(1, min_shared_bytes), kernels_(kernels), file_bytes_(network.file_bytes) {
  plan_ = make_plan(std::move(network));
  set_tensors(plan_.tensors, plan_.input, plan_.outputs);
  for (const PlannedLayer& planned : plan_.layers) {
    if (!multiplies_integers(planned)) float_multiply_adds_ += planned.multiply_adds;
  }
  lay_out();
}

void Program::lay_out() {
  const std::vector<PlannedLayer>& layers = plan_.layers;
  // The layers at the end that take several images at once, and what they take.
  const auto alone = std::find_if_not(layers.rbegin(), layers.rend(), [&](const auto& planned) {
    return multiplies_integers(planned) &&
           is_whole_image(plan_.tensors[planned.layer.inputs[0]], planned.layer,
                          plan_.tensors[planned.layer.output]);
  });
  std::vector<StepIo> steps;
  for (const PlannedLayer& planned : layers) {
    const Layer& layer = planned.layer;
    if (multiplies_integers(planned)) placements_[layer.inputs[0]].pad(layer);
    steps.push_back({layer.inputs, layer.output});
  }
  place(steps, static_cast<std::size_t>(layers.rend() - alone), [&](std::size_t t) {
    Placement& tensor = placements_[t];
    tensor.quant = plan_.roundings[t];
    if (tensor.quant) {
      tensor.element_bytes = kernels_.bytes;
      tensor.zero = kernels_.zero - shift_of(tensor.quant);
    }
    tensor.channels_last(kernels_.lanes);
    largest_floats_ = std::max(largest_floats_, float_bytes(tensor.shape));
  });
}

std::int64_t Program::image_bytes() const noexcept { return tensor_bytes() + 3 * largest_floats_; }

void Program::prepare() {
  LayerMemory memory(file_bytes_);
  for (PlannedLayer& planned : plan_.layers) {
    const std::size_t output = planned.layer.output;
    IntLayer source{kernels_, std::move(planned), {}, placements_[output], memory};
    const Layer& layer = source.planned.layer;
    for (const std::size_t input : layer.inputs) source.inputs.push_back(placements_[input]);
    add_step(layer, layer.name, source.planned.multiply_adds, layer.inputs, output,
             make_op(source));
  }
  plan_ = {};
}

void Program::write_rows(const float** images, std::int64_t channel, std::int64_t begin,
                         std::int64_t end, const Frame& frame, std::int64_t unit) const {
  const Placement& tensor = placements_[input_];
  const auto& [channels, height, width] = tensor.shape;
  const std::int64_t row_bytes = tensor.row * tensor.element_bytes;
  char* to = frame.at<char>(tensor, unit) + begin * row_bytes;
  const float* from = images[0];
  for (std::int64_t row = begin; row < end; ++row, to += row_bytes, from += width) {
    const float* values = from;
    if (channels > 1 || !tensor.quant) {
      auto* gathered = reinterpret_cast<float*>(tensor.quant ? frame.scratch : to);
      for (std::int64_t x = 0; x < width; ++x) gathered[x * channels + channel] = values[x];
      values = gathered;
    }
    if (tensor.quant && channel + 1 == channels) {
      quantize(kernels_, values, width * channels, tensor.quant, false, to);
    }
  }
  images[0] = from;
}

const float* Program::output_row(const Placement& tensor, const Frame& frame, std::int64_t unit,
                                 std::int64_t row) const {
  return float_row(kernels_, tensor, tensor.quant, frame.at<char>(tensor, unit), row,
                   reinterpret_cast<float*>(frame.scratch));
}

}  // namespace lenet::native::int8
