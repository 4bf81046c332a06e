#include "model/graph.h"

#include "io/printable.h"
#include "model/element_types.h"
#include "model/rules/support.h"

namespace lenet {
namespace {

constexpr std::size_t kMaxName = 1024;

/// Its first input; kNone when there is none.
std::size_t input_of(const Operator& op) {
  const auto named = op.inputs.find("X");
  const auto argument = named == op.inputs.end() ? op.inputs.begin() : named;
  return argument == op.inputs.end() || argument->second.empty() ? kNone : argument->second[0];
}

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
    case kUint8:
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
  return dtype == kBool || dtype == kUint8 || dtype == kInt8 || dtype == kInt32 ||
         dtype == kInt64 || dtype == kFloat32 || dtype == kFloat64;
}

bool is_integer(int dtype) { return dtype == kBool || dtype == kInt32 || dtype == kInt64; }

}  // namespace

void link_values(Graph& graph) {
  for (std::size_t i = 0; i < graph.operators.size(); ++i) {
    const Operator& op = graph.operators[i];
    const bool fetches = op.type == "fetch" || op.type == "1.fetch";
    const bool feeds = op.type == "feed" || op.type == "1.data";
    each_value(op.inputs, [&](std::size_t index) {
      if (fetches) graph.outputs.push_back(index);
    });
    each_value(op.outputs, [&](std::size_t index) {
      std::size_t& producer = graph.values[index].producer;
      if (producer == kNone) producer = i;
      if (feeds) graph.inputs.push_back(index);
    });
  }
}

bool ends_in_softmax(const Graph& graph) {
  std::size_t value = graph.outputs.empty() ? kNone : graph.outputs[0];
  // At most as many steps as there are operators: a damaged graph may go round.
  for (std::size_t left = graph.operators.size(); left > 0 && value != kNone; --left) {
    const std::size_t producer = graph.values[value].producer;
    if (producer == kNone) return false;
    const std::string type = plain_type(graph, graph.operators[producer]);
    // What scales the result, or gives it another name or shape.
    if (!has_word("scale assign Identity Flatten Reshape Squeeze", type)) {
      return type == "softmax" || type == "Softmax";
    }
    value = input_of(graph.operators[producer]);
  }
  return false;
}

std::optional<std::uint64_t> size_in_bytes(std::uint64_t element_size, const Shape& shape,
                                           std::uint64_t most) {
  std::uint64_t size = element_size;
  for (const std::int64_t dimension : shape) {
    const auto known = static_cast<std::uint64_t>(dimension);
    if (dimension < 0 || (known != 0 && size > most / known)) return std::nullopt;
    size *= known;
  }
  return size;
}

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

void refuse_program(const std::string& path, const std::string& problem) {
  throw Error(ErrorCode::BadModel, "'" + path + "' " + printable(problem));
}

void require_name(std::string_view name, const std::string& what, const std::string& path) {
  const bool sane =
      !name.empty() && name.size() <= kMaxName &&
      std::all_of(name.begin(), name.end(), [](char byte) { return byte > ' ' && byte <= '~'; });
  if (!sane) {
    refuse_program(
        path, "is damaged: the name of " + what + " is '" + std::string(name.substr(0, 100)) + "'");
  }
}

}  // namespace lenet
