// Rules of pools.

#include "model/rules/rules.h"
#include "model/rules/support.h"
#include "model/rules/windows.h"

namespace lenet {
namespace {

void infer_pool(OperatorView& op) {
  const Value& input = op.in("X");
  op.require(input.shape.size() == 4, "the rank");
  const bool last = channels_last(op, "data_format");
  const std::size_t image = last ? 1 : 2;
  const std::string& kind = op.text("pooling_type");
  op.require(kind == "max" || kind == "avg", "pooling_type");
  Window window{op.integers("ksize"), op.integers("strides"), {1, 1}, op.integers("paddings"), {},
                op.flag("ceil_mode")};
  Shape shape = input.shape;
  if (window.kernel.size() == 1) window.kernel.push_back(window.kernel[0]);
  const bool global = op.flag("global_pooling");
  if (op.flag("adaptive") || global) {
    if (global) window.kernel = {1, 1};
    require_window(op, window);
    for (std::size_t i = 0; i < 2; ++i) shape[image + i] = window.kernel[i];
  } else {
    require_window(op, window);
    for (std::size_t i = 0; i < 2; ++i) {
      shape[image + i] = windowed(op, input.shape[image + i], window, i, true);
    }
  }
  // An adaptive or global window covers the image once.
  op.count_work(volume(shape) * static_cast<double>(window.kernel[0] * window.kernel[1]));
  op.give("Out", shape, input.dtype);
}

void infer_adaptive_max_pool(OperatorView& op) {
  const Value& x = op.in("X");
  op.require(x.shape.size() == 4, "the rank");
  op.require(op.flag("adaptive") && !op.flag("global_pooling"),
             "pooling with positions, not adaptive");
  const Integers kernel = op.integers(op.has_attribute("ksize") ? "ksize" : "kernel_size");
  require_range(op, kernel, 2, 1, kMaxStep, "kernel sizes");
  require_range(op, op.integers("strides"), 2, 1, kMaxStep, "strides");
  require_range(op, op.integers("paddings"), 2, 0, 0, "paddings");
  const Shape shape = {x.shape[0], x.shape[1], kernel[0], kernel[1]};
  op.count_work(volume(x.shape));
  op.give("Out", shape, x.dtype);
  op.give("Mask", shape, kInt32);
}

constexpr OperatorRule kRules[] = {
    {kDesc, "pool2d", "X", "Out",
     "ksize:ints strides:ints paddings:ints ceil_mode:bool exclusive:bool data_format:str "
     "pooling_type:str global_pooling:bool adaptive:bool padding_algorithm:str",
     infer_pool},
    {kPir, "pool2d", "X ksize", "Out",
     "strides:longs paddings:longs ceil_mode:bool exclusive:bool data_format:str pooling_type:str "
     "global_pooling:bool adaptive:bool padding_algorithm:str",
     infer_pool},
    {kDesc, "max_pool2d_with_index", "X", "Out Mask",
     "ksize:ints strides:ints paddings:ints global_pooling:bool adaptive:bool ceil_mode:bool?",
     infer_adaptive_max_pool},
    {kPir, "max_pool2d_with_index", "X", "Out Mask",
     "kernel_size:ints strides:ints paddings:ints global_pooling:bool adaptive:bool "
     "ceil_mode:bool",
     infer_adaptive_max_pool},
};

}  // namespace

RuleRows pooling_rules() { return kRules; }

}  // namespace lenet
