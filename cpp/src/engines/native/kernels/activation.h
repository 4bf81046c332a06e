/// \file
/// Functions of each value by itself. Without inline functions: see kernels.h.
#pragma once

#include <cstdint>

namespace lenet::native {

enum class ActivationKind : std::uint8_t {
  None,
  Relu,
  Clip,         ///< not less than alpha and not more than beta
  LeakyRelu,    ///< x, of negative x alpha * x
  Elu,          ///< beta * x, of negative x alpha * (e^x - 1)
  HardSigmoid,  ///< alpha * x + beta, clipped to 0 and 1
  HardSwish,    ///< x * HardSigmoid(x)
  Sigmoid,
  Swish,     ///< x * Sigmoid(alpha * x)
  Gelu,      ///< by the error function
  GeluTanh,  ///< its approximation
  Mish,
  Tanh,
  Softplus,  ///< ln(1 + e^(alpha * x)) / alpha; x where alpha * x is more than beta
  Softsign,
  Erf,
  Exp,
  Log,
  Sqrt,
  Abs,
  Reciprocal,
  ThresholdedRelu,  ///< x where it is more than alpha, else 0
  Round,   ///< to a multiple of alpha, one of 256 that begin with -beta * alpha; beta is an integer
  Scalar,  ///< `function`, one value after the other; no kernel computes it, but ops/elementwise.cc
};

struct Activation {
  ActivationKind kind = ActivationKind::None;
  float alpha = 0;
  float beta = 0;
  double (*function)(double x, double alpha, double beta) = nullptr;
};

}  // namespace lenet::native
