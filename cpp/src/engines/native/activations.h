/// \file
/// What readers, passes and operators ask of a function of each value. The table that answers is in
/// kernels/activation.h.
#pragma once

#include <cstddef>

#include "engines/native/kernels/activation.h"

namespace lenet::native {

/// Whether a table has a row for each kind from 0 on, in their order, so that a kind is the place
/// of its row.
template <class Row, std::size_t Count>
constexpr bool rows_are_in_order(const Row (&rows)[Count]) {
  std::size_t place = 0;
  for (const Row& row : rows) {
    if (static_cast<std::size_t>(row.kind) != place++) return false;
  }
  return true;
}

/// The row of a kind. \param kind a named value of ActivationKind
const FunctionFacts& facts_of(ActivationKind kind) noexcept;

/// The name of a kind, as profiles print it.
inline const char* to_string(ActivationKind kind) noexcept { return facts_of(kind).name; }

/// Whether it is none or a relu, which every kernel of convolutions applies.
inline bool is_none_or_relu(const Activation& activation) {
  return activation.kind == ActivationKind::None || activation.kind == ActivationKind::Relu;
}

/// Whether it only bounds a value: none, a relu, or a clip from 0.
inline bool is_bound(const Activation& activation) {
  return is_none_or_relu(activation) ||
         (activation.kind == ActivationKind::Clip && activation.alpha == 0 && activation.beta > 0);
}

/// Whether it gives 0 for 0.
bool keeps_zero(const Activation& activation);

}  // namespace lenet::native
