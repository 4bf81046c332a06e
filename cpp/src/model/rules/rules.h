/// \file
/// The operators that a program may use, and how each works out its outputs' shapes. Each family of
/// operators has a file of its rules here; to add an operator is to add a row there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "model/rules/operator_view.h"

namespace lenet {

/// Dialects that a rule is for.
constexpr unsigned bit(Dialect dialect) { return 1U << static_cast<unsigned>(dialect); }
inline constexpr unsigned kDesc = bit(Dialect::ProgramDesc);
inline constexpr unsigned kPir = bit(Dialect::Pir);
inline constexpr unsigned kPaddle = kDesc | kPir;
inline constexpr unsigned kOnnx = bit(Dialect::Onnx);

/// The operator sets of ONNX that the rules know.
inline constexpr std::int64_t kMinOpset = 7;
inline constexpr std::int64_t kMaxOpset = 21;

/// What operators take and give. Words separated by blanks, in `inputs` and `outputs` in the order
/// of PIR or ONNX. There a name with `?` may be left out, with `!` must be, with `*` it is a list
/// of one or more. In `attributes` it is `name:type`, or `name:type|type`, with `?` when it may be
/// left out. Of a word `one/other` the first is for ProgramDesc, the second for PIR; either may be
/// empty.
struct OperatorRule {
  unsigned dialects;       ///< bits
  std::string_view types;  ///< those of PIR without the `1.` before them
  std::string_view inputs;
  std::string_view outputs;
  std::string_view attributes;
  void (*infer)(OperatorView&);
  std::int64_t first_opset = kMinOpset;
  std::int64_t last_opset = kMaxOpset;
};

/// The rules of one family.
struct RuleRows {
  template <std::size_t kCount>
  constexpr RuleRows(const OperatorRule (&rows)[kCount]) : first(rows), last(rows + kCount) {}
  const OperatorRule* begin() const { return first; }
  const OperatorRule* end() const { return last; }

  const OperatorRule* first;
  const OperatorRule* last;
};

RuleRows activation_rules();
RuleRows constants_rules();
RuleRows convolution_rules();
RuleRows elementwise_rules();
RuleRows linear_rules();
RuleRows normalization_rules();
RuleRows parts_rules();
RuleRows pooling_rules();
RuleRows quantization_rules();
RuleRows reduction_rules();
RuleRows resize_rules();
RuleRows shape_rules();

/// A rule whose words have been read.
struct ParsedRule {
  struct Argument {
    std::string_view name;  ///< in the words
    bool optional = false;
    bool forbidden = false;
    bool list = false;
  };
  struct Attribute {
    unsigned types = 0;  ///< bits, by AttributeType
    bool optional = false;
    bool own = true;  ///< not one of those that any operator may have
  };

  std::vector<Argument> inputs;
  std::vector<Argument> outputs;
  std::map<std::string, Attribute, std::less<>> attributes;
  void (*infer)(OperatorView&) = nullptr;
};

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

}  // namespace lenet
