#include <algorithm>
#include <utility>
#include <vector>

#include "engines/native/passes/passes.h"

namespace lenet::native {
namespace {

bool rounds(const Layer& layer) { return layer.kind == LayerKind::Quantize; }

/// Roundings of a chain first, pools after them, in the layers' places among the others: what is
/// between them reads nothing of the chain.
void round_first(Network& network, const std::vector<std::size_t>& chain) {
  std::vector<Layer> moved;
  for (const std::size_t place : chain) moved.push_back(std::move(network.layers[place]));
  std::size_t before = moved.front().inputs[0];
  const TensorShape shape = network.tensors[before];
  const std::size_t output = moved.back().output;
  // The relu of a pool becomes that of the rounding behind it.
  const auto last = std::find_if(moved.rbegin(), moved.rend(), rounds).base();
  bool relu = false;
  for (auto layer = moved.begin(); layer != last; ++layer) {
    relu |= layer->relu;
    layer->relu = rounds(*layer) && std::exchange(relu, false);
  }
  std::stable_partition(moved.begin(), moved.end(), rounds);
  for (std::size_t i = 0; i < chain.size(); ++i) {
    Layer& layer = network.layers[chain[i]];
    layer = std::move(moved[i]);
    layer.inputs = {before};
    if (rounds(layer)) layer.output = network.add_tensor(shape);
    if (i + 1 == chain.size()) layer.output = output;
    before = layer.output;
  }
}

}  // namespace

void round_before_pools(Network& network) {
  const Links links(network);
  const auto moves = [&](const Layer& layer) {
    return rounds(layer) || (is_max_pool(layer) && links.uses[layer.inputs[0]] == 1);
  };
  std::vector<bool> visited(network.layers.size());
  for (std::size_t i = 0; i < network.layers.size(); ++i) {
    std::vector<std::size_t> chain;
    for (std::size_t next = i;
         next != Links::kNone && !visited[next] && moves(network.layers[next]);) {
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
  drop_copies(network, [&](const Layer& layer) {
    const QuantParams before = roundings[layer.inputs[0]];
    if (rounds(layer) && layer.quant == before && !layer.relu) return true;
    if (rounds(layer)) roundings[layer.output] = layer.quant;
    if (is_max_pool(layer)) roundings[layer.output] = before;
    return false;
  });
}

}  // namespace lenet::native
