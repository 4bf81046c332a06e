// Operators that make constants out of a few numbers: the same one everywhere, sequences, and rows
// with one number that differs.

#include <limits>
#include <nlohmann/json.hpp>

#include "io/json.h"
#include "model/evaluation.h"

namespace lenet {
namespace {

/// A constant of one output, whose numbers `number(place)` gives.
/// \returns nothing where that gives none, or for a type that is not computed in
template <typename Number>
Outputs filled(const Evaluation& given, const Number& number) {
  if (!given.knows_size()) return std::nullopt;
  const int dtype = given.result_dtype();
  const std::size_t count = given.count();
  if (!given.reserve(count * element_size(dtype))) return std::nullopt;
  return with_type(dtype, [&](auto type) -> Outputs {
    using T = decltype(type);
    Contents made{dtype, std::string(count * sizeof(T), '\0')};
    for (std::size_t i = 0; i < count; ++i) {
      const std::optional<T> one = number(i, type);
      if (!one) return std::nullopt;
      store(made.bytes, i, *one);
    }
    return one_output(std::move(made));
  });
}

/// Of Paddle's: nothing for what the type does not hold.
template <typename T>
std::optional<T> in_type(double number) {
  if (!converts<T>(number)) return std::nullopt;
  return static_cast<T>(number);
}

/// Real numbers of a .pdmodel are texts that Python's str() wrote: but for inf and nan, numbers as
/// JSON has them. A stream would bring all locales into lenet.wasm, 77 kB.
std::optional<double> parse_number(const std::string& text) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (text == "inf") return kInfinity;
  if (text == "-inf") return -kInfinity;
  if (text == "nan") return std::numeric_limits<double>::quiet_NaN();
  const bool may_be_number =
      !text.empty() && std::string_view("-0123456789").find(text[0]) != std::string_view::npos;
  if (!may_be_number) return std::nullopt;  // A list would become a large tree.
  try {
    const nlohmann::json number = parse_json(text);
    return number.is_number() ? std::optional(number.get<double>()) : std::nullopt;
  } catch (const InvalidJson&) {
    return std::nullopt;
  }
}

/// One number everywhere, or a list of integers.
Outputs fill(const Evaluation& given) {
  const OperatorView& op = given.op();
  const auto found = op.attributes().find("value");
  if (found != op.attributes().end() &&
      std::holds_alternative<Integers>(found->second.value)) {  // a list
    const Integers values = op.integers("value");
    if (values.size() != given.count()) return std::nullopt;
    return filled(given, [&](std::size_t i, auto type) {
      return std::optional(static_cast<decltype(type)>(values[i]));
    });
  }
  const std::string text = op.text("str_value", "");
  const std::optional<double> number =
      text.empty() ? std::optional(op.number("value")) : parse_number(text);
  if (!number) return std::nullopt;
  return filled(given, [&](std::size_t, auto type) { return in_type<decltype(type)>(*number); });
}

/// The number may also be an input.
Outputs fill_like(const Evaluation& given) {
  const OperatorView& op = given.op();
  if (op.has("Value")) {
    const Value* const value = given.numeric("Value");
    if (value == nullptr || count_values(*value) != 1 || has_open(*value)) return std::nullopt;
    return filled(given, [&](std::size_t, auto type) {
      return in_type<decltype(type)>(number_at(*value, 0));
    });
  }
  return fill(given);
}

/// Of ONNX: the number is a tensor; none is 0.
Outputs constant_of_shape(const Evaluation& given) {
  const bool has_value = given.op().has_attribute("value");
  return filled(given, [&](std::size_t, auto type) {
    using T = decltype(type);
    return std::optional(has_value ? number_as<T>(given.op().tensor("value"), 0) : T{0});
  });
}

/// Gives numbers that a program of Paddle names, in lists by their type.
Outputs constant(const Evaluation& given) {
  const OperatorView& op = given.op();
  Numbers numbers;
  for (const char* const name :
       {"values", "bool_values", "fp32_values", "int32_values", "int64_values"}) {
    if (!op.has_attribute(name)) continue;
    const Numbers more = op.numbers(name);
    numbers.insert(numbers.end(), more.begin(), more.end());
  }
  if (numbers.size() != given.count()) return std::nullopt;
  return filled(given,
                [&](std::size_t i, auto type) { return in_type<decltype(type)>(numbers[i]); });
}

/// Numbers from one on, at the same distance.
Outputs range(const Evaluation& given) {
  const Value* const start = given.numeric("start");
  const Value* const delta = given.numeric("delta");
  for (const Value* const value : {start, delta}) {
    if (value == nullptr || count_values(*value) != 1 || has_open(*value)) return std::nullopt;
  }
  return filled(given, [&](std::size_t i, auto type) {
    using T = decltype(type);
    if constexpr (std::is_integral_v<T>) {
      if (!is_real(start->data_dtype) && !is_real(delta->data_dtype)) {
        const T steps = multiply(static_cast<T>(i), number_as<T>(*delta, 0));
        return std::optional(add(number_as<T>(*start, 0), steps));
      }
    }
    return in_type<T>(number_at(*start, 0) + static_cast<double>(i) * number_at(*delta, 0));
  });
}

/// Numbers from one to another, at the same distance.
Outputs linspace(const Evaluation& given) {
  const Value* const start = given.numeric("start");
  const Value* const limit = given.numeric("limit");
  for (const Value* const value : {start, limit}) {
    if (value == nullptr || count_values(*value) != 1 || has_open(*value)) return std::nullopt;
  }
  if (!is_real(given.result_dtype())) return std::nullopt;
  const double first = number_at(*start, 0);
  const double last = number_at(*limit, 0);
  const std::size_t count = given.count();
  const double step = count > 1 ? (last - first) / static_cast<double>(count - 1) : 0;
  return filled(given, [&](std::size_t i, auto type) {
    const bool from_end = count > 1 && i >= count / 2;  // as Paddle, so that both ends are exact
    const double number = from_end ? last - step * static_cast<double>(count - 1 - i)
                                   : first + step * static_cast<double>(i);
    return in_type<decltype(type)>(number);
  });
}

/// 1 where the row is the column.
Outputs eye(const Evaluation& given) {
  if (given.result().size() != 2) return std::nullopt;
  const auto columns = static_cast<std::size_t>(std::max<std::int64_t>(given.result()[1], 1));
  return filled(given, [&](std::size_t i, auto type) {
    return std::optional(static_cast<decltype(type)>(i / columns == i % columns ? 1 : 0));
  });
}

/// For each index a row of numbers, one of which is another. Of Paddle they are 0 and 1.
Outputs one_hot(const Evaluation& given) {
  const OperatorView& op = given.op();
  const auto indices = given.indices("X");
  const Value* const values = given.numeric("Values");
  const bool listed = op.has("Values");
  if (!indices || (listed && (values == nullptr || count_values(*values) != 2))) {
    return std::nullopt;
  }
  if (listed && has_open(*values)) return std::nullopt;
  const Shape result = given.result();
  if (!given.knows_size()) return std::nullopt;
  const std::size_t axis = op.axis(op.integer("place", -1), result.size());
  const std::int64_t depth = result[axis];
  const std::int64_t inner = product(result, axis + 1, result.size());
  if (indices->size() * static_cast<std::size_t>(depth) != given.count()) return std::nullopt;
  return filled(given, [&](std::size_t i, auto type) {
    using T = decltype(type);
    const auto at = static_cast<std::int64_t>(i);
    const std::int64_t place = at / inner % depth;
    const std::int64_t index =
        (*indices)[static_cast<std::size_t>(at / inner / depth * inner + at % inner)];
    const bool is_place = place == (index < 0 ? index + depth : index);
    if (!listed) return std::optional(static_cast<T>(is_place ? 1 : 0));
    return std::optional(number_as<T>(*values, is_place ? 1 : 0));
  });
}

constexpr EvaluatedKinds kFills[] = {
    {"Fill", fill},         {"FillLike", fill_like}, {"ConstantOfShape", constant_of_shape},
    {"Constant", constant}, {"Range", range},        {"Linspace", linspace},
    {"Eye", eye},           {"OneHot", one_hot},
};

}  // namespace

Evaluate find_fill(std::string_view kind) { return find_evaluated(kFills, kind); }

}  // namespace lenet
