// Definitions of operators that compute each value from one value.

#include <algorithm>
#include <cmath>
#include <limits>

#include "engines/plain/call.h"
#include "model/element_types.h"
#include "model/rules/support.h"

namespace lenet::plain {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// A parameter of a function, and the value that it has where an operator does not say it.
struct Parameter {
  const char* name = "";
  double otherwise = 0;
};

struct Function {
  std::string_view kind;
  double (*compute)(double x, double a, double b);
  Parameter a = {};
  Parameter b = {};
};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
/// ln(1 + e^x), for which e^x may be too large.
double softplus(double x) { return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x)); }
/// In this order what is no number stays so.
double bounded(double x, double least, double most) {
  return x < least ? least : (x > most ? most : x);
}
double elu(double x, double alpha) { return x < 0 ? alpha * std::expm1(x) : x; }

/// Functions with at most two parameters, a and b.
constexpr Function kFunctions[] = {
    {"Neg", [](double x, double, double) { return -x; }},
    {"Abs", [](double x, double, double) { return std::abs(x); }},
    {"Sign", [](double x, double, double) { return x > 0 ? 1 : (x < 0 ? -1 : x); }},
    {"Relu", [](double x, double, double) { return x < 0 ? 0 : x; }},
    {"Relu6", [](double x, double most, double) { return bounded(x, 0, most); }, {"threshold", 6}},
    {"LeakyRelu", [](double x, double a, double) { return x < 0 ? a * x : x; }, {"alpha", 0.01}},
    {"Elu", [](double x, double a, double) { return elu(x, a); }, {"alpha", 1}},
    {"Selu",
     [](double x, double a, double scale) { return scale * elu(x, a); },
     {"alpha", 1.67326319217681884765625},
     {"gamma", 1.05070102214813232421875}},
    {"Celu",
     [](double x, double a, double) { return x < 0 ? a * std::expm1(x / a) : x; },
     {"alpha", 1}},
    {"HardSigmoid",
     [](double x, double a, double b) { return bounded(a * x + b, 0, 1); },
     {"alpha", 0.2},
     {"beta", 0.5}},
    {"Sigmoid", [](double x, double, double) { return sigmoid(x); }},
    {"Swish", [](double x, double a, double) { return x / (1 + std::exp(-a * x)); }, {"alpha", 1}},
    {"Mish", [](double x, double, double) { return x * std::tanh(softplus(x)); }},
    {"Tanh", [](double x, double, double) { return std::tanh(x); }},
    {"Softplus",
     [](double x, double beta, double most) {
       return x * beta > most ? x : softplus(x * beta) / beta;
     },
     {"beta", 1},
     {"threshold", kInfinity}},
    {"Softsign", [](double x, double, double) { return x / (1 + std::abs(x)); }},
    {"Erf", [](double x, double, double) { return std::erf(x); }},
    {"Exp", [](double x, double, double) { return std::exp(x); }},
    {"Expm1", [](double x, double, double) { return std::expm1(x); }},
    {"Log", [](double x, double, double) { return std::log(x); }},
    {"Log1p", [](double x, double, double) { return std::log1p(x); }},
    {"Log2", [](double x, double, double) { return std::log2(x); }},
    {"Log10", [](double x, double, double) { return std::log10(x); }},
    {"Sqrt", [](double x, double, double) { return std::sqrt(x); }},
    {"Rsqrt", [](double x, double, double) { return 1 / std::sqrt(x); }},
    {"Square", [](double x, double, double) { return x * x; }},
    {"Reciprocal", [](double x, double, double) { return 1 / x; }},
    {"ThresholdedRelu",
     [](double x, double least, double value) { return x > least ? x : value; },
     {"alpha", 1},
     {"value"}},
    {"Sin", [](double x, double, double) { return std::sin(x); }},
    {"Cos", [](double x, double, double) { return std::cos(x); }},
    {"Tan", [](double x, double, double) { return std::tan(x); }},
    {"Asin", [](double x, double, double) { return std::asin(x); }},
    {"Acos", [](double x, double, double) { return std::acos(x); }},
    {"Atan", [](double x, double, double) { return std::atan(x); }},
    {"Sinh", [](double x, double, double) { return std::sinh(x); }},
    {"Cosh", [](double x, double, double) { return std::cosh(x); }},
    {"Asinh", [](double x, double, double) { return std::asinh(x); }},
    {"Acosh", [](double x, double, double) { return std::acosh(x); }},
    {"Atanh", [](double x, double, double) { return std::atanh(x); }},
    {"Floor", [](double x, double, double) { return std::floor(x); }},
    {"Ceil", [](double x, double, double) { return std::ceil(x); }},
    {"Trunc", [](double x, double, double) { return std::trunc(x); }},
    {"Round",  // to even
     [](double x, double decimals, double) {
       const double unit = std::pow(10, decimals);
       return std::nearbyint(x * unit) / unit;
     },
     {"decimals"}},
    {"LogSigmoid", [](double x, double, double) { return -softplus(-x); }},
    {"TanhShrink", [](double x, double, double) { return x - std::tanh(x); }},
    {"Shrink",
     [](double x, double bound, double bias) {
       if (x < -bound) return x + bias;
       if (x > bound) return x - bias;
       return std::isnan(x) ? x : 0;
     },
     {"lambd", 0.5},
     {"bias"}},
    {"SoftShrink",
     [](double x, double bound, double) {
       if (x < -bound) return x + bound;
       if (x > bound) return x - bound;
       return std::isnan(x) ? x : 0;
     },
     {"lambd", 0.5}},
    {"ScaledTanh",
     [](double x, double a, double b) { return b * std::tanh(a * x); },
     {"alpha"},
     {"beta"}},
    {"Logit",
     [](double x, double eps, double) {
       const double share = eps > 0 ? bounded(x, eps, 1 - eps) : x;
       return share < 0 || share > 1 ? kNaN : std::log(share / (1 - share));
     },
     {"eps"}},
    {"Not", [](double x, double, double) { return x == 0 ? 1.0 : 0.0; }},
    {"IsNaN", [](double x, double, double) { return std::isnan(x) ? 1.0 : 0.0; }},
    {"IsFinite", [](double x, double, double) { return std::isfinite(x) ? 1.0 : 0.0; }},
    {"IsInf",
     [](double x, double above, double below) {
       return (above != 0 && x == kInfinity) || (below != 0 && x == -kInfinity) ? 1.0 : 0.0;
     },
     {"detect_positive", 1},
     {"detect_negative", 1}},
};

