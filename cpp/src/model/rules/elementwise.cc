// Rules of operators that compute each value from the values at its place, and of activations.

#include <algorithm>
#include <array>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <utility>
#include <vector>

#include "model/graph.h"
#include "model/rules/rules.h"

namespace lenet {
namespace {

void give_broadcast(OperatorView& op, int dtype) {
  const Value& x = op.in("X");
  const Value& y = op.in("Y");
  op.require(x.dtype == y.dtype, "the element type");
  const std::int64_t axis = op.integer("axis", -1);
  if (axis != -1) {  // where the dimensions of the one that has fewer begin in the other
    const auto [fewer, more] = std::minmax({x.shape.size(), y.shape.size()});
    op.require(axis >= 0 && static_cast<std::size_t>(axis) <= more - fewer, "axis");
  }
  op.give("Out", broadcast(op, x.shape, y.shape, axis), dtype);
}

void infer_elementwise(OperatorView& op) { give_broadcast(op, op.in("X").dtype); }

/// Of several tensors, each of which is repeated along the others.
void infer_several(OperatorView& op) {
  const Value& first = op.in("X");
  Shape shape = first.shape;
  for (std::size_t i = 1; i < op.count("X"); ++i) {
    op.require(op.in("X", i).dtype == first.dtype, "the element type");
    shape = broadcast(op, shape, op.in("X", i).shape);
  }
  op.give_shape(shape);
}

void infer_compare(OperatorView& op) { give_broadcast(op, kBool); }

/// Operators of truths give truths.
void infer_logic(OperatorView& op) {
  op.require(op.in("X").dtype == kBool, "the element type");
  if (op.has("Y")) return give_broadcast(op, kBool);
  infer_same(op);
}

/// Combines values of any type, of which 0 is false.
void infer_truth(OperatorView& op) {
  if (op.has("Y")) return give_broadcast(op, kBool);
  op.give("Out", op.in("X").shape, kBool);
}

/// Paddle's kernels of integers end the process (SIGFPE) where they divide the smallest one by -1.
void infer_division(OperatorView& op) {
  const Value& x = op.in("X");
  if (is_real(x.dtype)) return infer_elementwise(op);
  const auto is_moderate = [](std::int64_t number) {
    return number > std::numeric_limits<std::int32_t>::min();
  };
  const auto divides_all = [](std::int64_t by) { return by != 0 && by != -1; };
  const auto divides_moderate = [](std::int64_t by) { return by != 0; };
  const Value& by = op.in("Y");
  const bool sound =
      are_known(by, divides_all) || (are_known(by, divides_moderate) && are_known(x, is_moderate));
  op.checks(sound, "divides integers by what is computed, by 0 or by -1");
  infer_elementwise(op);
}

/// Between X and Y, as far from X as a third tensor says.
void infer_between(OperatorView& op) {
  const Value& x = op.in("X");
  const Value& weight = op.in("Weight");
  op.require(x.dtype == op.in("Y").dtype && x.dtype == weight.dtype, "the element type");
  op.give_shape(broadcast(op, broadcast(op, x.shape, op.in("Y").shape), weight.shape));
}

/// Whether each value is no number, or infinite.
void infer_test(OperatorView& op) { op.give("Out", op.in("X").shape, kBool); }

/// The sum, product, largest or smallest of each value and those before it on an axis.
void infer_cumulative(OperatorView& op) {
  const Value& x = op.in("X");
  op.checks(!op.flag("flatten", false), "goes through all values of all images");
  op.axis(op.integer("axis"), x.shape.size());
  infer_same(op);
  if (op.outputs("Indices") == 0) return;
  const int dtype = op.has_attribute("indices_type")
                        ? dtype_named(op, op.text("indices_type"))
                        : static_cast<int>(op.integer("indices_dtype"));
  op.give("Indices", x.shape, dtype);
}

/// Slopes that are drawn while training, and are their mean otherwise.
void infer_rrelu(OperatorView& op) {
  op.checks(op.flag("is_test"), "draws slopes, as in training");
  infer_same(op);
}

/// The part of matrices above or below a diagonal.
void infer_triangle(OperatorView& op) {
  op.require(op.in("X").shape.size() >= 2, "the rank");
  infer_same(op);
}

void infer_where(OperatorView& op) {
  const Value& condition = op.in("Condition");
  const Value& x = op.in("X");
  const Value& y = op.in("Y");
  op.require(condition.dtype == kBool && x.dtype == y.dtype, "the element type");
  const bool alike = fits(condition.shape, x.shape) && fits(x.shape, y.shape);
  const Shape shape = broadcast(op, broadcast(op, condition.shape, x.shape), y.shape);
  if (!alike && !op.flag("repeats", false)) op.not_checked("chooses between tensors of two shapes");
  op.give_shape(shape);
}

void infer_dropout(OperatorView& op) {
  op.supports(op.integers("training_mode", Integers{0}) == Integers{0}, "training");
  if (!op.flag("is_test", true))
    op.unsupported("drops values as in training; " + std::string(kEvalRemedy));
  const std::string mode = op.text("mode", "upscale_in_train");
  op.require(has_word("upscale_in_train downgrade_in_infer", mode), "the mode");
  infer_same(op);
  op.give("Mask", op.in("X").shape, kBool);
}

void infer_cast(OperatorView& op) {
  const Value& x = op.in("X");
  const int dtype = op.has("Like") ? op.in("Like").dtype
                    : op.has_attribute("to")
                        ? computed_dtype(onnx_element_type(op.integer("to")).dtype)
                    : op.has_attribute("dtype") ? dtype_named(op, op.text("dtype"))
                                                : dtype_numbered(op, "out_dtype");
  op.require(dtype_numbered(op, "in_dtype", x.dtype) == x.dtype, "in_dtype");
  constexpr std::array kTypes = {kBool, kInt32, kInt64, kUint8, kFloat32, kFloat64};
  op.supports(std::count(kTypes.begin(), kTypes.end(), dtype) == 1, "conversion to such a type");
  op.give("Out", x.shape, dtype);
}

/// A copy of its input, known where that is.
void infer_identity(OperatorView& op) { give_rearranged(op, op.in("X").shape); }

/// Maps of names to scores, which are given as the tensor of scores.
void infer_zip_map(OperatorView& op) {
  const Value& x = op.in("X");
  op.supports(x.shape.size() == 2 && x.dtype == kFloat32, "kernel for scores that are not rows");
  const auto classes = op.has_attribute("names")
                           ? op.integer("names")
                           : static_cast<std::int64_t>(op.integers("numbers", Integers()).size());
  op.require(x.shape[1] == kUnknown || x.shape[1] == classes, "the number of its classes");
  infer_same(op);
}

/// Its exponent may be of another type.
void infer_onnx_power(OperatorView& op) {
  op.give_shape(broadcast(op, op.in("X").shape, op.in("Y").shape));
}

/// The absolute values of complex numbers are real.
void infer_abs(OperatorView& op) {
  const Value& x = op.in("X");
  op.give("Out", x.shape, x.dtype == kComplex64 ? kFloat32 : x.dtype);
}

/// The real or imaginary part, and the angle.
void infer_part(OperatorView& op) {
  op.checks(op.in("X").dtype == kComplex64, "takes a part of what is not complex");
  op.give("Out", op.in("X").shape, kFloat32);
}

/// Makes a complex number of two tensors, or of each two numbers along the last axis.
void infer_complex(OperatorView& op) {
  const Value& x = op.in("X");
  op.checks(x.dtype == kFloat32, "makes complex numbers of others than float32");
  Shape shape = x.shape;
  if (op.has("Y")) {
    op.require(op.in("Y").dtype == x.dtype, "the element type");
    shape = broadcast(op, shape, op.in("Y").shape);
  } else {
    op.require(!shape.empty() && shape.back() == 2, "the last size");
    shape.pop_back();
  }
  op.give("Out", shape, kComplex64);
}

/// The two parts of each complex number, along a new last axis.
void infer_as_real(OperatorView& op) {
  Shape shape = op.in("X").shape;
  op.checks(op.in("X").dtype == kComplex64, "takes parts of what is not complex");
  shape.push_back(2);
  op.give("Out", shape, kFloat32);
}

/// Fourier's transform along some axes, of which the last has the half of what is real.
void infer_fourier(OperatorView& op) {
  const Value& x = op.in("X");
  const bool from_real = op.kind() == "fft_r2c";
  const bool to_real = op.kind() == "fft_c2r";
  op.checks(x.dtype == (from_real ? kFloat32 : kComplex64), "transforms such a type");
  op.require(has_word("forward backward ortho", op.text("normalization")), "normalization");
  const std::vector<std::size_t> axes = distinct_axes(op, op.integers("axes"), x.shape.size());
  op.require(!axes.empty(), "the axes");
  Shape shape = x.shape;
  for (const std::size_t axis : axes) {
    if (shape[axis] == kUnknown) op.not_fixed("a size");
    op.require(shape[axis] >= 1, "a size");
  }
  std::int64_t& last = shape[axes.back()];
  if (from_real && op.flag("onesided")) last = last / 2 + 1;
  if (to_real) {
    const std::int64_t given = op.integer("last_dim_size");
    op.checks(given == 0 || given / 2 + 1 == last, "cuts off or adds frequencies");
    op.checks(given > 0, "does not say how many values it gives");
    last = given;
  }
  op.give("Out", shape, to_real ? kFloat32 : kComplex64);
}

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
  channels_last(op, "data_format");
  std::int64_t needed = 1;
  if (mode == "channel") needed = channels_of(op, x.shape);
  if (mode == "element") needed = product(x.shape, 1, x.shape.size());
  op.require(fits(needed, product(alpha.shape, 0, alpha.shape.size())), "the number of slopes");
  infer_same(op);
}

/// The slopes are repeated along the values, not the other way round.
void infer_onnx_prelu(OperatorView& op) {
  const Shape& shape = op.in("X").shape;
  op.require(broadcast(op, shape, op.in("Alpha").shape) == shape, "shapes that do not match");
  infer_same(op);
}

void infer_maxout(OperatorView& op) {
  Shape shape = op.in("X").shape;
  op.require(shape.size() == 4, "the rank");
  const std::size_t axis = op.axis(op.integer("axis"), 4);
  op.require(axis == 1 || axis == 3, "axis");
  const std::int64_t groups = groups_of(op, shape[axis]);
  op.require(groups >= 2, "groups and channels");
  if (shape[axis] != kUnknown) shape[axis] /= groups;
  op.give_shape(shape);
}

constexpr OperatorRule kRules[] = {
    {kPaddle,
     "elementwise_add/add elementwise_sub/subtract elementwise_mul/multiply "
     "elementwise_max/maximum elementwise_min/minimum elementwise_pow",
     "Add Sub Mul Maximum Minimum Pow", "X Y", "Out", "axis:int/", infer_elementwise},
    {kPaddle, "elementwise_div/divide elementwise_floordiv/floor_divide", "Div FloorDiv", "X Y",
     "Out", "axis:int/", infer_division},
    {kPaddle, "greater_than greater_equal less_than less_equal equal not_equal",
     "Greater GreaterOrEqual Less LessOrEqual Equal NotEqual", "X Y", "Out",
     "axis:int/ force_cpu:bool?/", infer_compare},
    {kPaddle, "where", "Where", "Condition X Y", "Out", "", infer_where},
    {kOnnx, "Pow", "", "X Y", "Out", "", infer_onnx_power},
    {kPaddle, "pow", "Pow", "X FactorTensor!/", "Out", "factor>Y:float/y>Y:float", infer_same},
    {kPaddle, "scale", "Scale", "X ScaleTensor!/scale BiasTensor!/", "Out",
     "scale:float/ bias:float/bias:float|double bias_after_scale:bool", infer_same},
    {kPaddle, "dropout", "Dropout", "X Seed! /p", "Out Mask?",
     "dropout_prob>p:float/ is_test:bool dropout_implementation>mode:str/mode:str "
     "fix_seed:bool?/fix_seed:bool seed:int?/seed:int",
     infer_dropout},
    {kPaddle, "sum/add_n", "Sum", "X*", "Out", "", infer_several},
    {kOnnx, "Add Sub Mul Div", "", "X Y", "Out", "", infer_elementwise},
    {kOnnx, "Mod", "", "X Y", "Out", "fmod:long?", infer_elementwise},
    {kOnnx, "Equal Greater GreaterOrEqual Less LessOrEqual", "", "X Y", "Out", "", infer_compare},
    {kOnnx, "And Or Xor", "", "X Y", "Out", "", infer_logic},
    {kOnnx, "Not", "", "X", "Out", "", infer_logic},
    {kOnnx, "IsNaN", "", "X", "Out", "", infer_test},
    {kOnnx, "IsInf", "", "X", "Out", "detect_negative:long? detect_positive:long?", infer_test},
    {kOnnx, "CumSum", "", "X axis", "Out", "exclusive:long? reverse:long?", infer_cumulative},
    {kOnnx, "Trilu", "", "X k?", "Out", "upper:long?", infer_triangle},
    {kOnnx, "Where", "", "Condition X Y", "Out", "+repeats", infer_where},
    {kOnnx, "Neg", "", "X", "Out", "", infer_same},
    {kOnnx, "Max Min Sum Mean", "", "X*", "Out", "", infer_several},
    {kOnnx, "Dropout", "", "X ratio? training_mode?", "Out Mask?", "ratio:float? seed:long?",
     infer_dropout},
    {kOnnx, "Cast", "", "X", "Out", "saturate:long? to:long", infer_cast},
    {kOnnx, "CastLike", "Cast", "X Like", "Out", "saturate:long?", infer_cast},
    {kOnnx, "Identity", "", "X", "Out", "", infer_identity},
    {kOnnx, "ai.onnx.ml.ZipMap", "Identity", "X", "Out",
     "classlabels_strings>names:strs? classlabels_int64s>numbers:longs?", infer_zip_map},
    {kPaddle, "cast", "Cast", "X", "Out", "in_dtype:int/dtype:dtype out_dtype:int/", infer_cast},
    {kPaddle, "abs", "Abs", "X", "Out", "", infer_abs},
    {kPaddle, "assign exp sqrt rsqrt square erf log log1p sin cos floor ceil reciprocal",
     "Identity Exp Sqrt Rsqrt Square Erf Log Log1p Sin Cos Floor Ceil Reciprocal", "X", "Out", "",
     infer_same},
    {kPaddle, "sign tan acos asin atan sinh cosh", "Sign Tan Acos Asin Atan Sinh Cosh", "X", "Out",
     "", infer_same},
    {kPaddle, "acosh asinh atanh expm1 log2 log10 trunc",
     "Acosh Asinh Atanh Expm1 Log2 Log10 Trunc", "X", "Out", "", infer_same},
    {kPaddle, "erfinv lgamma digamma bitwise_not", "", "X", "Out", "", infer_same},
    {kPaddle, "i0 i0e i1 i1e", "", "x>X/X", "out>Out/Out", "", infer_same},
    {kPir, "gammaln", "", "X", "Out", "", infer_same},
    {kPaddle, "logit", "Logit", "X", "Out", "eps:float/eps:float|double", infer_same},
    {kPaddle, "real imag angle", "", "X", "Out", "", infer_part},
    {kPaddle, "conj", "", "X", "Out", "", infer_same},
    {kPaddle, "complex", "", "X Y", "Out", "", infer_complex},
    {kPaddle, "as_complex", "", "X", "Out", "", infer_complex},
    {kPaddle, "as_real", "", "X", "Out", "", infer_as_real},
    {kPaddle, "fft_c2c", "", "X", "Out", "axes:longs normalization:str forward:bool",
     infer_fourier},
    {kPaddle, "fft_r2c", "", "X", "Out", "axes:longs normalization:str forward:bool onesided:bool",
     infer_fourier},
    {kPaddle, "fft_c2r", "", "X", "Out",
     "axes:longs normalization:str forward:bool last_dim_size:long", infer_fourier},
    {kPaddle, "isnan_v2/isnan isinf_v2/isinf isfinite_v2/isfinite", "IsNaN IsInf IsFinite", "X",
     "Out", "", infer_test},
    {kPaddle, "logical_and logical_or logical_xor", "And Or Xor", "X Y", "Out", "axis:int?/",
     infer_truth},
    {kPaddle, "logical_not", "Not", "X", "Out", "", infer_truth},
    {kPaddle, "bitwise_and bitwise_or bitwise_xor", "", "X Y", "Out", "", infer_elementwise},
    {kPaddle, "elementwise_fmax/fmax elementwise_fmin/fmin elementwise_heaviside/heaviside", "",
     "X Y", "Out", "axis:int?/", infer_elementwise},
    {kPaddle, "elementwise_mod/remainder", "Mod", "X Y", "Out", "axis:int?/", infer_division},
    {kPaddle, "atan2", "", "X1>X/X X2>Y/Y", "Out", "", infer_elementwise},
    {kPaddle, "lerp", "", "X Y Weight", "Out", "", infer_between},
    {kPaddle, "cumsum", "CumSum", "X /axis", "Out",
     "axis:int/ flatten:bool exclusive:bool reverse:bool", infer_cumulative},
    {kPaddle, "cumprod", "", "X", "Out", "dim>axis:int exclusive:bool? reverse:bool?",
     infer_cumulative},
    {kPaddle, "logcumsumexp", "", "X", "Out", "axis:int flatten:bool exclusive:bool reverse:bool",
     infer_cumulative},
    {kPaddle, "cummax cummin", "", "x>X/X", "out>Out/Out indices>Indices/Indices",
     "axis:int dtype>indices_dtype:int/dtype>indices_type:dtype", infer_cumulative},
    // `upper` or `lower` says which part stays.
    {kDesc, "tril_triu", "Trilu", "X", "Out", "diagonal>k:int lower:bool", infer_triangle},
    {kPir, "tril", "Trilu", "X", "Out", "diagonal>k:int +lower", infer_triangle},
    {kPir, "triu", "Trilu", "X", "Out", "diagonal>k:int", infer_triangle},
    {kPaddle, "rrelu", "", "X", "Out Noise?", "is_test:bool lower:float upper:float", infer_rrelu},
    {kPaddle, "round", "Round", "X", "Out", "decimals:int?", infer_same},
    // ---- activations
    {kPaddle, "relu sigmoid tanh silu softsign tanh_shrink logsigmoid",
     "Relu Sigmoid Tanh Swish Softsign TanhShrink LogSigmoid", "X", "Out", "", infer_same},
    {kOnnx, "Relu Sigmoid Tanh HardSwish Mish Softplus Softsign Erf Exp Log Sqrt Abs Reciprocal",
     "", "X", "Out", "", infer_same},
    {kOnnx, "Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh Sign", "", "X", "Out", "",
     infer_same},
    {kOnnx, "Floor Ceil Round", "", "X", "Out", "", infer_same},
    {kOnnx, "Shrink", "", "X", "Out", "bias:float? lambd:float?", infer_same},
    {kOnnx, "LeakyRelu Elu Celu ThresholdedRelu Swish", "", "X", "Out", "alpha:float?", infer_same},
    {kOnnx, "Selu", "", "X", "Out", "alpha:float? gamma:float?", infer_same},
    {kOnnx, "HardSigmoid", "", "X", "Out", "alpha:float? beta:float?", infer_same},
    {kOnnx, "Gelu", "", "X", "Out", "approximate:str?", infer_same},
    {kOnnx, "PRelu", "", "X Alpha", "Out", "", infer_onnx_prelu},
    {kPaddle, "relu6", "Relu6", "X", "Out", "threshold:float?/", infer_same},
    {kPaddle, "swish", "Swish", "X", "Out", "beta>alpha:float?/", infer_same},
    {kPaddle, "mish", "Mish", "X", "Out", "threshold:float?/lambda:float", infer_same},
    {kPaddle, "gelu", "Gelu", "X", "Out", "approximate>tanh:bool", infer_same},
    {kPaddle, "elu celu", "Elu Celu", "X", "Out", "alpha:float", infer_same},
    {kPaddle, "selu", "Selu", "X", "Out", "scale>gamma:float alpha:float", infer_same},
    {kPaddle, "leaky_relu", "LeakyRelu", "X", "Out",
     "alpha:float/negative_slope>alpha:float|double", infer_same},
    {kPaddle, "hard_swish/hardswish", "HardSwish", "X", "Out",
     "threshold:float/ scale:float/ offset:float/", infer_same},
    {kPaddle, "hard_sigmoid/hardsigmoid", "HardSigmoid", "X", "Out",
     "slope>alpha:float offset>beta:float", infer_same},
    {kPaddle, "softplus", "Softplus", "X", "Out",
     "beta:float|double=1/beta:float|double threshold:float|double=20/threshold:float|double",
     infer_same},
    {kPaddle, "brelu/hardtanh", "Clip", "X", "Out", "t_min>min:float t_max>max:float", infer_same},
    {kPaddle, "stanh", "ScaledTanh", "X", "Out", "scale_a>alpha:float scale_b>beta:float",
     infer_same},
    {kPaddle, "softshrink", "SoftShrink", "X", "Out", "lambda>lambd:float/threshold>lambd:float",
     infer_same},
    {kPaddle, "hard_shrink/hardshrink", "Shrink", "X", "Out", "threshold>lambd:float", infer_same},
    {kPaddle, "thresholded_relu", "ThresholdedRelu", "X", "Out",
     "threshold>alpha:float value:float?", infer_same},
    {kPaddle, "clip", "Clip", "X Min!/min Max!/max", "Out", "min:float/ max:float/", infer_same},
    {kOnnx, "Clip", "", "X /min? /max?", "Out", "max:float?/ min:float?/", infer_same, 11},
    {kOnnx, "Softmax LogSoftmax Hardmax", "", "X", "Out", "axis:long?", infer_softmax},
    {kPaddle, "softmax log_softmax", "Softmax LogSoftmax", "X", "Out", "axis:int", infer_softmax},
    // `mode` says which values have a slope of their own, whatever the shape of Alpha is.
    {kPaddle, "prelu", "PRelu", "X Alpha", "Out", "mode:str data_format:str=NCHW/data_format:str",
     infer_prelu},
    {kPaddle, "maxout", "", "X", "Out", "groups>group:int axis:int", infer_maxout},
};

}  // namespace

RuleRows elementwise_rules() { return {std::begin(kRules), std::end(kRules)}; }

}  // namespace lenet
