// Rules of operators that reduce: pools of windows, and those that reduce axes to one value each.

#include <array>

#include "model/rules/rules.h"
#include "model/rules/windows.h"

namespace lenet {
namespace {

void give_pooled(OperatorView& op) {
  const Value& input = op.in("X");
  // A signal is an image of one row.
  const bool line = is_line(op);
  const std::size_t image = line ? 2 : layout_of(op, input.shape).image;
  Integers kernel = pool_kernel(op);
  const bool global = op.flag("global_pooling", !op.is_given("kernel_shape"));
  const bool adaptive = op.flag("adaptive", false) || global;
  if (global) kernel = {1, 1};
  std::array<std::int64_t, 2> sizes = {line ? 1 : input.shape[image],
                                       input.shape[line ? image : image + 1]};
  if (adaptive) sizes = {kUnknown, kUnknown};  // the windows share the image out
  const WindowPlan plan = plan_window(op, kernel, sizes, true);
  const bool may_exceed = op.kind() == "MaxPool" || op.flag("in_pairs", false);
  if (plan.exceeds_image && !may_exceed) {
    // ONNX does not say what such a sum is divided by.
    op.refuse_later("pool with a window larger than the image");
  }
  Shape shape = input.shape;
  for (std::size_t i = line ? 1 : 0; i < 2; ++i) {
    shape[image + i - (line ? 1 : 0)] = adaptive ? kernel[i] : plan.outputs[i];
  }
  // An adaptive or global window covers the image once.
  op.count_work(volume(shape) * static_cast<double>(kernel[0] * kernel[1]));
  op.give_shape(shape);
}

void infer_pool(OperatorView& op) {
  const std::string kind = op.text("pooling_type", "max");
  op.require(has_word("max avg", kind), "pooling_type");
  give_pooled(op);
}

void infer_adaptive_max_pool(OperatorView& op) {
  const Value& x = op.in("X");
  op.require(x.shape.size() == 4, "the rank");
  if (!op.flag("adaptive") || op.flag("global_pooling")) {
    op.not_checked("pools with positions (return_mask) in another way than an adaptive pool");
  }
  const Integers kernel = pool_kernel(op);
  require_range(op, kernel, 2, 1, kMaxStep, "kernel sizes");
  require_range(op, op.integers("strides"), 2, 1, kMaxStep, "strides");
  require_range(op, op.integers("pads"), 2, 0, 0, "paddings");
  const Shape shape = {x.shape[0], x.shape[1], kernel[0], kernel[1]};
  op.count_work(volume(x.shape));
  op.give_shape(shape);
}

/// Sums may be said to be of another type; those of truths count them.
int reduced_dtype(const OperatorView& op) {
  const int given = op.in("X").dtype;
  if (has_word("reduce_all reduce_any all any", op.kind())) return kBool;
  if (op.kind() != "ReduceSum") return given;
  const std::int64_t said = op.integer("out_dtype", -1);
  if (said >= 0) return static_cast<int>(said);
  const bool may_grow = given == kBool || given == kInt32;
  // Programs of 1.8 declare sums of int32 as int32, those of 2.0 or later as int64.
  if (!op.has_attribute("dtype")) {
    return may_grow && op.declared("Out").dtype == kInt64 ? kInt64 : given;
  }
  const ElementType& named = element_type_named(op.text("dtype"));
  if (named.dtype >= 0) return named.dtype;
  return may_grow ? kInt64 : given;
}

void infer_reduce(OperatorView& op) {
  const Value& x = op.in("X");
  if (op.flag("asvector", false)) op.not_checked("takes the norm of a whole batch");
  const bool keep = op.flag("keepdims", true);
  const Integers axes = op.integers("axes", Integers());
  if (axes.empty() && op.flag("noop_with_empty_axes", false)) return infer_same(op);
  const bool all = axes.empty() || op.flag("reduce_all", false);
  std::vector<bool> gone(x.shape.size(), all);
  // A number has one axis for Paddle, which takes nothing away.
  const std::size_t rank = std::max<std::size_t>(x.shape.size(), 1);
  for (const std::int64_t given : axes) {
    const std::size_t axis = op.axis(given, rank);
    if (axis < gone.size()) gone[axis] = true;
  }
  Shape shape;
  for (std::size_t i = 0; i < gone.size(); ++i) {
    if (!gone[i]) shape.push_back(x.shape[i]);
    if (gone[i] && keep) shape.push_back(1);
  }
  op.give("Out", shape, reduced_dtype(op));
}

/// The mean of all values of all images.
void infer_mean_of_all(OperatorView& op) { op.give_shape({}); }

/// The number of which a pool takes the norm.
void infer_norm_pool(OperatorView& op) {
  op.require(op.text("pooling_type") == "lp", "pooling_type");
  const double norm = op.number("norm_type");
  op.require(norm > 0, "norm_type");
  give_pooled(op);
}

constexpr OperatorRule kRules[] = {
    // Which of its pools Paddle means is said by the attributes (kind_of).
    {kPaddle, "pool2d", "MaxPool", "X /kernel_shape", "Out",
     "ksize>kernel_shape:ints/ strides:ints/strides:longs paddings>pads:ints/paddings>pads:longs "
     "ceil_mode:bool exclusive:bool data_format:str pooling_type:str global_pooling:bool "
     "adaptive:bool padding_algorithm>auto_pad:str +in_pairs",
     infer_pool},
    {kOnnx, "MaxPool", "", "X", "Out",
     "auto_pad:str? ceil_mode:long? dilations:longs? kernel_shape:longs pads:longs? "
     "storage_order:long? strides:longs?",
     infer_pool},
    {kOnnx, "AveragePool", "", "X", "Out",
     "auto_pad:str? ceil_mode:long? count_include_pad:long? dilations:longs? kernel_shape:longs "
     "pads:longs? strides:longs?",
     infer_pool},
    {kOnnx, "GlobalMaxPool GlobalAveragePool", "", "X", "Out", "", infer_pool},
    {kPaddle, "max_pool2d_with_index", "MaxPool", "X", "Out Mask",
     "ksize>kernel_shape:ints/kernel_size>kernel_shape:ints strides:ints paddings>pads:ints "
     "global_pooling:bool adaptive:bool ceil_mode:bool?/ceil_mode:bool +in_pairs",
     infer_adaptive_max_pool},
    {kDesc, "reduce_mean reduce_sum reduce_max reduce_min",
     "ReduceMean ReduceSum ReduceMax ReduceMin", "X", "Out",
     "dim>axes:ints keep_dim>keepdims:bool reduce_all:bool in_dtype:int? out_dtype:int?",
     infer_reduce},
    {kDesc, "reduce_amax reduce_amin", "ReduceMax ReduceMin", "X AxisTensor! AxisTensorList!",
     "Out", "dim>axes:longs keep_dim>keepdims:bool reduce_all:bool in_dtype:int? out_dtype:int?",
     infer_reduce},
    {kDesc, "reduce_prod", "ReduceProd", "X", "Out",
     "dim>axes:ints keep_dim>keepdims:bool reduce_all:bool in_dtype:int? out_dtype:int?",
     infer_reduce},
    {kDesc, "reduce_all reduce_any", "", "X AxisTensor! AxisTensorList!", "Out",
     "dim>axes:longs keep_dim>keepdims:bool reduce_all:bool in_dtype:int? out_dtype:int?",
     infer_reduce},
    {kDesc, "frobenius_norm", "ReduceL2", "X", "Out",
     "dim>axes:ints keep_dim>keepdims:bool reduce_all:bool in_dtype:int? out_dtype:int?",
     infer_reduce},
    {kPir, "frobenius_norm", "ReduceL2", "X axes", "Out", "keep_dim>keepdims:bool reduce_all:bool",
     infer_reduce},
    {kPir, "prod", "ReduceProd", "X axes", "Out", "keepdim>keepdims:bool reduce_all:bool",
     infer_reduce},
    {kPir, "all any", "", "X", "Out", "axis>axes:longs keepdim>keepdims:bool", infer_reduce},
    {kPaddle, "mean/mean_all", "", "X", "Out", "", infer_mean_of_all},
    {kPir, "lp_pool2d", "", "X", "Out",
     "kernel_size>kernel_shape:dims strides:longs paddings>pads:longs ceil_mode:bool "
     "exclusive:bool data_format:str pooling_type:str global_pooling:bool adaptive:bool "
     "padding_algorithm>auto_pad:str norm_type:float +in_pairs",
     infer_norm_pool},
    {kPir, "mean max min", "ReduceMean ReduceMax ReduceMin", "X axes", "Out",
     "keepdim>keepdims:bool", infer_reduce},
    {kPir, "sum", "ReduceSum", "X axes", "Out", "dtype:dtype keepdim>keepdims:bool", infer_reduce},
    {kPir, "amax amin", "ReduceMax ReduceMin", "X", "Out", "axis>axes:longs keepdim>keepdims:bool",
     infer_reduce},
    {kOnnx,
     "ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceSumSquare ReduceLogSum "
     "ReduceLogSumExp",
     "", "X /axes?", "Out", "axes:longs?/ keepdims:long? /noop_with_empty_axes:long?", infer_reduce,
     18},
    {kOnnx, "ReduceSum", "", "X /axes?", "Out",
     "axes:longs?/ keepdims:long? /noop_with_empty_axes:long?", infer_reduce, 13},
    {kPaddle, "logsumexp", "ReduceLogSumExp", "X", "Out",
     "axis>axes:ints|longs keepdim>keepdims:bool reduce_all:bool", infer_reduce},
    {kPaddle, "p_norm", "ReduceLp", "X", "Out",
     "porder>p:float axis>axes:int epsilon:float keepdim>keepdims:bool "
     "asvector:bool=false/asvector:bool",
     infer_reduce},
};

}  // namespace

RuleRows pooling_rules() { return {std::begin(kRules), std::end(kRules)}; }

}  // namespace lenet
