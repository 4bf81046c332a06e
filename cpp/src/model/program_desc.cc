#include <algorithm>
#include <array>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "model/protobuf.h"
#include "model/readers.h"

namespace lenet {
namespace {

enum class Count { Optional, Required, Repeated };

struct FieldRule {
  std::uint64_t number;
  Wire wire;
  Count count = Count::Optional;
};

/// The fields of one message, each as its rules ask.
class Message {
 public:
  /// \param lenient nothing is required
  /// \param unknown set where there is a field that the rules do not ask for
  template <typename Rules>
  Message(std::string_view bytes, const char* kind, const Rules& rules, const std::string& path,
          bool lenient, bool& unknown)
      : bytes_(bytes), kind_(kind), path_(path) {
    each_field(bytes, path, kPaddleProgram, [&](const Field& field) {
      const auto* rule = std::find_if(rules.begin(), rules.end(), [&](const FieldRule& each) {
        return each.number == field.number;
      });
      if (rule == rules.end()) {
        unknown = true;
        return;
      }
      if (rule->wire != field.wire) {
        if (lenient) return;
        fail("a field of another type");
      }
      // Of a field given twice, readers take the first, the last, or both.
      if (has(field.number) && rule->count != Count::Repeated && !lenient) fail("a repeated field");
      fields_[field.number] = field;
    });
    for (const FieldRule& rule : rules) {
      if (rule.count == Count::Required && !has(rule.number) && !lenient) fail("no required field");
    }
  }

  bool has(std::uint64_t number) const { return fields_[number].number != 0; }
  std::string_view bytes(std::uint64_t number) const { return fields_[number].bytes; }
  std::int64_t integer(std::uint64_t number) const { return to_int32(fields_[number]); }
  bool flag(std::uint64_t number) const { return to_flag(fields_[number]) != 0; }
  std::string name(std::uint64_t number) const {
    require_name(bytes(number), kind_, path_);
    return std::string(bytes(number));
  }
  const Field& field(std::uint64_t number) const { return fields_[number]; }
  /// Calls `action` for each value of a repeated field.
  template <typename Action>
  void each(std::uint64_t number, const Action& action) const {
    each_field(bytes_, path_, kPaddleProgram, [&](const Field& field) {
      if (field.number == number && field.wire == fields_[number].wire) action(field);
    });
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
    refuse_program(
        path_, std::string("is damaged, or is not a Paddle program: ") + problem + " in " + kind_);
  }

 private:
  static constexpr std::size_t kMaxNumber = 21;

  std::string_view bytes_;
  const char* kind_;
  const std::string& path_;
  std::array<Field, kMaxNumber + 1> fields_;  ///< the last of each number
};

/// A field of an attribute; of those that hold a value the AttrType of framework.proto, and its
/// type here.
struct AttributeField : FieldRule {
  std::int64_t code = -1;
  AttributeType type = AttributeType::Other;
};
constexpr std::array<AttributeField, 20> kAttributeFields = {{
    {{1, Wire::Bytes, Count::Required}},
    {{2, Wire::Number, Count::Required}},
    {{3, Wire::Number}, 0, AttributeType::Int},
    {{4, Wire::Fixed32}, 1, AttributeType::Float},
    {{5, Wire::Bytes}, 2, AttributeType::Text},
    {{6, Wire::Number, Count::Repeated}, 3, AttributeType::Ints},
    {{7, Wire::Fixed32, Count::Repeated}, 4, AttributeType::Floats},
    {{8, Wire::Bytes, Count::Repeated}, 5, AttributeType::Texts},
    {{10, Wire::Number}, 6, AttributeType::Bool},
    {{11, Wire::Number, Count::Repeated}, 7, AttributeType::Bools},
    {{13, Wire::Number}, 9, AttributeType::Long},
    {{15, Wire::Number, Count::Repeated}, 11, AttributeType::Longs},
    {{19, Wire::Fixed64}, 15, AttributeType::Double},
    {{21, Wire::Bytes, Count::Repeated}, 17, AttributeType::Doubles},
    {{12, Wire::Number}, 8, AttributeType::Block},
    // Lists of blocks and of doubles, variables and a scalar: known to be there, but not read.
    {{14, Wire::Number, Count::Repeated}, 10},
    {{16, Wire::Fixed64, Count::Repeated}, 12},
    {{17, Wire::Bytes}, 13},
    {{18, Wire::Bytes, Count::Repeated}, 14},
    {{20, Wire::Bytes}, 16},
}};

constexpr int kDenseTensor = 7;
constexpr int kFeedList = 9;
constexpr int kFetchList = 10;
constexpr int kStepScopes = 11;

constexpr const char* kBranch = "conditional_block";
/// An argument of ours: what the block of a branch writes into its outputs.
constexpr const char* kResults = "Results";

class Reader {
 public:
  Reader(const std::string& path, bool lenient) : path_(path), lenient_(lenient) {}

