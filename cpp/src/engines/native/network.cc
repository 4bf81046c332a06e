#include "engines/native/network.h"

#include <algorithm>
#include <limits>

#include "lenet/error.h"

namespace lenet::native {
namespace {

/// Whether the layer, taken out of the network, has become part of the one before it.
bool absorbed(Network& network, const Layer& layer) {
  if (layer.kind != LayerKind::ChannelScale && layer.kind != LayerKind::Relu) return false;
  Layer* before = producer(network, layer.inputs[0]);
  if (before == nullptr || uses(network, layer.inputs[0]) != 0) return false;
  if (layer.kind == LayerKind::ChannelScale) {
    if (before->kind != LayerKind::Convolution || before->relu) return false;
    scale_convolution(*before, layer);
    before->relu = layer.relu;
  } else {
    if (before->kind == LayerKind::Concat || before->kind == LayerKind::Softmax) return false;
    before->relu = true;
  }
  before->output = layer.output;
  return true;
}

}  // namespace

Layer::Layer() = default;
Layer::Layer(const Layer& other) = default;
Layer::Layer(Layer&& other) noexcept = default;
Layer& Layer::operator=(const Layer& other) = default;
Layer& Layer::operator=(Layer&& other) noexcept = default;
Layer::~Layer() = default;

const char* to_string(LayerKind kind) noexcept {
  switch (kind) {
    case LayerKind::Convolution:
      return "convolution";
    case LayerKind::Pool:
      return "pool";
    case LayerKind::ChannelScale:
      return "scale";
    case LayerKind::Relu:
      return "relu";
    case LayerKind::Add:
      return "add";
    case LayerKind::Concat:
      return "concat";
    case LayerKind::Softmax:
      return "softmax";
    case LayerKind::Quantize:
      return "quantize";
    case LayerKind::Identity:
      return "identity";
  }
  return "";
}

Layer* producer(Network& network, std::size_t tensor) {
  for (Layer& layer : network.layers) {
    if (layer.output == tensor) return &layer;
  }
  return nullptr;
}

std::size_t uses(const Network& network, std::size_t tensor) {
  std::size_t found = tensor == network.output ? 1 : 0;
  for (const Layer& layer : network.layers) {
    found += static_cast<std::size_t>(std::count(layer.inputs.begin(), layer.inputs.end(), tensor));
  }
  return found;
}

bool is_whole_image(const TensorShape& image, const Layer& layer, const TensorShape& output) {
  const auto& padding = layer.window.padding;
  return output.height == 1 && output.width == 1 && layer.window.kernel[0] == image.height &&
         layer.window.kernel[1] == image.width && layer.groups == 1 &&
         std::all_of(padding.begin(), padding.end(), [](auto pad) { return pad == 0; });
}

bool halves(const Network& network, const Layer& layer) {
  const Window& window = layer.window;
  const TensorShape& from = network.tensors[layer.inputs[0]];
  const TensorShape& to = network.tensors[layer.output];
  return layer.kind == LayerKind::Pool && layer.pool == PoolKind::Max && !layer.adaptive &&
         window.kernel == std::array<std::int64_t, 2>{2, 2} && window.strides == window.kernel &&
         window.padding == std::array<std::int64_t, 4>{0, 0, 0, 0} &&
         to.height == from.height / 2 && to.width == from.width / 2;
}

const Layer* last_softmax(const Network& network) {
  const Layer* last = nullptr;
  for (const Layer& layer : network.layers) {
    if (layer.kind != LayerKind::Softmax) continue;
    if (layer.output != network.output) {
      throw Error(ErrorCode::Unsupported,
                  "the native engine has softmax as the last layer only; use engine paddle");
    }
    last = &layer;
  }
  return last;
}

std::int32_t tap_offset(std::int64_t offset, const Layer& layer) {
  if (offset > std::numeric_limits<std::int32_t>::max()) {
    throw Error(ErrorCode::Unsupported, "the native engine has no kernel for tensors as large as " +
                                            layer.name + " takes; use engine paddle");
  }
  return static_cast<std::int32_t>(offset);
}

double multiply_adds(const Network& network, const Layer& layer) {
  if (layer.kind != LayerKind::Convolution) return 0;
  const TensorShape& shape = network.tensors[layer.output];
  return static_cast<double>(layer.weights.size() + layer.integers.size()) *
         static_cast<double>(shape.height * shape.width);
}

void scale_convolution(Layer& convolution, const Layer& scale) {
  const std::size_t channels = convolution.bias.size();
  const std::size_t taps = convolution.weights.size() / channels;
  for (std::size_t c = 0; c < channels; ++c) {
    for (std::size_t t = 0; t < taps; ++t) convolution.weights[c * taps + t] *= scale.scale[c];
    if (!convolution.steps.empty()) convolution.steps[c] *= scale.scale[c];
    convolution.bias[c] = convolution.bias[c] * scale.scale[c] + scale.bias[c];
  }
}

void simplify(Network& network) {
  for (std::size_t i = 0; i < network.layers.size();) {
    const Layer layer = network.layers[i];
    network.layers.erase(network.layers.begin() + static_cast<std::ptrdiff_t>(i));
    if (absorbed(network, layer)) continue;
    network.layers.insert(network.layers.begin() + static_cast<std::ptrdiff_t>(i), layer);
    ++i;
  }
}

}  // namespace lenet::native
