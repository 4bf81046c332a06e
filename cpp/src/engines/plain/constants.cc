// Definitions of operators that make tensors out of a few numbers, and of sizes.

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <string>

#include "engines/plain/call.h"
#include "model/element_types.h"

namespace lenet::plain {
namespace {

/// Numbers by their places. \param number of a place, as a double
template <typename Number>
void give_numbers(const Call& call, const Number& number) {
  Array made = call.make();
  for (std::size_t i = 0; i < made.count(); ++i) made.set(i, number(i));
  call.give(std::move(made));
}

/// A number everywhere, or a list of integers. A .pdmodel also has the number as a text, which is
/// exact for integers.
void fill(const Call& call) {
  const auto& attributes = call.view().attributes();
  const auto value = attributes.find("value");
  const bool listed =
      value != attributes.end() && std::holds_alternative<Integers>(value->second.value);
  if (listed) {
    Array made = call.make();
    const Integers numbers = call.integers("value");
    for (std::size_t i = 0; i < made.count(); ++i) {
      if (made.is_real()) {
        made.reals[i] = static_cast<double>(numbers.at(i));
      } else {
        made.integers[i] = wrapped(made.dtype, numbers.at(i));
      }
    }
    return call.give(std::move(made));
  }
  const std::string text = call.text("str_value", "");
  if (text.empty()) {
    const double number = call.number(call.has("Value") ? "Value" : "value");
    return give_numbers(call, [=](std::size_t) { return number; });
  }
  Array made = call.make();
  double number = 0;  // strtod would use the decimal point of the locale
  const char* const last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), last, number);
  call.view().require(error == std::errc() && end == last, "str_value");
  const bool whole = text.find_first_not_of("-0123456789") == std::string::npos;
  for (std::size_t i = 0; i < made.count(); ++i) {
    if (made.is_real() || !whole) {
      made.set(i, number);
    } else {
      made.integers[i] = wrapped(made.dtype, std::strtoll(text.c_str(), nullptr, 10));
    }
  }
  call.give(std::move(made));
}

/// The number of a tensor with one value; none is 0.
void constant_of_shape(const Call& call) {
  if (!call.view().has_attribute("value")) return call.give(call.make());
  const Array value = read_array(call.view().tensor("value"), {1});
  call.give(taken(value, Integers(call.make().count(), 0), call.shape()));
}

/// What the program holds itself.
void constant(const Call& call) {
  const OperatorView& view = call.view();
  if (view.has_attribute("value")) {
    return call.give(read_array(view.tensor("value"), call.shape()));
  }
  for (const char* const name :
       {"value_int", "value_ints", "values", "int64_values", "int32_values"}) {
    const auto found = view.attributes().find(name);
    const bool is_integers =
        found != view.attributes().end() && !std::holds_alternative<Numbers>(found->second.value);
    if (!is_integers) continue;
    const Integers numbers = view.integers(name);
    Array made = call.make();
    if (numbers.size() != made.count()) continue;
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      if (made.is_real()) {
        made.reals[i] = static_cast<double>(numbers[i]);
      } else {
        made.integers[i] = wrapped(made.dtype, numbers[i]);
      }
    }
    return call.give(std::move(made));
  }
  Numbers numbers;
  for (const char* const name :
       {"values", "bool_values", "fp32_values", "value_float", "value_floats"}) {
    if (!view.has_attribute(name)) continue;
    const Numbers more = call.numbers(name);
    numbers.insert(numbers.end(), more.begin(), more.end());
  }
  view.require(numbers.size() == call.make().count(), "the number of its values");
  give_numbers(call, [&](std::size_t i) { return numbers[i]; });
}

/// Numbers from one on, at the same distance.
void range(const Call& call) {
  const Array& start = call.in("start");
  const Array& delta = call.in("delta");
  if (start.is_real() || delta.is_real() || call.make().is_real()) {
    return give_numbers(call, [&](std::size_t i) {
      return start.number(0) + static_cast<double>(i) * delta.number(0);
    });
  }
  Array made = call.make();
  for (std::size_t i = 0; i < made.count(); ++i) {
    const auto steps =
        static_cast<std::uint64_t>(i) * static_cast<std::uint64_t>(delta.integers[0]);
    const auto first = static_cast<std::uint64_t>(start.integers[0]);
    made.integers[i] = wrapped(made.dtype, static_cast<std::int64_t>(first + steps));
  }
  call.give(std::move(made));
}

/// Numbers from one to another, at the same distance.
void linspace(const Call& call) {
  const double first = call.in("start").number(0);
  const double last = call.in("limit").number(0);
  const std::int64_t count = count_of(call.shape());
  give_numbers(call, [=](std::size_t i) {
    const double share = count > 1 ? static_cast<double>(i) / static_cast<double>(count - 1) : 0;
    return first + (last - first) * share;
  });
}

/// 1 where the row is the column.
void eye(const Call& call) {
  const auto columns = static_cast<std::size_t>(call.shape().back());
  give_numbers(call, [=](std::size_t i) { return i / columns == i % columns ? 1.0 : 0.0; });
}

/// The sizes of a tensor, or some of them.
void give_shape(const Call& call) {
  const Shape& sizes = call.in().shape;
  const auto rank = static_cast<std::int64_t>(sizes.size());
  const auto place = [&](const char* name, std::int64_t otherwise) {
    const std::int64_t given = call.integer(name, otherwise);
    return std::min(std::max(given < 0 ? given + rank : given, std::int64_t{0}), rank);
  };
  const std::int64_t first = place("start", 0);
  const std::int64_t end = place("end", rank);
  Array made = call.make();
  for (std::int64_t i = first; i < end; ++i) {
    made.integers.at(static_cast<std::size_t>(i - first)) = sizes[static_cast<std::size_t>(i)];
  }
  call.give(std::move(made));
}

void give_size(const Call& call) {
  const auto count = static_cast<double>(call.in().count());
  give_numbers(call, [=](std::size_t) { return count; });
}

constexpr Definition kDefinitions[] = {
    {"Fill FillLike", fill}, {"ConstantOfShape", constant_of_shape},
    {"Constant", constant},  {"Range", range},
    {"Linspace", linspace},  {"Eye", eye},
    {"Shape", give_shape},   {"Size", give_size},
};

}  // namespace

Definitions constant_definitions() { return {std::begin(kDefinitions), std::end(kDefinitions)}; }

}  // namespace lenet::plain
