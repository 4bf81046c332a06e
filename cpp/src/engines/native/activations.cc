#include "engines/native/activations.h"

namespace lenet::native {
namespace {

constexpr bool rows_are_in_order() {
  std::size_t place = 0;
  for (const FunctionFacts& row : kFunctions) {
    if (static_cast<std::size_t>(row.kind) != place++) return false;
  }
  return true;
}

static_assert(rows_are_in_order(), "the rows of kFunctions are in the order of ActivationKind");

}  // namespace

const FunctionFacts& facts_of(ActivationKind kind) noexcept {
  return kFunctions[static_cast<std::size_t>(kind)];
}

bool keeps_zero(const Activation& activation) {
  if (activation.kind == ActivationKind::Clip) {
    return activation.alpha <= 0 && activation.beta >= 0;
  }
  return facts_of(activation.kind).of_zero == OfZero::Zero;
}

bool may_follow_convolution(const Activation& activation) {
  return facts_of(activation.kind).of_zero != OfZero::Any;
}

}  // namespace lenet::native
