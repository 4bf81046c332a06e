#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "engines/native/passes/passes.h"

namespace lenet::native {
namespace {

/// Leaves out each layer that `fuse(before, layer)` makes part of the one whose result it alone
/// reads. \param before its place among the layers; it may have taken in others
template <class Fuse>
void fuse_layers(Network& network, const Fuse& fuse) {
  const Links links(network);
  std::vector<Layer>& layers = network.layers;
  std::vector<std::size_t> producers(network.tensors.size(), Links::kNone);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const std::size_t input = layers[i].inputs[0];
    const std::size_t output = layers[i].output;
    const std::size_t before = producers[input];
    if (before != Links::kNone && links.uses[input] == 1 && fuse(before, layers[i])) {
      layers[before].output = output;
      producers[output] = before;
      continue;
    }
    if (i != kept) layers[kept] = std::move(layers[i]);
    producers[output] = kept++;
  }
  layers.erase(layers.begin() + static_cast<std::ptrdiff_t>(kept), layers.end());
}

}  // namespace

void scale_convolution(Layer& convolution, const Layer& scale) {
  const std::size_t channels = convolution.bias.size();
  const std::size_t taps = convolution.weights.size() / channels;
  for (std::size_t c = 0; c < channels; ++c) {
    for (std::size_t t = 0; t < taps; ++t) convolution.weights[c * taps + t] *= scale.scale[c];
    if (!convolution.weight_scales.empty()) convolution.weight_scales[c] *= scale.scale[c];
    convolution.bias[c] = convolution.bias[c] * scale.scale[c] + scale.bias[c];
  }
}

void drop_unused(Network& network) {
  std::vector<bool> used(network.tensors.size());
  used[network.output] = true;
  std::vector<Layer>& layers = network.layers;
  for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer) {
    if (!used[layer->output]) continue;
    for (const std::size_t input : layer->inputs) used[input] = true;
  }
  const auto gone = std::remove_if(layers.begin(), layers.end(),
                                   [&](const Layer& layer) { return !used[layer.output]; });
  layers.erase(gone, layers.end());
}

void fuse_scales(Network& network) {
  std::vector<int> scales(network.layers.size());  // by the place of the convolution
  fuse_layers(network, [&](std::size_t before, const Layer& layer) {
    Layer& convolution = network.layers[before];
    if (layer.kind != LayerKind::ChannelScale || convolution.kind != LayerKind::Convolution ||
        convolution.relu || scales[before] == kMaxScales) {
      return false;
    }
    ++scales[before];
    scale_convolution(convolution, layer);
    convolution.relu = layer.relu;
    return true;
  });
}

void fuse_relus(Network& network) {
  fuse_layers(network, [&](std::size_t before, const Layer& layer) {
    const LayerKind kind = network.layers[before].kind;
    if (layer.kind != LayerKind::Relu || kind == LayerKind::Concat || kind == LayerKind::Softmax) {
      return false;
    }
    return network.layers[before].relu = true;
  });
}

void simplify(Network& network) {
  drop_unused(network);
  fuse_scales(network);
  fuse_relus(network);
}

}  // namespace lenet::native