  Graph read(std::string_view bytes) {
    // Field 3 is of Paddle 1: what its operators were compatible with.
    const Message program =
        message(bytes, "the program", {many(1), bytes_of(3), bytes_of(4), bytes_of(5)});
    graph_.differs |= program.has(3);
    if (!program.has(1)) program.fail("no block");
    program.each(1, [&](const Field& block) { blocks_.push_back(block.bytes); });
    graph_.blocks.resize(blocks_.size());
    if (lenient_) {
      for (std::size_t i = 0; i < blocks_.size(); ++i) read_block(i, -1);
    } else {
      read_block(0, -1);
      const auto unread = std::find_if(blocks_.begin(), blocks_.end(), [](std::string_view block) {
        return block.data() != nullptr;
      });
      if (unread != blocks_.end()) {
        unsupported(path_, "has a block that no operator runs" + std::string(kUncheckedRemedy));
      }
    }
    if (lenient_ && graph_.operators.empty()) {
      refuse_program(path_, "holds no operators: it is not a Paddle program");
    }
    if (!lenient_) {
      graph_.paddle_version = message(program.bytes(4), "the version", {integer(1)}).integer(1);
      read_operator_versions(program.bytes(5));
    }
    link_values(graph_);
    return std::move(graph_);
  }

 private:
  static constexpr FieldRule one(std::uint64_t number) {
    return {number, Wire::Bytes, Count::Required};
  }
  static constexpr FieldRule many(std::uint64_t number) {
    return {number, Wire::Bytes, Count::Repeated};
  }
  static constexpr FieldRule bytes_of(std::uint64_t number) { return {number, Wire::Bytes}; }
  static constexpr FieldRule integer(std::uint64_t number, Count count = Count::Optional) {
    return {number, Wire::Number, count};
  }

  Message message(std::string_view bytes, const char* kind,
                  std::initializer_list<FieldRule> rules) {
    return {bytes, kind, rules, path_, lenient_, graph_.differs};
  }

  void read_operator_versions(std::string_view bytes) {
    const char* const kind = "an operator version";
    message(bytes, "the operator versions", {many(1)}).each(1, [&](const Field& field) {
      const Message pair = message(field.bytes, kind, {one(1), one(2)});
      pair.name(1);
      const Message version = message(pair.bytes(2), kind, {integer(1, Count::Required)});
      if (version.integer(1) < 0) version.fail("a number out of range");
    });
  }

  /// Reads a block, which is not read again.
  /// \param parent the number of the block that runs it; -1: none
  void read_block(std::size_t number, std::int64_t parent) {
    const Message block = message(
        std::exchange(blocks_[number], {}), "the block",
        {integer(1, Count::Required), integer(2, Count::Required), many(3), many(4), integer(5)});
    const bool own = block.integer(1) == static_cast<std::int64_t>(number) &&
                     block.integer(2) == parent && (!block.has(5) || block.integer(5) == -1);
    if (!own && !lenient_) block.fail("the number of another block");
    block.each(3, [&](const Field& field) { read_variable(field.bytes); });
    block.each(4, [&](const Field& field) { read_operator(field.bytes, number); });
  }

