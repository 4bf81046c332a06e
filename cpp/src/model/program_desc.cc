#include "model/program_desc.h"

#include <array>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <limits>
#include <tuple>
#include <utility>

#include "model/parameters.h"
#include "model/protobuf.h"

namespace lenet {
namespace {

enum class Wire { Number = 0, Fixed64 = 1, Bytes = 2, Fixed32 = 5 };
enum class Count { Optional, Required, Repeated };

struct FieldRule {
  std::uint64_t number;
  Wire wire;
  Count count = Count::Optional;
};

/// The fields of one message, each as its rules ask.
class Message {
 public:
  Message(std::string_view bytes, const char* kind, std::initializer_list<FieldRule> rules,
          const std::string& path)
      : kind_(kind), path_(path) {
    FieldReader reader(bytes, path);
    for (Field field; reader.next(field);) {
      const FieldRule* rule = find(rules, field.number);
      if (rule == nullptr || static_cast<int>(rule->wire) != field.wire) fail("an unknown field");
      auto& found = fields_[field.number];
      // Of a field given twice, readers take the first, the last, or both.
      if (!found.empty() && rule->count != Count::Repeated) fail("a repeated field");
      found.push_back(field);
    }
    for (const FieldRule& rule : rules) {
      if (rule.count == Count::Required && fields_[rule.number].empty()) fail("no required field");
    }
  }

  const std::vector<Field>& all(std::uint64_t number) { return fields_[number]; }
  bool has(std::uint64_t number) { return !fields_[number].empty(); }
  std::string_view bytes(std::uint64_t number) {
    return has(number) ? fields_[number][0].bytes : std::string_view();
  }
  std::int64_t integer(std::uint64_t number) {
    return has(number) ? to_int32(fields_[number][0]) : 0;
  }
  bool flag(std::uint64_t number) { return has(number) && to_flag(fields_[number][0]) != 0; }
  std::string name(std::uint64_t number) {
    require_name(bytes(number), kind_, path_);
    return std::string(bytes(number));
  }

  std::int64_t to_int32(const Field& field) const {
    const auto value = static_cast<std::int64_t>(field.value);
    if (value < std::numeric_limits<std::int32_t>::min() ||
        value > std::numeric_limits<std::int32_t>::max()) {
      fail("a number out of range");
    }
    return value;
  }
  std::int64_t to_flag(const Field& field) const {
    if (field.value > 1) fail("a number out of range");
    return static_cast<std::int64_t>(field.value);
  }

  [[noreturn]] void fail(const std::string& problem) const {
    refuse_program(path_, std::string("is damaged: ") + problem + " in " + kind_);
  }

 private:
  static const FieldRule* find(std::initializer_list<FieldRule> rules, std::uint64_t number) {
    for (const FieldRule& rule : rules) {
      if (rule.number == number) return &rule;
    }
    return nullptr;
  }

  const char* kind_;
  const std::string& path_;
  std::map<std::uint64_t, std::vector<Field>> fields_;
};

double as_double(const Field& field) {
  if (field.wire == static_cast<int>(Wire::Fixed32)) {
    const auto bits = static_cast<std::uint32_t>(field.value);
    float value = 0;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
  }
  double value = 0;
  std::memcpy(&value, &field.value, sizeof(value));
  return value;
}

/// AttrType of framework.proto: the one field that holds the value, and its type here.
struct AttributeRule {
  std::int64_t code;
  std::uint64_t field;
  AttributeType type;
};
constexpr std::array<AttributeRule, 11> kAttributeRules = {{
    {0, 3, AttributeType::Int},
    {1, 4, AttributeType::Float},
    {2, 5, AttributeType::Text},
    {3, 6, AttributeType::Ints},
    {4, 7, AttributeType::Floats},
    {5, 8, AttributeType::Texts},
    {6, 10, AttributeType::Bool},
    {7, 11, AttributeType::Bools},
    {9, 13, AttributeType::Long},
    {11, 15, AttributeType::Longs},
    {15, 19, AttributeType::Double},
}};

std::pair<std::string, Attribute> read_attribute(std::string_view bytes, const std::string& path) {
  using W = Wire;
  constexpr Count kMany = Count::Repeated;
  Message message(bytes, "an attribute",
                  {{1, W::Bytes, Count::Required},
                   {2, W::Number, Count::Required},
                   {3, W::Number},
                   {4, W::Fixed32},
                   {5, W::Bytes},
                   {6, W::Number, kMany},
                   {7, W::Fixed32, kMany},
                   {8, W::Bytes, kMany},
                   {10, W::Number},
                   {11, W::Number, kMany},
                   {13, W::Number},
                   {15, W::Number, kMany},
                   {19, W::Fixed64}},
                  path);
  const std::string name = message.name(1);
  const AttributeRule* rule = nullptr;
  for (const AttributeRule& candidate : kAttributeRules) {
    if (candidate.code == message.integer(2)) rule = &candidate;
  }
  if (rule == nullptr) message.fail("the unknown type of '" + name + "'");
  for (const AttributeRule& other : kAttributeRules) {
    if (&other != rule && message.has(other.field)) message.fail("two values of '" + name + "'");
  }
  const std::vector<Field>& fields = message.all(rule->field);
  Attribute attribute{rule->type, {}};
  const auto single = [&]() -> const Field& {
    if (fields.empty()) message.fail("no value of '" + name + "'");
    return fields[0];
  };
  switch (rule->type) {
    case AttributeType::Bool:
      attribute.value = message.to_flag(single());
      break;
    case AttributeType::Int:
      attribute.value = message.to_int32(single());
      break;
    case AttributeType::Long:
      attribute.value = static_cast<std::int64_t>(single().value);
      break;
    case AttributeType::Float:
    case AttributeType::Double:
      attribute.value = as_double(single());
      break;
    case AttributeType::Text:
      attribute.value = std::string(single().bytes);
      break;
    case AttributeType::Floats: {
      Numbers values;
      for (const Field& field : fields) values.push_back(as_double(field));
      attribute.value = std::move(values);
      break;
    }
    default: {
      Integers values;
      for (const Field& field : fields) {
        switch (rule->type) {
          case AttributeType::Bools:
            values.push_back(message.to_flag(field));
            break;
          case AttributeType::Ints:
            values.push_back(message.to_int32(field));
            break;
          default:
            values.push_back(static_cast<std::int64_t>(field.value));
        }
      }
      attribute.value = std::move(values);
    }
  }
  return {name, std::move(attribute)};
}

void read_tensor(std::string_view bytes, Value& value, const std::string& path) {
  Message message(bytes, "a tensor",
                  {{1, Wire::Number, Count::Required}, {2, Wire::Number, Count::Repeated}}, path);
  value.dtype = static_cast<int>(message.integer(1));
  for (const Field& dim : message.all(2)) {
    value.shape.push_back(static_cast<std::int64_t>(dim.value));
  }
}

constexpr int kDenseTensor = 7;
constexpr int kFeedList = 9;
constexpr int kFetchList = 10;
constexpr int kRaw = 17;

class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path) {}