/// Kinds that also compute with integers, where the result is no double.
constexpr std::string_view kOfIntegers = "Neg Abs Sign Relu";

void activate(const Call& call) {
  const Function* const function =
      std::find_if(std::begin(kFunctions), std::end(kFunctions),
                   [&](const Function& each) { return each.kind == call.kind(); });
  const auto parameter = [&](const Parameter& one) {
    return *one.name == '\0' ? 0 : call.number(one.name, one.otherwise);
  };
  const double a = parameter(function->a);
  const double b = parameter(function->b);
  const Array& x = call.in();
  Array made = call.make();
  const bool keeps_integers = !x.is_real() && has_word(kOfIntegers, call.kind());
  for (std::size_t i = 0; i < x.count(); ++i) {
    if (!keeps_integers) {
      made.set(i, function->compute(x.number(i), a, b));
      continue;
    }
    const std::int64_t number = x.integers[i];
    const auto negative = static_cast<std::int64_t>(0 - static_cast<std::uint64_t>(number));
    const std::int64_t result = call.kind() == "Neg"    ? negative
                                : call.kind() == "Abs"  ? (number < 0 ? negative : number)
                                : call.kind() == "Relu" ? std::max<std::int64_t>(number, 0)
                                                        : (number > 0) - (number < 0);
    made.integers[i] = wrapped(made.dtype, result);
  }
  call.give(std::move(made));
}

void gelu(const Call& call) {
  const bool by_tanh = call.flag("tanh", call.text("approximate", "none") == "tanh");
  Array made = call.in();
  for (double& x : made.reals) {
    const double cube = x + 0.044715 * x * x * x;
    x = x / 2 *
        (1 + (by_tanh ? std::tanh(std::sqrt(2 / std::acos(-1.0)) * cube)
                      : std::erf(x / std::sqrt(2.0))));
  }
  call.give(std::move(made));
}

/// Paddle names the three numbers, of which those of ONNX are 6, 6 and 3.
void hard_swish(const Call& call) {
  const double most = call.number("threshold", 6);
  const double scale = call.number("scale", 6);
  const double offset = call.number("offset", 3);
  Array made = call.in();
  for (double& x : made.reals) x *= bounded(x + offset, 0, most) / scale;
  call.give(std::move(made));
}

/// Where the bounds are the wrong way round, the upper one counts.
void clip(const Call& call) {
  Array made = call.in();
  if (!made.is_real()) {
    const std::int64_t least = call.integer("min", std::numeric_limits<std::int64_t>::min());
    const std::int64_t most = call.integer("max", std::numeric_limits<std::int64_t>::max());
    for (std::int64_t& x : made.integers) x = std::min(std::max(x, least), most);
    return call.give(std::move(made));
  }
  const double least = call.number("min", -kInfinity);
  const double most = call.number("max", kInfinity);
  for (double& x : made.reals) {
    if (x < least) x = least;
    if (x > most) x = most;
  }
  call.give(std::move(made));
}

constexpr Definition kDefinitions[] = {
    {"Neg Abs Sign Relu Relu6 LeakyRelu Elu Selu Celu HardSigmoid Sigmoid Swish Mish Tanh Softplus "
     "Softsign Erf Exp Expm1 Log Log1p Log2 Log10 Sqrt Rsqrt Square Reciprocal ThresholdedRelu "
     "Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh Floor Ceil Trunc Round LogSigmoid "
     "TanhShrink Shrink SoftShrink ScaledTanh Logit Not IsNaN IsFinite IsInf",
     activate},
    {"Gelu", gelu, true},
    {"HardSwish", hard_swish, true},
    {"Clip", clip},
};

}  // namespace

Definitions activation_definitions() { return {std::begin(kDefinitions), std::end(kDefinitions)}; }

}  // namespace lenet::plain
