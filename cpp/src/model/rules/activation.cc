// Rules of activations.

#include "model/rules/rules.h"
#include "model/rules/support.h"

namespace lenet {
namespace {

void infer_softmax(OperatorView& op) {
  op.axis(softmax_axis(op), op.in("X").shape.size());
  infer_same(op);
}

void infer_prelu(OperatorView& op) {
  const Value& x = op.in("X");
  const Value& alpha = op.in("Alpha");
  op.require(x.dtype == alpha.dtype, "the element type");
  const std::string mode = op.text("mode");
  op.require(has_word("all channel element", mode), "the mode");
  op.require(mode == "all" || x.shape.size() >= 2, "the rank");
  const bool last = channels_last(op, "data_format");
  std::int64_t needed = 1;
  if (mode == "channel") needed = last ? x.shape.back() : x.shape[1];
  if (mode == "element") needed = product(x.shape, 1, x.shape.size());
  op.require(needed > 0 && product(alpha.shape, 0, alpha.shape.size()) == needed,
             "the number of slopes");
  infer_same(op);
}

void infer_maxout(OperatorView& op) {
  Shape shape = op.in("X").shape;
  op.require(shape.size() == 4, "the rank");
  const std::size_t axis = op.axis(op.integer("axis"), 4);
  op.require(axis == 1 || axis == 3, "axis");
  const std::int64_t groups = op.integer("groups");
  op.require(groups >= 2 && shape[axis] > 0 && shape[axis] % groups == 0, "groups and channels");
  shape[axis] /= groups;
  op.give_shape(shape);
}

constexpr OperatorRule kRules[] = {
    {kPaddle, "relu sigmoid tanh silu softsign tanh_shrink logsigmoid", "X", "Out", "", infer_same},
    {kOnnx, "Relu", "X", "Out", "", infer_same},
    {kPaddle, "relu6", "X", "Out", "threshold:float?/", infer_same},
    {kPaddle, "swish", "X", "Out", "beta:float?/", infer_same},
    {kPaddle, "mish", "X", "Out", "threshold:float?/lambda:float", infer_same},
    {kPaddle, "gelu", "X", "Out", "approximate:bool", infer_same},
    {kPaddle, "elu celu", "X", "Out", "alpha:float", infer_same},
    {kPaddle, "selu", "X", "Out", "scale:float alpha:float", infer_same},
    {kPaddle, "leaky_relu", "X", "Out", "alpha:float/negative_slope:float|double", infer_same},
    {kPaddle, "hard_swish/hardswish", "X", "Out", "threshold:float/ scale:float/ offset:float/",
     infer_same},
    {kPaddle, "hard_sigmoid/hardsigmoid", "X", "Out", "slope:float offset:float", infer_same},
    {kPaddle, "softplus", "X", "Out", "beta:float|double threshold:float|double", infer_same},
    {kPaddle, "brelu/hardtanh", "X", "Out", "t_min:float t_max:float", infer_same},
    {kPaddle, "softshrink", "X", "Out", "lambda:float/threshold:float", infer_same},
    {kPaddle, "hard_shrink/hardshrink", "X", "Out", "threshold:float", infer_same},
    {kPaddle, "thresholded_relu", "X", "Out", "threshold:float value:float?", infer_same},
    {kPaddle, "clip", "X Min!/min Max!/max", "Out", "min:float/ max:float/", infer_same},
    {kOnnx, "Clip", "X", "Out", "max:float? min:float?", infer_same, kMinOpset, 10},
    {kOnnx, "Clip", "X min? max?", "Out", "", infer_same, 11},
    {kOnnx, "Softmax", "X", "Out", "axis:long?", infer_softmax},
    {kPaddle, "softmax log_softmax", "X", "Out", "axis:int", infer_softmax},
    {kPaddle, "prelu", "X Alpha", "Out", "mode:str data_format:str", infer_prelu},
    {kPaddle, "maxout", "X", "Out", "groups:int axis:int", infer_maxout},
};

}  // namespace

RuleRows activation_rules() { return kRules; }

}  // namespace lenet
