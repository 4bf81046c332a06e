/// \file
/// Operators of a program that are a function of each value by itself.
#pragma once

#include <optional>
#include <string_view>

#include "engines/native/kernels/activation.h"
#include "model/rules/operator_view.h"

namespace lenet::native {

/// What the operator does; nothing where it is another kind of operator.
/// \param type of the operator, in any dialect
/// \throws Error Unsupported
std::optional<Activation> read_activation(const OperatorView& op, std::string_view type);

}  // namespace lenet::native
