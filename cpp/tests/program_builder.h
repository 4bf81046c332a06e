/// \file
/// Programs made for tests, as protocol buffers.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "support.h"

namespace lenet::tests {

/// A field that holds bytes.
inline std::string delimited(int number, const std::string& bytes) {
  return varint(static_cast<std::uint64_t>(number) << 3 | 2) + varint(bytes.size()) + bytes;
}

/// A field that holds a number.
inline std::string number_field(int number, std::int64_t value) {
  return varint(static_cast<std::uint64_t>(number) << 3) +
         varint(static_cast<std::uint64_t>(value));
}

inline std::string tensor_variable(const std::string& name, const Shape& shape,
                                   bool parameter = false) {
  std::string desc = number_field(1, 5);
  for (const auto size : shape) desc += number_field(2, size);
  const std::string type = number_field(1, 7) + delimited(3, delimited(1, desc));
  return delimited(1, name) + delimited(2, type) + number_field(3, parameter ? 1 : 0);
}

inline std::string list_variable(const std::string& name, int kind) {
  return delimited(1, name) + delimited(2, number_field(1, kind)) + number_field(3, 1);
}

inline std::string int_attribute(const std::string& name, std::int64_t value) {
  return delimited(1, name) + number_field(2, 0) + number_field(3, value);
}

inline std::string ints_attribute(const std::string& name, const Shape& values) {
  std::string bytes = delimited(1, name) + number_field(2, 3);
  for (const auto value : values) bytes += number_field(6, value);
  return bytes;
}

inline std::string bool_attribute(const std::string& name, bool value) {
  return delimited(1, name) + number_field(2, 6) + number_field(10, value ? 1 : 0);
}

inline std::string text_attribute(const std::string& name, const std::string& value) {
  return delimited(1, name) + number_field(2, 2) + delimited(5, value);
}

using Arguments = std::vector<std::pair<std::string, std::string>>;  ///< names and variables

inline std::string make_operator(const std::string& type, const Arguments& inputs,
                                 const Arguments& outputs,
                                 const std::vector<std::string>& attributes = {}) {
  std::string bytes;
  for (const auto& [name, value] : inputs) {
    bytes += delimited(1, delimited(1, name) + delimited(2, value));
  }
  for (const auto& [name, value] : outputs) {
    bytes += delimited(2, delimited(1, name) + delimited(2, value));
  }
  bytes += delimited(3, type);
  for (const std::string& attribute : attributes) bytes += delimited(4, attribute);
  return bytes;
}

/// A program with an input `x` and an output `y`, and between them what a test adds.
struct TestProgram {
  Shape input;
  Shape output;
  std::vector<std::string> variables;
  std::vector<std::string> operators;
  std::string heading = number_field(1, 0) + number_field(2, -1);
  std::string feed =
      make_operator("feed", {{"X", "feed"}}, {{"Out", "x"}}, {int_attribute("col", 0)});
  std::string fetch =
      make_operator("fetch", {{"X", "y"}}, {{"Out", "fetch"}}, {int_attribute("col", 0)});

  std::string bytes() const {
    std::string block = heading + delimited(3, list_variable("feed", 9)) +
                        delimited(3, list_variable("fetch", 10)) +
                        delimited(3, tensor_variable("x", input)) +
                        delimited(3, tensor_variable("y", output));
    for (const auto& variable : variables) block += delimited(3, variable);
    block += delimited(4, feed);
    for (const auto& op : operators) block += delimited(4, op);
    return delimited(1, block + delimited(4, fetch));
  }
};

}  // namespace lenet::tests
