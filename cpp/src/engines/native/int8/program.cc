#include "engines/native/int8/program.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "engines/native/ops/ops.h"

namespace lenet::native::int8 {
namespace {

/// Bytes of a convolution's weights from which on the images of a batch share them: others are in
/// the second-level cache anyway.
constexpr double kMinSharedWeights = 1 << 16;

bool multiplies_integers(const PlannedLayer& planned) { return !planned.layer.integers.empty(); }

std::unique_ptr<Op> make_op(const IntLayer& source) {
  const Layer& layer = source.planned.layer;
  if (multiplies_integers(source.planned)) return make_convolution(source);
  const QuantParams& from = source.inputs[0].quant;
  const QuantParams& to = source.output.quant;
  // 32 bits hold the sum of so many bytes.
  constexpr std::int64_t kMaxPixels = 1 << 22;
  const bool average = layer.kind == LayerKind::Pool && !is_max_pool(layer) &&
                       source.inputs[0].shape.pixels() <= kMaxPixels;
  if (!from || !(average || (is_max_pool(layer) && to))) return make_float_layer(source);
  // Between the same integers their mean, so that one in the middle of two is rounded to even.
  const bool same = from == to;
  const Bounds bounds(to, source.planned.last_activation());
  const IntMean mean = {source.kernels.zero - shift_of(from),
                        same ? 1 : from.scale,
                        same ? 1
                        : to ? 1 / to.scale
                             : 0,
                        bounds.least,
                        bounds.most,
                        shift_of(to)};
  return make_pool(source.kernels.pool, layer, source.inputs[0], source.output,
                   layer.relu() && (average || from.zero_point > 0), mean);
}

/// [channels][width] becomes [width][channels].
template <class Number>
void interleave(const char* planes, std::int64_t channels, std::int64_t width, char* to) {
  const auto* from = reinterpret_cast<const Number*>(planes);
  auto* numbers = reinterpret_cast<Number*>(to);
  if (channels == 3) {  // of colours: a third of the time
    for (std::int64_t x = 0; x < width; ++x, ++from, numbers += 3) {
      const Number green = from[width];
      const Number blue = from[2 * width];
      numbers[0] = from[0];
      numbers[1] = green;
      numbers[2] = blue;
    }
    return;
  }
  for (std::int64_t c = 0; c < channels; ++c) {
    for (std::int64_t x = 0; x < width; ++x) numbers[x * channels + c] = from[c * width + x];
  }
}

}  // namespace

Bounds::Bounds(const QuantParams& quant, const Activation& activation)
    : least(quant ? static_cast<float>(-quant.zero_point)
                  : -std::numeric_limits<float>::infinity()),
      most(quant ? static_cast<float>(255 - quant.zero_point)
                 : std::numeric_limits<float>::infinity()) {
  if (activation.kind != ActivationKind::None) least = 0;
  if (activation.kind == ActivationKind::Clip) {
    most = std::min(most, quant ? activation.beta / quant.scale : activation.beta);
  }
}

void quantize(const Kernels& kernels, const float* from, std::int64_t count,
              const QuantParams& quant, const Bounds& bounds, char* to) {
  kernels.quantize(from, count, quant.scale, bounds.least, bounds.most, shift_of(quant), to);
}

const float* float_row(const Kernels& kernels, const Placement& tensor, const char* first,
                       std::int64_t row, float* scratch) {
  const char* from = first + row * tensor.row * tensor.element_bytes;
  if (!tensor.quant) return reinterpret_cast<const float*>(from);
  kernels.dequantize(from, tensor.shape.width * tensor.shape.channels, tensor.quant.scale,
                     shift_of(tensor.quant), scratch);
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
  // The layers at the end take several images at once, if they read more weights than values.
  const auto reads_weights = [&](const PlannedLayer& planned) {
    const Layer& layer = planned.layer;
    const TensorShape& output = plan_.tensors[layer.output].shape;
    if (!multiplies_integers(planned)) return layer.kind != LayerKind::Convolution;
    if (is_whole_image(plan_.tensors[layer.inputs[0]].shape, layer, output)) return true;
    double values = static_cast<double>(output.values());
    for (const std::size_t input : layer.inputs) {
      values += static_cast<double>(plan_.tensors[input].shape.values());
    }
    return bytes_of(layer) > std::max(values, kMinSharedWeights);
  };
  auto alone = std::find_if_not(layers.rbegin(), layers.rend(), reads_weights);
  while (alone != layers.rbegin() && !multiplies_integers(*(alone - 1))) --alone;
  for (const PlannedLayer& planned : layers) {
    const Layer& layer = planned.layer;
    if (multiplies_integers(planned)) placements_[layer.inputs[0]].pad(layer.window);
    // A convolution may be over what it adds.
    ios_.push_back({layer.inputs, layer.output, layer.kind == LayerKind::Convolution ? 1 : kNone});
  }
  const auto name_of = [&](std::size_t s) { return layers[s].layer.name; };
  place(static_cast<std::size_t>(layers.rend() - alone), name_of, [&](std::size_t t) {
    Placement& tensor = placements_[t];
    if (tensor.quant) {
      tensor.element_bytes = kernels_.bytes;
      tensor.zero = kernels_.zero - shift_of(tensor.quant);
    }
    tensor.lay_out(kernels_.lanes);
    largest_floats_ = std::max(largest_floats_, float_bytes(tensor.shape));
  });
}

std::int64_t Program::image_bytes() const noexcept { return tensor_bytes() + 3 * largest_floats_; }

void Program::prepare(std::shared_ptr<SharedArrays> shared) {
  arena_ = WeightArena(std::move(shared));
  LayerMemory memory(file_bytes_);
  for (PlannedLayer& planned : plan_.layers) {
    const std::size_t output = planned.layer.output;
    IntLayer source{kernels_, std::move(planned), {}, placements_[output], memory, arena_};
    const Layer& layer = source.planned.layer;
    for (const std::size_t input : layer.inputs) source.inputs.push_back(placements_[input]);
    add_step(layer, layer.name, source.planned.multiply_adds, make_op(source));
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
  const Bounds bounds(tensor.quant, {});
  for (std::int64_t row = begin; row < end; ++row, to += row_bytes, from += width) {
    // Of each channel a row of elements, until all are there.
    const std::int64_t plane_bytes = width * tensor.element_bytes;
    char* const planes = channels > 1 ? frame.scratch : to;
    char* const plane = planes + channel * plane_bytes;
    if (tensor.quant) {
      quantize(kernels_, from, width, tensor.quant, bounds, plane);
    } else {
      std::memcpy(plane, from, static_cast<std::size_t>(plane_bytes));
    }
    if (channel + 1 < channels || planes == to) continue;
    (tensor.element_bytes == 1   ? interleave<std::int8_t>
     : tensor.element_bytes == 2 ? interleave<std::int16_t>
                                 : interleave<float>)(planes, channels, width, to);
  }
  images[0] = from;
}

const float* Program::output_row(const Placement& tensor, const Frame& frame, std::int64_t unit,
                                 std::int64_t row) const {
  return float_row(kernels_, tensor, frame.at<char>(tensor, unit), row,
                   reinterpret_cast<float*>(frame.scratch));
}

}  // namespace lenet::native::int8
