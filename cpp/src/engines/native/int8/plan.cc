#include "engines/native/int8/plan.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <utility>

#include "lenet/error.h"

namespace lenet::native::int8 {
namespace {

/// So many products of integers of 8 bits, of which one may be up to 255, fit a sum of 32.
constexpr std::size_t kMaxTaps = (std::size_t{1} << 31) / (255 * 128) - 1;

bool is_max_pool(const Layer& layer) {
  return layer.kind == LayerKind::Pool && layer.pool == PoolKind::Max;
}

/// The largest of rounded values is the largest of the values, rounded: fewer bytes to look at, and
/// the layer before rounds at once.
void round_before_pools(Network& network) {
  // In the networks that Paddle quantizes a pool and its rounding stand side by side.
  constexpr std::size_t kMaxMoves = 100;
  std::size_t moves = 0;
  Links links(network);
  std::vector<Layer>& layers = network.layers;
  for (std::size_t i = 0; i < layers.size();) {
    Layer& quantize = layers[i];
    const std::size_t at = links.producers[quantize.inputs[0]];
    if (quantize.kind != LayerKind::Quantize || at == Links::kNone || !is_max_pool(layers[at]) ||
        links.uses[layers[at].output] != 1 || links.uses[layers[at].inputs[0]] != 1) {
      ++i;
      continue;
    }
    Layer& pool = layers[at];
    const std::size_t between = network.tensors.size();
    network.tensors.push_back(network.tensors[pool.inputs[0]]);
    links.uses.push_back(1);
    links.producers.push_back(at);
    quantize.relu |= std::exchange(pool.relu, false);
    quantize.inputs = std::exchange(pool.inputs, {between});
    pool.output = std::exchange(quantize.output, between);
    // In the order of execution: what follows the pool follows the rounding too.
    const auto first = layers.begin() + static_cast<std::ptrdiff_t>(at);
    const auto last = layers.begin() + static_cast<std::ptrdiff_t>(i);
    std::rotate(first, last, last + 1);
    for (std::size_t moved = at; moved <= i; ++moved) links.producers[layers[moved].output] = moved;
    moves += i - at;
    if (moves > kMaxMoves * layers.size()) {
      throw Error(ErrorCode::Unsupported,
                  "the native engine supports fewer roundings after pools; use engine paddle");
    }
    i = at;  // there may be another pool before it
  }
}

/// What has been rounded the same way before stays as it is; so does the largest of such values.
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

void use_float_weights(Layer& layer) {
  const std::size_t taps = layer.integers.size() / layer.weight_scales.size();
  for (std::size_t i = 0; i < layer.integers.size(); ++i) {
    layer.weights.push_back(static_cast<float>(layer.integers[i]) * layer.weight_scales[i / taps]);
  }
  layer.integers.clear();
  layer.weight_scales.clear();
}

void require_sums_that_fit(const Layer& layer) {
  if (layer.integers.size() / layer.weight_scales.size() > kMaxTaps) {
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
    round_before_pools(network_);
    uses_ = Links(network_).uses;
    producers_.assign(network_.tensors.size(), Links::kNone);
    plan_.input = network_.input;
    plan_.output = network_.output;
    plan_.roundings.resize(network_.tensors.size());
    for (const Layer& layer : network_.layers) {
      if (layer.kind == LayerKind::Quantize ? fuses_into_previous(layer)
                                            : fuses_into_convolution(layer)) {
        continue;
      }
      add(layer);
    }
    const auto gone = std::remove_if(plan_.layers.begin(), plan_.layers.end(),
                                     [](const auto& it) { return it.layer.inputs.empty(); });
    plan_.layers.erase(gone, plan_.layers.end());
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
    producers_[planned.layer.output] = plan_.layers.size();
    plan_.layers.push_back(std::move(planned));
  }

  void note_producer(const PlannedLayer& planned) {
    producers_[planned.layer.output] = static_cast<std::size_t>(&planned - plan_.layers.data());
  }

  /// The layer that gives a tensor which nothing else reads.
  PlannedLayer* only_before(std::size_t tensor) {
    const std::size_t producer = producers_[tensor];
    return producer == Links::kNone || uses_[tensor] != 1 ? nullptr : &plan_.layers[producer];
  }

  void round(PlannedLayer& planned, const Layer& quantize) {
    PlannedRounding rounding;
    rounding.quant = quantize.quant;
    rounding.relu = quantize.relu || planned.layer.relu;
    planned.roundings.push_back(std::move(rounding));
    planned.layer.output = quantize.output;
    plan_.roundings[quantize.output] = quantize.quant;
  }

  static bool is_rounded_convolution(const PlannedLayer* planned) {
    return planned != nullptr && !planned->layer.integers.empty() && !planned->roundings.empty();
  }

  /// A rounding becomes part of the layer whose result it rounds.
  bool fuses_into_previous(const Layer& quantize) {
    PlannedLayer* before = only_before(quantize.inputs[0]);
    if (before == nullptr) return false;
    // Each takes memory for every channel.
    constexpr std::size_t kMaxRoundings = 16;
    if (before->roundings.size() == kMaxRoundings) return false;
    if (is_rounded_convolution(before)) {
      round(*before, quantize);
      note_producer(*before);
      return true;
    }
    if (rounded(quantize.inputs[0]) || is_max_pool(before->layer) ||
        before->layer.kind == LayerKind::Softmax) {
      return false;
    }
    PlannedLayer* convolution = before->layer.kind == LayerKind::ChannelScale
                                    ? only_before(before->layer.inputs[0])
                                    : nullptr;
    if (!is_rounded_convolution(convolution) || convolution->roundings.size() == kMaxRoundings) {
      round(*before, quantize);
      note_producer(*before);
      return true;
    }
    round(*convolution, quantize);
    note_producer(*convolution);
    PlannedRounding& rounding = convolution->roundings.back();
    rounding.relu = quantize.relu || before->layer.relu;
    rounding.scale = std::move(before->layer.scale);
    rounding.bias = std::move(before->layer.bias);
    convolution->layer.name += ", " + before->layer.name;
    before->layer.inputs.clear();  // it is gone
    return true;
  }

  /// A pool of 2 x 2 becomes part of the convolution of integers before it, if the larger of
  /// two sums is the larger of two results.
  bool fuses_into_convolution(const Layer& pool) {
    if (!is_max_pool_2x2(network_, pool)) return false;
    PlannedLayer* before = only_before(pool.inputs[0]);
    if (before == nullptr || before->layer.integers.empty() || before->pool) return false;
    const auto grows = [](const std::vector<float>& factors) {
      return std::all_of(factors.begin(), factors.end(), [](float factor) { return factor >= 0; });
    };
    auto& roundings = before->roundings;
    const bool fuses = grows(before->layer.weight_scales) &&
                       std::all_of(roundings.begin(), roundings.end(),
                                   [&](const auto& rounding) { return grows(rounding.scale); });
    if (!fuses) return false;
    before->pool = true;
    bool& relu = roundings.empty() ? before->layer.relu : roundings.back().relu;
    relu = relu || pool.relu;
    before->layer.name += ", " + pool.name;
    before->layer.output = pool.output;
    note_producer(*before);
    plan_.roundings[pool.output] = plan_.roundings[pool.inputs[0]];
    return true;
  }

  Network network_;
  std::vector<std::size_t> uses_;  ///< of each tensor of the network
  std::vector<std::size_t>
      producers_;  ///< by tensor: the planned layer that gives it; Links::kNone
  Plan plan_;
};

}  // namespace

Plan make_plan(Network network) { return Planner(std::move(network)).plan(); }

}  // namespace lenet::native::int8