  Graph read(std::string_view bytes) {
    Message program(bytes, "the program",
                    {{1, Wire::Bytes, Count::Repeated}, {4, Wire::Bytes}, {5, Wire::Bytes}}, path_);
    if (program.all(1).empty()) program.fail("no block");
    if (program.all(1).size() > 1) {
      refuse_program(path_, "has several blocks: control flow is not supported");
    }
    if (program.has(4)) {
      Message version(program.bytes(4), "the version", {{1, Wire::Number}}, path_);
      if (version.has(1)) version.to_int32(version.all(1)[0]);
    }
    read_operator_versions(program.bytes(5));
    read_block(program.bytes(1));
    link_values(graph_);
    return std::move(graph_);
  }

 private:
  void read_operator_versions(std::string_view bytes) {
    Message list(bytes, "the operator versions", {{1, Wire::Bytes, Count::Repeated}}, path_);
    for (const Field& field : list.all(1)) {
      Message pair(field.bytes, "an operator version",
                   {{1, Wire::Bytes, Count::Required}, {2, Wire::Bytes, Count::Required}}, path_);
      pair.name(1);
      Message version(pair.bytes(2), "an operator version", {{1, Wire::Number, Count::Required}},
                      path_);
      if (version.integer(1) < 0) version.fail("a number out of range");
    }
  }

  void read_block(std::string_view bytes) {
    Message block(bytes, "the block",
                  {{1, Wire::Number, Count::Required},
                   {2, Wire::Number, Count::Required},
                   {3, Wire::Bytes, Count::Repeated},
                   {4, Wire::Bytes, Count::Repeated},
                   {5, Wire::Number}},
                  path_);
    if (block.integer(1) != 0 || block.integer(2) != -1 ||
        (block.has(5) && block.integer(5) != -1)) {
      block.fail("the number of another block");
    }
    for (const Field& field : block.all(3)) read_variable(field.bytes);
    for (const Field& field : block.all(4)) read_operator(field.bytes);
  }

  void read_variable(std::string_view bytes) {
    Message variable(bytes, "a variable",
                     {{1, Wire::Bytes, Count::Required},
                      {2, Wire::Bytes, Count::Required},
                      {3, Wire::Number},
                      {4, Wire::Number},
                      {5, Wire::Number},
                      {6, Wire::Number}},
                     path_);
    Message type(variable.bytes(2), "the type of a variable",
                 {{1, Wire::Number, Count::Required}, {3, Wire::Bytes}}, path_);
    Value value;
    value.name = variable.name(1);
    value.parameter = variable.flag(3);
    for (const std::uint64_t number : {4U, 5U, 6U}) variable.flag(number);
    const std::int64_t kind = type.integer(1);
    bool tensor = kind == kDenseTensor;
    if (tensor) {
      if (!type.has(3)) type.fail("no tensor");
      Message dense(type.bytes(3), "a tensor",
                    {{1, Wire::Bytes, Count::Required}, {2, Wire::Number}}, path_);
      if (dense.has(2) && dense.integer(2) != 0) dense.fail("a level of detail");
      read_tensor(dense.bytes(1), value, path_);
    } else if ((kind != kFeedList && kind != kFetchList && kind != kRaw) || type.has(3)) {
      type.fail("an unknown kind");
    }
    const std::string name = value.name;
    const std::size_t index = tensor ? graph_.values.size() : kNone;
    if (!indices_.emplace(name, std::pair(index, kind)).second) {
      variable.fail("the second declaration of '" + name + "'");
    }
    if (tensor) graph_.values.push_back(std::move(value));
  }

