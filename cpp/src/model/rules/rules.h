/// \file
/// The operators that a program may use, and how each works out its outputs' shapes. Each family of
/// operators has a file of its rules here; to add an operator is to add a row there.
#pragma once

#include <cstddef>
#include <string_view>

#include "model/rules/operator_view.h"

namespace lenet {

/// Dialects that a rule is for.
constexpr unsigned bit(Dialect dialect) { return 1U << static_cast<unsigned>(dialect); }
inline constexpr unsigned kDesc = bit(Dialect::ProgramDesc);
inline constexpr unsigned kPir = bit(Dialect::Pir);
inline constexpr unsigned kPaddle = kDesc | kPir;

/// What operators take and give. Words separated by blanks; in `inputs` and `outputs` a name with
/// `?` may be left out, with `*` it is a list of one or more, in the order of PIR; in `attributes`
/// it is `name:type`, or `name:type|type`, with `?` when it may be left out.
struct OperatorRule {
  unsigned dialects;       ///< bits
  std::string_view types;  ///< those of PIR without the `1.` before them
  std::string_view inputs;
  std::string_view outputs;
  std::string_view attributes;
  void (*infer)(OperatorView&);
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

/// \returns null for an operator that is not known.
const OperatorRule* find_rule(std::string_view type, Dialect dialect);

/// The attributes that any operator may have besides its own; it has no others. Of the format
/// before PIR those that Paddle from 2.0 on writes: of training, of its passes and of quantization.
std::string_view common_attributes(Dialect dialect);

}  // namespace lenet