  /// Reads the block of a branch as operators that stand before it. What it writes into the outputs
  /// is another value than the output, which is empty where the branch does not run.
  void read_branch(Operator& op, std::size_t number) {
    const auto* inner = op.attribute<std::int64_t>("sub_block");
    const bool known = inner != nullptr && *inner > 0 &&
                       static_cast<std::size_t>(*inner) < blocks_.size() &&
                       blocks_[static_cast<std::size_t>(*inner)].data() != nullptr;
    if (!known || op.inputs.count(kResults) > 0) {
      unsupported(path_, "has control flow that does not run a block of its own" +
                             std::string(kUncheckedRemedy));
    }
    require_nesting(scopes_.size(), path_);
    const auto out = std::find_if(op.outputs.begin(), op.outputs.end(),
                                  [](const auto& each) { return each.first == "Out"; });
    if (out == op.outputs.end()) {
      unsupported(path_, "has control flow without results" + std::string(kUncheckedRemedy));
    }
    Argument& given = out->second;
    std::set<std::size_t> results(given.begin(), given.end());
    for (const std::size_t result : results) {
      const bool fresh = result != kNone && !graph_.values[result].parameter &&
                         written_.count(result) == 0 &&
                         scopes_.back().indices.count(graph_.values[result].name) > 0;
      if (!fresh) refuse_outer_write(result);
    }
    op.inputs.emplace_back(kResults, given);
    scopes_.emplace_back().results = std::move(results);
    read_block(static_cast<std::size_t>(*inner), static_cast<std::int64_t>(number));
    scopes_.pop_back();
    std::vector<std::size_t> outside;
    for (const std::size_t result : op.inputs.back().second) {
      outside.push_back(graph_.values.size());
      graph_.values.push_back(graph_.values[result]);
      const Value& made = graph_.values.back();
      scopes_.back().indices.find(made.name)->second.first = outside.back();
      written_.insert(outside.back());
    }
    given = Argument(std::move(outside));
  }

  [[noreturn]] void refuse_outer_write(std::size_t value) const {
    const std::string name = value == kNone ? "what is no tensor" : graph_.values[value].name;
    unsupported(path_, "writes inside control flow over '" + name + "', which is of outside" +
                           std::string(kUncheckedRemedy));
  }

  using Found = std::pair<std::size_t, std::int64_t>;
  /// The index and the kind of a variable, of this block or of one that runs it.
  const Found* find(std::string_view name) const {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      const auto found = scope->indices.find(name);
      if (found != scope->indices.end()) return &found->second;
    }
    return nullptr;
  }

  void read_variable(std::string_view bytes) {
    const Message variable = message(
        bytes, "a variable", {one(1), one(2), integer(3), integer(4), integer(5), integer(6)});
    const Message type = message(variable.bytes(2), "the type of a variable",
                                 {integer(1, Count::Required), bytes_of(3)});
    const std::int64_t kind = type.integer(1);
    const bool tensor = kind == kDenseTensor;
    Value value;
    value.name = lenient_ ? std::string(variable.bytes(1)) : variable.name(1);
    value.parameter = tensor && variable.flag(3);
    const bool linked_only = lenient_ && !value.parameter;
    if (!lenient_) {
      for (const std::uint64_t number : {4U, 5U, 6U}) variable.flag(number);
    }
    if (linked_only) {
      value.has_shape = false;
      value.dtype = tensor ? linked_type(type.bytes(3)) : -1;
    } else if (tensor) {
      if (!type.has(3)) type.fail("no tensor");
      const Message dense = message(type.bytes(3), "a tensor", {one(1), integer(2)});
      if (dense.integer(2) != 0 && !value.parameter) {
        unsupported(path_,
                    "has a tensor '" + value.name + "' of sequences of several lengths (LoD)");
      }
      if (dense.integer(2) != 0) dense.fail("a level of detail");
      const Message desc = message(dense.bytes(1), "a tensor",
                                   {integer(1, Count::Required), integer(2, Count::Repeated)});
      value.dtype = static_cast<int>(desc.integer(1));
      desc.each(2, [&](const Field& size) {
        const auto given = static_cast<std::int64_t>(size.value);
        // Older Paddles multiplied sizes that they did not know, too: -16.
        value.shape.push_back(value.parameter ? given : std::max<std::int64_t>(given, -1));
      });
    }  // of other kinds there is nothing that a kernel takes
    const std::size_t index = tensor ? graph_.values.size() : kNone;
    const bool inner = scopes_.size() > 1;
    if (inner && (value.parameter || find(variable.bytes(1)) != nullptr)) {
      unsupported(path_, "declares '" + value.name +
                             "' inside control flow, as a parameter or once more" +
                             std::string(kUncheckedRemedy));
    }
    const bool is_new =
        scopes_.back().indices.emplace(variable.bytes(1), std::pair(index, kind)).second;
    if (!is_new && !lenient_) variable.fail("the second declaration of '" + value.name + "'");
    if (tensor) graph_.values.push_back(std::move(value));
  }

