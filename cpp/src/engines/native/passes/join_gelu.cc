#include <cmath>

#include "engines/native/passes/passes.h"

namespace lenet::native {
namespace {

/// How far a constant of the formula may be from the number that it stands for, as a share of it:
/// some rounding of float32, and no more.
constexpr float kNear = 1e-6F;

bool is_near(float found, float wanted) { return std::abs(found - wanted) <= kNear * wanted; }

/// Finds x * (1 + erf(x / sqrt(2))) / 2 where it is written in single operators, as the exporters
/// of PyTorch write it before operator set 20. The half may be taken of x, or of the product.
class GeluFinder {
 public:
  explicit GeluFinder(Network& network) : network_(network), links_(network) {}

  /// Makes an activation of the last operator of a formula, whose others nothing reads any more.
  /// \param layer any
  void join(Layer& layer) {
    std::size_t product = kNone;
    if (is_scale(layer, 0.5F, 0)) {
      product = given_alone(layer.inputs[0]);
      if (product == kNone || !is_product(network_.layers[product])) return;
    }
    const std::vector<std::size_t>& factors =
        product == kNone ? layer.inputs : network_.layers[product].inputs;
    if (product == kNone && !is_product(layer)) return;
    for (const std::size_t place : {0U, 1U}) {
      const std::size_t x = input_of_sum(factors[place]);
      if (x == kNone) continue;
      const std::size_t other = factors[1 - place];
      const std::size_t half = product == kNone ? given_alone(other) : kNone;
      const bool is_whole = product != kNone && other == x;
      const bool is_half = half != kNone && is_scale(network_.layers[half], 0.5F, 0) &&
                           network_.layers[half].inputs[0] == x;
      if (!is_whole && !is_half) continue;
      layer.set_kind(LayerKind::Activate);
      layer.inputs = {x};
      layer.activation.kind = ActivationKind::Gelu;
      return;
    }
  }

 private:
  /// The layer that gives a tensor which one other reads; kNone.
  std::size_t given_alone(std::size_t tensor) const {
    return links_.uses[tensor] == 1 ? links_.producers[tensor] : kNone;
  }

  static bool is_product(const Layer& layer) {
    return layer.kind == LayerKind::Multiply && has_only(layer, 0);
  }

  /// Whether a layer computes x * scale + bias, with the same two numbers for all channels.
  static bool is_scale(const Layer& layer, float scale, float bias) {
    if (layer.kind != LayerKind::ChannelScale || !has_only(layer, 0) || !is_alike(layer)) {
      return false;
    }
    const auto& [scales, biases] = layer.get<ScaleParams>();
    const float found = biases.empty() ? 0 : biases[0];
    return is_near(scales[0], scale) && found == bias;
  }

  /// The tensor x of which 1 + erf(x / sqrt(2)) is given here, and read by one layer; kNone.
  std::size_t input_of_sum(std::size_t tensor) const {
    const std::size_t sum = given_alone(tensor);
    if (sum == kNone || !is_scale(network_.layers[sum], 1, 1)) return kNone;
    const std::size_t function = given_alone(network_.layers[sum].inputs[0]);
    if (function == kNone) return kNone;
    const Layer& erf = network_.layers[function];
    if (erf.kind != LayerKind::Activate || !has_only(erf, kActivation) ||
        erf.activation.kind != ActivationKind::Erf) {
      return kNone;
    }
    const std::size_t scale = given_alone(erf.inputs[0]);
    if (scale == kNone || !is_scale(network_.layers[scale], std::sqrt(0.5F), 0)) return kNone;
    return network_.layers[scale].inputs[0];
  }

  Network& network_;
  Links links_;
};

}  // namespace

void join_gelu(Network& network) {
  GeluFinder finder(network);
  for (Layer& layer : network.layers) finder.join(layer);
}

}  // namespace lenet::native
