// What a quantized program computes is not what Paddle makes of it: for int8 it takes the ranges
// out of the program, joins layers and has oneDNN round the tensors between those that it computes
// in integers. This is that, so that the same model gives the same answers here.
//
// The rules are those of Paddle 3.1 to 3.3, of paddle/fluid/framework/ir/onednn:
// quant_dequant_onednn_pass, conv_bn and fc fusions, compute_propagate_scales_onednn_pass,
// cpu_quantize_pass and cpu_quantize_squash_pass. docs/native-int8.md has them in words.

#include <algorithm>
#include <cmath>
#include <utility>

#include "engines/native/passes/passes.h"
#include "lenet/error.h"

namespace lenet::native {
namespace {

constexpr float kMaxSigned = 127;
constexpr float kMaxUnsigned = 255;
/// Rounds in which ranges settle; a round visits every layer.
constexpr int kMaxRounds = 100;
/// Inputs, for each layer, that are visited to find what residual connections are computed from.
constexpr std::size_t kMaxVisits = 100;

/// Layers that Paddle computes as one.
struct Operator {
  std::size_t layer = 0;     ///< the first of them
  std::size_t last = 0;      ///< the one that gives the result
  std::size_t sum = kNone;   ///< the one that adds the residual to a convolution
  std::size_t residual = 0;  ///< the tensor that this adds
  std::size_t output = 0;
  bool relu = false;
  bool fully_connected = false;
  bool is_int8 = false;  ///< computed in integers

  bool adds() const { return sum != kNone; }
};

/// What is known of a tensor.
struct Tensor {
  float range = 0;           ///< 0: not known
  bool after_relu = false;   ///< of a relu: the range stands for 255 steps, not 127
  bool is_unsigned = false;  ///< stored as 0 to 255
  bool rounded = false;
  bool by_int8 = false;      ///< computed by an operator in integers
  std::size_t rounding = 0;  ///< what is read in its place, when it is rounded

  QuantParams quant() const {
    return {range, after_relu ? kMaxUnsigned : kMaxSigned, is_unsigned ? 0 : 128};
  }
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

/// What follows takes more steps than the network has layers, in networks that no one trains.
[[noreturn]] void too_deep(const std::string& what) {
  throw Error(ErrorCode::Unsupported, "there are too many " + what);
}

/// What normalizes, or is added to each channel, becomes part of the convolution before it.
bool may_fuse(const Layer& convolution, const Layer& scale, int fused) {
  if (!scale.fuses_into_previous || (convolution.matrix && fused > 0)) return false;
  if (fused == kMaxScales) too_deep("normalizations after " + convolution.name);
  return true;
}

class Rounder {
 public:
  explicit Rounder(Network& network)
      : network_(network),
        scales_(fuse_scales(network, may_fuse)),
        links_(network),
        tensors_(network.tensors.size()),
        reached_(network.tensors.size(), kNone) {
    for (std::size_t t = 0; t < network.ranges.size(); ++t) tensors_[t].range = network.ranges[t];
  }

  void round() {
    find_operators();
    for (const Operator& op : operators_) {
      tensors_[op.output].after_relu = op.relu && tensors_[op.output].range > 0;
    }
    share_ranges();
    for (Operator& op : operators_) {
      op.is_int8 = computes_in_int8(op);
      tensors_[op.output].by_int8 = op.is_int8;
      if (op.is_int8 && kind(op) == LayerKind::Convolution) {
        quantize_weights(network_.layers[op.layer], op.fully_connected);
      }
    }
    for (Layer& layer : network_.layers) {
      for (float& step : layer.weight_scales) step /= kMaxSigned;
    }
    choose_roundings();
    add_roundings();
    drop_copies(network_, [](const Layer& layer) { return layer.kind == LayerKind::Flatten; });
  }

 private:
  LayerKind kind(const Operator& op) const { return network_.layers[op.layer].kind; }
  const std::vector<std::size_t>& inputs(const Operator& op) const {
    return network_.layers[op.layer].inputs;
  }

  // ---- fusing layers

