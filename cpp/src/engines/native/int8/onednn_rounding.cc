#include "engines/native/int8/onednn_rounding.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <optional>
#include <string>
#include <utility>

#include "engines/native/passes/passes.h"
#include "lenet/error.h"

namespace lenet::native::int8 {
namespace {

constexpr float kMaxSigned = 127;
constexpr float kMaxUnsigned = 255;
/// Rounds in which ranges settle; a round visits every layer.
constexpr int kMaxRounds = 100;
/// Inputs, for each layer, that are visited to find what residual connections are computed from.
constexpr std::size_t kMaxVisits = 100;

/// Layers that Paddle computes as one.
struct Operator {
  std::size_t layer = 0;                ///< the first of them
  std::size_t last = 0;                 ///< the one that gives the result
  std::optional<std::size_t> residual;  ///< a convolution's, that is added to its result
  std::size_t output = 0;
  bool relu = false;
  bool fully_connected = false;
  bool is_int8 = false;  ///< computed in integers
};

/// What is known of a tensor.
struct Tensor {
  float range = 0;           ///< 0: not known
  bool after_relu = false;   ///< of a relu: the range stands for 255 steps, not 127
  bool is_unsigned = false;  ///< stored as 0 to 255
  bool rounded = false;
  bool by_int8 = false;  ///< computed by an operator in integers

  QuantParams quant() const { return {range, after_relu ? kMaxUnsigned : kMaxSigned, is_unsigned}; }
};

/// The largest weights by which Paddle quantizes: of each output channel. Of a matrix
/// [inputs][outputs] it takes as many of its numbers, in the order in which they lie in memory, as
/// there are inputs (GetScales of compute_propagate_scales_onednn_pass.cc), which are not those of
/// one output: larger weights are clipped.
std::vector<float> largest_weights(const std::vector<float>& weights, std::size_t outputs,
                                   bool matrix) {
  const std::size_t taps = weights.size() / outputs;
  std::vector<float> largest(outputs, std::numeric_limits<float>::min());
  for (std::size_t o = 0; o < outputs; ++o) {
    for (std::size_t t = 0; t < taps; ++t) {
      const std::size_t place = o * taps + t;
      const std::size_t at = matrix ? place % outputs * taps + place / outputs : place;
      largest[o] = std::max(largest[o], std::abs(weights[at]));
    }
  }
  return largest;
}

/// What the integers stand for. The ranges of a square matrix, which are those of its outputs,
/// Paddle takes for those of its inputs (ConvertFromINT8ToFP32 of quant_dequant_onednn_pass.cc).
std::vector<float> dequantized_weights(const Layer& layer, bool matrix) {
  const std::size_t outputs = layer.bias.size();
  const std::size_t taps = layer.integers.size() / outputs;
  std::vector<float> weights(layer.integers.size());
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const float range = layer.weight_scales[matrix && taps == outputs ? i % taps : i / taps];
    weights[i] = static_cast<float>(layer.integers[i] / double{kMaxSigned}) * range;
  }
  return weights;
}

void quantize_weights(Layer& layer, bool matrix) {
  const bool integers = !layer.integers.empty();
  const auto weights = integers ? dequantized_weights(layer, matrix) : std::move(layer.weights);
  const std::size_t taps = weights.size() / layer.bias.size();
  layer.weights.clear();
  layer.integers.resize(weights.size());
  layer.weight_scales = largest_weights(weights, layer.bias.size(), matrix);
  for (std::size_t o = 0; o < layer.weight_scales.size(); ++o) {
    const float inverse = kMaxSigned * (1 / layer.weight_scales[o]);
    for (std::size_t i = o * taps; i < (o + 1) * taps; ++i) {
      const float rounded = std::nearbyint(weights[i] * inverse);
      // No number: 0, of an output that has nothing else, and what is not finite.
      const float known =
          std::isnan(rounded) ? 0 : std::clamp(rounded, -kMaxSigned - 1, kMaxSigned);
      layer.integers[i] = static_cast<std::int8_t>(known);
    }
  }
}

class Rounder {
 public:
  explicit Rounder(Network& network)
      : network_(network),
        links_(network),
        tensors_(network.tensors.size()),
        reached_(network.tensors.size(), Links::kNone),
        gone_(network.layers.size()),
        has_fused_(network.layers.size()),
        removed_(network.layers.size()) {
    network.ranges.resize(network.tensors.size());
    for (std::size_t t = 0; t < tensors_.size(); ++t) tensors_[t].range = network.ranges[t];
  }

