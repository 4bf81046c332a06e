#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <utility>

#include "io/json.h"
#include "model/element_types.h"
#include "model/readers.h"
#include "model/rules/rules.h"

namespace lenet {
namespace {

constexpr std::int64_t kMaxFormatVersion = 99;
constexpr std::string_view kTensorType = "0.t_dtensor";
constexpr std::string_view kListType = "0.t_vec";
constexpr std::string_view kLayouts[] = {"NCHW", "NHWC", "Undefined(AnyLayout)"};

/// Names of members, or of what a list holds.
template <std::size_t Count>
using Names = const std::string_view (&)[Count];

// The members of what comes with each operator.
constexpr std::string_view kOperator[] = {"#", "A", "I", "O", "OA"};
constexpr std::string_view kBranching[] = {"#", "A", "I", "O", "OA", "regions"};
constexpr std::string_view kNamed[] = {"AT", "N"};
constexpr std::string_view kTyped[] = {"#", "D"};
constexpr std::string_view kSpecial[] = {"#", "VD"};
constexpr std::string_view kType[] = {"#"};
constexpr std::string_view kArgument[] = {"#", "TT"};
constexpr std::string_view kInput[] = {"%"};
constexpr std::string_view kOutput[] = {"%", "TT"};

// The operators of control flow. The last one is ours, and stands before the operators of a loop.
constexpr const char* kIf = "1.if";
constexpr const char* kWhile = "1.while";
constexpr const char* kYield = "2.yield";
constexpr const char* kLoopVariables = "1.loop_variables";

/// The attributes that are read, by their type; that of arrays depends on their elements.
constexpr std::pair<std::string_view, AttributeType> kAttributeTypes[] = {
    {"0.a_i32", AttributeType::Int},       {"0.a_array", AttributeType::Empty},
    {"0.a_str", AttributeType::Text},      {"0.a_bool", AttributeType::Bool},
    {"0.a_i64", AttributeType::Long},      {"0.a_f32", AttributeType::Float},
    {"0.a_f64", AttributeType::Double},    {"1.a_dtype", AttributeType::Dtype},
    {"1.a_intarray", AttributeType::Dims}, {"1.a_place", AttributeType::Place},
};

class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path) { graph_.dialect = Dialect::Pir; }

  Graph read(std::string_view bytes) {
    max_room_ = 2 * bytes.size();
    const auto [code, program] = members(JsonValue::parse(bytes, ends_), {"base_code", "program"});
    const auto [magic, trainable, version] = members(code, {"magic", "trainable", "version"});
    require(is(magic, "pir") && is_flag(trainable), "its heading");
    require(integer(version, 1, kMaxFormatVersion) > 0, "its version");
    const auto [arguments, operators] = block_of(only(members(program, {"regions"})[0], "regions"));
    require(is_empty(arguments), "the arguments of a block");
    each(operators, "the operators", [&](const JsonValue& op) { read_operator(op); });
    ids_.clear();
    lists_.clear();
    link_values(graph_);
    return std::move(graph_);
  }

  /// Reads the parameters alone, also of a program with several blocks, or with operators of any
  /// form.
  Graph read_parameters(std::string_view bytes) {
    const auto within = [this](const char* name, const JsonValue& object, const auto& action) {
      each(member(object, name), name, action);
    };
    const JsonValue root = JsonValue::parse(bytes, ends_);
    require(is(member(member(root, "base_code"), "magic"), "pir"), "its heading");
    within("regions", member(root, "program"), [&](const JsonValue& region) {
      within("blocks", region, [&](const JsonValue& block) {
        within("ops", block, [&](const JsonValue& op) {
          is(member(op, "#"), "p") ? read_operator(op) : link_operator(op);
        });
      });
    });
    link_values(graph_);
    return std::move(graph_);
  }

 private:
  using Id = std::int32_t;

