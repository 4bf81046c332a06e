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
  Shape other = y.shape;
  const std::int64_t axis = op.integer("axis", -1);
  if (axis != -1) {  // where the dimensions of Y begin in X
    op.require(axis >= 0 && static_cast<std::size_t>(axis) + other.size() <= x.shape.size(),
               "axis");
    other.resize(x.shape.size() - static_cast<std::size_t>(axis), 1);
  }
  op.give("Out", broadcast(op, x.shape, other), dtype);
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

/// Of each place the numbers of all inputs put together, of which one that is alone counts for
/// every place; nothing when an input is not known. \param known the list of an input, or nothing
template <typename List, typename Known, typename Combine>
std::optional<List> combined(std::initializer_list<std::string_view> names, const Known& known,
                             const Combine& combine) {
  std::vector<List> lists;
  std::size_t most = 0;
  for (const std::string_view name : names) {
    std::optional<List> list = known(name);
    if (!list || list->empty()) return std::nullopt;
    most = std::max(most, list->size());
    lists.push_back(*std::move(list));
  }
  List result(most);
  for (std::size_t i = 0; i < most; ++i) {
    List numbers;
    for (const List& list : lists) numbers.push_back(list[i % list.size()]);
    result[i] = combine(numbers);
  }
  return result;
}

/// Of lists that shapes are computed from, the numbers too.
/// \param combine is not asked about sizes that are open
template <typename Combine>
void give_combined(OperatorView& op, std::initializer_list<std::string_view> names,
                   const Combine& combine) {
  const auto known = [&](std::string_view name) {
    return op.in(name).shape.size() > 1 ? std::nullopt : op.list(name);
  };
  const auto list = combined<Integers>(names, known, [&](const Integers& numbers) {
    return std::count(numbers.begin(), numbers.end(), kOpen) > 0 ? kOpen : combine(numbers);
  });
  if (list) op.give_contents("Out", *list);
}

/// The same of floating-point numbers. \returns whether the output has such ones
template <typename Combine>
bool give_real(OperatorView& op, std::initializer_list<std::string_view> names,
               const Combine& combine) {
  const int dtype = op.in("X").dtype;
  if (!is_real(dtype)) return false;
  const auto known = [&](std::string_view name) {
    return dtype == kFloat16 ? std::nullopt : known_numbers(op, name);
  };
  const auto list = combined<Numbers>(names, known, [&](const Numbers& numbers) {
    const double number = combine(numbers);
    return dtype == kFloat32 ? static_cast<double>(static_cast<float>(number)) : number;
  });
  if (!list) return true;
  if (std::all_of(list->begin(), list->end(), is_whole)) {
    op.give_contents("Out", Integers(list->begin(), list->end()));
  } else {
    op.give_contents("Out", *list);
  }
  return true;
}

/// A quotient is rounded towards 0, by Paddle downwards: shapes are not computed from negative
/// numbers.
void infer_arithmetic(OperatorView& op) {
  infer_elementwise(op);
  const std::string_view kind = op.kind();
  const bool real =
      has_word("Add Sub Mul Div", kind) && give_real(op, {"X", "Y"}, [&](const Numbers& numbers) {
        const double x = numbers[0];
        const double y = numbers[1];
        return kind == "Add" ? x + y : kind == "Sub" ? x - y : kind == "Mul" ? x * y : x / y;
      });
  if (real) return;
  give_combined(op, {"X", "Y"}, [&](const Integers& numbers) {
    const std::int64_t x = numbers[0];
    const std::int64_t y = numbers[1];
    const bool divides = has_word("Div FloorDiv Mod", kind);
    op.require(!divides || y != 0, "a division by 0");
    std::int64_t result = 0;
    const bool overflows = divides         ? y == -1 && __builtin_sub_overflow(0, x, &result)
                           : kind == "Mul" ? __builtin_mul_overflow(x, y, &result)
                           : kind == "Sub" ? __builtin_sub_overflow(x, y, &result)
                                           : __builtin_add_overflow(x, y, &result);
    op.require(!overflows, "a number out of range");
    if (kind != "Mod") return divides ? x / y : result;
    const std::int64_t rest = x % y;
    const bool follows_x = rest == 0 || (rest < 0) == (y < 0) || op.flag("fmod", false);
    return follows_x ? rest : rest + y;
  });
}

void infer_negation(OperatorView& op) {
  infer_same(op);
  give_combined(op, {"X"}, [&](const Integers& numbers) {
    op.require(numbers[0] != std::numeric_limits<std::int64_t>::min(), "a number out of range");
    return -numbers[0];
  });
}

