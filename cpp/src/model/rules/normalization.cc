// Rules of normalizations.

#include "model/rules/rules.h"
#include "model/rules/support.h"

namespace lenet {
namespace {

void infer_batch_norm(OperatorView& op) {
  const Value& x = op.in("X");
  op.require(x.shape.size() <= 5, "the rank");
  const std::int64_t channels =
      channels_of(op, x.shape, op.present({"data_layout", "data_format"}));
  for (const char* name : {"Scale", "Bias", "Mean", "Variance"}) {
    op.require(op.has(name), name);
    require_vector(op, name, channels);
  }
  op.require(op.flag("is_test") || op.flag("use_global_stats"), "normalization while not testing");
  op.require(!op.flag("trainable_statistics"), "trainable_statistics");
  op.give_like("Y", x);
  op.give("MeanOut", {channels}, op.in("Mean").dtype);
  op.give("VarianceOut", {channels}, op.in("Variance").dtype);
  // Of training only; Paddle leaves them undeclared in some programs.
  for (const char* name : {"SavedMean", "SavedVariance"}) op.give_unused(name, {channels});
}

void infer_onnx_batch_norm(OperatorView& op) {
  op.supports(!op.flag("training_mode", false), "training");
  op.supports(op.flag("spatial", true), "normalization of each value");
  const Value& x = op.in("X");
  op.supports(x.shape.size() >= 2, "normalization without channels");
  for (const char* name : {"Scale", "Bias", "Mean", "Variance"}) {
    require_vector(op, name, x.shape[1]);
  }
  op.give_like("Y", x);
}

void infer_layer_norm(OperatorView& op) {
  const Value& x = op.in("X");
  const std::int64_t begin = op.integer("begin_norm_axis");
  op.require(begin >= 1 && static_cast<std::size_t>(begin) < x.shape.size(), "begin_norm_axis");
  const auto from = static_cast<std::size_t>(begin);
  const std::int64_t size = product(x.shape, from, x.shape.size());
  require_vector(op, "Scale", size);
  require_vector(op, "Bias", size);
  op.give_like("Y", x);
  const Shape leading(x.shape.begin(), x.shape.begin() + begin);
  const Shape flat = {product(x.shape, 0, from)};  // as the format before PIR has it
  for (const char* name : {"Mean", "Variance"}) {
    op.give(name, op.declared(name).shape.size() == 1 ? flat : leading, x.dtype);
  }
}

void infer_group_norm(OperatorView& op) {
  const Value& x = op.in("X");
  const std::int64_t channels =
      channels_of(op, x.shape, op.present({"data_layout", "data_format"}));
  const std::int64_t groups = op.integer("groups");
  op.require(channels > 0 && groups >= 1 && groups <= channels && channels % groups == 0,
             "groups and channels");
  require_vector(op, "Scale", channels);
  require_vector(op, "Bias", channels);
  op.give_like("Y", x);
  op.give("Mean", {x.shape[0], groups}, x.dtype);
  op.give("Variance", {x.shape[0], groups}, x.dtype);
}

constexpr OperatorRule kRules[] = {
    {kPaddle, "batch_norm/batch_norm_", "X Mean Variance Scale Bias MomentumTensor?/",
     "Y MeanOut VarianceOut SavedMean SavedVariance ReserveSpace?",
     "is_test:bool momentum:float epsilon:float data_layout:str/data_format:str "
     "use_global_stats:bool trainable_statistics:bool",
     infer_batch_norm},
    {kOnnx, "BatchNormalization", "X Scale Bias Mean Variance", "Y",
     "epsilon:float? momentum:float? spatial:long? training_mode:long?", infer_onnx_batch_norm},
    {kPaddle, "layer_norm", "X Scale? Bias?", "Y Mean Variance",
     "epsilon:float/epsilon:float|double begin_norm_axis:int", infer_layer_norm},
    {kPaddle, "group_norm", "X Scale? Bias?", "Y Mean Variance",
     "epsilon:float/epsilon:float|double groups:int data_layout:str/data_format:str",
     infer_group_norm},
};

}  // namespace

RuleRows normalization_rules() { return kRules; }

}  // namespace lenet
