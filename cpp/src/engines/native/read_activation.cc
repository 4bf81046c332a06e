#include "engines/native/read_activation.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>

#include "model/rules/support.h"

namespace lenet::native {
namespace {

/// A number that an operator has under one of two names, or as a rule.
struct Parameter {
  const char* name = "";
  const char* other = "";
  double otherwise = 0;
};

struct Function {
  std::string_view types;
  ActivationKind kind;
  Parameter alpha = {};
  Parameter beta = {};
};

constexpr double kInfinity = std::numeric_limits<double>::infinity();

constexpr Function kFunctions[] = {
    {"relu Relu", ActivationKind::Relu},
    {"relu6", ActivationKind::Clip, {}, {"threshold", "", 6}},
    {"clip Clip", ActivationKind::Clip, {"min", "", -kInfinity}, {"max", "", kInfinity}},
    {"brelu hardtanh", ActivationKind::Clip, {"t_min"}, {"t_max"}},
    {"leaky_relu LeakyRelu", ActivationKind::LeakyRelu, {"alpha", "negative_slope", 0.01}},
    {"elu Elu", ActivationKind::Elu, {"alpha", "", 1}, {"", "", 1}},
    {"selu Selu",
     ActivationKind::Elu,
     {"alpha", "", 1.67326319217681884765625},
     {"gamma", "scale", 1.05070102214813232421875}},
    {"hard_sigmoid hardsigmoid HardSigmoid",
     ActivationKind::HardSigmoid,
     {"slope", "alpha", 0.2},
     {"offset", "beta", 0.5}},
    {"HardSwish hardswish", ActivationKind::HardSwish, {"", "", 1.0 / 6}, {"", "", 0.5}},
    // Here the scale and the offset, of which the layer's parameters are made.
    {"hard_swish", ActivationKind::HardSwish, {"scale", "", 6}, {"offset", "", 3}},
    {"sigmoid Sigmoid", ActivationKind::Sigmoid},
    {"silu", ActivationKind::Swish, {"", "", 1}},
    {"swish", ActivationKind::Swish, {"beta", "", 1}},
    {"Swish", ActivationKind::Swish, {"alpha", "", 1}},
    {"gelu Gelu", ActivationKind::Gelu},
    {"mish Mish", ActivationKind::Mish},
    {"tanh Tanh", ActivationKind::Tanh},
    {"softplus", ActivationKind::Softplus, {"beta", "", 1}, {"threshold", "", 20}},
    {"Softplus", ActivationKind::Softplus, {"", "", 1}, {"", "", kInfinity}},
    {"softsign Softsign", ActivationKind::Softsign},
    {"erf Erf", ActivationKind::Erf},
    {"exp Exp", ActivationKind::Exp},
    {"log Log", ActivationKind::Log},
    {"sqrt Sqrt", ActivationKind::Sqrt},
    {"abs Abs", ActivationKind::Abs},
    {"reciprocal Reciprocal", ActivationKind::Reciprocal},
    {"ThresholdedRelu", ActivationKind::ThresholdedRelu, {"alpha", "", 1}},
};

float number(const OperatorView& op, const Parameter& parameter) {
  const char* const name = op.present({parameter.other, parameter.name});
  return static_cast<float>(op.number(name, parameter.otherwise));
}

}  // namespace

std::optional<Activation> read_activation(const OperatorView& op, std::string_view type) {
  const auto* const function =
      std::find_if(std::begin(kFunctions), std::end(kFunctions),
                   [&](const Function& each) { return has_word(each.types, type); });
  if (function == std::end(kFunctions)) return std::nullopt;
  Activation found{function->kind, number(op, function->alpha), number(op, function->beta)};
  if (type == "selu" || type == "Selu") found.alpha *= found.beta;
  if (type == "hard_swish") {
    op.supports(op.number("threshold", 6) == static_cast<double>(found.alpha),
                "kernel for a threshold that is not the scale");
    found.alpha = 1 / found.alpha;
    found.beta *= found.alpha;
  }
  if (found.kind == ActivationKind::Gelu) {
    const bool tanh =
        op.is_onnx() ? op.text("approximate", "none") == "tanh" : op.flag("approximate");
    if (tanh) found.kind = ActivationKind::GeluTanh;
  }
  const auto is_nan = [](float value) { return std::isnan(value); };
  op.require(!is_nan(found.alpha) && !is_nan(found.beta), "a parameter that is no number");
  if (found.kind != ActivationKind::Clip) return found;
  constexpr float kMax = std::numeric_limits<float>::max();
  if (found.alpha == 0 && found.beta >= kMax) found = {ActivationKind::Relu};
  if (found.alpha <= -kMax && found.beta >= kMax) found = {};
  return found;
}

}  // namespace lenet::native
