/// \file
/// A program as both formats say it: values, and operators in the order of execution. Read by
/// program_desc.h and pir_program.h, checked by check_graph.h.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "lenet/error.h"
#include "lenet/tensor.h"

namespace lenet {

using Integers = std::vector<std::int64_t>;
using Numbers = std::vector<double>;

/// A tensor.
struct Value {
  std::string name;
  int dtype = 0;  ///< VarType.Type of framework.proto
  Shape shape;    ///< -1 where unknown
  bool parameter = false;
  bool defined = false;              ///< set by the check, from its operator on
  std::optional<Integers> constant;  ///< set by the check, when the program fixes the contents
};

/// How an attribute is stored; Paddle trusts the program in this.
enum class AttributeType {
  Bool,
  Int,
  Long,
  Float,
  Double,
  Text,
  Bools,
  Ints,
  Longs,
  Floats,
  Doubles,
  Texts,
  Dims,   ///< PIR's IntArray
  Dtype,  ///< PIR's data type, as text
  Place,  ///< PIR's place
  Empty,  ///< PIR's array without elements, of any type
};

struct Attribute {
  AttributeType type = AttributeType::Bool;
  std::variant<std::int64_t, double, std::string, Integers, Numbers> value;  ///< bool: 0 or 1
};

/// Values of one argument, by index into Graph::values; none for an optional one left out.
using Argument = std::vector<std::size_t>;

struct Operator {
  std::string type;  ///< as in the program
  std::map<std::string, Argument> inputs;
  std::map<std::string, Argument> outputs;
  /// Of PIR, whose arguments have a place but no name.
  std::vector<Argument> positional_inputs;
  std::vector<Argument> positional_outputs;
  std::map<std::string, Attribute> attributes;
};

struct Graph {
  bool pir = false;
  std::vector<Value> values;
  std::vector<Operator> operators;
};

/// \throws Error BadModel, one printable line.
[[noreturn]] void refuse_program(const std::string& path, const std::string& problem);

/// Names of variables, operators and attributes: printable ASCII, not empty, not overlong.
void require_name(std::string_view name, const std::string& what, const std::string& path);

}  // namespace lenet
