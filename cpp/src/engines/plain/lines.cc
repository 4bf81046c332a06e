// Definitions of operators that go along one axis.

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "engines/plain/call.h"
#include "model/element_types.h"

namespace lenet::plain {
namespace {

/// The axis of a softmax. Before operator set 13 of ONNX it goes along all axes from there on.
Lines softmax_lines(const Call& call, const Shape& shape) {
  const bool flattens = call.view().opset() < 13;
  Lines lines = lines_of(shape, call.axis(shape.size(), flattens ? 1 : -1));
  if (flattens) lines.count *= std::exchange(lines.inner, 1);
  return lines;
}

void softmax(const Call& call) {
  Array made = call.in();
  const Lines lines = softmax_lines(call, made.shape);
  const bool logarithm = call.kind() == "LogSoftmax";
  lines.each([&](std::int64_t first) {
    double most = made.reals[lines.at(first, 0)];
    for (std::int64_t i = 1; i < lines.count; ++i) {
      const double number = made.reals[lines.at(first, i)];
      if (number > most || number != number) most = number;
    }
    double sum = 0;
    for (std::int64_t i = 0; i < lines.count; ++i) {
      sum += std::exp(made.reals[lines.at(first, i)] - most);
    }
    for (std::int64_t i = 0; i < lines.count; ++i) {
      double& number = made.reals[lines.at(first, i)];
      number = logarithm ? number - most - std::log(sum) : std::exp(number - most) / sum;
    }
  });
  call.give(std::move(made));
}

/// 1 in the place of the first largest value, else 0.
void hardmax(const Call& call) {
  const Array& x = call.in();
  Array made = call.make();
  const Lines lines = softmax_lines(call, x.shape);
  lines.each([&](std::int64_t first) {
    std::size_t best = lines.at(first, 0);
    for (std::int64_t i = 1; i < lines.count; ++i) {
      if (x.reals[lines.at(first, i)] > x.reals[best]) best = lines.at(first, i);
    }
    made.reals[best] = 1;
  });
  call.give(std::move(made));
}

/// Sums of each value and those before it, or behind it.
void sum_so_far(const Call& call) {
  Array made = call.in();
  Lines lines = {1, static_cast<std::int64_t>(made.count()), 1};
  if (!call.flag("flatten")) lines = lines_of(made.shape, call.axis(made.shape.size()));
  const bool reverse = call.flag("reverse");
  const bool exclusive = call.flag("exclusive");
  lines.each([&](std::int64_t first) {
    double sum = 0;
    std::uint64_t whole = 0;
    for (std::int64_t i = 0; i < lines.count; ++i) {
      const std::size_t at = lines.at(first, reverse ? lines.count - 1 - i : i);
      if (made.is_real()) {
        const double before = sum;
        sum += made.reals[at];
        made.reals[at] = exclusive ? before : sum;
      } else {
        const std::uint64_t before = whole;
        whole += static_cast<std::uint64_t>(made.integers[at]);
        made.integers[at] =
            wrapped(made.dtype, static_cast<std::int64_t>(exclusive ? before : whole));
      }
    }
  });
  call.give(std::move(made));
}

/// Divides by a norm along an axis; what has none stays 0.
void normalize(const Call& call) {
  Array made = call.in();
  const Lines lines = lines_of(made.shape, call.axis(made.shape.size(), -1));
  const std::int64_t p = call.integer("p", 2);
  const double epsilon = call.number("epsilon", 0);
  lines.each([&](std::int64_t first) {
    double sum = epsilon;
    for (std::int64_t i = 0; i < lines.count; ++i) {
      const double number = made.reals[lines.at(first, i)];
      sum += p == 1 ? std::abs(number) : number * number;
    }
    const double norm = p == 1 ? sum : std::sqrt(sum);
    for (std::int64_t i = 0; i < lines.count && norm != 0; ++i) {
      made.reals[lines.at(first, i)] /= norm;
    }
  });
  call.give(std::move(made));
}

/// The places of a line in the order of their values; equal ones in the order of their places.
Integers ordered(const Array& x, const Lines& lines, std::int64_t first, bool largest_first) {
  Integers places(static_cast<std::size_t>(lines.count));
  std::iota(places.begin(), places.end(), 0);
  std::stable_sort(places.begin(), places.end(), [&](std::int64_t one, std::int64_t two) {
    const std::size_t at = lines.at(first, largest_first ? two : one);
    const std::size_t other = lines.at(first, largest_first ? one : two);
    if (!x.is_real()) return x.integers[at] < x.integers[other];
    return x.reals[at] < x.reals[other];
  });
  return places;
}

void find_extreme(const Call& call) {
  const Array& x = call.in();
  Lines lines = {1, static_cast<std::int64_t>(x.count()), 1};
  if (!call.flag("flatten")) lines = lines_of(x.shape, call.axis(x.shape.size()));
  const bool largest = call.kind() == "ArgMax";
  const bool last = call.flag("select_last_index");
  Array made = call.make();
  std::size_t at = 0;
  lines.each([&](std::int64_t first) {
    std::int64_t best = 0;
    for (std::int64_t i = 1; i < lines.count; ++i) {
      const double number = x.number(lines.at(first, i));
      const double before = x.number(lines.at(first, best));
      const bool better = largest ? number > before : number < before;
      if (better || (last && number == before)) best = i;
    }
    made.integers[at++] = wrapped(made.dtype, best);
  });
  call.give(std::move(made));
}

void take_largest(const Call& call) {
  const Array& x = call.in();
  const std::size_t axis = call.axis(x.shape.size(), -1);
  const Lines from = lines_of(x.shape, axis);
  const Lines to = lines_of(call.shape(), axis);
  Integers places(static_cast<std::size_t>(count_of(call.shape())));
  Array indices = make_array(kInt64, call.shape());
  for (std::int64_t o = 0; o < from.outer; ++o) {
    for (std::int64_t i = 0; i < from.inner; ++i) {
      const std::int64_t first = o * from.count * from.inner + i;
      const Integers order = ordered(x, from, first, call.flag("largest", true));
      for (std::int64_t k = 0; k < to.count; ++k) {
        const std::size_t at = to.at(o * to.count * to.inner + i, k);
        const std::int64_t index = order.at(static_cast<std::size_t>(k));
        places[at] = static_cast<std::int64_t>(from.at(first, index));
        indices.integers[at] = index;
      }
    }
  }
  call.give(taken(x, places, call.shape()));
  if (call.view().outputs("Indices") == 0) return;
  indices.dtype = call.view().declared("Indices").dtype;
  call.give(std::move(indices), 0, "Indices");
}

constexpr Definition kDefinitions[] = {
    {"Softmax LogSoftmax", softmax, true}, {"Hardmax", hardmax, true},      {"CumSum", sum_so_far},
    {"LpNormalization", normalize, true},  {"ArgMax ArgMin", find_extreme}, {"TopK", take_largest},
};

}  // namespace

Definitions line_definitions() { return {std::begin(kDefinitions), std::end(kDefinitions)}; }

}  // namespace lenet::plain