  /// The element type of a tensor in a program of any form; -1: it is not known.
  int linked_type(std::string_view bytes) {
    try {
      const Message dense = message(bytes, "a tensor", {one(1)});
      const Message desc = message(dense.bytes(1), "a tensor", {integer(1)});
      return desc.has(1) ? static_cast<int>(desc.integer(1)) : -1;
    } catch (const Error&) {
      return -1;
    }
  }

  void read_operator(std::string_view bytes, std::size_t block) {
    const Message found =
        message(bytes, "an operator", {many(1), many(2), one(3), many(4), integer(5)});
    Operator op;
    op.type = lenient_ ? std::string(found.bytes(3)) : found.name(3);
    found.flag(5);
    read_arguments(found, 1, op.type == "feed" ? kFeedList : kDenseTensor, op.inputs);
    read_arguments(found, 2, op.type == "fetch" ? kFetchList : kDenseTensor, op.outputs);
    found.each(4, [&](const Field& field) {
      try {
        read_attribute(field.bytes, op.attributes);
      } catch (const Error&) {
        if (!lenient_) throw;
      }
    });
    if (!lenient_) {
      require_known_flow(op);
      each_value(op.outputs, [this](std::size_t value) { require_own(value); });
      if (op.type == kBranch) {
        read_branch(op, block);
      } else {
        give_anew(op);
      }
    }
    const auto twice = op.attributes.repeated();
    if (twice && !lenient_) found.fail("the second attribute '" + std::string(*twice) + "'");
    graph_.blocks[block].push_back(graph_.operators.size());
    graph_.operators.push_back(std::move(op));
  }

  void require_known_flow(const Operator& op) const {
    if (op.type == "while" || op.type == "recurrent") {
      unsupported(path_, "has control flow: a loop (" + op.type + "), which may never end" +
                             std::string(kLoopRemedy));
    }
    const auto is_block = [](const auto& each) { return each.second.type == AttributeType::Block; };
    const bool runs = std::any_of(op.attributes.begin(), op.attributes.end(), is_block);
    if (runs && op.type != kBranch) {
      unsupported(path_, "has control flow that is not supported (" + op.type + ")" +
                             std::string(kUncheckedRemedy));
    }
    if (scopes_.size() > 1 && (op.type == "feed" || op.type == "fetch")) {
      unsupported(path_,
                  "has an input or an output inside control flow" + std::string(kUncheckedRemedy));
    }
  }

  /// Where a variable is written a second time, such as by an operator in its place, it is another
  /// value from there on, and the one before gets a number behind its name. Which of them its
  /// declared shape is of is not known. An input keeps both.
  void give_anew(Operator& op) {
    // Values quantized again for another reader are one value (check_graph.cc).
    if (op.type == "fetch" || op.type.find("quantize") != std::string::npos) return;
    std::set<std::size_t> now;  // twice by one operator is wrong
    for (auto& [name, argument] : op.outputs) {
      std::vector<std::size_t> values(argument.begin(), argument.end());
      for (std::size_t& value : values) {
        if (value == kNone || graph_.values[value].parameter || !now.insert(value).second) continue;
        if (op.type == "feed") fed_.insert(value);
        if (written_.insert(value).second) continue;
        Value again = graph_.values[value];
        again.has_shape = false;
        graph_.rewritten.emplace_back(value, graph_.values.size());
        if (fed_.count(value) == 0) {
          graph_.values[value].has_shape = false;
          graph_.values[value].name += " (" + std::to_string(graph_.rewritten.size()) + ")";
        }
        value = scopes_.back().indices.at(again.name).first = graph_.values.size();
        written_.insert(value);
        now.insert(value);
        graph_.values.push_back(std::move(again));
      }
      if (!graph_.rewritten.empty()) argument = Argument(std::move(values));
    }
  }

  /// Inside control flow an operator gives variables of its block, and each result once.
  void require_own(std::size_t value) const {
    if (scopes_.size() == 1 || scopes_.back().indices.count(graph_.values[value].name) > 0) return;
    if (scopes_.back().results.count(value) == 0 || written_.count(value) > 0) {
      refuse_outer_write(value);
    }
  }

