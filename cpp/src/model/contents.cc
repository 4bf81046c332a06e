#include "model/contents.h"

#include <cstring>

#include "model/element_types.h"
#include "model/rules/support.h"

namespace lenet {
namespace {

template <typename Number>
Number read_at(const Value& value, std::size_t index) {
  Number number{};
  std::memcpy(&number, value.data.data() + index * sizeof(Number), sizeof(Number));
  return number;
}

/// Of a readable type.
template <typename To>
To number_as(const Value& value, std::size_t index) {
  switch (value.data_dtype) {
    case kBool:
      return static_cast<To>(read_at<std::uint8_t>(value, index));
    case kInt8:
      return static_cast<To>(read_at<std::int8_t>(value, index));
    case kInt32:
      return static_cast<To>(read_at<std::int32_t>(value, index));
    case kInt64:
      return static_cast<To>(read_at<std::int64_t>(value, index));
    case kFloat32:
      return static_cast<To>(read_at<float>(value, index));
    default:
      return static_cast<To>(read_at<double>(value, index));
  }
}

bool is_readable(int dtype) {
  return dtype == kBool || dtype == kInt8 || dtype == kInt32 || dtype == kInt64 ||
         dtype == kFloat32 || dtype == kFloat64;
}

bool is_integer(int dtype) { return dtype == kBool || dtype == kInt32 || dtype == kInt64; }

}  // namespace

bool is_known(const Value& value) { return value.parameter || value.data.data() != nullptr; }

std::size_t count_values(const Value& value) {
  const int dtype = value.data_dtype;
  return is_readable(dtype) ? value.data.size() / element_size(dtype) : 0;
}

double number_at(const Value& value, std::size_t index) { return number_as<double>(value, index); }

std::vector<float> floats_of(const Value& value) {
  std::vector<float> numbers(count_values(value));
  if (value.data_dtype == kFloat32) {
    if (!numbers.empty()) std::memcpy(numbers.data(), value.data.data(), value.data.size());
    return numbers;
  }
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    numbers[i] = static_cast<float>(number_at(value, i));
  }
  return numbers;
}

std::optional<Integers> known_list(const Value& value) {
  const std::size_t count = count_values(value);
  const bool fits = !value.parameter || value.shape.size() <= 1;
  if (!is_integer(value.data_dtype) || !fits || count > kMaxListed) return std::nullopt;
  Integers list;
  for (std::size_t i = 0; i < count; ++i) {
    list.push_back(number_as<std::int64_t>(value, i));
  }
  return list;
}

std::vector<bool> needed_operators(const Graph& graph) {
  std::vector<bool> needed(graph.operators.size());
  std::vector<std::size_t> wanted = graph.outputs;
  while (!wanted.empty()) {
    const Value& value = graph.values[wanted.back()];
    wanted.pop_back();
    if (value.producer == kNone || needed[value.producer] || is_known(value)) continue;
    needed[value.producer] = true;
    each_value(graph.operators[value.producer].inputs,
               [&](std::size_t input) { wanted.push_back(input); });
  }
  return needed;
}

}  // namespace lenet
