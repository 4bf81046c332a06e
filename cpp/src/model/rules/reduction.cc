// Rules of operators that reduce axes to one value each.

#include <vector>

#include "model/rules/rules.h"
#include "model/rules/support.h"

namespace lenet {
namespace {

void infer_reduce(OperatorView& op) {
  const Value& x = op.in("X");
  op.require(!x.shape.empty(), "the rank");
  op.supports(!op.is_onnx() || op.is_given("axes"), "operator without axes");
  const bool keep = op.flag(op.present({"keep_dim", "keepdim", "keepdims"}), true);
  const Integers axes = op.integers(op.present({"dim", "axis", "axes"}));
  const bool all = axes.empty() || op.flag("reduce_all", false);
  std::vector<bool> gone(x.shape.size(), all);
  for (const std::int64_t given : axes) gone[op.axis(given, x.shape.size())] = true;
  Shape shape;
  for (std::size_t i = 0; i < gone.size(); ++i) {
    if (!gone[i]) shape.push_back(x.shape[i]);
    if (gone[i] && keep) shape.push_back(1);
  }
  op.give_shape(shape);
}

void infer_p_norm(OperatorView& op) {
  op.require(!op.flag("asvector"), "the norm of a whole batch");
  infer_reduce(op);
}

constexpr OperatorRule kRules[] = {
    {kDesc, "reduce_mean reduce_sum reduce_max reduce_min", "X", "Out",
     "dim:ints keep_dim:bool reduce_all:bool in_dtype:int? out_dtype:int?", infer_reduce},
    {kDesc, "reduce_amax reduce_amin", "X AxisTensor! AxisTensorList!", "Out",
     "dim:longs keep_dim:bool reduce_all:bool in_dtype:int? out_dtype:int?", infer_reduce},
    {kPir, "mean max min", "X axis", "Out", "keepdim:bool", infer_reduce},
    {kPir, "sum", "X axis", "Out", "dtype:dtype keepdim:bool", infer_reduce},
    {kPir, "amax amin", "X", "Out", "axis:longs|empty keepdim:bool", infer_reduce},
    {kOnnx, "ReduceMean", "X", "Out", "axes:longs? keepdims:long?", infer_reduce, kMinOpset, 17},
    {kOnnx, "ReduceMean", "X axes?", "Out", "keepdims:long? noop_with_empty_axes:long?",
     infer_reduce, 18},
    {kPaddle, "logsumexp", "X", "Out",
     "axis:ints|longs/axis:ints|longs|empty keepdim:bool reduce_all:bool", infer_reduce},
    {kPaddle, "p_norm", "X", "Out",
     "porder:float axis:int epsilon:float keepdim:bool asvector:bool", infer_p_norm},
};

}  // namespace

RuleRows reduction_rules() { return kRules; }

}  // namespace lenet