  /// Whether the convolution `to` adds a tensor: it is computed from that, or from what the
  /// convolution that gives that takes, and takes something else. Paddle looks for a pattern
  /// (conv_elementwise_add_onednn_fuse_pass), whose tensors are different ones.
  bool adds(std::size_t to, std::size_t residual) {
    const auto& layers = network_.layers;
    std::size_t from = residual;
    std::size_t producer = links_.producers[from];
    if (producer != kNone && layers[producer].kind == LayerKind::Convolution &&
        !layers[producer].matrix) {
      from = layers[producer].inputs[0];
      producer = links_.producers[from];
    }
    if (const auto in = layers[to].inputs[0]; in == residual || in == from) return false;
    reached_[from] = to;  // marked for this question: each is asked once of a layer
    for (std::size_t i = producer == kNone ? 0 : producer + 1; i <= to; ++i) {
      visited_ += layers[i].inputs.size();
      for (const std::size_t input : layers[i].inputs) {
        if (reached_[input] == to) reached_[layers[i].output] = to;
      }
    }
    if (visited_ > kMaxVisits * layers.size()) too_deep("residual connections");
    return reached_[layers[to].output] == to;
  }

  /// In the order of their results, so that operators depend on those before them only.
  void find_operators() {
    const auto& layers = network_.layers;
    std::vector<bool> taken(layers.size());  // by the operator of another
    // The layer that alone reads what an operator gives.
    const auto reader = [&](const Operator& op, LayerKind kind) {
      const std::size_t found = links_.readers[op.output];
      const bool alone = links_.uses[op.output] == 1 && found != kNone && !taken[found] &&
                         layers[found].kind == kind;
      return alone ? found : kNone;
    };
    const auto take = [&](Operator& op, std::size_t layer) {
      op.last = layer;
      op.output = layers[layer].output;
      taken[layer] = true;
    };
    for (std::size_t i = 0; i < layers.size(); ++i) {
      if (taken[i]) continue;
      const Layer& layer = layers[i];
      Operator op{i, i};
      op.output = layer.output;
      op.relu = layer.kind == LayerKind::Activate && layer.relu();
      op.fully_connected = layer.matrix && scales_[i] > 0;
      const std::size_t sum = layer.matrix ? kNone : reader(op, LayerKind::Add);
      if (layer.kind == LayerKind::Convolution && sum != kNone) {
        const std::vector<std::size_t>& added = layers[sum].inputs;
        op.residual = added[added[0] == op.output ? 1 : 0];
        if (adds(i, op.residual)) {
          op.sum = sum;
          take(op, sum);
        }
      }
      const std::size_t relu = reader(op, LayerKind::Activate);
      if (layer.kind == LayerKind::Convolution && layer.matrix == op.fully_connected &&
          relu != kNone && (layers[relu].relu() || !layer.matrix)) {
        op.relu = true;
        take(op, relu);
      }
      operators_.push_back(op);
    }
    std::sort(operators_.begin(), operators_.end(),
              [](const Operator& a, const Operator& b) { return a.last < b.last; });
  }

  // ---- ranges

  /// A pool gives what it takes, and concatenation takes what it gives. As Paddle has it, this ends
  /// when the pools' tensors without a range stay the same, not when nothing changes.
  void share_ranges() {
    const std::vector<bool> none(tensors_.size());
    std::vector<bool> unknown = none;
    for (int rounds = 0;; ++rounds) {
      const std::vector<bool> before = std::exchange(unknown, none);
      for (const Operator& op : operators_) {
        const std::vector<std::size_t>& taken = inputs(op);
        Tensor& from = tensors_[taken[0]];
        Tensor& to = tensors_[op.output];
        if (kind(op) == LayerKind::Pool) {
          if (from.range > 0) {
            to = from;
          } else if (to.range > 0) {
            from = to;
          } else {
            unknown[taken[0]] = unknown[op.output] = true;
          }
        } else if (kind(op) == LayerKind::Concat && to.range > 0) {
          for (const std::size_t input : taken) tensors_[input].range = to.range;
        }
      }
      if (unknown == none || unknown == before) return;
      if (rounds == kMaxRounds) too_deep("pools");
    }
  }

  bool computes_in_int8(const Operator& op) const {
    const Layer& layer = network_.layers[op.layer];
    const auto known = [&](std::size_t tensor) { return tensors_[tensor].range > 0; };
    if (layer.kind == LayerKind::Concat) return known(op.output);
    const Tensor& from = tensors_[inputs(op)[0]];
    if (from.range <= 0) return false;
    switch (layer.kind) {
      case LayerKind::Convolution:
        return layer.quantized && layer.matrix == op.fully_connected &&
               (!op.adds() || (known(op.residual) && known(op.output)));
      case LayerKind::Pool:
        return known(op.output);
      case LayerKind::Add:
        return known(inputs(op)[1]) && known(op.output) &&
               from.after_relu == tensors_[inputs(op)[1]].after_relu;
      case LayerKind::ChannelScale:
        return layer.bias_range > 0 && known(op.output) && !from.after_relu;
      default:
        return false;
    }
  }

