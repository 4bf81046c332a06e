#include <algorithm>
#include <utility>

#include "engines/native/int8/program.h"
#include "engines/native/passes/passes.h"
#include "lenet/error.h"

namespace lenet::native::int8 {
namespace {

/// Each takes memory for every channel.
constexpr std::size_t kMaxRoundings = 16;

/// Whether it is a softmax of a whole image that is a vector.
bool is_softmax_of_all(const Network& network, const Layer& layer) {
  const TensorShape& shape = network.tensors[layer.output].shape;
  return layer.kind == LayerKind::Softmax && shape.pixels() == 1 &&
         layer.get<SoftmaxParams>().axis.count == shape.values();
}

/// Puts what the stages behind a sum of integers do not compute into a layer of its own.
void separate_functions(Network& network) {
  for (Layer& each : std::exchange(network.layers, {})) {
    Layer& layer = network.layers.emplace_back(std::move(each));
    if (layer.kind == LayerKind::Activate || is_bound(layer.activation)) continue;
    const std::size_t output = layer.output;
    layer.output = network.add_tensor(network.tensors[output].shape);
    network.add_layer(LayerKind::Activate, layer.name + ", activation", {layer.output}, output)
        .activation = std::exchange(layer.activation, {});
  }
}

class Planner {
 public:
  explicit Planner(Network network) : network_(std::move(network)) {}

  Plan plan() {
    separate_functions(network_);
    drop_repeated_rounding(network_);
    plan_.outputs = output_sources(network_);
    round_before_pools(network_);
    const Links links(network_);
    uses_ = links.uses;
    producers_.assign(network_.tensors.size(), kNone);
    plan_.input = network_.input;
    roundings_.resize(network_.tensors.size());
    for (Layer& layer : network_.layers) {
      if (is_written_softmax(network_, links, layer)) continue;
      const bool of_all = is_softmax_of_all(network_, layer);
      if ((needs_order(layer) && !of_all) || layer.kind == LayerKind::PRelu) {
        throw Error(ErrorCode::Unsupported, "there is no int8 kernel for " + layer.name);
      }
      const std::size_t output = layer.output;
      QuantParams& rounding = roundings_[output];
      if (keeps_rounding(layer, roundings_)) rounding = roundings_[layer.inputs[0]];
      const bool rounds = layer.kind == LayerKind::Quantize;
      if (rounds) rounding = layer.quant;
      // What rounds the image reads it.
      if (rounds && !layer.relu() && layer.inputs[0] == network_.input &&
          uses_[network_.input] == 1) {
        plan_.input = output;
        continue;
      }
      std::size_t place = rounds                         ? fuse_rounding(layer)
                          : layer.kind == LayerKind::Add ? fuse_sum(layer)
                                                         : fuse_pool(layer);
      if (place == kNone) {
        place = plan_.layers.size();
        add(layer);
      }
      plan_.layers[place].layer.output = output;
      producers_[output] = place;
    }
    const auto gone = std::remove_if(plan_.layers.begin(), plan_.layers.end(),
                                     [](const auto& it) { return it.layer.inputs.empty(); });
    plan_.layers.erase(gone, plan_.layers.end());
    plan_.tensors = std::move(network_.tensors);
    for (std::size_t t = 0; t < plan_.tensors.size(); ++t) {
      plan_.tensors[t].layout = Layout::ChannelsLast;
      plan_.tensors[t].quant = roundings_[t];
    }
    return std::move(plan_);
  }

 private:
  bool rounded(std::size_t tensor) const { return static_cast<bool>(roundings_[tensor]); }

  void add(Layer& source) {
    PlannedLayer planned;
    planned.multiply_adds = multiply_adds(network_, source);
    planned.layer = std::move(source);
    Layer& layer = planned.layer;
    if (layer.kind == LayerKind::Quantize)
      planned.roundings = {{layer.quant, layer.activation, {}, {}}};
    if (!layer.integers.empty() && !rounded(layer.inputs[0])) use_float_weights(layer);
    require_short_sums(layer);
    plan_.layers.push_back(std::move(planned));
  }

  /// The place of the layer that gives a tensor which nothing else reads.
  std::size_t only_before(std::size_t tensor) const {
    return uses_[tensor] == 1 ? producers_[tensor] : kNone;
  }

  /// Whether a convolution of integers rounds its sums, and may round once more.
  static bool rounds_again(const PlannedLayer& planned) {
    return !planned.layer.integers.empty() && !planned.roundings.empty() &&
           planned.roundings.size() < kMaxRoundings;
  }

