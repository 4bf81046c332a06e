/// \file
/// The operators that a program may use, and how each works out its outputs' shapes. Each family of
/// operators has a file of its rules here; to add an operator is to add a row there.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "model/rules/support.h"

namespace lenet {

/// Dialects that a rule is for.
constexpr unsigned bit(Dialect dialect) { return 1U << static_cast<unsigned>(dialect); }
constexpr unsigned bit(AttributeType type) { return 1U << static_cast<unsigned>(type); }
inline constexpr unsigned kDesc = bit(Dialect::ProgramDesc);
inline constexpr unsigned kPir = bit(Dialect::Pir);
inline constexpr unsigned kPaddle = kDesc | kPir;
inline constexpr unsigned kOnnx = bit(Dialect::Onnx);

/// The operator sets of ONNX that the rules know. From 26 to 28 nothing has changed of what they
/// know but element types, of Cast, QuantizeLinear and DequantizeLinear (onnx 1.23).
inline constexpr std::int64_t kMinOpset = 7;
inline constexpr std::int64_t kMaxOpset = 28;

/// Gives an operator's outputs their shapes and types.
using InferRule = void (*)(OperatorView&);

/// What operators take and give. Words separated by blanks, in `inputs` and `outputs` in the order
/// of PIR or ONNX. There a name with `?` may be left out, with `!` must be, with `*` it is a list
/// of one or more. In `attributes` it is `name:type`, or `name:type|type`; PIR does not say of
/// which type a list without elements is, so that any type of a list takes it. With `?` it may be
/// left out, and with `=DEFAULT` when the Paddle that wrote the program may not have had it yet:
/// then it has that value. What a dialect calls `theirs` is named `ours` from the check on where a
/// word begins with `theirs>ours`. `+name` among the attributes is a flag that all operators of the
/// rule have, `+name=VALUE` an attribute, an integer or a text: where definitions of a kind differ,
/// it says which one holds. Of a word `one/other` the first is for ProgramDesc and older operator
/// sets of ONNX, the second for PIR and newer ones; either may be empty.
struct OperatorRule {
  unsigned dialects;       ///< bits
  std::string_view types;  ///< those of PIR without the `1.` before them
  /// What they are whatever the dialect: one word, or one for each type. None: as their types.
  std::string_view kinds;
  std::string_view inputs;
  std::string_view outputs;
  std::string_view attributes;
  InferRule infer;
  std::int64_t newer_opset = kMaxOpset + 1;  ///< of ONNX: the first with the second words
};

/// The rules of one family, from the first to behind the last.
using RuleRows = std::pair<const OperatorRule*, const OperatorRule*>;

RuleRows constants_rules();
RuleRows control_flow_rules();
RuleRows convolution_rules();
RuleRows elementwise_rules();
RuleRows indexing_rules();
RuleRows normalization_rules();
RuleRows parts_rules();
RuleRows pooling_rules();
RuleRows resize_rules();
RuleRows shape_rules();
RuleRows volume_rules();

/// A rule whose words have been read.
struct ParsedRule {
  struct Argument {
    std::string_view name;   ///< in the dialect
    std::string_view given;  ///< by us
    bool optional = false;
    bool forbidden = false;
    bool list = false;
  };
  struct Attribute {
    unsigned types = 0;           ///< bits, by AttributeType
    std::string_view given = {};  ///< its name by us
    bool optional = false;
    bool own = true;                             ///< not one of those that any operator may have
    std::optional<lenet::Attribute> value = {};  ///< what it has where an older Paddle left it out
  };

  std::vector<Argument> inputs;
  std::vector<Argument> outputs;
  std::map<std::string, Attribute, std::less<>> attributes;
  InferRule infer = nullptr;
  std::vector<std::pair<std::string_view, lenet::Attribute>> fixed;  ///< flags and others with `+`
};

/// What operators of a type are whatever the dialect. One that no rule knows keeps its type, of PIR
/// without the `1.` before it. \returns a part of `type`, or of the rules
std::string_view kind_of(std::string_view type, Dialect dialect);
/// Returns the kind of an operator as the file has it. Its attributes count too, because Paddle has
/// one type for all pools.
std::string_view kind_of(const Operator& op, Dialect dialect);

/// The rules for one graph, each read when it is first asked for.
class RuleBook {
 public:
  explicit RuleBook(const Graph& graph) : dialect_(graph.dialect), opset_(graph.opset) {}
  /// \returns null for an operator that is not known.
  const ParsedRule* find(const std::string& type);

 private:
  Dialect dialect_;
  std::int64_t opset_;
  std::unordered_map<std::string, ParsedRule> parsed_;
};

/// Works out by the rules the shape of each value that operators give, and compares it with what
/// the program declares (infer_shapes.cc).
/// \param rules of each operator; null: nobody needs the operator
/// \param read of each value: whether anything reads what it holds
/// \throws Error as check_graph.
void infer_shapes(Graph& graph, const std::string& path, const std::vector<InferRule>& rules,
                  const std::vector<bool>& read);

/// For an .onnx with an operator that the check refuses, which onnxruntime may run all the same.
/// Works the shapes out for the operators that have rules, in a copy, and sets Graph::require_room
/// if the number of images or their size is open. \throws TooSmall
void infer_room(Graph& graph, const std::string& path, const std::vector<InferRule>& rules,
                const std::vector<bool>& read);

}  // namespace lenet
