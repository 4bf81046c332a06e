#include "engines/native/activations.h"

namespace lenet::native {
static_assert(rows_are_in_order(kFunctions), "kFunctions has the order of ActivationKind");

const FunctionFacts& facts_of(ActivationKind kind) noexcept {
  return kFunctions[static_cast<std::size_t>(kind)];
}

bool keeps_zero(const Activation& activation) {
  if (activation.kind == ActivationKind::Clip) {
    return activation.alpha <= 0 && activation.beta >= 0;
  }
  return facts_of(activation.kind).of_zero == OfZero::Zero;
}

}  // namespace lenet::native
