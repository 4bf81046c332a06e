#include "engines/native/network.h"

#include <algorithm>
#include <functional>

#include "lenet/error.h"

namespace lenet::native {

// The compiler warns of a kind without a case.
const char* to_string(LayerKind kind) noexcept {
  switch (kind) {
    case LayerKind::Convolution:
      return "convolution";
    case LayerKind::Pool:
      return "pool";
    case LayerKind::Resize:
      return "resize";
    case LayerKind::ChannelScale:
      return "scale";
    case LayerKind::Activate:
      return "activation";
    case LayerKind::Add:
      return "add";
    case LayerKind::Subtract:
      return "subtract";
    case LayerKind::Multiply:
      return "multiply";
    case LayerKind::Divide:
      return "divide";
    case LayerKind::Maximum:
      return "maximum";
    case LayerKind::Minimum:
      return "minimum";
    case LayerKind::PRelu:
      return "prelu";
    case LayerKind::Concat:
      return "concat";
    case LayerKind::Channels:
      return "channels";
    case LayerKind::Copy:
      return "copy";
    case LayerKind::View:
      return "view";
    case LayerKind::Convert:
      return "convert";
    case LayerKind::Softmax:
      return "softmax";
    case LayerKind::Reduce:
      return "reduce";
    case LayerKind::Along:
      return "along";
    case LayerKind::MatMul:
      return "matmul";
    case LayerKind::Broadcast:
      return "broadcast";
    case LayerKind::Normalize:
      return "normalize";
    case LayerKind::Constant:
      return "constant";
    case LayerKind::Quantize:
      return "quantize";
    case LayerKind::Identity:
      return "identity";
  }
  return "";
}

const char* to_string(ActivationKind kind) noexcept {
  switch (kind) {
    case ActivationKind::None:
      return "none";
    case ActivationKind::Relu:
      return "relu";
    case ActivationKind::Clip:
      return "clip";
    case ActivationKind::LeakyRelu:
      return "leaky_relu";
    case ActivationKind::Elu:
      return "elu";
    case ActivationKind::HardSigmoid:
      return "hard_sigmoid";
    case ActivationKind::HardSwish:
      return "hard_swish";
    case ActivationKind::Sigmoid:
      return "sigmoid";
    case ActivationKind::Swish:
      return "swish";
    case ActivationKind::Gelu:
      return "gelu";
    case ActivationKind::GeluTanh:
      return "gelu_tanh";
    case ActivationKind::Mish:
      return "mish";
    case ActivationKind::Tanh:
      return "tanh";
    case ActivationKind::Softplus:
      return "softplus";
    case ActivationKind::Softsign:
      return "softsign";
    case ActivationKind::Erf:
      return "erf";
    case ActivationKind::Exp:
      return "exp";
    case ActivationKind::Log:
      return "log";
    case ActivationKind::Sqrt:
      return "sqrt";
    case ActivationKind::Abs:
      return "abs";
    case ActivationKind::Reciprocal:
      return "reciprocal";
    case ActivationKind::ThresholdedRelu:
      return "thresholded_relu";
    case ActivationKind::Round:
      return "round";
    case ActivationKind::Scalar:
      return "scalar";
  }
  return "";
}

Combination combination_of(LayerKind kind) noexcept {
  switch (kind) {
    case LayerKind::Add:
      return Combination::Add;
    case LayerKind::Subtract:
      return Combination::Subtract;
    case LayerKind::Multiply:
      return Combination::Multiply;
    case LayerKind::Divide:
      return Combination::Divide;
    case LayerKind::Maximum:
      return Combination::Maximum;
    case LayerKind::Minimum:
      return Combination::Minimum;
    case LayerKind::PRelu:
      return Combination::PRelu;
    default:
      return Combination::Scale;
  }
}

bool needs_order(const Layer& layer) noexcept {
  switch (layer.kind) {
    case LayerKind::Copy:
    case LayerKind::View:
    case LayerKind::Softmax:
    case LayerKind::Reduce:
    case LayerKind::Along:
    case LayerKind::MatMul:
    case LayerKind::Broadcast:
    case LayerKind::Normalize:
    case LayerKind::Constant:
      return true;
    default:
      return false;
  }
}

WeightView Layer::view_weights() const {
  WeightView view = stored;
  if (stored.data != nullptr && !weight_scales.empty()) view.scales = weight_scales.data();
  if (stored.data != nullptr || weights.empty()) return view;
  const std::size_t outputs =
      kind == LayerKind::MatMul ? static_cast<std::size_t>(product.columns) : bias.size();
  return {reinterpret_cast<const char*>(weights.data()), weights.size(), weights.size() / outputs};
}

Links::Links(const Network& network)
    : producers(network.tensors.size(), kNone),
      readers(network.tensors.size(), kNone),
      uses(network.tensors.size()) {
  for (std::size_t i = 0; i < network.layers.size(); ++i) {
    producers[network.layers[i].output] = i;
    for (const std::size_t input : network.layers[i].inputs) {
      readers[input] = i;
      ++uses[input];
    }
  }
  for (const std::size_t output : network.outputs) ++uses[output];
}

void LayerMemory::add(double bytes) {
  bytes_ += bytes;
  if (bytes_ > most_) {
    throw Error(ErrorCode::Unsupported,
                "the layers would need far more memory than the files of the model have bytes: too "
                "many operators share large constants");
  }
}

void require_tensor_memory(double bytes) {
  constexpr double kMax = double{1U << 31};
  if (bytes > kMax) {
    throw Error(ErrorCode::Unsupported,
                "it would need more than 2 GiB for the tensors of one image, with their padding");
  }
}

double bytes_of(const Layer& layer) {
  const std::size_t scales = layer.integers.empty() ? 0 : layer.weight_scales.size();
  std::size_t floats = layer.view_weights().count + layer.bias.size() + layer.scale.size() +
                       layer.numbers.size() + scales;
  for (const BroadcastOperand& operand : layer.operands) floats += operand.numbers.size();
  std::size_t moved = layer.channels.size() * sizeof(ChannelSource);
  for (const Taps& taps : layer.taps) moved += taps.bytes();
  for (const Box& box : layer.boxes) moved += sizeof(box) + box.loops.size() * sizeof(Box::Loop);
  return static_cast<double>(floats * sizeof(float) + layer.integers.size() + moved);
}

bool is_alike(const Layer& layer) {
  const auto alike = [](const std::vector<float>& numbers) {
    return std::adjacent_find(numbers.begin(), numbers.end(), std::not_equal_to<>()) ==
           numbers.end();
  };
  return alike(layer.scale) && alike(layer.bias);
}

bool keeps_zero(const Activation& activation) {
  switch (activation.kind) {
    case ActivationKind::Clip:
      return activation.alpha <= 0 && activation.beta >= 0;
    case ActivationKind::HardSigmoid:
    case ActivationKind::Sigmoid:
    case ActivationKind::Softplus:
    case ActivationKind::Exp:
    case ActivationKind::Log:
    case ActivationKind::Reciprocal:
    case ActivationKind::Scalar:
      return false;
    default:
      return true;
  }
}

bool is_max_pool_2x2(const Network& network, const Layer& layer) {
  const Window& window = layer.window;
  const TensorShape& from = network.tensors[layer.inputs[0]].shape;
  const TensorShape& to = network.tensors[layer.output].shape;
  return is_max_pool(layer) && !layer.adaptive && window.dilations == Window().dilations &&
         window.kernel == std::array<std::int64_t, 2>{2, 2} && window.strides == window.kernel &&
         !window.pads() && to.height == from.height / 2 && to.width == from.width / 2;
}

std::vector<OutputSource> output_sources(const Network& network) {
  const Links links(network);
  std::vector<OutputSource> sources;
  for (const std::size_t output : network.outputs) {
    const std::size_t producer = links.producers[output];
    if (producer != kNone && is_written_softmax(network, links, network.layers[producer])) {
      const Layer& softmax = network.layers[producer];
      sources.push_back({softmax.inputs[0], true, softmax.logarithm});
    } else {
      sources.push_back({output});
    }
  }
  return sources;
}

std::int32_t tap_offset(std::int64_t offset, const Layer& layer) {
  if (offset > std::numeric_limits<std::int32_t>::max()) {
    throw Error(ErrorCode::Unsupported,
                "there is no kernel for tensors as large as " + layer.name + " takes");
  }
  return static_cast<std::int32_t>(offset);
}

double multiply_adds(const Network& network, const Layer& layer) {
  if (layer.kind == LayerKind::MatMul) {
    const Product& of = layer.product;
    return static_cast<double>(of.count() * of.rows) * static_cast<double>(of.sums * of.columns);
  }
  if (layer.kind != LayerKind::Convolution) return 0;
  const TensorShape& shape = network.tensors[layer.output].shape;
  return static_cast<double>(layer.view_weights().count + layer.integers.size()) *
         static_cast<double>(shape.height * shape.width);
}

}  // namespace lenet::native