void infer_onnx_clip(OperatorView& op) {
  infer_same(op);
  constexpr double kMost = std::numeric_limits<double>::max();
  give_real(op, {"X"}, [&](const Numbers& numbers) {
    return std::min(std::max(numbers[0], op.number("min", -kMost)), op.number("max", kMost));
  });
}

void infer_rounding(OperatorView& op) {
  infer_same(op);
  give_real(op, {"X"}, [&](const Numbers& numbers) {
    return op.kind() == "Ceil"    ? std::ceil(numbers[0])
           : op.kind() == "Floor" ? std::floor(numbers[0])
                                  : std::nearbyint(numbers[0]);
  });
}

void infer_compare(OperatorView& op) {
  op.require(op.integer("axis", -1) == -1, "axis");
  give_broadcast(op, kBool);
  const std::string_view kind = op.kind();
  give_combined(op, {"X", "Y"}, [&](const Integers& numbers) -> std::int64_t {
    const std::int64_t x = numbers[0];
    const std::int64_t y = numbers[1];
    const bool less = has_word("Less LessOrEqual", kind);
    if (x != y) return kind == "NotEqual" || (kind != "Equal" && (x < y) == less);
    return has_word("Equal LessOrEqual GreaterOrEqual", kind);
  });
}

/// Of truths.
void infer_logic(OperatorView& op) {
  op.require(op.in("X").dtype == kBool, "the element type");
  if (op.has("Y")) return give_broadcast(op, kBool);
  infer_same(op);
  give_combined(op, {"X"}, [](const Integers& numbers) { return numbers[0] == 0; });
}

/// Whether each value is no number, or infinite.
void infer_test(OperatorView& op) { op.give("Out", op.in("X").shape, kBool); }

/// Not along the first axis, which would join images.
void infer_cumulative_sum(OperatorView& op) {
  const std::size_t axis = op.axis(op.integer("axis"), op.in("X").shape.size());
  op.supports(axis > 0, "kernel for sums along the first axis");
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
  op.require(alike || op.flag("repeats", false), "shapes that do not match");
  op.give_shape(broadcast(op, broadcast(op, condition.shape, x.shape), y.shape));
  give_combined(op, {"Condition", "X", "Y"},
                [](const Integers& numbers) { return numbers[numbers[0] != 0 ? 1 : 2]; });
}

void infer_dropout(OperatorView& op) {
  op.supports(op.integers("training_mode", Integers{0}) == Integers{0}, "training");
  op.require(op.flag("is_test", true), "dropout while not testing");
  const std::string mode = op.text("mode", "upscale_in_train");
  op.require(has_word("upscale_in_train downgrade_in_infer", mode), "the mode");
  infer_same(op);
  op.give("Mask", op.in("X").shape, kBool);
}

/// Of a list that shapes are computed from, the numbers too.
void infer_cast(OperatorView& op) {
  const Value& x = op.in("X");
  const int dtype = op.has("Like")              ? op.in("Like").dtype
                    : op.has_attribute("to")    ? onnx_element_type(op.integer("to")).dtype
                    : op.has_attribute("dtype") ? dtype_named(op, op.text("dtype"))
                                                : static_cast<int>(op.integer("out_dtype"));
  op.require(op.integer("in_dtype", x.dtype) == x.dtype, "in_dtype");
  constexpr std::array kTypes = {kBool, kInt32, kInt64, kUint8, kFloat32, kFloat64};
  op.supports(std::count(kTypes.begin(), kTypes.end(), dtype) == 1, "conversion to such a type");
  op.give("Out", x.shape, dtype);
  const auto list = op.list("X");
  const bool whole = dtype == kInt32 || dtype == kInt64;
  const bool real = dtype == kFloat32 || dtype == kFloat64;
  if (real && op.follows("X")) return op.give_contents("Out", x);  // in its own type
  if (list && whole) return op.give_contents("Out", *list);
  const auto numbers = whole ? known_numbers(op, "X") : std::nullopt;
  const auto fits = [](double number) { return is_whole(std::trunc(number)); };
  if (!numbers || !std::all_of(numbers->begin(), numbers->end(), fits)) return;
  op.give_contents("Out", Integers(numbers->begin(), numbers->end()));
}

/// A copy of its input, known where that is.
void infer_identity(OperatorView& op) { give_rearranged(op, op.in("X").shape); }

void infer_onnx_power(OperatorView& op) {
  const Value& y = op.in("Y");
  op.supports(is_known(y) && count_values(y) == 1, "kernel for a power but one number");
  op.give_shape(broadcast(op, op.in("X").shape, y.shape));
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
  op.require(needed > 0 && product(alpha.shape, 0, alpha.shape.size()) == needed,
             "the number of slopes");
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
  shape[axis] /= groups;
  op.give_shape(shape);
}