  std::string in_operator() const { return at_.empty() ? "" : " in operator " + at_; }
  [[noreturn]] void fail(const std::string& problem) const {
    refuse_program(path_, problem + in_operator());
  }
  [[noreturn]] void unsupported(const std::string& problem) const {
    lenet::unsupported(path_, problem + in_operator());
  }
  /// What Paddle may run unchecked.
  [[noreturn]] void not_checked(const std::string& problem) const {
    lenet::unsupported(path_, problem + in_operator() + std::string(kUncheckedRemedy));
  }
  template <typename Text>
  void require(bool condition, const Text& what) const {
    if (!condition) fail(std::string("is damaged: ") + what + " is not as Paddle writes it");
  }

  static bool is(const JsonValue& value, std::string_view text) {
    // With an escape it is another.
    return value.is_text() && is_same({value.bytes().data() + 1, value.bytes().size() - 2}, text);
  }
  static bool is_flag(const JsonValue& value) {
    return value.bytes() == "true" || value.bytes() == "false";
  }
  static bool is_empty(const JsonValue& list) { return list.is_array() && size_of(list) == 0; }
  static std::size_t size_of(const JsonValue& list) {
    std::size_t size = 0;
    list.each_item([&](const JsonValue&) { ++size; });
    return size;
  }

  /// Reads a list of what `items` hold, for which there is just as much room.
  template <typename Items, typename Action>
  void each(const JsonValue& list, const char* what, Items& items, const Action& action) {
    require(list.is_array(), what);
    const std::size_t size = size_of(list);
    add_room(size * sizeof(items[0]));
    items.reserve(size);
    list.each_item(action);
  }
  void add_room(std::size_t bytes) {
    room_ += bytes;
    if (room_ > max_room_) fail("has too many arguments");
  }
  template <typename Action>
  void each(const JsonValue& list, const char* what, const Action& action) const {
    require(list.is_array(), what);
    list.each_item(action);
  }

  /// The elements of a list that has so many.
  template <std::size_t Count>
  std::array<JsonValue, Count> elements(const JsonValue& list, const char* what) const {
    std::array<JsonValue, Count> found;
    std::size_t size = 0;
    each(list, what, [&](const JsonValue& item) {
      require(size < Count, what);
      found[size++] = item;
    });
    require(size == Count, what);
    return found;
  }

  /// The members of an object that has those and no others.
  template <std::size_t Count>
  std::array<JsonValue, Count> members(const JsonValue& object, Names<Count> names) const {
    std::array<JsonValue, Count> found;
    require(object.is_object(), "an object");
    object.each_member([&](std::string_view name, const JsonValue& value) {
      std::size_t at = 0;
      while (at < Count && !is_same(names[at], name)) ++at;
      if (at == Count) unsupported("has a member " + std::string(name) + ", which is not known");
      if (found[at]) fail("is damaged: the member " + std::string(name) + " comes a second time");
      found[at] = value;
    });
    for (std::size_t i = 0; i < Count; ++i) {
      if (!found[i]) require(false, "member " + std::string(names[i]));
    }
    return found;
  }

  /// One member of an object that may have any others.
  JsonValue member(const JsonValue& object, std::string_view name) const {
    JsonValue found;
    require(object.is_object(), "an object");
    object.each_member([&](std::string_view other, const JsonValue& value) {
      if (is_same(other, name)) found = value;
    });
    if (!found) require(false, "member " + std::string(name));
    return found;
  }

  /// The one element of a list.
  JsonValue only(const JsonValue& list, const char* what) const {
    JsonValue found;
    each(list, what, [&](const JsonValue& item) {
      if (found) {
        not_checked(std::string("has several ") + what + " in one place");
      }
      found = item;
    });
    if (!found) not_checked(std::string("has no ") + what);
    return found;
  }

  /// The arguments and the operators of the one block of a region.
  std::array<JsonValue, 2> block_of(const JsonValue& region) const {
    const auto [name, blocks] = members(region, {"#", "blocks"});
    const auto [block, arguments, operators] =
        members(only(blocks, "blocks"), {"#", "args", "ops"});
    require(name.is_text() && block.is_text(), "a name");
    return {arguments, operators};
  }

