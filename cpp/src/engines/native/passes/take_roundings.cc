#include <algorithm>
#include <utility>

#include "engines/native/passes/passes.h"

namespace lenet::native {
namespace {

/// Whether a layer multiplies rows of values by one matrix, or is a convolution: there are kernels
/// that do so with integers.
bool has_integer_kernel(const Layer& layer) {
  return layer.kind == LayerKind::Convolution ||
         (layer.product.matrices.empty() && layer.product.first.column == 1);
}

}  // namespace

void use_float_weights(Layer& layer) {
  const std::size_t taps = layer.integers.size() / layer.weight_scales.size();
  for (std::size_t i = 0; i < layer.integers.size(); ++i) {
    layer.weights.push_back(static_cast<float>(layer.integers[i]) * layer.weight_scales[i / taps]);
  }
  layer.integers.clear();
  layer.weight_scales.clear();
}

void take_roundings(Network& network) {
  drop_repeated_rounding(network);
  const Links links(network);
  std::vector<QuantParams> roundings(network.tensors.size());
  for (Layer& layer : network.layers) {
    if (layer.kind == LayerKind::Quantize) roundings[layer.output] = layer.quant;
    if (keeps_rounding(layer, roundings)) roundings[layer.output] = roundings[layer.inputs[0]];
    if (layer.integers.empty()) continue;
    std::size_t& input = layer.inputs[0];
    const QuantParams& rounding = roundings[input];
    if (!rounding || !has_integer_kernel(layer)) {
      use_float_weights(layer);
      continue;
    }
    layer.quant = rounding;
    if (links.producers[input] == kNone) continue;
    const Layer& giver = network.layers[links.producers[input]];
    const bool only_rounds =
        giver.kind == LayerKind::Quantize && giver.activation.kind == ActivationKind::None;
    if (only_rounds) input = giver.inputs[0];
  }
  for (Layer& each : std::exchange(network.layers, {})) {
    Layer& layer = network.layers.emplace_back(std::move(each));
    if (layer.kind != LayerKind::Quantize) continue;
    layer.kind = LayerKind::Activate;
    const Activation round = {ActivationKind::Round, layer.quant.scale,
                              static_cast<float>(layer.quant.zero_point)};
    const Activation bound = std::exchange(layer.activation, round);
    if (bound.kind == ActivationKind::None) continue;
    // A relu of what was rounded is what a relu gives, rounded.
    Layer rounding = layer;
    layer.activation = bound;
    layer.output = network.add_tensor(network.tensors[rounding.output].shape);
    rounding.inputs = {layer.output};
    network.layers.push_back(std::move(rounding));
  }
  drop_unused(network);
  fuse_activations(network);
}

}  // namespace lenet::native
