#include <cmath>
#include <numeric>
#include <optional>
#include <utility>

#include "engines/native/passes/passes.h"

namespace lenet::native {
namespace {

/// Takes out the layers for which `drop` says so, which it is asked of each in their order, when
/// those before are gone.
template <class Drop>
void drop_layers(Network& network, const Drop& drop) {
  auto& layers = network.layers;
  auto kept = layers.begin();
  for (auto layer = kept; layer != layers.end(); ++layer) {
    if (drop(*layer)) continue;
    if (kept != layer) *kept = std::move(*layer);
    ++kept;
  }
  layers.erase(kept, layers.end());
}

/// Leaves out each layer that `fuse(before, layer)` makes part of the one whose result it alone
/// reads. It is not asked about layers that have a function of their own and other fields: it
/// carries the function. \param before its place among the layers; it may have taken in others
template <class Fuse>
void fuse_layers(Network& network, const Fuse& fuse) {
  const Links links(network);
  std::vector<std::size_t> producers(network.tensors.size(), kNone);
  std::size_t kept = 0;
  drop_layers(network, [&](const Layer& layer) {
    const std::size_t before = layer.inputs.empty() ? kNone : producers[layer.inputs[0]];
    const bool fused = before != kNone && links.uses[layer.inputs[0]] == 1 &&
                       has_only(layer, kActivation) && fuse(before, layer);
    if (fused) network.layers[before].output = layer.output;
    producers[layer.output] = fused ? before : kept++;
    return fused;
  });
}

/// x * scale after a convolution, or a product by weights, is one with other weights.
/// \param scale for each channel, or column
void scale_weights(Layer& layer, const std::vector<float>& scale) {
  const std::size_t channels = scale.size();
  if (layer.stored.data != nullptr || !layer.integers.empty()) {
    layer.weight_scales.resize(channels, 1);
  }
  const std::size_t taps = layer.weights.size() / channels;
  for (std::size_t c = 0; c < channels; ++c) {
    for (std::size_t t = 0; t < taps; ++t) layer.weights[c * taps + t] *= scale[c];
    if (!layer.weight_scales.empty()) layer.weight_scales[c] *= scale[c];
    if (!layer.bias.empty()) layer.bias[c] *= scale[c];
  }
}

void add_to_bias(Layer& layer, const std::vector<float>& numbers) {
  if (layer.bias.empty()) {
    layer.bias = numbers;
    return;
  }
  for (std::size_t c = 0; c < numbers.size(); ++c) layer.bias[c] += numbers[c];
}

/// A function of x times x: `factor` times an activation.
struct Gate {
  Activation activation;
  float factor = 1;
};

/// The layer that gives a tensor to one reader alone; or null.
const Layer* only_for_one(const Network& network, const Links& links, std::size_t tensor) {
  const std::size_t producer = links.producers[tensor];
  return producer == kNone || links.uses[tensor] > 1 ? nullptr : &network.layers[producer];
}

/// Returns the numbers of a layer that scales all channels alike and does nothing else; or null.
const ScaleParams* alike_scale(const Layer* layer) {
  const bool scales = layer != nullptr && layer->kind == LayerKind::ChannelScale &&
                      has_only(*layer, 0) && is_alike(*layer);
  return scales ? &layer->get<ScaleParams>() : nullptr;
}

/// Returns what a tensor is, times x: of activations whose facts have `times_x`, of
/// sigmoid(x * scale), and of hard_sigmoid as exporters write it out, clip(x * scale + bias, 0,
/// most), which may be scaled again.
std::optional<Gate> gate_of(const Network& network, const Links& links, std::size_t tensor,
                            std::size_t x) {
  Gate gate;
  const Layer* giver = only_for_one(network, links, tensor);
  const ScaleParams* const outer = alike_scale(giver);
  if (outer != nullptr && outer->bias[0] == 0) {
    gate.factor = outer->scale[0];
    giver = only_for_one(network, links, giver->inputs[0]);
  }
  if (giver == nullptr || giver->kind != LayerKind::Activate || !has_only(*giver, kActivation)) {
    return std::nullopt;
  }
  const Activation& of = giver->activation;
  if (giver->inputs[0] == x) {
    gate.activation = of;
    gate.activation.kind = facts_of(of.kind).times_x;
    if (gate.activation.kind == ActivationKind::None) return std::nullopt;
    return gate;
  }
  const Layer* const before = only_for_one(network, links, giver->inputs[0]);
  const ScaleParams* const inner = alike_scale(before);
  if (inner == nullptr || before->inputs[0] != x) return std::nullopt;
  const float scale = inner->scale[0];
  const float bias = inner->bias[0];
  if (of.kind == ActivationKind::Sigmoid && bias == 0) {
    gate.activation = {ActivationKind::Swish, scale};
    return gate;
  }
  const float most = of.beta;
  if (of.kind != ActivationKind::Clip || of.alpha != 0 || !(most > 0) || !std::isfinite(most)) {
    return std::nullopt;
  }
  gate.factor *= most;
  gate.activation = {ActivationKind::HardSwish, scale / most, bias / most};
  return gate;
}

/// x * sigmoid(x), as exporters write it, is one activation, and so is x * hard_sigmoid(x).
void join_products(Network& network) {
  const Links links(network);
  for (Layer& product : network.layers) {
    if (product.kind != LayerKind::Multiply || !has_only(product, 0)) continue;
    for (const std::size_t factor : {0U, 1U}) {
      const std::size_t x = product.inputs[1 - factor];
      const std::optional<Gate> gate = gate_of(network, links, product.inputs[factor], x);
      if (!gate) continue;
      // An activation has no factor: the layer that scales the product next takes it.
      if (gate->factor != 1) {
        const std::size_t reader = links.readers[product.output];
        if (reader == kNone || links.uses[product.output] > 1 ||
            network.layers[reader].kind != LayerKind::ChannelScale) {
          continue;
        }
        for (float& scale : network.layers[reader].get<ScaleParams>().scale) scale *= gate->factor;
      }
      product.set_kind(LayerKind::Activate);
      product.inputs = {x};
      product.activation = gate->activation;
      break;
    }
  }
}

/// Makes one scale of those that follow one another, and leaves out those that change nothing.
void join_scales(Network& network) {
  fuse_layers(network, [&](std::size_t before, const Layer& layer) {
    Layer& first = network.layers[before];
    if (first.kind != LayerKind::ChannelScale || layer.kind != LayerKind::ChannelScale ||
        !has_only(first, 0)) {
      return false;
    }
    ScaleParams joined = first.get<ScaleParams>();
    const auto& [scale, bias] = layer.get<ScaleParams>();
    if (joined.scale.size() != scale.size()) return false;
    for (std::size_t c = 0; c < scale.size(); ++c) {
      joined.scale[c] *= scale[c];
      joined.bias[c] = joined.bias[c] * scale[c] + bias[c];
      if (!std::isfinite(joined.scale[c]) || !std::isfinite(joined.bias[c])) return false;
    }
    first.params = std::move(joined);
    first.activation = layer.activation;
    return true;
  });
  drop_copies(network, [](const Layer& layer) {
    const ScaleParams* const scale = alike_scale(&layer);
    return scale != nullptr && scale->scale[0] == 1 && scale->bias[0] == 0;
  });
}

/// Whether an activation may become part of the layer before it.
bool may_activate(const Layer& giver, const Activation& activation) {
  const ActivationKind before = giver.activation.kind;
  const bool relu = activation.kind == ActivationKind::Relu;
  if (before != ActivationKind::None && !(relu && before == ActivationKind::Relu)) return false;
  // Behind its sums, a convolution of integers only bounds and rounds.
  if (is_integer_convolution(giver)) {
    return is_bound(activation) && giver.convolution().roundings.empty();
  }
  return applies(giver, activation);
}

/// Returns the numbers of its own that a layer combines with its input, value by value, the same
/// ones with each row of so many values; or null.
const std::vector<float>* numbers_of_rows(const Layer& layer, std::int64_t columns) {
  if (layer.kind != LayerKind::Broadcast || layer.inputs.size() != 1) return nullptr;
  const auto& [kind, operands, loops, combine] = layer.get<BroadcastParams>();
  if (operands.size() != 2 || combine != nullptr) return nullptr;
  const std::size_t operand = operands[0].input == kNone ? 0 : 1;
  // A sum of two tensors has no numbers; numbers of less than a row would be visited repeatedly.
  const std::vector<float>& numbers = operands[operand].numbers;
  if (static_cast<std::int64_t>(numbers.size()) != columns || operands[1 - operand].begin != 0) {
    return nullptr;
  }
  std::int64_t values = 1;  // of the loops inside
  for (auto loop = loops.rbegin(); loop != loops.rend(); ++loop) {
    if (loop->count == 1) continue;
    const std::int64_t step = values < columns ? values : 0;
    if (loop->steps[1 - operand] != values || loop->steps[operand] != step) return nullptr;
    values *= loop->count;
    if (step > 0 && values > columns) return nullptr;
  }
  return values % columns == 0 ? &numbers : nullptr;
}

/// Makes numbers by which rows of a product with weights are multiplied part of the weights, and
/// what is added to rows of any product its bias.
void fuse_rows(Network& network) {
  std::vector<int> scales(network.layers.size());
  fuse_layers(network, [&](std::size_t before, const Layer& layer) {
    Layer& product = network.layers[before];
    constexpr unsigned kFields = kWeights | kWeightScales | kBias | kIntegers;
    if (product.kind != LayerKind::MatMul || !has_only(product, kFields)) return false;
    const std::vector<float>* const numbers = numbers_of_rows(layer, product.product().columns);
    if (numbers == nullptr) return false;
    const BroadcastKind kind = layer.get<BroadcastParams>().kind;
    const bool scale = kind == BroadcastKind::Multiply && has_weights(product) &&
                       product.integers.empty() && scales[before] < kMaxScales;
    // A product that has a bias would add the numbers in another order, as one that was scaled may.
    const bool bias = kind == BroadcastKind::Add && (product.bias.empty() || scales[before] > 0);
    if (!scale && !bias) return false;
    if (scale) {
      ++scales[before];
      scale_weights(product, *numbers);
    } else {
      add_to_bias(product, *numbers);
    }
    product.activation = layer.activation;
    return true;
  });
}

}  // namespace

void drop_unused(Network& network) {
  std::vector<bool> used(network.tensors.size());
  for (const std::size_t output : network.outputs) used[output] = true;
  auto& layers = network.layers;
  for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer) {
    if (!used[layer->output]) continue;
    for (const std::size_t input : layer->inputs) used[input] = true;
  }
  drop_layers(network, [&](const Layer& layer) { return !used[layer.output]; });
}

