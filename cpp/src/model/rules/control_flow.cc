// Rules of control flow, and of what its conditions are made of. The readers put the operators of
// its blocks before it, where they are checked as all others are; here it takes what they give.

#include "model/rules/rules.h"

namespace lenet {
namespace {

/// Paddle reads one truth value of it.
void require_condition(const OperatorView& op, std::string_view name) {
  const Value& condition = op.in(name);
  if (condition.dtype != kBool) op.not_checked("has a condition that is no truth value");
  const std::int64_t count = product(condition.shape, 0, condition.shape.size());
  if (count != 1) op.not_checked("has a condition of several values");
}

void require_alike(const OperatorView& op, const Value& one, const Value& other,
                   std::string_view what) {
  const bool alike = one.dtype == other.dtype && one.shape.size() == other.shape.size() &&
                     fits(one.shape, other.shape);
  if (alike) return;
  op.not_checked("has " + std::string(what) + " of two types or shapes, " + to_string(one.shape) +
                 " and " + to_string(other.shape));
}

void infer_if(OperatorView& op) {
  require_condition(op, "Condition");
  const std::size_t results = op.outputs("Out");
  op.require(op.count("Then") == results && op.count("Else") == results, "its results");
  for (std::size_t i = 0; i < results; ++i) {
    const Value& one = op.in("Then", i);
    require_alike(op, one, op.in("Else", i), "a result");
    op.give("Out", one.shape, one.dtype, i);
  }
}

/// What the variables of a loop are in each round: as before it, but for what they hold.
void infer_loop_variables(OperatorView& op) {
  op.require(op.count("X") == op.outputs("Out"), "its variables");
  for (std::size_t i = 0; i < op.count("X"); ++i) {
    op.give("Out", op.in("X", i).shape, op.in("X", i).dtype, i);
  }
}

void infer_while(OperatorView& op) {
  require_condition(op, "Condition");
  require_condition(op, "NextCondition");
  const std::size_t results = op.outputs("Out");
  op.require(op.count("X") == results && op.count("Next") == results, "its variables");
  for (std::size_t i = 0; i < results; ++i) {
    const Value& before = op.in("X", i);
    require_alike(op, before, op.in("Next", i), "a variable");
    op.give("Out", before.shape, before.dtype, i);
  }
}

/// A branch of the format before PIR: `Results` is what its block writes into `Out`, if it runs.
void infer_branch(OperatorView& op) {
  require_condition(op, "Cond");
  if (!op.flag("is_scalar_condition", false)) op.not_checked("runs for each of several conditions");
  for (std::size_t i = 0; i < op.outputs("Out"); ++i) {
    const Value& result = op.in("Results", i);
    op.give("Out", result.shape, result.dtype, i);
  }
}

/// The first value where the mask is 0, the second where it is 1.
void infer_choice(OperatorView& op) {
  const Value& mask = op.in("Mask");
  const bool one = product(mask.shape, 0, mask.shape.size()) == 1;
  if (op.count("X") != 2 || mask.dtype != kInt32 || !one) {
    op.not_checked("chooses in another way than an `if` of Paddle");
  }
  require_alike(op, op.in("X", 0), op.in("X", 1), "a result");
  op.give_shape(op.in("X", 0).shape);
}

constexpr OperatorRule kRules[] = {
    {kPir, "if", "If", "Condition Then*? Else*?", "Out*?", "", infer_if},
    {kPir, "loop_variables", "LoopVariables", "X*", "Out*", "", infer_loop_variables},
    {kPir, "while", "While", "Condition X*? NextCondition Next*?", "Out*?", "", infer_while},
    {kDesc, "conditional_block", "Branch", "Cond Input*? Results*?", "Out*? Scope?",
     "is_scalar_condition:bool sub_block:block", infer_branch},
    {kDesc, "select_input", "Choice", "X* Mask", "Out", "", infer_choice},
};

}  // namespace

RuleRows control_flow_rules() { return {std::begin(kRules), std::end(kRules)}; }

}  // namespace lenet
