/// \file
/// Programs made for tests, as protocol buffers.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "model/check_graph.h"
#include "model/program_desc.h"
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

inline std::string float_attribute(const std::string& name, float value) {
  return delimited(1, name) + number_field(2, 1) + varint(4U << 3 | 5U) + bytes_of(value);
}

inline std::string floats_attribute(const std::string& name, const std::vector<float>& values) {
  std::string bytes = delimited(1, name) + number_field(2, 4);
  for (const float value : values) bytes += varint(7U << 3 | 5U) + bytes_of(value);
  return bytes;
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

/// A program of one operator, of which a test changes parts.
struct OneOperator {
  Shape input;   ///< x
  Shape output;  ///< y
  std::string type;
  std::vector<std::string> attributes;
  std::vector<std::string> variables;
  Arguments inputs = {{"X", "x"}};
  Arguments outputs = {{"Out", "y"}};

  /// The same with another value of an attribute.
  OneOperator with(const std::string& attribute) const {
    OneOperator changed = *this;
    const auto length = static_cast<std::size_t>(attribute[1]);  // of the name
    for (std::string& one : changed.attributes) {
      if (one.compare(0, length + 2, attribute, 0, length + 2) == 0) one = attribute;
    }
    return changed;
  }
  OneOperator gives(const Shape& shape) const {
    OneOperator changed = *this;
    changed.output = shape;
    return changed;
  }
  OneOperator takes(const std::string& variable) const {
    OneOperator changed = *this;
    changed.variables = {variable};
    return changed;
  }
  std::string bytes() const {
    return TestProgram{input, output, variables, {make_operator(type, inputs, outputs, attributes)}}
        .bytes();
  }
};

inline void accept(const std::string& bytes) {
  Graph graph = read_program_desc(bytes, "m");
  check_graph(graph, "m");
}

/// Expects an error that names the file.
inline void refuse(const std::string& bytes, std::string_view text,
                   ErrorCode code = ErrorCode::BadModel) {
  check_error(code, text, [&] { accept(bytes); });
  check_error(code, "'m'", [&] { accept(bytes); });
}

/// \tparam Program has bytes()
template <class Program>
void accept(const Program& program) {
  accept(program.bytes());
}
template <class Program>
void refuse(const Program& program, std::string_view text, ErrorCode code = ErrorCode::BadModel) {
  refuse(program.bytes(), text, code);
}

}  // namespace lenet::tests