constexpr OperatorRule kRules[] = {
    {kPaddle,
     "elementwise_div/divide elementwise_max/maximum elementwise_min/minimum elementwise_pow",
     "Div Maximum Minimum Pow", "X Y", "Out", "axis:int/", infer_elementwise},
    {kPaddle,
     "elementwise_add/add elementwise_sub/subtract elementwise_mul/multiply "
     "elementwise_floordiv/floor_divide",
     "Add Sub Mul FloorDiv", "X Y", "Out", "axis:int/", infer_arithmetic},
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
    {kOnnx, "Add Sub Mul Div", "", "X Y", "Out", "", infer_arithmetic},
    {kOnnx, "Mod", "", "X Y", "Out", "fmod:long?", infer_arithmetic},
    {kOnnx, "Equal Greater GreaterOrEqual Less LessOrEqual", "", "X Y", "Out", "", infer_compare},
    {kOnnx, "And Or Xor", "", "X Y", "Out", "", infer_logic},
    {kOnnx, "Not", "", "X", "Out", "", infer_logic},
    {kOnnx, "IsNaN", "", "X", "Out", "", infer_test},
    {kOnnx, "IsInf", "", "X", "Out", "detect_negative:long? detect_positive:long?", infer_test},
    {kOnnx, "CumSum", "", "X axis", "Out", "exclusive:long? reverse:long? +by_image",
     infer_cumulative_sum},
    {kOnnx, "Trilu", "", "X k?", "Out", "upper:long?", infer_triangle},
    {kOnnx, "Where", "", "Condition X Y", "Out", "+repeats", infer_where},
    {kOnnx, "Neg", "", "X", "Out", "", infer_negation},
    {kOnnx, "Max Min Sum Mean", "", "X*", "Out", "", infer_several},
    {kOnnx, "Dropout", "", "X ratio? training_mode?", "Out Mask?", "ratio:float? seed:long?",
     infer_dropout},
    {kOnnx, "Cast", "", "X", "Out", "saturate:long? to:long", infer_cast},
    {kOnnx, "CastLike", "Cast", "X Like", "Out", "saturate:long?", infer_cast},
    {kOnnx, "Identity", "", "X", "Out", "", infer_identity},
    {kPaddle, "cast", "Cast", "X", "Out", "in_dtype:int/dtype:dtype out_dtype:int/", infer_cast},
    {kPaddle, "assign exp sqrt rsqrt abs square erf log log1p sin cos floor ceil reciprocal",
     "Identity Exp Sqrt Rsqrt Abs Square Erf Log Log1p Sin Cos Floor Ceil Reciprocal", "X", "Out",
     "", infer_same},
    {kPaddle, "round", "Round", "X", "Out", "decimals:int?", infer_same},
    // ---- activations
    {kPaddle, "relu sigmoid tanh silu softsign tanh_shrink logsigmoid",
     "Relu Sigmoid Tanh Swish Softsign TanhShrink LogSigmoid", "X", "Out", "", infer_same},
    {kOnnx, "Relu Sigmoid Tanh HardSwish Mish Softplus Softsign Erf Exp Log Sqrt Abs Reciprocal",
     "", "X", "Out", "", infer_same},
    {kOnnx, "Sin Cos Tan Asin Acos Atan Sinh Cosh Sign", "", "X", "Out", "", infer_same},
    {kOnnx, "Floor Ceil Round", "", "X", "Out", "", infer_rounding},
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
    {kPaddle, "stanh", "", "X", "Out", "scale_a:float scale_b:float", infer_same},
    {kPaddle, "softshrink", "", "X", "Out", "lambda:float/threshold:float", infer_same},
    {kPaddle, "hard_shrink/hardshrink", "", "X", "Out", "threshold:float", infer_same},
    {kPaddle, "thresholded_relu", "", "X", "Out", "threshold:float value:float?", infer_same},
    {kPaddle, "clip", "Clip", "X Min!/min Max!/max", "Out", "min:float/ max:float/", infer_same},
    {kOnnx, "Clip", "", "X /min? /max?", "Out", "max:float?/ min:float?/", infer_onnx_clip, 11},
    {kOnnx, "Softmax LogSoftmax Hardmax", "", "X", "Out", "axis:long?", infer_softmax},
    {kPaddle, "softmax log_softmax", "Softmax LogSoftmax", "X", "Out", "axis:int", infer_softmax},
    {kPaddle, "prelu", "", "X Alpha", "Out", "mode:str data_format:str=NCHW/data_format:str",
     infer_prelu},
    {kPaddle, "maxout", "", "X", "Out", "groups>group:int axis:int", infer_maxout},
};

}  // namespace

RuleRows elementwise_rules() { return {std::begin(kRules), std::end(kRules)}; }

}  // namespace lenet
