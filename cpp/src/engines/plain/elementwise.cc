// Definitions of operators that combine the values at one place of several tensors.

#include <cmath>
#include <limits>

#include "engines/plain/call.h"
#include "model/element_types.h"
#include "model/rules/support.h"

namespace lenet::plain {
namespace {

using Combine = double (*)(double, double);
using CombineIntegers = std::int64_t (*)(std::int64_t, std::int64_t);

/// Integers wrap around, as NumPy's.
std::int64_t from_bits(std::uint64_t bits) { return static_cast<std::int64_t>(bits); }
std::uint64_t bits_of(std::int64_t number) { return static_cast<std::uint64_t>(number); }

/// Rounded towards 0. \pre y is not 0
std::int64_t quotient(std::int64_t x, std::int64_t y) {
  return y == -1 ? from_bits(0 - bits_of(x)) : x / y;
}
std::int64_t remainder_of(std::int64_t x, std::int64_t y) { return y == -1 ? 0 : x % y; }

/// The remainder that has the sign of y, as Python's %.
double modulo(double x, double y) {
  const double rest = std::fmod(x, y);
  return rest != 0 && (rest < 0) != (y < 0) ? rest + y : rest;
}
std::int64_t modulo_of_integers(std::int64_t x, std::int64_t y) {
  const std::int64_t rest = remainder_of(x, y);
  return rest != 0 && (rest < 0) != (y < 0) ? rest + y : rest;
}

double floor_quotient(double x, double y) {
  return y == 0 ? x / y : std::round((x - modulo(x, y)) / y);
}
std::int64_t floor_quotient_of_integers(std::int64_t x, std::int64_t y) {
  const bool below = remainder_of(x, y) != 0 && (x < 0) != (y < 0);
  return quotient(x, y) - (below ? 1 : 0);
}

std::int64_t integer_power(std::int64_t x, std::int64_t y) {
  if (y < 0) return make_integer(std::pow(static_cast<double>(x), static_cast<double>(y)));
  std::uint64_t made = 1;
  for (std::uint64_t base = bits_of(x); y > 0; y /= 2, base *= base) {
    if (y % 2 != 0) made *= base;
  }
  return from_bits(made);
}

/// What is no number stays so.
double larger(double x, double y) { return std::isnan(x) || x > y ? x : y; }
double smaller(double x, double y) { return std::isnan(x) || x < y ? x : y; }

struct Combination {
  std::string_view kinds;
  Combine of_reals;
  CombineIntegers of_integers;
};

constexpr Combination kArithmetic[] = {
    {"Add Sum Mean", [](double x, double y) { return x + y; },
     [](std::int64_t x, std::int64_t y) { return from_bits(bits_of(x) + bits_of(y)); }},
    {"Sub", [](double x, double y) { return x - y; },
     [](std::int64_t x, std::int64_t y) { return from_bits(bits_of(x) - bits_of(y)); }},
    {"Mul", [](double x, double y) { return x * y; },
     [](std::int64_t x, std::int64_t y) { return from_bits(bits_of(x) * bits_of(y)); }},
    {"Div", [](double x, double y) { return x / y; }, quotient},
    {"FloorDiv", floor_quotient, floor_quotient_of_integers},
    {"Maximum Max", larger, [](std::int64_t x, std::int64_t y) { return x > y ? x : y; }},
    {"Minimum Min", smaller, [](std::int64_t x, std::int64_t y) { return x < y ? x : y; }},
    {"Pow", [](double x, double y) { return std::pow(x, y); }, integer_power},
    {"Mod", modulo, modulo_of_integers},
    {"fmod", [](double x, double y) { return std::fmod(x, y); }, remainder_of},
};

constexpr Combination kTests[] = {
    {"Equal", [](double x, double y) { return x == y ? 1.0 : 0.0; },
     [](std::int64_t x, std::int64_t y) { return std::int64_t{x == y}; }},
    {"NotEqual", [](double x, double y) { return x != y ? 1.0 : 0.0; },
     [](std::int64_t x, std::int64_t y) { return std::int64_t{x != y}; }},
    {"Less", [](double x, double y) { return x < y ? 1.0 : 0.0; },
     [](std::int64_t x, std::int64_t y) { return std::int64_t{x < y}; }},
    {"LessOrEqual", [](double x, double y) { return x <= y ? 1.0 : 0.0; },
     [](std::int64_t x, std::int64_t y) { return std::int64_t{x <= y}; }},
    {"Greater", [](double x, double y) { return x > y ? 1.0 : 0.0; },
     [](std::int64_t x, std::int64_t y) { return std::int64_t{x > y}; }},
    {"GreaterOrEqual", [](double x, double y) { return x >= y ? 1.0 : 0.0; },
     [](std::int64_t x, std::int64_t y) { return std::int64_t{x >= y}; }},
    {"And", [](double x, double y) { return x != 0 && y != 0 ? 1.0 : 0.0; },
     [](std::int64_t x, std::int64_t y) { return std::int64_t{x != 0 && y != 0}; }},
    {"Or", [](double x, double y) { return x != 0 || y != 0 ? 1.0 : 0.0; },
     [](std::int64_t x, std::int64_t y) { return std::int64_t{x != 0 || y != 0}; }},
    {"Xor", [](double x, double y) { return (x != 0) != (y != 0) ? 1.0 : 0.0; },
     [](std::int64_t x, std::int64_t y) { return std::int64_t{(x != 0) != (y != 0)}; }},
};

template <std::size_t Count>
const Combination& find(const Call& call, const Combination (&rows)[Count], std::string_view kind) {
  for (const Combination& row : rows) {
    if (has_word(row.kinds, kind)) return row;
  }
  call.view().no_kernel("definition of this operator in the plain engine");
}

/// Combines two tensors that are repeated along the result.
Array combined(const Call& call, const Combination& how, const Array& x, const Array& y,
               const Shape& shape, int dtype, std::int64_t axis = -1) {
  const auto lengthens = [&](const Array& one) { return one.shape.size() < shape.size(); };
  const Integers of_x = repeated_places(x.shape, shape, lengthens(x) ? axis : -1);
  const Integers of_y = repeated_places(y.shape, shape, lengthens(y) ? axis : -1);
  Array made = make_array(dtype, shape);
  const bool divides = has_word("Div FloorDiv Mod fmod", how.kinds);
  for (std::size_t i = 0; i < of_x.size(); ++i) {
    const auto at = static_cast<std::size_t>(of_x[i]);
    const auto other = static_cast<std::size_t>(of_y[i]);
    if (x.is_real() || y.is_real()) {
      made.set(i, how.of_reals(x.number(at), y.number(other)));
      continue;
    }
    if (divides) call.view().require(y.integers[other] != 0, "a division by 0");
    made.integers[i] = wrapped(dtype, how.of_integers(x.integers[at], y.integers[other]));
  }
  return made;
}

void combine(const Call& call) {
  const bool truncates = call.kind() == "Mod" && call.flag("fmod");
  const Combination& how = find(call, kArithmetic, truncates ? "fmod" : call.kind());
  Array exponent;  // Paddle's pow has it as an attribute
  if (!call.has("Y")) {
    exponent = make_array(kFloat64, {});
    exponent.reals[0] = call.number("Y");
  }
  const Array& x = call.in();
  call.give(combined(call, how, x, call.has("Y") ? call.in("Y") : exponent, call.shape(), x.dtype,
                     call.integer("axis", -1)));
}

void compare(const Call& call) {
  call.give(combined(call, find(call, kTests, call.kind()), call.in(), call.in("Y"), call.shape(),
                     kBool, call.integer("axis", -1)));
}

/// Combines any number of tensors, one after the other.
void combine_several(const Call& call) {
  const Combination& how = find(call, kArithmetic, call.kind());
  Array made = call.in();
  Array zeros = call.make();
  made = combined(call, kArithmetic[0], made, zeros, call.shape(), made.dtype);
  for (std::size_t i = 1; i < call.count("X"); ++i) {
    made = combined(call, how, made, call.in("X", i), call.shape(), made.dtype);
  }
  if (call.kind() == "Mean") {
    const auto count = static_cast<double>(call.count("X"));
    for (double& number : made.reals) number /= count;
  }
  call.give(std::move(made));
}

void choose(const Call& call) {
  const Array& condition = call.in("Condition");
  const Array& x = call.in("X");
  const Array& y = call.in("Y");
  const Integers of_condition = repeated_places(condition.shape, call.shape());
  const Integers of_x = repeated_places(x.shape, call.shape());
  const Integers of_y = repeated_places(y.shape, call.shape());
  Array made = call.make();
  for (std::size_t i = 0; i < of_condition.size(); ++i) {
    const bool first = condition.number(static_cast<std::size_t>(of_condition[i])) != 0;
    const Array& from = first ? x : y;
    const auto at = static_cast<std::size_t>(first ? of_x[i] : of_y[i]);
    if (made.is_real()) {
      made.reals[i] = from.reals[at];
    } else {
      made.integers[i] = from.integers[at];
    }
  }
  call.give(std::move(made));
}

/// Paddle's X * scale + bias, or (X + bias) * scale.
void scale(const Call& call) {
  const double factor = call.number("scale");
  const double bias = call.number("bias");
  const bool after = call.flag("bias_after_scale");
  const Array& x = call.in();
  Array made = call.make();
  for (std::size_t i = 0; i < x.count(); ++i) {
    const double number = x.number(i);
    made.set(i, after ? number * factor + bias : (number + bias) * factor);
  }
  call.give(std::move(made));
}

/// To a type of 16 bits nothing is rounded: the program computes in double.
void cast(const Call& call) {
  const Array& x = call.in();
  Array made = call.make();
  for (std::size_t i = 0; i < x.count(); ++i) {
    if (made.dtype == kBool) {
      made.integers[i] = x.number(i) != 0 ? 1 : 0;
    } else if (!made.is_real() && !x.is_real()) {
      made.integers[i] = wrapped(made.dtype, x.integers[i]);
    } else {
      made.set(i, x.number(i));
    }
  }
  call.give(std::move(made));
}

/// While nothing is trained. An old Paddle's may scale.
void dropout(const Call& call) {
  const bool scales = call.text("mode", "") == "downgrade_in_infer";
  const double factor = scales ? 1 - call.number("p") : 1;
  Array made = call.in();
  for (double& number : made.reals) number *= factor;
  call.give(std::move(made));
}

/// A slope for each value, or for some together.
void prelu(const Call& call) {
  const Array& x = call.in();
  const Array& slopes = call.in("Alpha");
  Shape sizes = slopes.shape;
  if (call.view().has_attribute("mode")) {  // of Paddle: it says what the slopes are for
    const std::string mode = call.text("mode", "");
    sizes = Shape(x.shape.size(), 1);
    if (mode == "channel") sizes[call.channel_axis()] = x.shape[call.channel_axis()];
    if (mode == "element") std::copy(x.shape.begin() + 1, x.shape.end(), sizes.begin() + 1);
  }
  const Integers places = repeated_places(sizes, x.shape);
  Array made = x;
  for (std::size_t i = 0; i < places.size(); ++i) {
    if (x.reals[i] < 0) made.reals[i] *= slopes.reals[static_cast<std::size_t>(places[i])];
  }
  call.give(std::move(made));
}

constexpr Definition kDefinitions[] = {
    {"Add Sub Mul Div FloorDiv Mod Maximum Minimum Pow", combine},
    {"Equal NotEqual Less LessOrEqual Greater GreaterOrEqual And Or Xor", compare},
    {"Sum Mean Max Min", combine_several},
    {"Where", choose},
    {"Scale", scale},
    {"Cast", cast},
    {"Dropout", dropout, true},
    {"PRelu", prelu, true},
};

}  // namespace

Definitions elementwise_definitions() { return {std::begin(kDefinitions), std::end(kDefinitions)}; }

}  // namespace lenet::plain