void fuse_activations(Network& network) {
  fuse_layers(network, [&](std::size_t before, const Layer& layer) {
    Layer& giver = network.layers[before];
    if (layer.kind != LayerKind::Activate || !may_activate(giver, layer.activation)) return false;
    giver.activation = layer.activation;
    return true;
  });
}

std::vector<int> fuse_scales(Network& network, MayFuse* may_fuse) {
  std::vector<int> scales(network.layers.size());
  fuse_layers(network, [&](std::size_t before, const Layer& layer) {
    Layer& convolution = network.layers[before];
    constexpr unsigned kFields = kWeights | kWeightScales | kBias | kIntegers | kRests;
    if (layer.kind != LayerKind::ChannelScale || convolution.kind != LayerKind::Convolution ||
        !has_only(convolution, kFields) || !may_fuse(convolution, layer, scales[before])) {
      return false;
    }
    ++scales[before];
    scale_weights(convolution, layer.get<ScaleParams>().scale);
    add_to_bias(convolution, layer.get<ScaleParams>().bias);
    convolution.activation = layer.activation;
    return true;
  });
  return scales;
}

void simplify(Network& network) {
  join_channels(network);
  join_products(network);
  join_gelu(network);
  join_scales(network);
  drop_unused(network);
  fuse_scales(network, [](const Layer&, const Layer&, int fused) { return fused < kMaxScales; });
  fuse_rows(network);
  fuse_activations(network);
  join_padding(network);
}

void drop_copies(Network& network, const std::function<bool(const Layer&)>& copies) {
  std::vector<std::size_t> same(network.tensors.size());
  std::iota(same.begin(), same.end(), std::size_t{0});
  drop_layers(network, [&](Layer& layer) {
    for (std::size_t& input : layer.inputs) input = same[input];
    const bool copy = copies(layer);
    if (copy) require_only(layer, 0);
    if (copy) same[layer.output] = layer.inputs[0];
    return copy;
  });
  for (std::size_t& output : network.outputs) output = same[output];
}

void drop_identities(Network& network) {
  drop_copies(network, [](const Layer& layer) { return layer.kind == LayerKind::Identity; });
}

}  // namespace lenet::native
