// Rules of operators that compute each value from the values at its place.

#include "model/rules/rules.h"
#include "model/rules/support.h"

namespace lenet {
namespace {

void infer_elementwise(OperatorView& op) {
  const Value& x = op.in("X");
  const Value& y = op.in("Y");
  op.require(x.dtype == y.dtype, "the element type");
  Shape other = y.shape;
  const std::int64_t axis = op.integer("axis", -1);
  if (axis != -1) {  // where the dimensions of Y begin in X
    op.require(axis >= 0 && static_cast<std::size_t>(axis) + other.size() <= x.shape.size(),
               "axis");
    other.resize(x.shape.size() - static_cast<std::size_t>(axis), 1);
  }
  op.give("Out", broadcast(op, x.shape, other), x.dtype);
}

void infer_compare(OperatorView& op) {
  const Value& x = op.in("X");
  const Value& y = op.in("Y");
  op.require(x.dtype == y.dtype, "the element type");
  op.require(op.integer("axis", -1) == -1, "axis");
  op.give("Out", broadcast(op, x.shape, y.shape), kBool);
}

void infer_where(OperatorView& op) {
  const Value& condition = op.in("Condition");
  const Value& x = op.in("X");
  const Value& y = op.in("Y");
  op.require(condition.dtype == kBool && x.dtype == y.dtype, "the element type");
  op.require(condition.shape.size() == x.shape.size() && x.shape.size() == y.shape.size(),
             "the rank");
  for (std::size_t i = 0; i < x.shape.size(); ++i) {
    op.require(fits(condition.shape[i], x.shape[i]) && fits(x.shape[i], y.shape[i]),
               "shapes that do not match");
  }
  op.give_like("Out", x);
}

void infer_dropout(OperatorView& op) {
  op.require(op.flag("is_test"), "dropout while not testing");
  const std::string mode = op.text(op.present({"dropout_implementation", "mode"}));
  op.require(mode == "upscale_in_train" || mode == "downgrade_in_infer", "the mode");
  infer_same(op);
  op.give("Mask", op.in("X").shape, kUint8);
}

void infer_cast(OperatorView& op) {
  const Value& x = op.in("X");
  if (!op.has_attribute("out_dtype")) {
    op.give("Out", x.shape, dtype_named(op, op.text("dtype")));
    return;
  }
  op.require(op.integer("in_dtype") == x.dtype, "in_dtype");
  const auto dtype = static_cast<int>(op.integer("out_dtype"));
  constexpr int kFloat64 = 6;
  op.require(dtype == kBool || dtype == kInt32 || dtype == kInt64 || dtype == kUint8 ||
                 dtype == kFloat32 || dtype == kFloat64,
             "out_dtype");
  op.give("Out", x.shape, dtype);
}

void infer_onnx_dropout(OperatorView& op) {
  op.supports(op.integers("training_mode", Integers{0}) == Integers{0}, "training");
  infer_same(op);
  op.give("Mask", op.in("X").shape, kBool);
}

/// Of ONNX: a copy of its input, known where that is.
void infer_identity(OperatorView& op) { give_rearranged(op, op.in("X").shape); }

void infer_onnx_cast(OperatorView& op) {
  constexpr std::int64_t kOnnxFloat32 = 1;
  constexpr std::int64_t kOnnxInt32 = 6;
  constexpr std::int64_t kOnnxInt64 = 7;
  const Value& x = op.in("X");
  const std::int64_t to = op.integer("to");
  if (!op.is_constant()) {
    op.supports(to == kOnnxFloat32, "kernel for another type than float32");
    return op.give("Out", x.shape, kFloat32);
  }
  op.supports(to == kOnnxInt32 || to == kOnnxInt64, "such conversion of a constant");
  op.give("Out", x.shape, to == kOnnxInt32 ? kInt32 : kInt64);
  op.give_contents("Out", op.integers("X"));
}

constexpr OperatorRule kRules[] = {
    {kDesc,
     "elementwise_add elementwise_sub elementwise_mul elementwise_div elementwise_max "
     "elementwise_min elementwise_pow",
     "X Y", "Out", "axis:int", infer_elementwise},
    {kPir, "add subtract multiply divide maximum minimum elementwise_pow", "X Y", "Out", "",
     infer_elementwise},
    {kDesc, "greater_than greater_equal less_than less_equal equal not_equal", "X Y", "Out",
     "axis:int force_cpu:bool?", infer_compare},
    {kPir, "greater_than greater_equal less_than less_equal equal not_equal", "X Y", "Out", "",
     infer_compare},
    {kPaddle, "where", "Condition X Y", "Out", "", infer_where},
    {kDesc, "pow", "X FactorTensor!", "Out", "factor:float", infer_same},
    {kPir, "pow", "X", "Out", "y:float", infer_same},
    {kDesc, "scale", "X ScaleTensor! BiasTensor!", "Out",
     "scale:float bias:float bias_after_scale:bool", infer_same},
    {kPir, "scale", "X scale", "Out", "bias:float|double bias_after_scale:bool", infer_same},
    {kDesc, "dropout", "X Seed!", "Out Mask?",
     "dropout_prob:float is_test:bool dropout_implementation:str fix_seed:bool? seed:int?",
     infer_dropout},
    {kPir, "dropout", "X Seed! p", "Out Mask?", "is_test:bool mode:str seed:int fix_seed:bool",
     infer_dropout},
    {kOnnx, "Add Mul", "X Y", "Out", "", infer_elementwise},
    {kOnnx, "Dropout", "X ratio? training_mode?", "Out Mask?", "ratio:float? seed:long?",
     infer_onnx_dropout},
    {kOnnx, "Cast", "X", "Out", "saturate:long? to:long", infer_onnx_cast},
    {kOnnx, "Identity", "X", "Out", "", infer_identity},
    {kDesc, "cast", "X", "Out", "in_dtype:int out_dtype:int", infer_cast},
    {kPir, "cast", "X", "Out", "dtype:dtype", infer_cast},
    {kPaddle, "assign exp sqrt rsqrt abs square erf log log1p sin cos floor ceil reciprocal", "X",
     "Out", "", infer_same},
};

}  // namespace

RuleRows elementwise_rules() { return kRules; }

}  // namespace lenet
