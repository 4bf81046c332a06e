/// \file
/// The functions that are computed of each value by itself, and a table of what the engine knows of
/// each. Their arithmetic is in functions.h. This header has no inline functions: see kernels.h.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lenet::native {

/// Each kind has a row in kFunctions, at the same place, and a case in `activate` of functions.h.
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

/// What a function gives for 0. Zeros fill the last vector of channels where it is not full.
enum class OfZero : std::uint8_t {
  Zero,   ///< 0: what fills a vector stays as it is
  Other,  ///< another number, for some parameters at least, or infinity
};

/// Which attribute of an operator has a parameter of its function.
struct FunctionParameter {
  const char* attribute = "";  ///< Empty: no attribute has it.
  double otherwise = 0;        ///< The value for an operator without the attribute.
};

/// An operator that computes a function.
struct FunctionOperator {
  const char* kind = "";  ///< in the vocabulary of model/translate.h; empty: none
  FunctionParameter alpha = {};
  FunctionParameter beta = {};
};

/// What the engine knows of a function.
struct FunctionFacts {
  ActivationKind kind;
  const char* name;  ///< as profiles print it
  OfZero of_zero;
  FunctionOperator operators[2] = {};
  /// The function that is x times this one, with the same parameters; None if there is no such.
  ActivationKind times_x = ActivationKind::None;
};

/// The limit of a function that has none on that side.
constexpr double kNoBound = __builtin_inf();

/// A row for each ActivationKind, in their order, which activations.cc checks. To add a function,
/// add its kind above, its row here and its arithmetic to `activate` in functions.h.
/// read_activation.cc has what a row cannot say: parameters that are computed from attributes.
constexpr FunctionFacts kFunctions[] = {
    {ActivationKind::None, "none", OfZero::Zero},
    {ActivationKind::Relu, "relu", OfZero::Zero, {{"Relu"}}},
    {ActivationKind::Clip,
     "clip",
     OfZero::Other,
     {{"Clip", {"min", -kNoBound}, {"max", kNoBound}}, {"Relu6", {}, {"threshold", 6}}}},
    {ActivationKind::LeakyRelu, "leaky_relu", OfZero::Zero, {{"LeakyRelu", {"alpha", 0.01}}}},
    {ActivationKind::Elu,
     "elu",
     OfZero::Zero,
     {{"Elu", {"alpha", 1}, {"", 1}},
      {"Selu", {"alpha", 1.67326319217681884765625}, {"gamma", 1.05070102214813232421875}}}},
    {ActivationKind::HardSigmoid,
     "hard_sigmoid",
     OfZero::Other,
     {{"HardSigmoid", {"alpha", 0.2}, {"beta", 0.5}}},
     ActivationKind::HardSwish},
    {ActivationKind::HardSwish,
     "hard_swish",
     OfZero::Zero,
     {{"HardSwish", {"scale", 6}, {"offset", 3}}}},
    // It has an alpha, which it does not use, for the Swish that is x times it.
    {ActivationKind::Sigmoid,
     "sigmoid",
     OfZero::Other,
     {{"Sigmoid", {"", 1}}},
     ActivationKind::Swish},
    {ActivationKind::Swish, "swish", OfZero::Zero, {{"Swish", {"alpha", 1}}}},
    {ActivationKind::Gelu, "gelu", OfZero::Zero, {{"Gelu"}}},
    {ActivationKind::GeluTanh, "gelu_tanh", OfZero::Zero},
    {ActivationKind::Mish, "mish", OfZero::Zero, {{"Mish"}}},
    {ActivationKind::Tanh, "tanh", OfZero::Zero, {{"Tanh"}}},
    {ActivationKind::Softplus,
     "softplus",
     OfZero::Other,
     {{"Softplus", {"beta", 1}, {"threshold", kNoBound}}}},
    {ActivationKind::Softsign, "softsign", OfZero::Zero, {{"Softsign"}}},
    {ActivationKind::Erf, "erf", OfZero::Zero, {{"Erf"}}},
    {ActivationKind::Exp, "exp", OfZero::Other, {{"Exp"}}},
    {ActivationKind::Log, "log", OfZero::Other, {{"Log"}}},
    {ActivationKind::Sqrt, "sqrt", OfZero::Zero, {{"Sqrt"}}},
    {ActivationKind::Abs, "abs", OfZero::Zero, {{"Abs"}}},
    {ActivationKind::Reciprocal, "reciprocal", OfZero::Other, {{"Reciprocal"}}},
    {ActivationKind::ThresholdedRelu,
     "thresholded_relu",
     OfZero::Zero,
     {{"ThresholdedRelu", {"alpha", 1}}}},
    {ActivationKind::Round, "round", OfZero::Zero},
    {ActivationKind::Scalar, "scalar", OfZero::Other},
};

static_assert(sizeof(kFunctions) / sizeof(kFunctions[0]) ==
                  static_cast<std::size_t>(ActivationKind::Scalar) + 1,
              "each ActivationKind has a row of kFunctions");

}  // namespace lenet::native