  void read_arguments(const Message& op, std::uint64_t number, std::int64_t kind,
                      Arguments& arguments) {
    op.each(number, [&](const Field& field) {
      const Message argument = message(field.bytes, "an argument", {one(1), many(2)});
      std::vector<std::size_t> values;
      const bool scope = argument.bytes(1) == "Scope" || argument.bytes(1) == "StepScopes";
      const std::int64_t wanted = scope ? kStepScopes : kind;
      argument.each(2, [&](const Field& item) {
        const Found* const found = find(item.bytes);
        if (found != nullptr && found->second == wanted) {
          values.push_back(found->first);
        } else if (!lenient_) {
          argument.fail("'" + std::string(item.bytes.substr(0, 100)) +
                        "', which is no variable of the kind");
        }
      });
      if (!lenient_) argument.name(1);
      arguments.emplace_back(argument.bytes(1), Argument(std::move(values)));
    });
    if (arguments.repeated() && !lenient_) op.fail("a repeated name");
  }

  /// A number whose type stands beside it: a flag, an integer or a double, but no complex number.
  double scalar(std::string_view bytes) {
    const Message found =
        message(bytes, "a number",
                {integer(1, Count::Required), integer(2), integer(3), {4, Wire::Fixed64}});
    const std::int64_t type = found.integer(1);
    const bool known = type >= 1 && type <= 3 && found.has(static_cast<std::uint64_t>(type) + 1);
    if (!known) found.fail("no value of its type");
    if (type == 3) return to_double(found.field(4));
    return static_cast<double>(type == 1 ? found.to_flag(found.field(2))
                                         : static_cast<std::int64_t>(found.field(3).value));
  }

  void read_attribute(std::string_view bytes, Attributes& attributes) {
    const Message found(bytes, "an attribute", kAttributeFields, path_, lenient_, graph_.differs);
    const std::string name = found.name(1);
    const std::int64_t code = found.integer(2);
    const auto* const rule =
        std::find_if(kAttributeFields.begin(), kAttributeFields.end(),
                     [&](const AttributeField& each) { return each.code == code; });
    if (rule == kAttributeFields.end() || code < 0) {
      found.fail("the unknown type of '" + name + "'");
    }
    for (const AttributeField& other : kAttributeFields) {
      if (other.code >= 0 && other.code != code && found.has(other.number)) {
        found.fail("two values of '" + name + "'");
      }
    }
    const AttributeType type = rule->type;
    if (type == AttributeType::Other) {
      attributes.emplace_back(found.bytes(1), Attribute{type, {}});
      return;
    }
    const Field& single = found.field(rule->number);
    const auto integer = [&](const Field& field) {
      if (type == AttributeType::Bool || type == AttributeType::Bools) return found.to_flag(field);
      if (type == AttributeType::Int || type == AttributeType::Ints) return found.to_int32(field);
      return static_cast<std::int64_t>(field.value);
    };
    Attribute attribute{type, {}};
    if (type == AttributeType::Floats) {
      auto& values = attribute.value.emplace<Numbers>();
      found.each(rule->number, [&](const Field& field) { values.push_back(to_double(field)); });
    } else if (type == AttributeType::Doubles) {
      auto& values = attribute.value.emplace<Numbers>();
      found.each(rule->number, [&](const Field& field) { values.push_back(scalar(field.bytes)); });
    } else if (is_array(type)) {
      auto& values = attribute.value.emplace<Integers>();
      found.each(rule->number, [&](const Field& field) { values.push_back(integer(field)); });
    } else if (!found.has(rule->number)) {
      found.fail("no value of '" + name + "'");
    } else if (type == AttributeType::Text) {
      attribute.value = std::string(single.bytes);
    } else if (type == AttributeType::Float || type == AttributeType::Double) {
      attribute.value = to_double(single);
    } else {
      attribute.value = integer(single);
    }
    attributes.emplace_back(found.bytes(1), std::move(attribute));
  }

