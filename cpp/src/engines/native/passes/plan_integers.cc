#include <algorithm>
#include <utility>

#include "engines/native/passes/passes.h"
#include "lenet/error.h"

namespace lenet::native {
namespace {

/// A convolution keeps factors for each rounding and channel.
constexpr std::size_t kMaxRoundings = 16;

/// Whether a layer multiplies rows of values by one matrix, or is a convolution: there are kernels
/// that do so with integers.
bool has_integer_kernel(const Layer& layer) {
  return layer.kind == LayerKind::Convolution ||
         (layer.product().matrices.empty() && layer.product().first.column == 1);
}

/// Whether the larger of two numbers has the larger product with each of these factors.
bool grows(const std::vector<float>& factors) {
  return std::all_of(factors.begin(), factors.end(), [](float factor) { return factor >= 0; });
}

/// \throws Error Unsupported: a sum of integers that 32 bits might not hold
void require_short_sums(const Layer& layer) {
  // So many products of integers of 8 bits, of which one may be up to 255, fit a sum of 32.
  constexpr std::size_t kMaxTaps = (std::size_t{1} << 31) / (255 * 128) - 1;
  if (layer.integers.size() / layer.weight_scales.size() > kMaxTaps) {
    throw Error(ErrorCode::Unsupported,
                "there is no int8 kernel for sums as long as those of " + layer.name);
  }
}

/// Adds a rounding of float32 to float32.
void add_round(Network& network, Layer rounding) {
  require_only(rounding, kActivation);
  const QuantParams quant = rounding.get<QuantizeParams>().quant;
  const Activation bound = rounding.activation;
  rounding.set_kind(LayerKind::Activate);
  rounding.activation = {ActivationKind::Round, quant.scale, static_cast<float>(quant.zero_point)};
  if (bound.kind != ActivationKind::None) {
    // A relu of what was rounded is what a relu gives, rounded.
    Layer before = rounding;
    before.activation = bound;
    before.output = network.add_tensor(network.tensors[rounding.output].shape);
    rounding.inputs = {before.output};
    network.layers.push_back(std::move(before));
  }
  network.layers.push_back(std::move(rounding));
}

class Planner {
 public:
  explicit Planner(Network& network) : network_(network), roundings_(network.tensors.size()) {}

  void plan() {
    find_products();
    fuse_stages();
    choose_integers();
    network_.layers.clear();
    for (Layer& layer : layers_) add(std::move(layer));
    drop_unused(network_);
    fuse_activations(network_);
  }

 private:
  // ---- which layers multiply integers

  /// Notes how tensors are rounded. Weights of integers become floats where what they multiply is
  /// not rounded, or there is no kernel for them.
  void find_products() {
    const Links links(network_);
    for (Layer& layer : network_.layers) {
      if (layer.kind == LayerKind::Quantize) {
        roundings_[layer.output] = layer.get<QuantizeParams>().quant;
      }
      if (keeps_rounding(layer, roundings_)) roundings_[layer.output] = roundings_[layer.inputs[0]];
      if (layer.integers.empty()) continue;
      if (!rounded(layer.inputs[0]) || !has_integer_kernel(layer)) {
        use_float_weights(layer);
        continue;
      }
      require_short_sums(layer);
      if (layer.kind == LayerKind::MatMul) round_itself(links, layer);
    }
    drop_unused(network_);
  }

  bool rounded(std::size_t tensor) const { return static_cast<bool>(roundings_[tensor]); }

  /// Has a product round the rows that it takes.
  void round_itself(const Links& links, Layer& product) const {
    std::size_t& input = product.inputs[0];
    product.product().quant = roundings_[input];
    if (links.producers[input] == kNone) return;
    const Layer& giver = network_.layers[links.producers[input]];
    const bool only_rounds = giver.kind == LayerKind::Quantize && has_only(giver, 0);
    if (only_rounds) input = giver.inputs[0];
  }

  // ---- what convolutions of integers do with their sums

  /// Makes roundings, sums and pools part of the convolution of integers before them.
  void fuse_stages() {
    uses_ = Links(network_).uses;
    producers_.assign(network_.tensors.size(), kNone);
    std::vector<bool> gone;  // by place in layers_
    for (Layer& layer : network_.layers) {
      const std::size_t output = layer.output;
      Fused fused;
      if (layer.kind == LayerKind::Quantize) fused = fuse_rounding(layer);
      if (layer.kind == LayerKind::Add) fused = fuse_sum(layer);
      if (layer.kind == LayerKind::Pool) fused = fuse_pool(layer);
      if (fused.place == kNone) {
        fused.place = layers_.size();
        layers_.push_back(std::move(layer));
      }
      gone.resize(layers_.size());
      if (fused.gone != kNone) gone[fused.gone] = true;
      layers_[fused.place].output = output;
      producers_[output] = fused.place;
    }
    std::size_t place = 0;
    for (Layer& layer : std::exchange(layers_, {})) {
      if (!gone[place++]) layers_.push_back(std::move(layer));
    }
  }

