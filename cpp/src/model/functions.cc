#include "model/functions.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <string_view>

namespace lenet {
namespace {

struct Row {
  std::string_view kind;
  double (*compute)(double x, double alpha, double beta);
  NumberAttribute alpha = {};
  NumberAttribute beta = {};
};

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// ln(1 + e^x), for which e^x may be too large.
double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }

constexpr Row kRows[] = {
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
    {"Log1p", [](double x, double, double) { return std::log1p(x); }},
    {"Log2", [](double x, double, double) { return std::log2(x); }},
    {"Log10", [](double x, double, double) { return std::log10(x); }},
    {"Expm1", [](double x, double, double) { return std::expm1(x); }},
    {"Floor", [](double x, double, double) { return std::floor(x); }},
    {"Ceil", [](double x, double, double) { return std::ceil(x); }},
    {"Trunc", [](double x, double, double) { return std::trunc(x); }},
    {"Round", [](double x, double, double) { return std::nearbyint(x); }},  // to even
    {"Sign", [](double x, double, double) { return x > 0   ? 1.0
                                                   : x < 0 ? -1.0
                                                           : x; }},
    {"LogSigmoid", [](double x, double, double) { return -softplus(-x); }},
    {"TanhShrink", [](double x, double, double) { return x - std::tanh(x); }},
    {"Celu",
     [](double x, double alpha, double) { return x > 0 ? x : alpha * std::expm1(x / alpha); },
     {"alpha", 1}},
    {"Shrink",
     [](double x, double bound, double bias) {
       if (x > bound) return x - bias;
       if (x < -bound) return x + bias;
       return std::isnan(x) ? x : 0;
     },
     {"lambd", 0.5},
     {"bias"}},
    {"SoftShrink",
     [](double x, double bound, double) {
       if (x > bound) return x - bound;
       if (x < -bound) return x + bound;
       return std::isnan(x) ? x : 0;
     },
     {"lambd"}},
    {"ScaledTanh",
     [](double x, double scale, double factor) { return factor * std::tanh(scale * x); },
     {"alpha"},
     {"beta"}},
    {"Logit",
     [](double x, double least, double) {
       if (least > 0) x = std::min(std::max(x, least), 1 - least);  // in this order NaN stays
       return x < 0 || x > 1 ? kNaN : std::log(x / (1 - x));
     },
     {"eps"}},
    // The following functions return true or false as 1 or 0.
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

double parameter_of(const OperatorView& op, const NumberAttribute& attribute) {
  const auto found = op.attributes().find(attribute.name);
  if (found == op.attributes().end()) return attribute.otherwise;
  if (const auto* number = std::get_if<std::int64_t>(&found->second.value)) {
    return static_cast<double>(*number);
  }
  return op.number(attribute.name);
}

}  // namespace

std::optional<NumberFunction> read_function(const OperatorView& op) {
  const auto* const row = std::find_if(std::begin(kRows), std::end(kRows),
                                       [&](const Row& each) { return each.kind == op.kind(); });
  if (row == std::end(kRows)) return std::nullopt;
  op.supports(op.integer("decimals", 0) == 0, "kernel for such decimals");
  return NumberFunction{row->compute, parameter_of(op, row->alpha), parameter_of(op, row->beta)};
}

}  // namespace lenet