  const std::string& path_;
  const bool lenient_;
  Graph graph_;
  std::set<std::size_t> written_;         ///< values
  std::set<std::size_t> fed_;             ///< those of inputs
  std::vector<std::string_view> blocks_;  ///< null: read
  /// The variables of a block by name, and those of the block that runs it which it may write.
  struct Scope {
    std::map<std::string_view, Found> indices;
    std::set<std::size_t> results;
  };
  std::vector<Scope> scopes_ = std::vector<Scope>(1);  ///< the last is of the block that is read
};

/// One that was filled in: a text, a list without elements, or one number.
std::string encode_attribute(std::string_view name, const Attribute& attribute) {
  const auto* const field = std::find_if(
      kAttributeFields.begin(), kAttributeFields.end(),
      [&](const AttributeField& each) { return each.code >= 0 && each.type == attribute.type; });
  std::string bytes;
  append_field(bytes, 1, name);
  append_varint(bytes, 2 << 3);
  append_varint(bytes, static_cast<std::uint64_t>(field->code));
  if (const auto* text = std::get_if<std::string>(&attribute.value)) {
    append_field(bytes, field->number, *text);
  } else if (const auto* integer = std::get_if<std::int64_t>(&attribute.value)) {
    append_varint(bytes, field->number << 3);
    append_varint(bytes, static_cast<std::uint64_t>(*integer));
  } else if (const auto* number = std::get_if<double>(&attribute.value)) {
    append_varint(bytes, field->number << 3 | static_cast<std::uint64_t>(Wire::Fixed32));
    const auto single = static_cast<float>(*number);
    char encoded[sizeof(single)];
    std::memcpy(encoded, &single, sizeof(single));
    bytes.append(encoded, sizeof(single));
  }
  return bytes;
}

/// Leaves the arguments and attributes that the check has kept, and adds those that it filled in.
std::string write_operator(std::string_view bytes, const Operator& op, const std::string& path) {
  std::string written;
  std::set<std::string_view> there;
  each_field(bytes, path, kPaddleProgram, [&](const Field& field) {
    std::string_view name;
    const bool named = field.number == 1 || field.number == 2 || field.number == 4;
    if (named) {
      each_field(field.bytes, path, kPaddleProgram, [&](const Field& inner) {
        if (inner.number == 1) name = inner.bytes;
      });
    }
    const bool kept = field.number == 1   ? op.inputs.count(name) > 0
                      : field.number == 2 ? op.outputs.count(name) > 0
                      : field.number == 4 ? op.attributes.count(name) > 0
                                          : field.number == 3 || field.number == 5;
    if (field.number == 4) there.insert(name);
    if (kept) written += field.encoded;
  });
  for (const auto& [name, attribute] : op.attributes) {
    if (there.count(name) == 0) append_field(written, 4, encode_attribute(name, attribute));
  }
  return written;
}

}  // namespace

Graph read_program_desc(std::string_view bytes, const std::string& path, bool lenient) {
  return Reader(path, lenient).read(bytes);
}

std::string write_checked_program(std::string_view program, const Graph& graph,
                                  const std::string& path) {
  auto block = graph.blocks.begin();
  std::size_t next = 0;
  const auto in_block = [&](const Field& field) -> std::optional<std::string> {
    if (field.number != 4) return {};
    return write_operator(field.bytes, graph.written.at(block->at(next++)), path);
  };
  std::string written;
  each_field(program, path, kPaddleProgram, [&](const Field& field) {
    if (field.number == 1) {
      next = 0;
      append_field(written, 1, rewrite_fields(field.bytes, path, in_block));
      ++block;
    }
    if (field.number == 4 || field.number == 5) written += field.encoded;
  });
  return written;
}

std::string with_renamed_variables(std::string_view program, const Graph& graph,
                                   const std::string& suffix, const std::string& path) {
  using Replacement = std::optional<std::string>;
  std::set<std::string_view> renamed;
  for (const Value& value : graph.values) {
    if (!value.parameter) renamed.insert(value.name);
  }
  for (const auto* ends : {&graph.inputs, &graph.outputs}) {
    for (const std::size_t value : *ends) renamed.erase(graph.values[value].name);
  }
  const auto rename = [&](const Field& name) -> Replacement {
    if (renamed.count(name.bytes) == 0) return {};
    return std::string(name.bytes) + suffix;
  };
  const auto in_variable = [&](const Field& field) {
    return field.number == 1 ? rename(field) : Replacement();
  };
  const auto in_argument = [&](const Field& field) {
    return field.number == 2 ? rename(field) : Replacement();
  };
  const auto in_operator = [&](const Field& field) -> Replacement {
    if (field.number > 2) return {};  // neither inputs nor outputs
    return rewrite_fields(field.bytes, path, in_argument);
  };
  const auto in_block = [&](const Field& field) -> Replacement {
    if (field.number == 3) return rewrite_fields(field.bytes, path, in_variable);
    if (field.number == 4) return rewrite_fields(field.bytes, path, in_operator);
    return {};
  };
  return rewrite_fields(program, path, [&](const Field& field) -> Replacement {
    if (field.number != 1) return {};
    return rewrite_fields(field.bytes, path, in_block);
  });
}

}  // namespace lenet
