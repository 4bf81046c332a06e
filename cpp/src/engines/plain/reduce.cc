// Definitions of operators that reduce axes to one value, and of those that choose between values.

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "engines/plain/call.h"
#include "model/element_types.h"
#include "model/rules/support.h"

namespace lenet::plain {
namespace {

/// The numbers that become one, as the values of one result.
using Reduce = double (*)(const Numbers& numbers, double p);

template <typename Each>
double sum_of(const Numbers& numbers, const Each& each) {
  double sum = 0;
  for (const double number : numbers) sum += each(number);
  return sum;
}
double itself(double number) { return number; }
double squared(double number) { return number * number; }

/// What is no number stays so.
double largest(const Numbers& numbers, double sign) {
  double most = -std::numeric_limits<double>::infinity();
  for (const double number : numbers) {
    const double one = sign * number;
    if (one > most || std::isnan(one)) most = one;
    if (std::isnan(one)) break;
  }
  return sign * most;
}

double log_sum_exp(const Numbers& numbers) {
  const double most = largest(numbers, 1);
  if (!std::isfinite(most)) return most;
  return most + std::log(sum_of(numbers, [&](double x) { return std::exp(x - most); }));
}

/// The p-th root of the sum of the p-th powers of the sizes.
double norm_of(const Numbers& numbers, double p) {
  const auto size = [](double x) { return std::abs(x); };
  Numbers sizes = numbers;
  std::transform(sizes.begin(), sizes.end(), sizes.begin(), size);
  if (std::isinf(p)) return largest(sizes, p > 0 ? 1 : -1);
  if (p == 0) return sum_of(numbers, [](double x) { return x != 0 ? 1.0 : 0.0; });
  return std::pow(sum_of(sizes, [&](double x) { return std::pow(x, p); }), 1 / p);
}

struct Reduction {
  std::string_view kind;
  Reduce reduce;
};

constexpr Reduction kReductions[] = {
    {"ReduceSum", [](const Numbers& x, double) { return sum_of(x, itself); }},
    {"ReduceMean",
     [](const Numbers& x, double) { return sum_of(x, itself) / static_cast<double>(x.size()); }},
    {"ReduceMax", [](const Numbers& x, double) { return largest(x, 1); }},
    {"ReduceMin", [](const Numbers& x, double) { return largest(x, -1); }},
    {"ReduceProd",
     [](const Numbers& x, double) {
       double product = 1;
       for (const double number : x) product *= number;
       return product;
     }},
    {"ReduceL1",
     [](const Numbers& x, double) { return sum_of(x, [](double one) { return std::abs(one); }); }},
    {"ReduceL2", [](const Numbers& x, double) { return std::sqrt(sum_of(x, squared)); }},
    {"ReduceSumSquare", [](const Numbers& x, double) { return sum_of(x, squared); }},
    {"ReduceLogSum", [](const Numbers& x, double) { return std::log(sum_of(x, itself)); }},
    {"ReduceLogSumExp", [](const Numbers& x, double) { return log_sum_exp(x); }},
    {"ReduceLp", norm_of},
};

/// Integers are summed and multiplied as such, and wrap around.
std::int64_t reduced_integers(const Call& call, const Integers& numbers) {
  std::uint64_t result = call.kind() == "ReduceProd" ? 1 : 0;
  for (const std::int64_t number : numbers) {
    const auto bits = static_cast<std::uint64_t>(number);
    if (call.kind() == "ReduceProd") {
      result *= bits;
    } else if (call.kind() == "ReduceSumSquare") {
      result += bits * bits;
    } else {
      result += call.kind() == "ReduceL1" && number < 0 ? 0 - bits : bits;
    }
  }
  const auto whole = static_cast<std::int64_t>(result);
  if (call.kind() == "ReduceMax") return *std::max_element(numbers.begin(), numbers.end());
  if (call.kind() == "ReduceMin") return *std::min_element(numbers.begin(), numbers.end());
  if (call.kind() == "ReduceMean") return whole / static_cast<std::int64_t>(numbers.size());
  return whole;
}

void reduce(const Call& call) {
  const Array& x = call.in();
  const Integers axes = call.integers("axes", Integers());
  if (axes.empty() && call.flag("noop_with_empty_axes")) {
    const bool plain = has_word("ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd", call.kind());
    call.view().supports(plain, "definition of this operator without axes");
    return call.give(x);
  }
  std::vector<bool> gone(x.shape.size(), axes.empty() || call.flag("reduce_all"));
  for (const std::int64_t given : axes) {
    const std::size_t axis = call.view().axis(given, std::max<std::size_t>(x.shape.size(), 1));
    if (axis < gone.size()) gone[axis] = true;
  }
  Shape kept = x.shape;
  Shape reduced = x.shape;
  for (std::size_t i = 0; i < gone.size(); ++i) (gone[i] ? kept : reduced)[i] = 1;
  const Integers steps = steps_of_shape(x.shape);
  const Integers firsts = places_of(kept, steps);
  const Integers terms = places_of(reduced, steps);
  const auto* const row =
      std::find_if(std::begin(kReductions), std::end(kReductions),
                   [&](const Reduction& each) { return each.kind == call.kind(); });
  const double p = call.kind() == "ReduceLp" ? call.number("p") : 0;
  Array made = call.make();
  Numbers numbers(terms.size());
  Integers integers(terms.size());
  for (std::size_t i = 0; i < firsts.size(); ++i) {
    for (std::size_t k = 0; k < terms.size(); ++k) {
      const auto at = static_cast<std::size_t>(firsts[i] + terms[k]);
      if (x.is_real()) {
        numbers[k] = x.reals[at];
      } else {
        integers[k] = x.integers[at];
        numbers[k] = x.number(at);
      }
    }
    if (made.is_real() || x.is_real() ||
        !has_word("ReduceSum ReduceProd ReduceMax ReduceMin "
                  "ReduceMean ReduceL1 ReduceSumSquare",
                  call.kind())) {
      made.set(i, row->reduce(numbers, p));
    } else if (!integers.empty()) {
      made.integers[i] = wrapped(made.dtype, reduced_integers(call, integers));
    }
  }
  call.give(std::move(made));
}

// ---- control flow, of which both branches have been computed

void choose_branch(const Call& call) {
  const char* const name = call.in("Condition").number(0) != 0 ? "Then" : "Else";
  for (std::size_t i = 0; i < call.outputs(); ++i) call.give(call.in(name, i), i);
}

void give_branch(const Call& call) {
  for (std::size_t i = 0; i < call.outputs(); ++i) call.give(call.in("Results", i), i);
}

void choose_input(const Call& call) {
  call.give(call.in("X", call.in("Mask").number(0) != 0 ? 1 : 0));
}

constexpr Definition kDefinitions[] = {
    {"ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceSumSquare "
     "ReduceLogSum ReduceLogSumExp ReduceLp",
     reduce},
    {"If", choose_branch},
    {"Branch", give_branch},
    {"Choice", choose_input},
};

}  // namespace

Definitions reduction_definitions() { return {std::begin(kDefinitions), std::end(kDefinitions)}; }

}  // namespace lenet::plain
