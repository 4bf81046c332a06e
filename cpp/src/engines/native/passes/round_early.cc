#include <numeric>
#include <utility>
#include <vector>

#include "engines/native/passes/passes.h"

namespace lenet::native {
namespace {

/// Roundings of a chain first, pools after them, in the layers' places among the others: what is
/// between them reads nothing of the chain.
void round_first(Network& network, const std::vector<std::size_t>& chain) {
  std::vector<Layer>& layers = network.layers;
  const std::size_t input = layers[chain.front()].inputs[0];
  const std::size_t output = layers[chain.back()].output;
  std::vector<Layer> roundings;
  std::vector<Layer> pools;
  std::size_t passed = 0;  // pools, by the last rounding
  for (const std::size_t place : chain) {
    Layer& layer = layers[place];
    if (layer.kind == LayerKind::Quantize) {
      for (; passed < pools.size(); ++passed) {
        layer.relu |= std::exchange(pools[passed].relu, false);
      }
    }
    (layer.kind == LayerKind::Quantize ? roundings : pools).push_back(std::move(layer));
  }
  std::size_t before = input;
  for (std::size_t i = 0; i < chain.size(); ++i) {
    const bool rounds = i < roundings.size();
    Layer& layer = layers[chain[i]];
    layer = std::move(rounds ? roundings[i] : pools[i - roundings.size()]);
    layer.inputs = {before};
    if (i + 1 == chain.size()) {
      layer.output = output;
    } else if (rounds) {
      const TensorShape shape = network.tensors[input];
      layer.output = network.tensors.size();
      network.tensors.push_back(shape);
    }
    before = layer.output;
  }
}

}  // namespace

void round_before_pools(Network& network) {
  const Links links(network);
  const auto moves = [&](std::size_t i) {
    const Layer& layer = network.layers[i];
    return layer.kind == LayerKind::Quantize ||
           (is_max_pool(layer) && links.uses[layer.inputs[0]] == 1);
  };
  std::vector<bool> visited(network.layers.size());
  for (std::size_t i = 0; i < network.layers.size(); ++i) {
    std::vector<std::size_t> chain;
    for (std::size_t next = i; next != Links::kNone && !visited[next] && moves(next);) {
      visited[next] = true;
      chain.push_back(next);
      const std::size_t given = network.layers[next].output;
      next = links.uses[given] == 1 ? links.readers[given] : Links::kNone;
    }
    if (chain.size() > 1) round_first(network, chain);
  }
}

void drop_repeated_rounding(Network& network) {
  std::vector<QuantParams> roundings(network.tensors.size());
  std::vector<Layer> layers;
  std::vector<std::size_t> same(network.tensors.size());
  std::iota(same.begin(), same.end(), std::size_t{0});
  for (Layer& layer : network.layers) {
    for (std::size_t& input : layer.inputs) input = same[input];
    const QuantParams before = roundings[layer.inputs[0]];
    if (layer.kind == LayerKind::Quantize && layer.quant == before && !layer.relu) {
      same[layer.output] = layer.inputs[0];
      continue;
    }
    if (layer.kind == LayerKind::Quantize) roundings[layer.output] = layer.quant;
    if (is_max_pool(layer)) roundings[layer.output] = before;
    layers.push_back(std::move(layer));
  }
  network.layers = std::move(layers);
  network.output = same[network.output];
}

}  // namespace lenet::native
