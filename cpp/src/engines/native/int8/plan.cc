#include "engines/native/int8/plan.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "engines/native/passes/passes.h"
#include "lenet/error.h"

namespace lenet::native::int8 {
namespace {

/// So many products of integers of 8 bits, of which one may be up to 255, fit a sum of 32.
constexpr std::size_t kMaxTaps = (std::size_t{1} << 31) / (255 * 128) - 1;

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
    for (Layer& layer : network_.layers) {
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

  void add(Layer& source) {
    PlannedLayer planned;
    planned.multiply_adds = multiply_adds(network_, source);
    planned.layer = std::move(source);
    Layer& layer = planned.layer;
    if (is_max_pool(layer)) plan_.roundings[layer.output] = plan_.roundings[layer.inputs[0]];
    if (layer.kind == LayerKind::Quantize) round(planned, layer);
    if (!layer.integers.empty()) {
      if (rounded(layer.inputs[0])) {
        require_sums_that_fit(layer);
      } else {
        use_float_weights(layer);
      }
    }
    producers_[layer.output] = plan_.layers.size();
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
