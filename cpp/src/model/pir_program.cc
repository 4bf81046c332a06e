#include "model/pir_program.h"

#include <initializer_list>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "io/json.h"
#include "model/parameters.h"

namespace lenet {
namespace {

using Json = nlohmann::json;

constexpr std::int64_t kMaxFormatVersion = 99;
constexpr const char* kTensorType = "0.t_dtensor";
constexpr const char* kListType = "0.t_vec";

class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path) { graph_.dialect = Dialect::Pir; }

  Graph read(std::string_view bytes) {
    const Json root = parse_json(bytes);
    most_arguments_ = bytes.size();
    require_members(root, {"base_code", "program"});
    const Json& code = root["base_code"];
    require_members(code, {"magic", "trainable", "version"});
    require(code["magic"] == "pir" && code["trainable"].is_boolean(), "its heading");
    require(integer(code["version"], 1, kMaxFormatVersion) > 0, "its version");
    require_members(root["program"], {"regions"});
    const Json& block =
        only(only(root["program"]["regions"], "regions", "#")["blocks"], "blocks", "#");
    require(block.contains("args") && block["args"].is_array() && block["args"].empty(),
            "the arguments of a block");
    require(block.contains("ops") && block["ops"].is_array(), "the operators");
    for (const Json& op : block["ops"]) read_operator(op);
    link_values(graph_);
    return std::move(graph_);
  }

 private:
  [[noreturn]] void fail(const std::string& problem) const {
    refuse_program(path_, problem + (at_.empty() ? "" : " in operator " + at_));
  }
  void require(bool condition, const std::string& what) const {
    if (!condition) fail("is damaged: " + what + " is not as Paddle writes it");
  }

  void require_members(const Json& value, std::initializer_list<const char*> names) const {
    require(value.is_object() && value.size() == names.size(), "an object");
    for (const char* name : names) require(value.contains(name), std::string("member ") + name);
  }

  /// The one element of a list; a program without control flow has one region of one block.
  const Json& only(const Json& list, const std::string& what, const char* name) const {
    require(list.is_array() && !list.empty(), what);
    if (list.size() > 1) fail("has several " + what + ": control flow is not supported");
    const Json& item = list[0];
    require(item.is_object() && item.contains(name) && item[name].is_string(), what);
    require(item.size() == (what == "blocks" ? 3U : 2U), what);
    require(what == "blocks" || item.contains("blocks"), what);
    return item;
  }