  /// What a layer became part of.
  struct Fused {
    std::size_t place = kNone;  ///< of a convolution in layers_; kNone: the layer stays as it is
    std::size_t gone = kNone;   ///< the place of a layer that is not needed any more
  };

  /// The place of the convolution of integers that gives a tensor which nothing else reads; kNone.
  std::size_t convolution_before(std::size_t tensor) const {
    const std::size_t place = uses_[tensor] == 1 ? producers_[tensor] : kNone;
    return place != kNone && is_integer_convolution(layers_[place]) ? place : kNone;
  }

  /// A convolution rounds its sums, or what it rounded and a layer changed, channel by channel.
  Fused fuse_rounding(const Layer& quantize) {
    const std::size_t given = quantize.inputs[0];
    const std::size_t place = uses_[given] == 1 ? producers_[given] : kNone;
    if (place == kNone || !has_only(quantize, kActivation)) return {};
    Layer& before = layers_[place];
    if (!is_bound(before.activation)) return {};
    const auto activation_after = [&](Activation& first) {
      const Activation own = std::exchange(first, {});
      return own.kind == ActivationKind::None ? quantize.activation : own;
    };
    if (is_integer_convolution(before)) {
      auto& stages = before.convolution().roundings;
      if (stages.size() == kMaxRoundings) return {};
      const Activation activation = stages.empty() || before.convolution().sum == stages.size()
                                        ? activation_after(before.activation)
                                        : quantize.activation;
      stages.push_back({quantize.get<QuantizeParams>().quant, activation, {}, {}});
      return {place};
    }
    const bool changes =
        before.kind == LayerKind::ChannelScale || before.kind == LayerKind::Activate;
    const std::size_t earlier = changes ? convolution_before(before.inputs[0]) : kNone;
    if (earlier == kNone) return {};
    Layer& convolution = layers_[earlier];
    std::vector<RoundingStage>& stages = convolution.convolution().roundings;
    if (!convolution.convolution().rounds() || stages.size() == kMaxRoundings ||
        !has_only(before, kActivation)) {
      return {};
    }
    ScaleParams numbers;  // an activation has none
    if (before.kind == LayerKind::ChannelScale) numbers = before.get<ScaleParams>();
    // What is rounded is the largest of four, which a negative factor makes the least.
    if (convolution.convolution().pool && !grows(numbers.scale)) return {};
    stages.push_back({quantize.get<QuantizeParams>().quant, activation_after(before.activation),
                      std::move(numbers.scale), std::move(numbers.bias)});
    convolution.name += ", " + before.name;
    return {earlier, place};
  }

  /// A convolution of integers adds another tensor, if that is rounded and nothing else reads its
  /// own sums. It then stands where the addition stood.
  Fused fuse_sum(const Layer& sum) {
    for (const std::size_t i : {0U, 1U}) {
      const std::size_t place = convolution_before(sum.inputs[i]);
      const std::size_t residual = sum.inputs[1 - i];
      if (place == kNone || !rounded(residual) || residual == sum.inputs[i]) continue;
      const Layer& before = layers_[place];
      const ConvolutionParams& params = before.convolution();
      const TensorShape& shape = network_.tensors[before.output].shape;
      const bool fuses = !params.pool && params.sum == kNone && has_only(sum, kActivation) &&
                         network_.tensors[residual].shape == shape &&
                         !is_whole_image(network_.tensors[before.inputs[0]].shape, before, shape) &&
                         (params.rounds() || before.activation.kind == ActivationKind::None) &&
                         is_bound(sum.activation);
      if (!fuses) continue;
      Layer layer = std::move(layers_[place]);
      layer.convolution().sum = layer.convolution().roundings.size();
      layer.inputs.push_back(residual);
      layer.activation = sum.activation;
      layer.name += ", " + sum.name;
      layers_.push_back(std::move(layer));
      return {layers_.size() - 1, place};
    }
    return {};
  }

  /// A pool of 2 x 2 becomes part of a convolution, if the larger of two sums is the larger of two
  /// results.
  Fused fuse_pool(const Layer& pool) {
    if (!is_max_pool_2x2(network_, pool)) return {};
    const std::size_t place = convolution_before(pool.inputs[0]);
    if (place == kNone) return {};
    Layer& before = layers_[place];
    ConvolutionParams& params = before.convolution();
    std::vector<RoundingStage>& roundings = params.roundings;
    const bool fuses =
        !params.pool && params.sum == kNone && grows(before.weight_scales) &&
        has_only(pool, kActivation) && is_none_or_relu(pool.activation) &&
        std::all_of(roundings.begin(), roundings.end(),
                    [&](const RoundingStage& rounding) { return grows(rounding.scale); });
    if (!fuses) return {};
    params.pool = true;
    Activation& last = roundings.empty() ? before.activation : roundings.back().activation;
    // Other bounds give no negative values either.
    if (last.kind == ActivationKind::None) last = pool.activation;
    before.name += ", " + pool.name;
    return {place};
  }

  // ---- which tensors hold integers