  std::int64_t integer(const JsonValue& value, std::int64_t least, std::int64_t most) const {
    const std::optional<std::int64_t> number = value.integer();
    require(number.has_value(), "an integer");
    require(*number >= least && *number <= most, "the size of a number");
    return *number;
  }
  template <typename Number>
  std::int64_t integer(const JsonValue& value) const {
    return integer(value, std::numeric_limits<Number>::min(), std::numeric_limits<Number>::max());
  }
  std::string text(const JsonValue& value) const {
    require(value.is_text(), "a text");
    return value.text();
  }

  void read_operator(const JsonValue& op) {
    at_ = std::to_string(graph_.operators.size());
    require(op.is_object(), "an operator");
    const JsonValue kind = member(op, "#");
    require(kind.is_text(), "an operator");
    const std::string type = kind.text();
    require_name(type, "an operator", path_);
    if (nesting_ > 0) require_inner(type);
    if (type == "p") return read_parameter(op);
    if (type == kIf || type == kWhile) return read_control_flow(op, type);
    const auto [name, attributes, inputs, outputs, flags] = members(op, kOperator);
    Operator made;
    made.type = type;
    read_inputs(inputs, made.inputs);
    if (nesting_ > 0) require_no_outer_writes(made);
    require(outputs.is_array(), "the outputs");
    read_attributes(attributes, made.attributes);
    read_output_attributes(flags, size_of(outputs));
    if (type == "0.combine") {
      combine(made, outputs);
    } else if (type == "0.split") {
      split(made, outputs);
    } else {
      outputs.each_item([&](const JsonValue& output) {
        made.outputs.emplace_back(std::string_view(), read_output(output));
      });
      graph_.operators.push_back(std::move(made));
    }
  }

  /// What a block of control flow may not have.
  void require_inner(const std::string& type) const {
    const std::string_view kind = kind_of(type, Dialect::Pir);
    if (type == "p" || kind == "Feed" || kind == "Fetch") {
      not_checked("has an input, an output or a parameter inside control flow");
    }
  }

  /// An operator whose name ends so writes over what it takes. Those of a normalization do not, as
  /// the check asks for one that tests.
  void require_no_outer_writes(const Operator& op) const {
    if (op.type.back() != '_' || op.type == "1.batch_norm_") return;
    each_value(op.inputs, [&](std::size_t value) {
      if (value < first_inner_) {
        not_checked("writes inside control flow over a value of outside");
      }
    });
  }

  /// Reads `if` or `while` as a list of operators: those of its blocks, and then the operator
  /// itself, which takes what the blocks yield.
  void read_control_flow(const JsonValue& op, const std::string& type) {
    const auto [name, attributes, inputs, outputs, flags, regions] = members(op, kBranching);
    require_nesting(++nesting_, path_);
    Operator made;
    made.type = type;
    read_inputs(inputs, made.inputs);
    require(!made.inputs.empty() && made.inputs[0].second.size() == 1, "a condition");
    const Argument initial = gather(made.inputs, 1);
    made.inputs.resize(1);
    require(outputs.is_array(), "the outputs");
    read_attributes(attributes, made.attributes);
    read_output_attributes(flags, size_of(outputs));
    if (type == kIf) {
      require(initial.empty(), "the inputs");
      for (const JsonValue& branch : elements<2>(regions, "the branches of an if")) {
        made.inputs.emplace_back(std::string_view(), read_region(branch, {}));
      }
    } else {
      graph_.loops = true;
      const Argument yielded = read_region(only(regions, "regions"), initial);
      require(!yielded.empty(), "the condition of a loop");
      made.inputs.emplace_back(std::string_view(), initial);
      made.inputs.emplace_back(std::string_view(), Argument(yielded[0]));
      std::vector<std::size_t> next(yielded.begin() + 1, yielded.end());
      made.inputs.emplace_back(std::string_view(), Argument(std::move(next)));
    }
    --nesting_;
    Arguments results;
    outputs.each_item([&](const JsonValue& output) {
      results.emplace_back(std::string_view(), read_output(output));
    });
    made.outputs.emplace_back(std::string_view(), gather(results, 0));
    at_ = std::to_string(graph_.operators.size());
    graph_.operators.push_back(std::move(made));
  }

