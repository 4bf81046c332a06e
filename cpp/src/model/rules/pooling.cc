// Rules of pools.

#include <array>
#include <string>

#include "model/rules/rules.h"
#include "model/rules/support.h"
#include "model/rules/windows.h"

namespace lenet {
namespace {

void infer_pool(OperatorView& op) {
  const Value& input = op.in("X");
  op.supports(!op.is_onnx() || input.shape.size() == 4, "pool but in two dimensions");
  const std::size_t image = layout_of(op, input.shape, "data_format").image;
  const std::string kind = op.text("pooling_type", "max");
  op.require(has_word("max avg", kind), "pooling_type");
  Integers kernel = pool_kernel(op);
  const bool global = op.flag("global_pooling", false);
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

/// Of ONNX: one window, which is the image.
void infer_global_pool(OperatorView& op) {
  Shape shape = op.in("X").shape;
  op.supports(shape.size() == 4, "pool but in two dimensions");
  shape[2] = shape[3] = 1;
  op.give_shape(shape);
}

void infer_adaptive_max_pool(OperatorView& op) {
  const Value& x = op.in("X");
  op.require(x.shape.size() == 4, "the rank");
  op.require(op.flag("adaptive") && !op.flag("global_pooling"),
             "pooling with positions, not adaptive");
  const Integers kernel = pool_kernel(op);
  require_range(op, kernel, 2, 1, kMaxStep, "kernel sizes");
  require_range(op, op.integers("strides"), 2, 1, kMaxStep, "strides");
  require_range(op, op.integers("paddings"), 2, 0, 0, "paddings");
  const Shape shape = {x.shape[0], x.shape[1], kernel[0], kernel[1]};
  op.count_work(volume(x.shape));
  op.give_shape(shape);
  op.give("Mask", shape, kInt32);
}

constexpr OperatorRule kRules[] = {
    {kPaddle, "pool2d", "X /ksize", "Out",
     "ksize:ints/ strides:ints/strides:longs paddings:ints/paddings:longs ceil_mode:bool "
     "exclusive:bool data_format:str pooling_type:str global_pooling:bool adaptive:bool "
     "padding_algorithm:str",
     infer_pool},
    {kOnnx, "MaxPool", "X", "Out",
     "auto_pad:str? ceil_mode:long? dilations:longs? kernel_shape:longs pads:longs? "
     "storage_order:long? strides:longs?",
     infer_pool},
    {kOnnx, "AveragePool", "X", "Out",
     "auto_pad:str? ceil_mode:long? count_include_pad:long? dilations:longs? kernel_shape:longs "
     "pads:longs? strides:longs?",
     infer_pool},
    {kOnnx, "GlobalMaxPool GlobalAveragePool", "X", "Out", "", infer_global_pool},
    {kPaddle, "max_pool2d_with_index", "X", "Out Mask",
     "ksize:ints/kernel_size:ints strides:ints paddings:ints global_pooling:bool adaptive:bool "
     "ceil_mode:bool?/ceil_mode:bool",
     infer_adaptive_max_pool},
};

}  // namespace

RuleRows pooling_rules() { return kRules; }

}  // namespace lenet
