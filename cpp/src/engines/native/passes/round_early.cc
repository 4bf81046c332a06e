#include <algorithm>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "engines/native/passes/passes.h"

namespace lenet::native {
namespace {

bool rounds(const Layer& layer) { return layer.kind == LayerKind::Quantize; }

/// Moves roundings, from the last layer to the first.
class Mover {
 public:
  explicit Mover(Network& network)
      : network_(network), links_(network), waiting_(network.layers.size()) {}

  void move_all() {
    for (std::size_t i = network_.layers.size(); i-- > 0;) {
      Layer& layer = network_.layers[i];
      if (rounds(layer)) {
        add_rounding(std::move(layer));
      } else if (waiting_[i]) {
        round_before(std::move(layer), *waiting_[i]);
      } else {
        layers_.push_front(std::move(layer));
      }
    }
    network_.layers = std::move(layers_);
  }

 private:
  /// Adds a rounding, or keeps it until the layer before comes, if that one may take rounded
  /// values.
  void add_rounding(Layer rounding) {
    const std::size_t before = links_.producers[rounding.inputs[0]];
    if (before != kNone && links_.uses[rounding.inputs[0]] == 1 && moves(network_.layers[before])) {
      waiting_[before] = std::move(rounding);
    } else {
      layers_.push_front(std::move(rounding));
    }
  }

  /// Whether a layer gives values of its inputs that nothing else reads: the largest, or all.
  bool moves(const Layer& layer) const {
    const auto is_only_read_here = [&](std::size_t input) { return links_.uses[input] == 1; };
    if (!std::all_of(layer.inputs.begin(), layer.inputs.end(), is_only_read_here)) return false;
    // A relu of a pool moves with the rounding.
    if (is_max_pool(layer)) {
      return has_only(layer, kActivation) && is_none_or_relu(layer.activation);
    }
    if (!has_only(layer, 0)) return false;
    if (layer.kind == LayerKind::Concat) return true;
    if (layer.kind != LayerKind::Channels) return false;
    std::int64_t channels = 0;
    for (const std::size_t input : layer.inputs) {
      channels += network_.tensors[input].shape.channels();
    }
    return channels == network_.tensors[layer.output].shape.channels();
  }

  /// Adds a layer, and the rounding of what it takes. \param rounding that of what it gives
  void round_before(Layer layer, const Layer& rounding) {
    layer.output = rounding.output;
    std::vector<Layer> roundings;
    for (std::size_t& input : layer.inputs) {
      Layer& before = roundings.emplace_back(rounding);
      before.inputs = {input};
      if (layer.relu()) before.activation = layer.activation;
      input = before.output = network_.add_tensor(network_.tensors[input].shape);
    }
    layer.activation = {};
    layers_.push_front(std::move(layer));
    for (Layer& before : roundings) add_rounding(std::move(before));
  }

  Network& network_;
  Links links_;
  std::vector<std::optional<Layer>> waiting_;  ///< by layer: the rounding of what it gives
  std::deque<Layer> layers_;
};

}  // namespace

void round_early(Network& network) { Mover(network).move_all(); }

bool keeps_rounding(const Layer& layer, const std::vector<QuantParams>& roundings) {
  const auto is_alike = [&](std::size_t input) {
    return roundings[input] == roundings[layer.inputs[0]];
  };
  const bool moves = layer.kind == LayerKind::Concat || layer.kind == LayerKind::Channels ||
                     layer.kind == LayerKind::View ||
                     (layer.kind == LayerKind::Copy && layer.get<CopyParams>().fill == 0);
  return (is_max_pool(layer) || moves) && has_only(layer, kActivation) &&
         is_none_or_relu(layer.activation) &&
         std::all_of(layer.inputs.begin(), layer.inputs.end(), is_alike);
}

void drop_repeated_rounding(Network& network) {
  std::vector<QuantParams> roundings(network.tensors.size());
  drop_copies(network, [&](const Layer& layer) {
    if (layer.inputs.empty()) return false;  // a constant
    const QuantParams before = roundings[layer.inputs[0]];
    if (rounds(layer) && layer.get<QuantizeParams>().quant == before && has_only(layer, 0)) {
      return true;
    }
    if (rounds(layer)) roundings[layer.output] = layer.get<QuantizeParams>().quant;
    if (keeps_rounding(layer, roundings)) roundings[layer.output] = before;
    return false;
  });
}

}  // namespace lenet::native