  /// One list of arguments that are one value each.
  Argument gather(const Arguments& arguments, std::size_t first) {
    std::vector<std::size_t> values;
    for (std::size_t i = first; i < arguments.size(); ++i) {
      const Argument& argument = arguments[i].second;
      if (argument.size() != 1) {
        not_checked("passes a list of tensors into or out of control flow");
      }
      values.push_back(argument[0]);
    }
    add_room(values.size() * sizeof(std::size_t));
    return Argument(std::move(values));
  }

  /// Reads the operators of a block, whose values nothing behind it can take.
  /// \param initial of a loop: what its variables are before it
  /// \returns what the block yields
  Argument read_region(const JsonValue& region, const Argument& initial) {
    const auto [arguments, operators] = block_of(region);
    std::vector<Id> outer = std::exchange(defined_, {});
    const std::size_t before = first_inner_;
    read_loop_variables(arguments, initial);
    first_inner_ = graph_.values.size();
    std::optional<Argument> yielded;
    each(operators, "the operators", [&](const JsonValue& op) {
      require(!yielded, "an operator behind the end of its block");
      if (is(member(op, "#"), kYield)) {
        yielded = read_yield(op);
      } else {
        read_operator(op);
      }
    });
    require(yielded.has_value(), "a block without an end");
    for (const Id id : defined_) {
      ids_.at(id) = kGone;
      lists_.erase(id);
    }
    defined_ = std::move(outer);
    first_inner_ = before;
    return *yielded;
  }

  void read_loop_variables(const JsonValue& arguments, const Argument& initial) {
    require(arguments.is_array() && size_of(arguments) == initial.size(),
            "the variables of a loop");
    if (initial.empty()) return;
    std::vector<std::size_t> variables;
    arguments.each_item([&](const JsonValue& argument) {
      const auto [number, type] = members(argument, kArgument);
      variables.push_back(add_value(type));
      define(static_cast<Id>(integer(number, -kMaxId, -1)), variables.back());
    });
    Operator begin;
    begin.type = kLoopVariables;
    begin.inputs.emplace_back(std::string_view(), initial);
    begin.outputs.emplace_back(std::string_view(), Argument(std::move(variables)));
    graph_.operators.push_back(std::move(begin));
  }

  Argument read_yield(const JsonValue& op) {
    const auto [name, attributes, inputs, outputs, flags] = members(op, kOperator);
    Arguments values;
    Attributes ignored;
    read_inputs(inputs, values);
    read_attributes(attributes, ignored);
    require(is_empty(outputs) && is_empty(flags), "the end of a block");
    return gather(values, 0);
  }

  /// Reads an operator of any form: what it takes and gives, and those attributes that are known.
  void link_operator(const JsonValue& op) {
    Operator made;
    made.type = text(member(op, "#"));
    const auto id_of = [this](const JsonValue& value) {
      return static_cast<Id>(integer(member(value, "%"), 0, kMaxId));
    };
    each(member(op, "I"), "the inputs", [&](const JsonValue& input) {
      const auto found = ids_.find(id_of(input));
      made.inputs.emplace_back();
      if (found != ids_.end()) made.inputs.back().second = Argument(found->second);
    });
    each(member(op, "O"), "the outputs", [&](const JsonValue& output) {
      const std::size_t given = link_value(member(output, "TT"));
      made.outputs.emplace_back(std::string_view(), Argument(given));
      ids_.emplace(id_of(output), static_cast<std::uint32_t>(given));
    });
    try {
      read_attributes(member(op, "A"), made.attributes);
    } catch (const Error&) {  // its value is of no concern then
    }
    graph_.operators.push_back(std::move(made));
  }

