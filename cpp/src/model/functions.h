/// \file
/// Functions of each number that networks rarely have: the evaluator of constants and the native
/// engine compute them one number after the other.
#pragma once

#include <optional>

#include "model/rules/operator_view.h"

namespace lenet {

/// An attribute that is a number.
struct NumberAttribute {
  const char* name = "";  ///< Empty where a function has no such parameter.
  double otherwise = 0;   ///< The value for an operator without the attribute.
};

/// A function with the parameters that an operator gives it.
struct NumberFunction {
  double (*compute)(double x, double alpha, double beta) = nullptr;
  double alpha = 0;
  double beta = 0;

  double operator()(double x) const { return compute(x, alpha, beta); }
};

/// \returns nothing for other operators, whatever else they compute
/// \throws Error Unsupported: a parameter that is not computed
std::optional<NumberFunction> read_function(const OperatorView& op);

/// What an operator computes of two real numbers; null for other operators.
using NumberCombination = double (*)(double a, double b);
NumberCombination read_combining_function(const OperatorView& op);

}  // namespace lenet
