// Reads operators that compute each value from one value, such as HardSwish.

#include <cmath>
#include <limits>

#include "engines/native/activations.h"
#include "engines/native/read_network.h"
#include "model/functions.h"

namespace lenet::native {
namespace {

float read_parameter(const OperatorView& op, const FunctionParameter& parameter) {
  return static_cast<float>(op.number(parameter.attribute, parameter.otherwise));
}

/// The function in the table of kernels/activation.h that the operator computes, with the
/// parameters as its attributes have them. Returns nothing for other operators.
std::optional<Activation> read_row(const OperatorView& op) {
  for (const FunctionFacts& row : kFunctions) {
    for (const FunctionOperator& each : row.operators) {
      const std::string_view kind = each.kind;
      if (kind.empty() || kind != op.kind()) continue;
      return Activation{row.kind, read_parameter(op, each.alpha), read_parameter(op, each.beta)};
    }
  }
  return std::nullopt;
}

/// Computes the parameters of functions whose operators have others, and refuses attributes by
/// which an operator would compute another function.
void adjust_parameters(const OperatorView& op, Activation& found) {
  if (op.kind() == "Selu") found.alpha *= found.beta;
  if (op.kind() == "HardSwish") {  // until here, alpha and beta are the scale and the offset
    op.supports(op.number("threshold", 6) == static_cast<double>(found.alpha),
                "kernel for a threshold that is not the scale");
    found.alpha = 1 / found.alpha;
    found.beta *= found.alpha;
  }
  op.supports(op.kind() != "ThresholdedRelu" || op.number("value", 0) == 0,
              "kernel for another value than 0 below the threshold");
  if (op.kind() == "Gelu") {
    const bool tanh = op.text("approximate", "none") == "tanh";
    if (op.flag("tanh", tanh)) found.kind = ActivationKind::GeluTanh;
  }
}

/// A clip without a bound above is a relu, or leaves each value as it is.
Activation simplified(const Activation& found) {
  constexpr float kMax = std::numeric_limits<float>::max();
  if (found.kind != ActivationKind::Clip || !(found.beta >= kMax)) return found;
  if (found.alpha == 0) return {ActivationKind::Relu};
  return found.alpha <= -kMax ? Activation() : found;
}

}  // namespace

std::optional<Activation> read_activation(const OperatorView& op) {
  std::optional<Activation> found = read_row(op);
  if (!found) {
    const auto function = read_function(op);
    if (!function) return std::nullopt;
    return Activation{ActivationKind::Scalar, static_cast<float>(function->alpha),
                      static_cast<float>(function->beta), function->compute};
  }
  adjust_parameters(op, *found);
  op.require(!std::isnan(found->alpha) && !std::isnan(found->beta),
             "a parameter that is no number");
  return simplified(*found);
}

}  // namespace lenet::native