  /// Adds a value of any type. What is known of it is its element type, if that is.
  std::size_t link_value(const JsonValue& type) {
    Value value;
    try {
      value.dtype = graph_.values[add_value(type)].dtype;
      graph_.values.pop_back();
    } catch (const Error&) {  // it is no tensor then, or of another form
    }
    value.has_shape = false;
    graph_.values.push_back(std::move(value));
    return graph_.values.size() - 1;
  }

  void read_parameter(const JsonValue& op) {
    const auto [type, attributes, no_attributes, output, flags, no_quantization] =
        members(op, {"#", "A", "DA", "O", "OA", "QA"});
    require(is_empty(no_attributes) && is_empty(no_quantization), "a parameter");
    const auto of_parameter = elements<4>(attributes, "a parameter");
    for (std::size_t i = 0; i < 3; ++i) integer(of_parameter[i], 0, 1);
    const auto of_value = elements<3>(flags, "a parameter");
    std::array<std::int64_t, 3> flag{};
    for (std::size_t i = 0; i < 3; ++i) flag[i] = integer(of_value[i], 0, 1);
    require(is(member(member(output, "TT"), "#"), kTensorType), "a parameter");
    const Argument given = read_output(output);
    require(given.size() == 1, "a parameter");
    Value& value = graph_.values[given[0]];
    value.name = text(of_parameter[3]);
    value.parameter = flag[0] == 1;  // kept in a file
    value.unset = !value.parameter;
    require_name(value.name, "a parameter", path_);
  }

  void read_inputs(const JsonValue& inputs, Arguments& arguments) {
    each(inputs, "the inputs", arguments, [&](const JsonValue& input) {
      const auto id = static_cast<Id>(integer(members(input, kInput)[0], -kMaxId, kMaxId));
      arguments.emplace_back();
      if (id == 0) return;  // left out
      const auto found = ids_.find(id);
      require(found != ids_.end() && found->second != kGone,
              "a value that no operator before gives");
      const auto list = lists_.find(id);
      arguments.back().second = list == lists_.end() ? Argument(found->second) : list->second;
      // A list takes its length for each operator that reads it; what Paddle writes reads it once.
      add_room(sizeof(std::size_t) * arguments.back().second.size());
    });
  }

  /// Defines the values of an output; one, or those of a list; none when it is left out.
  Argument read_output(const JsonValue& output, const Argument* known = nullptr) {
    const auto [number, type] = members(output, kOutput);
    const auto id = static_cast<Id>(integer(number, 0, kMaxId));
    if (is(member(type, "#"), "NULL")) return {};  // it has a number, but nothing may read it
    require(id != 0, "an output left out");
    std::vector<std::size_t> values;
    if (is(member(type, "#"), kListType)) {
      each(members(type, kTyped)[1], "a list of types",
           [&](const JsonValue& item) { values.push_back(add_value(item)); });
    } else {
      values.push_back(add_value(type));
    }
    if (known != nullptr) {
      require(values.size() == known->size(), "the length of a list");
      for (std::size_t i = 0; i < values.size(); ++i) require_same(values[i], (*known)[i]);
    }
    Argument given = known != nullptr ? *known : Argument(std::move(values));
    const std::size_t first = given.empty() ? 0 : given[0];
    define(id, first);
    if (given.size() != 1) lists_.emplace(id, given);
    return given;
  }

  void define(Id id, std::size_t value) {
    require(ids_.emplace(id, static_cast<std::uint32_t>(value)).second, "a value defined twice");
    if (nesting_ > 0) defined_.push_back(id);
  }

  void require_same(std::size_t declared, std::size_t known) const {
    const Value& a = graph_.values[declared];
    const Value& b = graph_.values[known];
    require(a.dtype == b.dtype && a.shape == b.shape, "the types in a list");
  }

