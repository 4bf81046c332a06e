#include "notation.h"

#include "model/graph.h"
#include "model/readers.h"

namespace lenet::tests {
namespace {

/// The numbers of the fields and types of attributes, which are those of framework.proto and of
/// onnx.proto.
struct Dialect {
  int type;
  int attribute;
  int type_of_attribute;
  struct {
    int field, type;
  } integer, integers, number, numbers, text;
};
constexpr Dialect kPaddle = {3, 4, 2, {3, 0}, {6, 3}, {4, 1}, {7, 4}, {5, 2}};
constexpr Dialect kOnnx = {4, 5, 20, {3, 2}, {8, 7}, {2, 1}, {7, 6}, {4, 3}};

/// \param text `NAME=VALUE`
std::string attribute(const Dialect& dialect, const std::string& text) {
  const auto equals = text.find('=');
  std::string value = text.substr(equals + 1);
  const std::string name = delimited(1, text.substr(0, equals));
  const auto typed = [&](int type, const std::string& values) {
    return name + number_field(dialect.type_of_attribute, type) + values;
  };
  if (value == "true" || value == "false") return typed(6, number_field(10, value == "true"));
  const bool list = value[0] == '[';
  if (list) value = value.substr(1, value.size() - 2);
  if (!list && (value.find_first_not_of("-.0123456789e") != std::string::npos || value.empty())) {
    value.erase(std::remove(value.begin(), value.end(), '\''), value.end());
    return typed(dialect.text.type, delimited(dialect.text.field, value));
  }
  const bool floats = value.find_first_of(".e") != std::string::npos;
  const auto [field, type] = floats ? (list ? dialect.numbers : dialect.number)
                                    : (list ? dialect.integers : dialect.integer);
  std::string values;
  for (const std::string& one : split(value, ',')) {
    if (!floats) {
      values += number_field(field, std::stoll(one));
    } else if (one != ".") {
      values += varint(static_cast<std::uint64_t>(field) << 3 | 5) + bytes_of(std::stof(one));
    }
  }
  return typed(type, values);
}

/// \param argument encodes an input or output
template <class Argument>
std::string encoded(const Dialect& dialect, const std::string& text, const Argument& argument) {
  const Names words = split(text, ' ');
  std::string bytes = delimited(dialect.type, words.at(0));
  int part = 1;  // inputs, outputs, attributes
  for (std::size_t i = 1; i < words.size(); ++i) {
    if (words[i] == "->" || words[i] == "|") {
      part = words[i] == "|" ? 3 : 2;
    } else if (part == 3) {
      bytes += delimited(dialect.attribute, attribute(dialect, words[i]));
    } else {
      bytes += delimited(part, argument(words[i], part));
    }
  }
  return bytes;
}

struct Declared {
  std::string name;
  Shape shape;
  std::string after;
};

/// \param text `NAME[SIZE,...]AFTER`
Declared declared(const std::string& text) {
  const auto begin = text.find('[');
  if (begin == std::string::npos) return {text, {}, ""};
  const auto end = text.find(']');
  Declared found{text.substr(0, begin), {}, text.substr(end + 1)};
  for (const std::string& size : split(text.substr(begin + 1, end - begin - 1), ',')) {
    found.shape.push_back(std::stoll(size));
  }
  return found;
}

std::string repeated(int number, const Shape& sizes) {
  std::string bytes;
  for (const auto size : sizes) bytes += number_field(number, size);
  return bytes;
}

std::string entry(const std::string& key, const std::string& value) {
  return delimited(1, key) + delimited(2, value);
}

std::string constant(const std::string& text) {
  const auto [name, shape, after] = declared(text);
  const bool integers = after[0] == 'i';
  std::string values;
  for (const std::string& one : split(after.substr(after.find('=') + 1), ',')) {
    values += integers ? bytes_of<std::int64_t>(std::stoll(one)) : bytes_of(std::stof(one));
  }
  values.resize(element_count(shape) * (integers ? 8 : 4));
  return repeated(1, shape) + number_field(2, integers ? 7 : 1) + delimited(8, name) +
         delimited(9, values);
}

}  // namespace

std::string delimited(int number, const std::string& bytes) {
  return varint(static_cast<std::uint64_t>(number) << 3 | 2) + varint(bytes.size()) + bytes;
}

std::string number_field(int number, std::int64_t value) {
  return varint(static_cast<std::uint64_t>(number) << 3) +
         varint(static_cast<std::uint64_t>(value));
}

std::string paddle_variable(const std::string& name, const Shape& shape, bool parameter) {
  const std::string desc = number_field(1, 5) + repeated(2, shape);
  const std::string type = number_field(1, 7) + delimited(3, delimited(1, desc));
  return entry(name, type) + number_field(3, parameter ? 1 : 0);
}

std::string paddle_list(const std::string& name, int kind) {
  return entry(name, number_field(1, kind)) + number_field(3, 1);
}

std::string paddle_operator(const std::string& text) {
  return encoded(kPaddle, text, [](const std::string& word, int part) {
    const auto equals = word.find('=');
    if (equals == std::string::npos) return entry(part == 1 ? "X" : "Out", word);
    return entry(word.substr(0, equals), word.substr(equals + 1));
  });
}

TestProgram::TestProgram(const std::string& text) {
  const auto colon = text.find(':');
  for (const std::string& word : split(text.substr(0, colon), ' ')) {
    const auto [name, shape, after] = declared(word);
    variables.push_back(paddle_variable(name, shape, after == "*"));
  }
  for (const std::string& one : split(text.substr(colon + 1), ';')) {
    operators.push_back(paddle_operator(one));
  }
}

std::string TestProgram::bytes() const {
  std::string block =
      heading + delimited(3, paddle_list("feed", 9)) + delimited(3, paddle_list("fetch", 10));
  for (const auto& variable : variables) block += delimited(3, variable);
  block += delimited(4, feed);
  for (const auto& op : operators) block += delimited(4, op);
  return delimited(1, block + delimited(4, fetch));
}

void accept(const std::string& program) {
  Graph graph = read_program_desc(program, "m");
  check_graph(graph, "m");
}

void refuse(const std::string& program, std::string_view text, ErrorCode code) {
  for (const std::string_view part : {text, std::string_view("'m'")}) {
    check_error(code, part, [&] { accept(program); });
  }
}

std::string onnx_node(const std::string& text) {
  const auto at = text.find('@');
  const auto end = text.find(' ');
  const bool elsewhere = at < end;
  const std::string domain = elsewhere ? text.substr(at + 1, end - at - 1) : "";
  const std::string without = elsewhere ? text.substr(0, at) + text.substr(end) : text;
  const auto name = [](const std::string& word, int) { return word == "_" ? "" : word; };
  return encoded(kOnnx, without, name) + delimited(7, domain);
}

std::string onnx_tensor(const std::string& name, const Shape& shape,
                        const std::vector<float>& values) {
  return repeated(1, shape) + number_field(2, 1) + delimited(8, name) +
         delimited(9, bytes_of(values));
}

std::string onnx_external_tensor(const std::string& name, const Shape& shape,
                                 const Arguments& entries) {
  std::string bytes = repeated(1, shape) + number_field(2, 1) + delimited(8, name);
  for (const auto& [key, value] : entries) bytes += delimited(13, entry(key, value));
  return bytes + number_field(14, 1);
}

std::string onnx_value(const std::string& text, int type) {
  const auto [name, shape, after] = declared(text);
  std::string sizes;
  for (const auto size : shape) {
    sizes += delimited(1, size < 0 ? delimited(2, "N") : number_field(1, size));
  }
  if (text.find('[') != std::string::npos) sizes = delimited(2, sizes);
  return entry(name, delimited(1, number_field(1, type) + sizes));
}

std::string onnx_graph(const std::string& nodes, const std::string& tensors,
                       const std::string& values) {
  std::string bytes = delimited(2, "graph");
  for (const auto& node : split(nodes, ';')) bytes += delimited(1, onnx_node(node));
  for (const auto& tensor : split(tensors, ' ')) bytes += delimited(5, constant(tensor));
  int field = 11;  // inputs
  for (const auto& value : split(values, ' ')) {
    if (value == "->") {
      field = 12;  // outputs
    } else {
      bytes += delimited(field, onnx_value(value));
    }
  }
  return bytes;
}

std::string onnx_model(const std::string& graph, int opset) {
  return number_field(1, 7) + delimited(7, graph) +
         delimited(8, delimited(1, "") + number_field(2, opset));
}

Config write_onnx(const TemporaryFolder& folder, const std::string& graph) {
  return config_of("engine=native model_file=" + write_file(folder / "m.onnx", onnx_model(graph)));
}

}  // namespace lenet::tests