  /// Whether a layer gives whole channels of what it takes, all rounded as what it gives.
  bool moves_rounded(const Layer& layer) const {
    const auto is_alike = [&](std::size_t input) {
      return rounded(input) && roundings_[input] == roundings_[layer.output];
    };
    return (layer.kind == LayerKind::Concat || layer.kind == LayerKind::Channels) &&
           has_only(layer, 0) && std::all_of(layer.inputs.begin(), layer.inputs.end(), is_alike);
  }

  bool is_max_of_integers(const Layer& layer) const {
    return is_max_pool(layer) && pools_integers(network_, layer);
  }

  /// Tensors hold integers where convolutions of integers need them or round to them, and where
  /// what lies between only moves them.
  void choose_integers() {
    std::vector<bool> needed(network_.tensors.size());
    for (auto layer = layers_.rbegin(); layer != layers_.rend(); ++layer) {
      const bool passes_on =
          needed[layer->output] && (moves_rounded(*layer) || is_max_of_integers(*layer));
      if (!is_integer_convolution(*layer) && !passes_on) continue;
      for (const std::size_t input : layer->inputs) needed[input] = true;
    }
    for (const Layer& layer : layers_) {
      const auto is_integers = [&](std::size_t input) { return holds_integers(input); };
      const bool gives_integers =
          is_integer_convolution(layer) ? layer.convolution().rounds()
          : layer.kind == LayerKind::Quantize
              ? bool{needed[layer.output]}
              : (moves_rounded(layer) || is_max_of_integers(layer)) &&
                    std::all_of(layer.inputs.begin(), layer.inputs.end(), is_integers);
      if (gives_integers) network_.tensors[layer.output].quant = roundings_[layer.output];
    }
  }

  bool holds_integers(std::size_t tensor) const {
    return static_cast<bool>(network_.tensors[tensor].quant);
  }

  // ---- the layers of the planned network

  void add(Layer layer) {
    if (layer.kind == LayerKind::Quantize) return add_rounding(std::move(layer));
    if (is_integer_convolution(layer)) {
      for (std::size_t& input : layer.inputs) input = integers_of(input, layer);
    }
    network_.layers.push_back(std::move(layer));
  }

  void add_rounding(Layer quantize) {
    const std::size_t input = quantize.inputs[0];
    const std::size_t output = quantize.output;
    if (!holds_integers(output)) return add_round(network_, std::move(quantize));
    const bool only_reads_image = input == network_.input && uses_[input] == 1;
    if (only_reads_image && has_only(quantize, 0)) {
      network_.input = output;  // what reads the images rounds them
      return;
    }
    // A mean of integers is rounded at once.
    const bool follows = !network_.layers.empty() && network_.layers.back().output == input;
    if (follows && uses_[input] == 1 && is_none_or_relu(quantize.activation) &&
        has_only(quantize, kActivation) && pools_integers(network_, network_.layers.back()) &&
        holds_integers(network_.layers.back().inputs[0]) && !is_max_pool(network_.layers.back())) {
      Layer& pool = network_.layers.back();
      if (quantize.relu()) pool.activation = quantize.activation;
      pool.output = output;
      return;
    }
    network_.layers.push_back(std::move(quantize));
  }

  /// The integers of a tensor that is rounded.
  std::size_t integers_of(std::size_t tensor, const Layer& reader) {
    if (holds_integers(tensor)) return tensor;
    made_integers_.resize(roundings_.size(), kNone);
    std::size_t& found = made_integers_[tensor];
    if (found != kNone) return found;
    found = network_.add_tensor(network_.tensors[tensor].shape);
    network_.tensors[found].quant = roundings_[tensor];
    network_.add_layer(LayerKind::Quantize, "integers for " + reader.name, {tensor}, found)
        .get<QuantizeParams>()
        .quant = roundings_[tensor];
    return found;
  }

  Network& network_;
  std::deque<Layer> layers_;                ///< those of the network, with their stages
  std::vector<QuantParams> roundings_;      ///< by tensor: how its values are rounded; or not
  std::vector<std::size_t> uses_;           ///< of each tensor of the network
  std::vector<std::size_t> producers_;      ///< by tensor: the place in layers_; kNone
  std::vector<std::size_t> made_integers_;  ///< by tensor: the one with its integers; kNone
};

}  // namespace

void use_float_weights(Layer& layer) {
  require_only(layer, kActivation | kIntegers | kWeightScales | kBias);
  const std::size_t taps = layer.integers.size() / layer.weight_scales.size();
  for (std::size_t i = 0; i < layer.integers.size(); ++i) {
    layer.weights.push_back(static_cast<float>(layer.integers[i]) * layer.weight_scales[i / taps]);
  }
  layer.integers.clear();
  layer.weight_scales.clear();
}

void replace_integers(Network& network) {
  for (Layer& layer : std::exchange(network.layers, {})) {
    if (layer.kind == LayerKind::Quantize) {
      add_round(network, std::move(layer));
      continue;
    }
    if (!layer.integers.empty()) use_float_weights(layer);
    network.layers.push_back(std::move(layer));
  }
}

void plan_integers(Network& network) {
  drop_repeated_rounding(network);
  round_early(network);
  Planner(network).plan();
}

}  // namespace lenet::native