  std::size_t add_value(const JsonValue& type) {
    const auto [name, data] = members(type, kTyped);
    require(is(name, kTensorType), "a type");
    const auto [element, shape, layout, levels, level] = elements<5>(data, "a type");
    Value value;
    const std::string dtype = text(members(element, kType)[0]);
    const std::string_view plain = std::string_view(dtype).substr(dtype.find('.') + 1);
    value.dtype = find_element_type([&](const ElementType& each) {
                    return !plain.empty() && plain == each.pir;
                  }).dtype;
    require(value.dtype >= 0, "an element type");
    each(shape, "a shape", value.shape, [&](const JsonValue& size) {
      // Sizes that are not known are multiplied, too: -4.
      value.shape.push_back(std::max<std::int64_t>(integer<std::int64_t>(size), -1));
    });
    const auto known = [&, &given = layout](std::string_view each) { return is(given, each); };
    require(std::any_of(std::begin(kLayouts), std::end(kLayouts), known), "a data layout");
    require(is_empty(levels) && level.bytes() == "0", "a level of detail");
    value.name = "value " + std::to_string(graph_.values.size());
    graph_.values.push_back(std::move(value));
    return graph_.values.size() - 1;
  }

  void combine(const Operator& op, const JsonValue& outputs) {
    require(!op.inputs.empty(), "a list");
    std::vector<std::size_t> values;
    for (const auto& [name, input] : op.inputs) {
      require(input.size() == 1, "a list");
      values.push_back(input[0]);
    }
    const JsonValue output = elements<1>(outputs, "a list")[0];
    require(is(member(member(output, "TT"), "#"), kListType), "a list");
    const Argument known(std::move(values));
    read_output(output, &known);
  }

  void split(const Operator& op, const JsonValue& outputs) {
    const char* const what = "the parts of a list";
    require(op.inputs.size() == 1, what);
    const Argument& parts = op.inputs[0].second;
    require(parts.size() == size_of(outputs), what);
    std::size_t next = 0;
    outputs.each_item([&](const JsonValue& output) {
      const Argument known(parts[next++]);
      require(is(member(member(output, "TT"), "#"), kTensorType), what);
      require(read_output(output, &known).size() == 1, what);
    });
  }

  void read_attributes(const JsonValue& list, Attributes& attributes) {
    each(list, "the attributes", attributes, [&](const JsonValue& item) {
      const auto [attribute, name] = members(item, kNamed);
      const std::string_view known = kept_text(name);
      require_name(known, "an attribute", path_);
      attributes.emplace_back(known, read_attribute(attribute));
    });
    if (attributes.size() < 2) return;
    if (const auto twice = attributes.repeated()) {
      require(false, "the second attribute '" + std::string(*twice) + "'");
    }
  }

  /// A text that lives as long as the graph.
  std::string_view kept_text(const JsonValue& value) {
    require(value.is_text(), "a text");
    const auto plain = value.plain_text();
    return plain ? *plain : graph_.decoded.emplace_back(value.text());
  }

  /// Reads a number that JSON has no word for. Paddle writes its name in the place of its data.
  std::optional<Attribute> read_special(const JsonValue& attribute) const {
    bool special = false;
    require(attribute.is_object(), "an object");
    attribute.each_member(
        [&](std::string_view name, const JsonValue&) { special |= is_same(name, "VD"); });
    if (!special) return std::nullopt;
    const auto [kind, word] = members(attribute, kSpecial);
    const bool wide = is(kind, "0.a_f64");
    require(wide || is(kind, "0.a_f32"), "a number that is not finite");
    using Limits = std::numeric_limits<double>;
    require(is(word, "INF") || is(word, "-INF") || is(word, "NAN"), "a number that is not finite");
    const double number = is(word, "NAN")   ? Limits::quiet_NaN()
                          : is(word, "INF") ? Limits::infinity()
                                            : -Limits::infinity();
    return Attribute{wide ? AttributeType::Double : AttributeType::Float, number};
  }