  void read_operator(std::string_view bytes) {
    Message message(bytes, "an operator",
                    {{1, Wire::Bytes, Count::Repeated},
                     {2, Wire::Bytes, Count::Repeated},
                     {3, Wire::Bytes, Count::Required},
                     {4, Wire::Bytes, Count::Repeated},
                     {5, Wire::Number}},
                    path_);
    Operator op;
    op.type = message.name(3);
    message.flag(5);
    const bool feed = op.type == "feed";
    const bool fetch = op.type == "fetch";
    op.inputs = read_arguments(message.all(1), feed ? kFeedList : kDenseTensor);
    op.outputs = read_arguments(message.all(2), fetch ? kFetchList : kDenseTensor);
    for (const Field& field : message.all(4)) {
      auto attribute = read_attribute(field.bytes, path_);
      if (!op.attributes.insert(attribute).second) {
        message.fail("the second attribute '" + attribute.first + "'");
      }
    }
    graph_.operators.push_back(std::move(op));
  }

  std::map<std::string, Argument> read_arguments(const std::vector<Field>& fields,
                                                 std::int64_t kind) {
    std::map<std::string, Argument> arguments;
    for (const Field& field : fields) {
      Message message(field.bytes, "an argument",
                      {{1, Wire::Bytes, Count::Required}, {2, Wire::Bytes, Count::Repeated}},
                      path_);
      Argument values;
      for (const Field& item : message.all(2)) {
        const auto found = indices_.find(std::string(item.bytes));
        if (found == indices_.end() || found->second.second != kind) {
          message.fail("'" + std::string(item.bytes.substr(0, 100)) +
                       "', which is no variable of the kind");
        }
        values.push_back(found->second.first);
      }
      if (!arguments.emplace(message.name(1), std::move(values)).second) {
        message.fail("a repeated name");
      }
    }
    return arguments;
  }

  const std::string& path_;
  Graph graph_;
  std::map<std::string, std::pair<std::size_t, std::int64_t>> indices_;  // and kinds, by name
};

/// Ignores what it does not know.
class ParameterReader {
 public:
  explicit ParameterReader(const std::string& path) : path_(path) {}

  Graph read(std::string_view bytes) {
    each(bytes, 1, [&](std::string_view block) {
      each(block, 3, [&](std::string_view variable) { read_variable(variable); });
      each(block, 4, [&](std::string_view op) { read_operator(op); });
    });
    if (graph_.operators.empty()) {
      refuse_program(path_, "holds no operators: it is not a Paddle program");
    }
    return std::move(graph_);
  }

 private:
  /// Of the fields of that number.
  template <typename Action>
  void each(std::string_view message, std::uint64_t number, const Action& action) const {
    FieldReader fields(message, path_);
    for (Field field; fields.next(field);) {
      if (field.number == number) action(field.bytes);
    }
  }

  void read_variable(std::string_view bytes) {
    Value value;
    bool tensor = true;
    FieldReader fields(bytes, path_);
    for (Field field; fields.next(field);) {
      if (field.number == 1) value.name = field.bytes;
      if (field.number == 3) value.parameter = field.value != 0;
      if (field.number != 2) continue;
      FieldReader type(field.bytes, path_);
      for (Field part; type.next(part);) {
        if (part.number == 1) tensor = part.value == kDenseTensor;
        if (part.number != 3) continue;
        each(part.bytes, 1, [&](std::string_view desc) {
          std::tie(value.dtype, value.shape) = read_tensor_desc(desc, path_);
        });
      }
    }
    if (!value.parameter || !tensor) return;
    indices_.emplace(value.name, graph_.values.size());
    graph_.values.push_back(std::move(value));
  }

  void read_operator(std::string_view bytes) {
    Operator op;
    each(bytes, 3, [&](std::string_view type) { op.type = type; });
    each(bytes, 1, [&](std::string_view input) {
      std::string name;
      each(input, 1, [&](std::string_view argument) { name = argument; });
      each(input, 2, [&](std::string_view variable) {
        const auto found = indices_.find(variable);
        if (found != indices_.end()) op.inputs[name].push_back(found->second);
      });
    });
    graph_.operators.push_back(std::move(op));
  }

  const std::string& path_;
  Graph graph_;
  std::map<std::string, std::size_t, std::less<>> indices_;
};

}  // namespace

Graph read_program_desc_parameters(std::string_view bytes, const std::string& path) {
  return ParameterReader(path).read(bytes);
}

Graph read_program_desc(std::string_view bytes, const std::string& path) {
  return Reader(path).read(bytes);
}

}  // namespace lenet