  void round() {
    for (std::size_t i = 0; i < network_.layers.size(); ++i) fuse_scales(i);
    for (std::size_t i = 0; i < network_.layers.size(); ++i) {
      if (!gone_[i]) operators_.push_back(fuse(i));
    }
    for (const Operator& op : operators_) {
      Tensor& output = tensors_[op.output];
      if (op.relu && output.range > 0) output.after_relu = true;
    }
    share_ranges();
    for (Operator& op : operators_) {
      op.is_int8 = computes_in_int8(op);
      if (op.is_int8 && kind(op) == LayerKind::Convolution) {
        quantize_weights(network_.layers[op.layer], op.fully_connected);
      }
    }
    for (Layer& layer : network_.layers) {
      for (float& step : layer.weight_scales) step /= kMaxSigned;
    }
    for (const Operator& op : operators_) of(op.output).by_int8 = op.is_int8;
    choose_storage();
    for (const Operator& op : operators_) mark_rounded(op);
    rebuild();
  }

 private:
  LayerKind kind(const Operator& op) const { return network_.layers[op.layer].kind; }
  const std::vector<std::size_t>& inputs(const Operator& op) const {
    return network_.layers[op.layer].inputs;
  }
  Tensor& of(std::size_t tensor) { return tensors_[tensor]; }

  // ---- fusing layers

  /// The layer that alone reads a tensor; none of the network's output.
  std::optional<std::size_t> reader(std::size_t tensor) const {
    const std::size_t found = links_.readers[tensor];
    if (links_.uses[tensor] != 1 || found == Links::kNone || gone_[found]) return std::nullopt;
    return found;
  }
  std::optional<std::size_t> reader(std::size_t tensor, LayerKind kind) const {
    const auto found = reader(tensor);
    return found && network_.layers[*found].kind == kind ? found : std::nullopt;
  }

  /// What normalizes, or is added to each channel, becomes part of the convolution before it.
  void fuse_scales(std::size_t first) {
    Layer& layer = network_.layers[first];
    if (layer.kind != LayerKind::Convolution) return;
    int scales = 0;
    for (auto next = reader(layer.output, LayerKind::ChannelScale);
         next && network_.layers[*next].fuses_into_previous && !(layer.matrix && has_fused_[first]);
         next = reader(layer.output, LayerKind::ChannelScale)) {
      if (++scales > kMaxScales) too_deep("normalizations after " + layer.name);
      scale_convolution(layer, network_.layers[*next]);
      layer.output = network_.layers[*next].output;
      links_.producers[layer.output] = first;
      has_fused_[first] = true;
      gone_[*next] = true;
      removed_[*next] = true;
    }
  }

  /// Whether what a layer gives is computed from a tensor.
  bool reaches(std::size_t from, std::size_t to) {
    const std::size_t producer = links_.producers[from];
    const std::size_t first = producer == Links::kNone ? 0 : producer + 1;
    reached_[from] = to;  // marked for this question: each is asked once of a layer
    for (std::size_t i = first; i <= to; ++i) {
      const Layer& layer = network_.layers[i];
      visited_ += layer.inputs.size();
      for (const std::size_t input : layer.inputs) {
        if (reached_[input] == to) reached_[layer.output] = to;
      }
    }
    if (visited_ > kMaxVisits * network_.layers.size()) too_deep("residual connections");
    return reached_[network_.layers[to].output] == to;
  }

  Operator fuse(std::size_t first) {
    const Layer& layer = network_.layers[first];
    Operator op;
    op.layer = op.last = first;
    op.output = layer.output;
    op.relu = layer.kind == LayerKind::Relu;
    if (layer.kind != LayerKind::Convolution) return op;
    op.fully_connected = layer.matrix && has_fused_[first];
    if (layer.matrix && !op.fully_connected) return op;
    if (const auto next = reader(op.output, LayerKind::Add); next && !layer.matrix) {
      const Layer& sum = network_.layers[*next];
      const std::size_t other = sum.inputs[sum.inputs[0] == op.output ? 1 : 0];
      const std::size_t at = links_.producers[other];
      const Layer* producer = at == Links::kNone ? nullptr : &network_.layers[at];
      const bool convolved =
          producer != nullptr && producer->kind == LayerKind::Convolution && !producer->matrix;
      if (reaches(convolved ? producer->inputs[0] : other, first)) {
        op.residual = other;
        op.output = sum.output;
        op.last = *next;
        gone_[*next] = true;
      }
    }
    if (const auto next = reader(op.output, LayerKind::Relu)) {
      op.relu = true;
      op.output = network_.layers[*next].output;
      op.last = *next;
      gone_[*next] = true;
    }
    return op;
  }

