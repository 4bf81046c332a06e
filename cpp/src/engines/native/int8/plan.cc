#include "engines/native/int8/plan.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <utility>

#include "lenet/error.h"

namespace lenet::native::int8 {
namespace {

/// So many products of whole numbers of 8 bits, of which one may be up to 255, fit a sum of 32.
constexpr std::size_t kMostTaps = (std::size_t{1} << 31) / (255 * 128) - 1;

bool is_max_pool(const Layer& layer) {
  return layer.kind == LayerKind::Pool && layer.pool == PoolKind::Max;
}

/// The largest of rounded values is the largest of the values, rounded: fewer bytes to look at, and
/// the layer before rounds at once.
bool round_before_pool(Network& network) {
  for (std::size_t i = 0; i < network.layers.size(); ++i) {
    Layer& quantize = network.layers[i];
    if (quantize.kind != LayerKind::Quantize) continue;
    Layer* pool = producer(network, quantize.inputs[0]);
    if (pool == nullptr || !is_max_pool(*pool) || uses(network, pool->output) != 1 ||
        uses(network, pool->inputs[0]) != 1) {
      continue;
    }
    network.tensors.push_back(network.tensors[pool->inputs[0]]);
    quantize.relu |= std::exchange(pool->relu, false);
    quantize.inputs = std::exchange(pool->inputs, {network.tensors.size() - 1});
    pool->output = std::exchange(quantize.output, network.tensors.size() - 1);
    // In the order of execution: what follows the pool follows the rounding too.
    const auto first = network.layers.begin() + (pool - network.layers.data());
    std::rotate(first, network.layers.begin() + static_cast<std::ptrdiff_t>(i),
                network.layers.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    return true;
  }
  return false;
}

/// What has been rounded the same way before stays as it is; so does the largest of such values.
void drop_repeated_rounding(Network& network) {
  std::vector<Rounding> roundings(network.tensors.size());
  std::vector<Layer> layers;
  std::vector<std::size_t> same(network.tensors.size());
  std::iota(same.begin(), same.end(), std::size_t{0});
  for (Layer& layer : network.layers) {
    for (std::size_t& input : layer.inputs) input = same[input];
    const Rounding before = roundings[layer.inputs[0]];
    if (layer.kind == LayerKind::Quantize && layer.rounding == before && !layer.relu) {
      same[layer.output] = layer.inputs[0];
      continue;
    }
    if (layer.kind == LayerKind::Quantize) roundings[layer.output] = layer.rounding;
    if (is_max_pool(layer)) roundings[layer.output] = before;
    layers.push_back(std::move(layer));
  }
  network.layers = std::move(layers);
  network.output = same[network.output];
}

void use_float_weights(Layer& layer) {
  const std::size_t taps = layer.integers.size() / layer.steps.size();
  for (std::size_t i = 0; i < layer.integers.size(); ++i) {
    layer.weights.push_back(static_cast<float>(layer.integers[i]) * layer.steps[i / taps]);
  }
  layer.integers.clear();
  layer.steps.clear();
}

void require_sums_that_fit(const Layer& layer) {
  if (layer.integers.size() / layer.steps.size() > kMostTaps) {
    throw Error(ErrorCode::Unsupported,
                "the native engine has no int8 kernel for sums as long as those of " + layer.name +
                    "; use engine paddle");
  }
}

class Planner {
 public:
  explicit Planner(Network network) : network_(std::move(network)) {}

  Plan plan() {
    drop_repeated_rounding(network_);
    while (round_before_pool(network_)) {
    }
    plan_.input = network_.input;
    plan_.output = network_.output;
    plan_.roundings.resize(network_.tensors.size());
    for (const Layer& layer : network_.layers) {
      if (layer.kind == LayerKind::Quantize ? joins_before(layer) : joins_convolution(layer)) {
        continue;
      }
      add(layer);
    }
    plan_.tensors = std::move(network_.tensors);
    return std::move(plan_);
  }

 private:
  bool rounded(std::size_t tensor) const { return static_cast<bool>(plan_.roundings[tensor]); }

  void add(const Layer& layer) {
    PlannedLayer planned;
    planned.layer = layer;
    planned.multiply_adds = multiply_adds(network_, layer);
    if (is_max_pool(layer)) plan_.roundings[layer.output] = plan_.roundings[layer.inputs[0]];
    if (layer.kind == LayerKind::Quantize) round(planned, layer);
    if (!layer.integers.empty()) {
      if (rounded(layer.inputs[0])) {
        require_sums_that_fit(layer);
      } else {
        use_float_weights(planned.layer);
      }
    }
    plan_.layers.push_back(std::move(planned));
  }

  /// The layer that gives a tensor which nothing else reads.
  PlannedLayer* only_before(std::size_t tensor) {
    if (plan_.layers.empty() || uses(network_, tensor) != 1) return nullptr;
    for (PlannedLayer& planned : plan_.layers) {
      if (planned.layer.output == tensor) return &planned;
    }
    return nullptr;
  }

  void round(PlannedLayer& planned, const Layer& quantize) {
    PlannedRounding rounding;
    rounding.rounding = quantize.rounding;
    rounding.relu = quantize.relu || planned.layer.relu;
    planned.roundings.push_back(std::move(rounding));
    planned.layer.output = quantize.output;
    plan_.roundings[quantize.output] = quantize.rounding;
  }

  static bool is_rounded_convolution(const PlannedLayer* planned) {
    return planned != nullptr && !planned->layer.integers.empty() && !planned->roundings.empty();
  }

  /// A rounding becomes part of the layer whose result it rounds.
  bool joins_before(const Layer& quantize) {
    PlannedLayer* before = only_before(quantize.inputs[0]);
    if (before == nullptr) return false;
    if (is_rounded_convolution(before)) {
      round(*before, quantize);
      return true;
    }
    if (rounded(quantize.inputs[0]) || is_max_pool(before->layer) ||
        before->layer.kind == LayerKind::Softmax) {
      return false;
    }
    PlannedLayer* convolution = before->layer.kind == LayerKind::ChannelScale
                                    ? only_before(before->layer.inputs[0])
                                    : nullptr;
    if (!is_rounded_convolution(convolution)) {
      round(*before, quantize);
      return true;
    }
    round(*convolution, quantize);
    PlannedRounding& rounding = convolution->roundings.back();
    rounding.relu = quantize.relu || before->layer.relu;
    rounding.scale = std::move(before->layer.scale);
    rounding.bias = std::move(before->layer.bias);
    convolution->layer.name += ", " + before->layer.name;
    plan_.layers.erase(plan_.layers.begin() + (before - plan_.layers.data()));
    return true;
  }

  /// A pool of 2 x 2 becomes part of the convolution of whole numbers before it, if the larger of
  /// two sums is the larger of two results.
  bool joins_convolution(const Layer& pool) {
    if (!halves(network_, pool)) return false;
    PlannedLayer* before = only_before(pool.inputs[0]);
    if (before == nullptr || before->layer.integers.empty() || before->pool) return false;
    const auto grows = [](const std::vector<float>& factors) {
      return std::all_of(factors.begin(), factors.end(), [](float factor) { return factor >= 0; });
    };
    auto& roundings = before->roundings;
    const bool joins = grows(before->layer.steps) &&
                       std::all_of(roundings.begin(), roundings.end(),
                                   [&](const auto& rounding) { return grows(rounding.scale); });
    if (!joins) return false;
    before->pool = true;
    bool& relu = roundings.empty() ? before->layer.relu : roundings.back().relu;
    relu = relu || pool.relu;
    before->layer.name += ", " + pool.name;
    before->layer.output = pool.output;
    plan_.roundings[pool.output] = plan_.roundings[pool.inputs[0]];
    return true;
  }

  Network network_;
  Plan plan_;
};

}  // namespace

Plan make_plan(Network network) { return Planner(std::move(network)).plan(); }

}  // namespace lenet::native::int8
