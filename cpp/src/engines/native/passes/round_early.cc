#include <algorithm>
#include <utility>

#include "engines/native/passes/passes.h"

namespace lenet::native {
namespace {

/// So many pools are between a rounding and its new place, for work linear in the layers.
constexpr int kMaxPools = 16;

bool rounds(const Layer& layer) { return layer.kind == LayerKind::Quantize; }

}  // namespace

void round_before_pools(Network& network) {
  const Links links(network);
  for (std::size_t i = 0; i < network.layers.size(); ++i) {
    std::size_t place = i;
    for (int pools = 0; rounds(network.layers[place]) && pools < kMaxPools; ++pools) {
      Layer& rounding = network.layers[place];
      const std::size_t between = rounding.inputs[0];
      const std::size_t before = links.producers[between];
      if (before == kNone || links.uses[between] > 1) break;
      Layer& pool = network.layers[before];
      if (!is_max_pool(pool) || links.uses[pool.inputs[0]] > 1) break;
      network.tensors[between].shape = network.tensors[pool.inputs[0]].shape;
      if (pool.relu()) rounding.activation = std::exchange(pool.activation, {});
      std::swap(rounding.inputs, pool.inputs);
      std::swap(rounding.output, pool.output);
      std::swap(rounding, pool);
      place = before;
    }
  }
}

bool keeps_rounding(const Layer& layer, const std::vector<QuantParams>& roundings) {
  const auto is_alike = [&](std::size_t input) {
    return roundings[input] == roundings[layer.inputs[0]];
  };
  const bool moves = layer.kind == LayerKind::Channels || layer.kind == LayerKind::View ||
                     (layer.kind == LayerKind::Copy && layer.get<CopyParams>().fill == 0);
  return (is_max_pool(layer) || moves) &&
         std::all_of(layer.inputs.begin(), layer.inputs.end(), is_alike);
}

void drop_repeated_rounding(Network& network) {
  std::vector<QuantParams> roundings(network.tensors.size());
  drop_copies(network, [&](const Layer& layer) {
    if (layer.inputs.empty()) return false;  // a constant
    const QuantParams before = roundings[layer.inputs[0]];
    if (rounds(layer) && layer.quant == before && !layer.relu()) return true;
    if (rounds(layer)) roundings[layer.output] = layer.quant;
    if (keeps_rounding(layer, roundings)) roundings[layer.output] = before;
    return false;
  });
}

}  // namespace lenet::native