  // ---- ranges

  /// A pool gives what it takes, and concatenation takes what it gives.
  /// \returns by tensor, whether it is one of a pool whose range is still unknown
  std::vector<bool> share_once() {
    std::vector<bool> unknown(tensors_.size());
    for (const Operator& op : operators_) {
      if (kind(op) == LayerKind::Pool) {
        Tensor& from = of(inputs(op)[0]);
        Tensor& to = of(op.output);
        if (from.range > 0) {
          to = from;
        } else if (to.range > 0) {
          from = to;
        } else {
          unknown[inputs(op)[0]] = unknown[op.output] = true;
        }
      } else if (kind(op) == LayerKind::Concat && of(op.output).range > 0) {
        for (const std::size_t input : inputs(op)) of(input).range = of(op.output).range;
      }
    }
    return unknown;
  }
  static bool is_any(const std::vector<bool>& marks) {
    return std::find(marks.begin(), marks.end(), true) != marks.end();
  }
  void share_ranges() {
    // As Paddle does: not until nothing changes.
    std::vector<bool> before(tensors_.size());
    int rounds = 0;
    for (auto unknown = share_once(); unknown != before && is_any(unknown);) {
      if (++rounds > kMaxRounds) too_deep("pools");
      before = std::exchange(unknown, share_once());
    }
  }

  bool known(std::size_t tensor) { return of(tensor).range > 0; }

  bool computes_in_int8(const Operator& op) {
    const Layer& layer = network_.layers[op.layer];
    switch (layer.kind) {
      case LayerKind::Convolution:
        return layer.quantized && (op.fully_connected || !layer.matrix) && known(inputs(op)[0]) &&
               (!op.residual || (known(*op.residual) && known(op.output)));
      case LayerKind::Pool:
        return known(inputs(op)[0]) && known(op.output);
      case LayerKind::Concat:
        return known(op.output);
      case LayerKind::Add:
        return known(inputs(op)[0]) && known(inputs(op)[1]) && known(op.output) &&
               of(inputs(op)[0]).after_relu == of(inputs(op)[1]).after_relu;
      case LayerKind::ChannelScale:
        return layer.bias_range > 0 && known(inputs(op)[0]) && known(op.output) &&
               !of(inputs(op)[0]).after_relu;
      default:
        return false;
    }
  }

  // ---- rounding

  /// Whether tensors are stored as 0 to 255: as the operator that gives them has it, else as the
  /// range says. In the order of their results, operators depend on those before them only.
  void choose_storage() {
    for (Tensor& tensor : tensors_) {
      if (!tensor.by_int8) tensor.is_unsigned = tensor.after_relu;
    }
    std::vector<const Operator*> by_last(network_.layers.size());
    for (const Operator& op : operators_) by_last[op.last] = &op;
    for (const Operator* op : by_last) {
      if (op == nullptr || !op->is_int8) continue;
      bool& is_unsigned = of(op->output).is_unsigned;
      if (op->residual) {
        is_unsigned = of(*op->residual).is_unsigned || of(*op->residual).after_relu;
      } else if (kind(*op) == LayerKind::Convolution) {
        is_unsigned = op->relu;
      } else if (kind(*op) == LayerKind::Concat) {
        is_unsigned = of(op->output).after_relu;
      } else {
        is_unsigned = of(inputs(*op)[0]).is_unsigned;
      }
    }
  }

  /// What a layer takes as integers is rounded; what a convolution gives only if it is then
  /// taken as integers, or if it added something to it. Concatenation has rounding of its own.
  void mark_rounded(const Operator& op) {
    if (!op.is_int8) return;
    if (kind(op) != LayerKind::Concat) {
      for (const std::size_t input : inputs(op)) of(input).rounded = true;
    }
    if (op.residual) of(*op.residual).rounded = true;
    if (kind(op) != LayerKind::Convolution || op.residual) of(op.output).rounded = true;
  }

  /// A tensor as an operator reads it.
  std::size_t as_read(std::size_t tensor, bool in_int8) const {
    const Tensor& found = tensors_[tensor];
    return found.rounded && (in_int8 || found.by_int8) ? rounded_[tensor] : tensor;
  }