  /// A rounding becomes part of the layer whose result it rounds.
  /// \returns the place of that layer; kNone
  std::size_t fuse_rounding(const Layer& quantize) {
    const std::size_t place = only_before(quantize.inputs[0]);
    if (place == kNone) return kNone;
    PlannedLayer& before = plan_.layers[place];
    Layer& layer = before.layer;
    if (!rounds_again(before) && (rounded(quantize.inputs[0]) || is_max_pool(layer))) {
      return kNone;
    }
    // Others are computed before their result is rounded.
    const bool bounds = is_bound(layer.activation);
    const Activation own = bounds ? std::exchange(layer.activation, {}) : Activation();
    const Activation activation = own.kind == ActivationKind::None ? quantize.activation : own;
    if (bounds && (layer.kind == LayerKind::ChannelScale || layer.kind == LayerKind::Activate)) {
      const std::size_t earlier = only_before(layer.inputs[0]);
      if (earlier != kNone && rounds_again(plan_.layers[earlier]) &&
          plan_.layers[earlier].sum != plan_.layers[earlier].roundings.size()) {
        PlannedLayer& convolution = plan_.layers[earlier];
        ScaleParams numbers;  // of an activation none
        if (layer.kind == LayerKind::ChannelScale) {
          numbers = std::move(layer.get<ScaleParams>());
        }
        convolution.roundings.push_back(
            {quantize.quant, activation, std::move(numbers.scale), std::move(numbers.bias)});
        convolution.layer.name += ", " + layer.name;
        layer.inputs.clear();  // it is gone
        return earlier;
      }
    }
    before.roundings.push_back({quantize.quant, activation, {}, {}});
    return place;
  }

  /// A sum becomes part of the convolution of integers that alone gives one of the two, if the
  /// other is rounded.
  /// \returns the place of that convolution, now the last; kNone
  std::size_t fuse_sum(const Layer& sum) {
    for (const std::size_t i : {0U, 1U}) {
      const std::size_t place = only_before(sum.inputs[i]);
      const std::size_t residual = sum.inputs[1 - i];
      if (place == kNone || !rounded(residual) || residual == sum.inputs[i]) continue;
      const PlannedLayer& before = plan_.layers[place];
      const Layer& layer = before.layer;
      const bool fuses =
          !layer.integers.empty() && !before.pool && before.sum == kNone &&
          network_.tensors[residual].shape == network_.tensors[layer.output].shape &&
          !is_whole_image(network_.tensors[layer.inputs[0]].shape, layer,
                          network_.tensors[layer.output].shape) &&
          (!before.roundings.empty() || layer.activation.kind == ActivationKind::None);
      if (!fuses) continue;
      PlannedLayer planned = std::move(plan_.layers[place]);
      plan_.layers[place].layer.inputs.clear();  // it is gone
      planned.sum = planned.roundings.size();
      planned.layer.inputs.push_back(residual);
      planned.layer.activation = sum.activation;
      planned.layer.name += ", " + sum.name;
      plan_.layers.push_back(std::move(planned));
      return plan_.layers.size() - 1;
    }
    return kNone;
  }

  /// A pool of 2 x 2 becomes part of the convolution of integers before it, if the larger of
  /// two sums is the larger of two results.
  /// \returns the place of that convolution; kNone
  std::size_t fuse_pool(const Layer& pool) {
    if (!is_max_pool_2x2(network_, pool)) return kNone;
    const std::size_t place = only_before(pool.inputs[0]);
    if (place == kNone) return kNone;
    PlannedLayer& before = plan_.layers[place];
    const auto grows = [](const std::vector<float>& factors) {
      return std::all_of(factors.begin(), factors.end(), [](float factor) { return factor >= 0; });
    };
    auto& roundings = before.roundings;
    const bool fuses = !before.layer.integers.empty() && !before.pool && before.sum == kNone &&
                       grows(before.layer.weight_scales) &&
                       std::all_of(roundings.begin(), roundings.end(),
                                   [&](const auto& rounding) { return grows(rounding.scale); });
    if (!fuses) return kNone;
    before.pool = true;
    if (pool.relu()) {
      (roundings.empty() ? before.layer.activation : roundings.back().activation) = pool.activation;
    }
    before.layer.name += ", " + pool.name;
    return place;
  }

  Network network_;
  std::vector<std::size_t> uses_;       ///< of each tensor of the network
  std::vector<std::size_t> producers_;  ///< by tensor: the place of the planned layer; kNone
  std::vector<QuantParams> roundings_;  ///< by tensor; without: float32
  Plan plan_;
};

}  // namespace

void require_short_sums(const Layer& layer) {
  // So many products of integers of 8 bits, of which one may be up to 255, fit a sum of 32.
  constexpr std::size_t kMaxTaps = (std::size_t{1} << 31) / (255 * 128) - 1;
  if (!layer.integers.empty() && layer.integers.size() / layer.bias.size() > kMaxTaps) {
    throw Error(ErrorCode::Unsupported,
                "there is no int8 kernel for sums as long as those of " + layer.name);
  }
}

Plan make_plan(Network network) { return Planner(std::move(network)).plan(); }

bool has_kernels(const Network& network) {
  const Links links(network);
  return std::all_of(network.layers.begin(), network.layers.end(), [&](const Layer& layer) {
    const bool dilates = layer.kind == LayerKind::Pool &&
                         layer.get<PoolParams>().window.dilations != Window().dilations;
    const bool is_other = layer.kind == LayerKind::PRelu || layer.kind == LayerKind::Resize ||
                          layer.activation.kind == ActivationKind::Scalar;
    return is_written_softmax(network, links, layer) || is_softmax_of_all(network, layer) ||
           !(needs_order(layer) || is_other || dilates);
  });
}

}  // namespace lenet::native::int8