  // ---- rounding

  /// Tensors are stored as 0 to 255 as the operator that gives them has it, else as the range says.
  /// What a layer takes as integers is rounded; what a convolution gives only if it is then taken
  /// as integers, or if it added something to it. Concatenation has rounding of its own.
  void choose_roundings() {
    for (Tensor& tensor : tensors_) {
      if (!tensor.by_int8) tensor.is_unsigned = tensor.after_relu;
    }
    for (const Operator& op : operators_) {
      if (!op.is_int8) continue;
      const bool convolves = kind(op) == LayerKind::Convolution;
      const bool concatenates = kind(op) == LayerKind::Concat;
      const Tensor& from = tensors_[op.adds() ? op.residual : inputs(op)[0]];
      Tensor& to = tensors_[op.output];
      to.is_unsigned = op.adds()      ? from.is_unsigned || from.after_relu
                       : convolves    ? op.relu
                       : concatenates ? to.after_relu
                                      : from.is_unsigned;
      for (const std::size_t input : inputs(op)) tensors_[input].rounded |= !concatenates;
      if (op.adds()) tensors_[op.residual].rounded = true;
      if (op.adds() || !convolves) to.rounded = true;
    }
  }

  /// A tensor as an operator reads it.
  std::size_t as_read(std::size_t tensor, bool in_int8) const {
    const Tensor& found = tensors_[tensor];
    return found.rounded && (in_int8 || found.by_int8) ? found.rounding : tensor;
  }

  std::size_t add_rounding(std::size_t from, const QuantParams& quant, const std::string& name) {
    const std::size_t rounded = network_.add_tensor(network_.tensors[from].shape);
    network_.add_layer(LayerKind::Quantize, "rounding of " + name, {from}, rounded).quant = quant;
    return rounded;
  }

  /// The same layers, which read what is rounded.
  void add_roundings() {
    auto layers = std::exchange(network_.layers, {});
    std::vector<bool> in_int8(layers.size());  // by the layer that reads what is rounded
    for (const Operator& op : operators_) {
      in_int8[op.layer] = op.is_int8;
      if (op.adds()) in_int8[op.sum] = op.is_int8;
    }
    round_tensor(network_.input, "the input");
    for (std::size_t i = 0; i < layers.size(); ++i) {
      Layer& layer = layers[i];
      const bool concatenates = layer.kind == LayerKind::Concat && in_int8[i];
      const QuantParams all = concatenates ? concat_quant(layer) : QuantParams();
      if (layer.kind == LayerKind::ChannelScale && in_int8[i]) round_bias(layer);
      for (std::size_t& input : layer.inputs) {
        input = as_read(input, in_int8[i]);
        if (concatenates) input = add_rounding(input, all, layer.name);
      }
      const std::size_t output = layer.output;
      const std::string name = layer.name;
      network_.layers.push_back(std::move(layer));
      round_tensor(output, name);
    }
    for (std::size_t& output : network_.outputs) output = as_read(output, false);
  }

  void round_tensor(std::size_t tensor, const std::string& name) {
    Tensor& found = tensors_[tensor];
    if (found.rounded) found.rounding = add_rounding(tensor, found.quant(), name);
  }

  static void round_bias(Layer& layer) {
    const QuantParams quant{layer.bias_range, kMaxSigned};
    for (float& value : layer.get<ScaleParams>().bias) {
      const float rounded = std::nearbyint(value * quant.inverse_scale());
      value = std::clamp(rounded, -kMaxSigned - 1, kMaxSigned) * quant.scale();
    }
  }

  /// What rounds all that is concatenated: by the range of the result.
  QuantParams concat_quant(const Layer& layer) const {
    Tensor result;
    result.range = tensors_[layer.output].range;
    result.after_relu = result.is_unsigned =
        std::all_of(layer.inputs.begin(), layer.inputs.end(),
                    [this](std::size_t input) { return tensors_[input].after_relu; });
    return result.quant();
  }

  Network& network_;
  std::vector<int> scales_;  ///< by layer: what was fused into it
  Links links_;
  std::vector<Tensor> tensors_;
  std::vector<std::size_t> reached_;  ///< by tensor: the last layer of which adds() was asked
  std::size_t visited_ = 0;           ///< layers' inputs by adds(), all together
  std::vector<Operator> operators_;
};

}  // namespace

void round_as_onednn(Network& network) { Rounder(network).round(); }

}  // namespace lenet::native