  std::size_t add_rounding(std::size_t from, const QuantParams& quant, const std::string& name) {
    Layer layer;
    layer.kind = LayerKind::Quantize;
    layer.name = "rounding of " + name;
    layer.inputs = {from};
    layer.output = network_.tensors.size();
    layer.quant = quant;
    network_.tensors.push_back(network_.tensors[from]);
    layers_.push_back(std::move(layer));
    return layers_.back().output;
  }

  void round_tensor(std::size_t tensor, const std::string& name) {
    rounded_[tensor] = tensor;
    if (of(tensor).rounded) rounded_[tensor] = add_rounding(tensor, of(tensor).quant(), name);
  }

  /// The same layers, which read what is rounded.
  void rebuild() {
    std::vector<bool> in_int8(network_.layers.size());  // by the layer that reads what is rounded
    for (const Operator& op : operators_) in_int8[op.layer] = op.is_int8;
    for (const Operator& op : operators_) {
      if (op.residual) in_int8[sum_of(op)] = op.is_int8;
    }
    rounded_.resize(tensors_.size());
    round_tensor(network_.input, "the input");
    for (std::size_t i = 0; i < network_.layers.size(); ++i) {
      if (removed_[i]) continue;
      Layer layer = network_.layers[i];
      if (layer.kind == LayerKind::ChannelScale && in_int8[i]) round_bias(layer);
      for (std::size_t& input : layer.inputs) input = as_read(input, in_int8[i]);
      if (layer.kind == LayerKind::Concat && in_int8[i]) {
        round_inputs(layer, network_.layers[i].inputs);
      }
      const std::size_t output = layer.output;
      const std::string name = layer.name;
      layers_.push_back(std::move(layer));
      round_tensor(output, name);
    }
    network_.output = as_read(network_.output, false);
    network_.layers = std::move(layers_);
    drop_identities();
  }

  /// The layer that adds the residual to the convolution.
  std::size_t sum_of(const Operator& op) const {
    return links_.readers[network_.layers[op.layer].output];
  }

  static void round_bias(Layer& layer) {
    const QuantParams quant{layer.bias_range, kMaxSigned, false};
    for (float& value : layer.bias) {
      const float rounded = std::nearbyint(value * quant.inverse_scale());
      value = std::clamp(rounded, -kMaxSigned - 1, kMaxSigned) * quant.scale();
    }
  }

  /// All by the range of the result.
  void round_inputs(Layer& concat, const std::vector<std::size_t>& tensors) {
    const bool after_relu = std::all_of(tensors.begin(), tensors.end(),
                                        [this](auto tensor) { return of(tensor).after_relu; });
    const QuantParams quant{of(concat.output).range, after_relu ? kMaxUnsigned : kMaxSigned,
                            after_relu};
    for (std::size_t& input : concat.inputs) input = add_rounding(input, quant, concat.name);
  }

  void drop_identities() {
    std::vector<std::size_t> same(network_.tensors.size());
    std::iota(same.begin(), same.end(), std::size_t{0});
    for (Layer& layer : network_.layers) {
      for (std::size_t& input : layer.inputs) input = same[input];
      if (layer.kind == LayerKind::Identity) same[layer.output] = layer.inputs[0];
    }
    const auto gone = std::remove_if(network_.layers.begin(), network_.layers.end(),
                                     [](auto& it) { return it.kind == LayerKind::Identity; });
    network_.layers.erase(gone, network_.layers.end());
    network_.output = same[network_.output];
  }

  /// What follows takes more steps than the network has layers, in networks that no one trains.
  [[noreturn]] static void too_deep(const std::string& what) {
    throw Error(ErrorCode::Unsupported,
                "the native engine supports fewer " + what + "; use engine paddle");
  }

  Network& network_;
  Links links_;
  std::vector<Tensor> tensors_;
  std::vector<std::size_t> reached_;  ///< by tensor: the last layer of which reaches() was asked
  std::size_t visited_ = 0;           ///< layers' inputs by reaches(), all together
  std::vector<bool> gone_;            ///< layers that belong to the operator of another
  std::vector<bool> has_fused_;       ///< convolutions into which something was folded
  std::vector<bool> removed_;         ///< what was folded
  std::vector<Operator> operators_;
  std::vector<std::size_t> rounded_;  ///< by tensor: what is read in its place
  std::vector<Layer> layers_;         ///< of the result
};

}  // namespace

void round_as_onednn(Network& network) { Rounder(network).round(); }

}  // namespace lenet::native::int8