  std::int64_t integer(const Json& value, std::int64_t least, std::int64_t most) const {
    require(value.is_number_integer(), "a whole number");
    require(!value.is_number_unsigned() ||
                value.get<std::uint64_t>() <=
                    static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()),
            "a whole number");
    const auto number = value.get<std::int64_t>();
    require(number >= least && number <= most, "the size of a number");
    return number;
  }
  std::int64_t int32(const Json& value) const {
    return integer(value, std::numeric_limits<std::int32_t>::min(),
                   std::numeric_limits<std::int32_t>::max());
  }
  std::int64_t int64(const Json& value) const {
    return integer(value, std::numeric_limits<std::int64_t>::min(),
                   std::numeric_limits<std::int64_t>::max());
  }
  std::string text(const Json& value) const {
    require(value.is_string(), "a text");
    return value.get<std::string>();
  }

  void read_operator(const Json& op) {
    at_ = std::to_string(graph_.operators.size());
    require(op.is_object() && op.contains("#") && op["#"].is_string(), "an operator");
    const auto type = op["#"].get<std::string>();
    require_name(type, "an operator", path_);
    if (type == "p") {
      read_parameter(op);
      return;
    }
    require_members(op, {"#", "A", "I", "O", "OA"});
    Operator made;
    made.type = type;
    made.positional_inputs = read_inputs(op["I"]);
    require(op["O"].is_array(), "the outputs");
    read_attributes(op["A"], made.attributes);
    read_output_attributes(op["OA"], op["O"].size());
    if (type == "0.combine") {
      combine(made, op["O"]);
    } else if (type == "0.split") {
      split(made, op["O"]);
    } else {
      for (const Json& output : op["O"]) made.positional_outputs.push_back(read_output(output));
      graph_.operators.push_back(std::move(made));
    }
  }

  void read_parameter(const Json& op) {
    require_members(op, {"#", "A", "DA", "O", "OA", "QA"});
    for (const char* name : {"DA", "QA"}) {
      require(op[name].is_array() && op[name].empty(), std::string("member ") + name);
    }
    const Json& attributes = op["A"];
    require(attributes.is_array() && attributes.size() == 4, "a parameter");
    for (std::size_t i = 0; i < 3; ++i) integer(attributes[i], 0, 1);
    require(op["OA"].is_array() && op["OA"].size() == 3, "a parameter");
    for (const Json& flag : op["OA"]) integer(flag, 0, 1);
    const Argument output = read_output(op["O"]);
    require(output.size() == 1 && op["O"]["TT"]["#"] == kTensorType, "a parameter");
    Value& value = graph_.values[output[0]];
    value.name = text(attributes[3]);
    value.parameter = true;
    require_name(value.name, "a parameter", path_);
    require(parameters_.insert(value.name).second, "the second parameter '" + value.name + "'");
  }

  std::vector<Argument> read_inputs(const Json& inputs) {
    require(inputs.is_array(), "the inputs");
    std::vector<Argument> result;
    for (const Json& input : inputs) {
      require_members(input, {"%"});
      const std::int64_t id = integer(input["%"], 0, kMaxId);
      if (id == 0) {  // left out
        result.emplace_back();
        continue;
      }
      const auto found = ids_.find(id);
      require(found != ids_.end(), "a value that no operator before gives");
      result.push_back(found->second);
      // A list takes its length for each operator that reads it; what Paddle writes reads it once.
      arguments_ += found->second.size();
      if (arguments_ > most_arguments_) fail("has too many arguments");
    }
    return result;
  }

  /// Defines the values of an output; one, or those of a list; none when it is left out.
  Argument read_output(const Json& output, const Argument* known = nullptr) {
    require(output.is_object() && output.contains("%"), "an output");
    const std::int64_t id = integer(output["%"], 0, kMaxId);
    if (id == 0) {
      require(output.contains("TT") && output["TT"].is_object() && output.size() == 2 &&
                  output["TT"].value("#", Json()) == "NULL",
              "an output left out");
      return {};
    }
    require_members(output, {"%", "TT"});
    Argument values;
    const Json& type = output["TT"];
    require_members(type, {"#", "D"});
    if (type["#"] == kListType) {
      require(type["D"].is_array(), "a list of types");
      for (const Json& item : type["D"]) values.push_back(add_value(item));
    } else {
      values.push_back(add_value(type));
    }
    if (known != nullptr) {
      require(values.size() == known->size(), "the length of a list");
      for (std::size_t i = 0; i < values.size(); ++i) require_same(values[i], (*known)[i]);
      values = *known;
    }
    require(ids_.emplace(id, values).second, "a value defined twice");
    return values;
  }

  void require_same(std::size_t declared, std::size_t known) const {
    const Value& a = graph_.values[declared];
    const Value& b = graph_.values[known];
    require(a.dtype == b.dtype && a.shape == b.shape, "the types in a list");
  }

  std::size_t add_value(const Json& type) {
    require_members(type, {"#", "D"});
    require(type["#"] == kTensorType, "a type");
    const Json& parts = type["D"];
    require(parts.is_array() && parts.size() == 5, "a type");
    Value value;
    require_members(parts[0], {"#"});
    value.dtype = dtype_of_json(text(parts[0]["#"]));
    require(value.dtype >= 0, "an element type");
    require(parts[1].is_array(), "a shape");
    for (const Json& dim : parts[1]) value.shape.push_back(int64(dim));
    const std::string layout = text(parts[2]);
    require(layout == "NCHW" || layout == "NHWC" || layout == "Undefined(AnyLayout)",
            "a data layout");
    require(parts[3].is_array() && parts[3].empty() && parts[4] == 0, "a level of detail");
    value.name = "value " + std::to_string(graph_.values.size());
    graph_.values.push_back(std::move(value));
    return graph_.values.size() - 1;
  }

  void combine(const Operator& op, const Json& outputs) {
    require(outputs.size() == 1 && !op.positional_inputs.empty(), "a list");
    Argument values;
    for (const Argument& input : op.positional_inputs) {
      require(input.size() == 1, "a list");
      values.push_back(input[0]);
    }
    require(outputs[0].is_object() && outputs[0].contains("TT") && outputs[0]["TT"].is_object() &&
                outputs[0]["TT"].value("#", Json()) == kListType,
            "a list");
    read_output(outputs[0], &values);
  }

  void split(const Operator& op, const Json& outputs) {
    require(op.positional_inputs.size() == 1 && op.positional_inputs[0].size() == outputs.size(),
            "the parts of a list");
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const Argument known = {op.positional_inputs[0][i]};
      const Argument made = read_output(outputs[i], &known);
      require(made.size() == 1 && outputs[i]["TT"]["#"] == kTensorType, "the parts of a list");
    }
  }

  void read_attributes(const Json& list, std::map<std::string, Attribute>& attributes) const {
    require(list.is_array(), "the attributes");
    for (const Json& item : list) {
      require_members(item, {"AT", "N"});
      const std::string name = text(item["N"]);
      require_name(name, "an attribute", path_);
      require(attributes.emplace(name, read_attribute(item["AT"])).second,
              "the second attribute '" + name + "'");
    }
  }

  Attribute read_attribute(const Json& attribute) const {
    require_members(attribute, {"#", "D"});
    const std::string type = text(attribute["#"]);
    const Json& data = attribute["D"];
    if (type == "0.a_bool") {
      require(data.is_boolean(), "a truth value");
      return {AttributeType::Bool, std::int64_t{data.get<bool>()}};
    }
    if (type == "0.a_i32") return {AttributeType::Int, int32(data)};
    if (type == "0.a_i64") return {AttributeType::Long, int64(data)};
    if (type == "0.a_f32" || type == "0.a_f64") {
      require(data.is_number_float(), "a number");
      return {type == "0.a_f32" ? AttributeType::Float : AttributeType::Double, data.get<double>()};
    }
    if (type == "0.a_str") return {AttributeType::Text, text(data)};
    if (type == "1.a_dtype") return {AttributeType::Dtype, text(data)};
    if (type == "1.a_place") {
      require(data.is_array() && data.size() == 3 && data[2] == "", "a place");
      integer(data[0], 0, 1);  // undefined, CPU
      integer(data[1], 0, 0);
      return {AttributeType::Place, std::int64_t{0}};
    }
    if (type == "1.a_intarray") {
      require(data.is_array(), "integers");
      Integers values;
      for (const Json& item : data) values.push_back(int64(item));
      return {AttributeType::Dims, std::move(values)};
    }
    require(type == "0.a_array" && data.is_array(), "the type of an attribute");
    return read_array(data);
  }

  Attribute read_array(const Json& list) const {
    Attribute array{AttributeType::Empty, Integers()};
    Integers values;
    Numbers numbers;
    for (const Json& item : list) {
      const Attribute element = read_attribute(item);
      AttributeType type = AttributeType::Empty;
      switch (element.type) {
        case AttributeType::Bool:
          type = AttributeType::Bools;
          break;
        case AttributeType::Int:
          type = AttributeType::Ints;
          break;
        case AttributeType::Long:
          type = AttributeType::Longs;
          break;
        case AttributeType::Float:
          type = AttributeType::Floats;
          break;
        case AttributeType::Double:
          type = AttributeType::Doubles;
          break;
        case AttributeType::Text:
          type = AttributeType::Texts;
          break;
        default:
          require(false, "an element of an array");
      }
      require(values.empty() || type == array.type, "the elements of an array");
      array.type = type;
      const auto* integer = std::get_if<std::int64_t>(&element.value);
      values.push_back(integer == nullptr ? 0 : *integer);
      const auto* number = std::get_if<double>(&element.value);
      if (number != nullptr) numbers.push_back(*number);
    }
    if (numbers.empty()) {
      array.value = std::move(values);
    } else {
      array.value = std::move(numbers);
    }
    return array;
  }

  /// Flags of the outputs, one each.
  void read_output_attributes(const Json& list, std::size_t outputs) const {
    std::map<std::string, Attribute> attributes;
    read_attributes(list, attributes);
    for (const auto& [name, attribute] : attributes) {
      require(name == "stop_gradient" || name == "persistable", "an attribute of the outputs");
      require(attribute.type == AttributeType::Bools &&
                  std::get<Integers>(attribute.value).size() == outputs,
              "an attribute of the outputs");
    }
  }

  static constexpr std::int64_t kMaxId = 1'000'000'000;

  const std::string& path_;
  std::string at_;
  Graph graph_;
  std::map<std::int64_t, Argument> ids_;
  std::set<std::string> parameters_;
  std::size_t arguments_ = 0;
  std::size_t most_arguments_ = 0;
};

}  // namespace

Graph read_pir_program(std::string_view bytes, const std::string& path) {
  try {
    return Reader(path).read(bytes);
  } catch (const InvalidJson& error) {
    refuse_program(path, std::string("is not a whole PIR program (") + error.what() + ")");
  } catch (const nlohmann::json::exception& error) {
    refuse_program(path, std::string("is not a whole PIR program (") + error.what() + ")");
  }
}

}  // namespace lenet
