// Rules of operators that reduce: pools of windows, and those that reduce axes to one value each.

#include <array>

#include "model/rules/rules.h"
#include "model/rules/windows.h"

namespace lenet {
namespace {

void infer_pool(OperatorView& op) {
  const Value& input = op.in("X");
  const std::size_t image = layout_of(op, input.shape).image;
  const std::string kind = op.text("pooling_type", "max");
  op.require(has_word("max avg", kind), "pooling_type");
  Integers kernel = pool_kernel(op);
  const bool global = op.flag("global_pooling", !op.is_given("kernel_shape"));
  const bool adaptive = op.flag("adaptive", false) || global;
  if (global) kernel = {1, 1};
  std::array<std::int64_t, 2> sizes = {input.shape[image], input.shape[image + 1]};
  if (adaptive) sizes = {kUnknown, kUnknown};  // the windows share the image out
  const WindowPlan plan = plan_window(op, kernel, sizes, true);
  Shape shape = input.shape;
  for (std::size_t i = 0; i < 2; ++i) shape[image + i] = adaptive ? kernel[i] : plan.outputs[i];
  // An adaptive or global window covers the image once.
  op.count_work(volume(shape) * static_cast<double>(kernel[0] * kernel[1]));
  op.give_shape(shape);
}

/// The means over channels side by side that paddle.nn.LocalResponseNorm takes.
void infer_channel_means(OperatorView& op) {
  Shape shape = op.in("X").shape;
  op.require(shape.size() == 5, "the rank");
  const Integers kernel = op.integers("kernel_shape");
  require_range(op, kernel, 3, 1, kMaxStep, "kernel sizes");
  const bool plain = kernel[1] == 1 && kernel[2] == 1 && op.integers("strides") == Integers(3, 1) &&
                     op.integers("pads") == Integers(3, 0) && !op.flag("ceil_mode") &&
                     !op.flag("global_pooling") && !op.flag("adaptive") &&
                     op.text("pooling_type") == "avg" && op.text("data_format") == "NCDHW" &&
                     op.text("auto_pad") == "EXPLICIT";
  if (!plain) op.not_checked("pools three axes in another way than a LocalResponseNorm");
  if (shape[2] == kUnknown) op.not_fixed("a number of channels");
  op.require(shape[2] >= kernel[0], "a window that is larger than what it lies on");
  shape[2] -= kernel[0] - 1;
  op.count_work(volume(shape) * static_cast<double>(kernel[0]));
  op.give_shape(shape);
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

void infer_reduce(OperatorView& op) {
  const Value& x = op.in("X");
  if (x.shape.empty()) op.not_checked("reduces a single number");
  if (op.flag("asvector", false)) op.not_checked("takes the norm of a whole batch");
  const bool keep = op.flag("keepdims", true);
  const Integers axes = op.integers("axes", Integers());
  if (axes.empty() && op.flag("noop_with_empty_axes", false)) return infer_same(op);
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

constexpr OperatorRule kRules[] = {
    {kPaddle, "pool2d", "pool2d", "X /kernel_shape", "Out",
     "ksize>kernel_shape:ints/ strides:ints/strides:longs paddings>pads:ints/paddings>pads:longs "
     "ceil_mode:bool exclusive:bool data_format:str pooling_type:str global_pooling:bool "
     "adaptive:bool padding_algorithm>auto_pad:str +in_pairs",
     infer_pool},
    {kPaddle, "pool3d", "", "X", "Out",
     "ksize>kernel_shape:ints/kernel_size>kernel_shape:longs strides:ints/strides:longs "
     "paddings>pads:ints/paddings>pads:longs ceil_mode:bool exclusive:bool data_format:str "
     "pooling_type:str global_pooling:bool adaptive:bool padding_algorithm>auto_pad:str",
     infer_channel_means},
    {kOnnx, "MaxPool", "", "X", "Out",
     "auto_pad:str? ceil_mode:long? dilations:longs? kernel_shape:longs pads:longs? "
     "storage_order:long? strides:longs? +by_image",
     infer_pool},
    {kOnnx, "AveragePool", "", "X", "Out",
     "auto_pad:str? ceil_mode:long? count_include_pad:long? dilations:longs? kernel_shape:longs "
     "pads:longs? strides:longs? +by_image",
     infer_pool},
    {kOnnx, "GlobalMaxPool GlobalAveragePool", "", "X", "Out", "", infer_pool},
    {kPaddle, "max_pool2d_with_index", "", "X", "Out Mask",
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
    {kPir, "mean max min", "ReduceMean ReduceMax ReduceMin", "X axes", "Out",
     "keepdim>keepdims:bool", infer_reduce},
    {kPir, "sum", "ReduceSum", "X axes", "Out", "dtype:dtype keepdim>keepdims:bool", infer_reduce},
    {kPir, "amax amin", "ReduceMax ReduceMin", "X", "Out",
     "axis>axes:longs|empty keepdim>keepdims:bool", infer_reduce},
    {kOnnx,
     "ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceSumSquare ReduceLogSum "
     "ReduceLogSumExp",
     "", "X /axes?", "Out", "axes:longs?/ keepdims:long? /noop_with_empty_axes:long?", infer_reduce,
     18},
    {kOnnx, "ReduceSum", "", "X /axes?", "Out",
     "axes:longs?/ keepdims:long? /noop_with_empty_axes:long?", infer_reduce, 13},
    {kPaddle, "logsumexp", "ReduceLogSumExp", "X", "Out",
     "axis>axes:ints|longs/axis>axes:ints|longs|empty keepdim>keepdims:bool reduce_all:bool",
     infer_reduce},
    {kPaddle, "p_norm", "", "X", "Out",
     "porder:float axis>axes:int epsilon:float keepdim>keepdims:bool "
     "asvector:bool=false/asvector:bool",
     infer_reduce},
};

}  // namespace

RuleRows pooling_rules() { return {std::begin(kRules), std::end(kRules)}; }

}  // namespace lenet