  Attribute read_attribute(const JsonValue& attribute) {
    if (auto special = read_special(attribute)) return *std::move(special);
    const auto [kind, data] = members(attribute, kTyped);
    require(kind.is_text(), "a text");
    const auto* const known =
        std::find_if(std::begin(kAttributeTypes), std::end(kAttributeTypes),
                     [found = kind](const auto& each) { return is(found, each.first); });
    if (known == std::end(kAttributeTypes)) return {AttributeType::Other, {}};
    const AttributeType type = known->second;
    switch (type) {
      case AttributeType::Bool:
        require(is_flag(data), "a truth value");
        return {type, std::int64_t{data.bytes() == "true"}};
      case AttributeType::Int:
        return {type, integer<std::int32_t>(data)};
      case AttributeType::Long:
        return {type, integer<std::int64_t>(data)};
      case AttributeType::Float:
      case AttributeType::Double: {
        const std::optional<double> number = data.real();
        require(number.has_value(), "a number");
        return {type, *number};
      }
      case AttributeType::Place: {
        const auto [place, device, custom] = elements<3>(data, "a place");
        require(is(custom, ""), "a place");
        integer(place, 0, 1);  // undefined, CPU
        integer(device, 0, 0);
        return {type, std::int64_t{0}};
      }
      case AttributeType::Dims: {
        Integers values;
        each(data, "integers", values,
             [&](const JsonValue& item) { values.push_back(integer<std::int64_t>(item)); });
        return {type, std::move(values)};
      }
      case AttributeType::Empty:
        return read_array(data);
      default:
        return {type, text(data)};
    }
  }

  Attribute read_array(const JsonValue& list) {
    Attribute array{AttributeType::Empty, Integers()};
    Integers values;
    values.reserve(2);  // most have so many
    Numbers numbers;
    bool other = false;  // elements of a type that is not read
    each(list, "the type of an attribute", [&](const JsonValue& item) {
      const Attribute element = read_attribute(item);
      const AttributeType type = array_of(element.type);
      other |= type == AttributeType::Other;
      require(values.empty() || type == array.type, "the elements of an array");
      array.type = type;
      const auto* integer = std::get_if<std::int64_t>(&element.value);
      values.push_back(integer == nullptr ? 0 : *integer);
      const auto* number = std::get_if<double>(&element.value);
      if (number != nullptr) numbers.push_back(*number);
    });
    if (other) return {AttributeType::Other, {}};
    if (numbers.empty()) {
      array.value = std::move(values);
    } else {
      array.value = std::move(numbers);
    }
    return array;
  }

  /// Flags of the outputs, one each.
  void read_output_attributes(const JsonValue& list, std::size_t outputs) {
    Attributes attributes;
    read_attributes(list, attributes);
    for (const auto& [name, attribute] : attributes) {
      require(name == "stop_gradient" || name == "persistable", "an attribute of the outputs");
      require(attribute.type == AttributeType::Bools &&
                  std::get<Integers>(attribute.value).size() == outputs,
              "an attribute of the outputs");
    }
  }

  static constexpr Id kMaxId = 1'000'000'000;
  /// Stands for values of a block that has ended.
  static constexpr std::uint32_t kGone = std::numeric_limits<std::uint32_t>::max();

  const std::string& path_;
  std::string at_;
  JsonValue::Ends ends_{kMaxProgramDepth};
  Graph graph_;
  std::map<Id, std::uint32_t> ids_;  ///< values; of a list the first
  std::map<Id, Argument> lists_;     ///< those that are not of one value
  std::size_t nesting_ = 0;          ///< of control flow
  std::vector<Id> defined_;          ///< by the block that is read, if it is one of control flow
  std::size_t first_inner_ = 0;      ///< the first value of that block
  std::size_t room_ = 0;             ///< bytes of what operators have in lists
  std::size_t max_room_ = kNone;
};

}  // namespace

Graph read_pir_program(std::string_view bytes, const std::string& path, bool lenient) {
  try {
    return lenient ? Reader(path).read_parameters(bytes) : Reader(path).read(bytes);
  } catch (const TooLong& error) {
    unsupported(path, std::string("is not read: ") + error.what());
  } catch (const InvalidJson& error) {
    refuse_program(path, std::string("is not a whole PIR program (") + error.what() + ")");
  }
}

}  // namespace lenet
