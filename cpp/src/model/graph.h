/// \file
/// A program as every format says it: values, and operators in the order of execution. Read by
/// program_desc.h, pir_program.h and onnx_program.h, checked by check_graph.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
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

/// The format that a program is from, which gives its operators their names.
enum class Dialect {
  ProgramDesc,  ///< .pdmodel: "relu"; arguments have names
  Pir,          ///< .json: "1.relu"; arguments have places
  Onnx,         ///< "Relu", or "domain.Relu" of another domain than ONNX's; arguments have places
};

inline constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();

/// A tensor.
struct Value {
  std::string name;
  int dtype = 0;  ///< VarType.Type of framework.proto, in every dialect; -1 for others, or unknown
  Shape shape;    ///< -1 where unknown
  bool has_shape = true;             ///< false where an .onnx does not say it, of most values
  bool parameter = false;            ///< the model holds its contents; of an .onnx: a constant
  bool defined = false;              ///< set by the check, from its operator on
  std::optional<Integers> constant;  ///< set by the check, when the program fixes the contents
  /// Contents of a parameter, little-endian and at any address; as long as the Model lives.
  std::string_view data;
  int data_dtype = -1;  ///< of `data`: Paddle declares weights that it stores as int8 as float32
  // By index into Graph::operators, set by link_values.
  std::size_t producer = kNone;        ///< the first that gives it
  std::vector<std::size_t> consumers;  ///< in order, each once however often it takes the value
};

/// How an attribute is stored; Paddle trusts the program in this.
enum class AttributeType {
  Bool,
  Int,  ///< ProgramDesc and Pir; ONNX's integers are Long and Longs
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
  Dims,    ///< PIR's IntArray
  Dtype,   ///< PIR's data type, as text
  Place,   ///< PIR's place
  Empty,   ///< PIR's array without elements, of any type
  Tensor,  ///< ONNX's: the index of a value, which is a parameter
  Other,   ///< ONNX's other types, without a value
};

struct Attribute {
  AttributeType type = AttributeType::Bool;
  std::variant<std::int64_t, double, std::string, Integers, Numbers> value;  ///< bool: 0 or 1
};

/// Values of one argument, by index into Graph::values; none for an optional one left out.
using Argument = std::vector<std::size_t>;

struct Operator {
  std::string type;  ///< as the dialect has it
  std::map<std::string, Argument> inputs;
  std::map<std::string, Argument> outputs;
  /// Of Pir and Onnx, whose arguments have a place but no name, until the check has named them.
  std::vector<Argument> positional_inputs;
  std::vector<Argument> positional_outputs;
  std::map<std::string, Attribute> attributes;
};

struct Graph {
  Dialect dialect = Dialect::ProgramDesc;
  std::int64_t opset = 0;  ///< of ONNX's own operators; 0: not said
  /// What an .onnx has besides, such as "functions of its own": engines that run the Graph refuse.
  std::string unsupported;
  std::vector<Value> values;
  std::vector<Operator> operators;
  // Set by link_values, by index into `values`.
  std::vector<std::size_t> inputs;   ///< of an .onnx without those that are parameters
  std::vector<std::size_t> outputs;  ///< of Paddle's: in the order of `col` after the check
  std::deque<std::string> decoded;   ///< contents that a file holds in another form than `data`
};

/// Fills in producers and consumers, and of Paddle's programs the inputs and outputs. Linear.
void link_values(Graph& graph);

/// \throws Error BadModel, one printable line.
[[noreturn]] void refuse_program(const std::string& path, const std::string& problem);

/// Names of variables, operators and attributes: printable ASCII, not empty, not overlong.
void require_name(std::string_view name, const std::string& what, const std::string& path);

}  // namespace lenet
