// Rules of windows in three dimensions, [N, channels, depth, height, width], and of windows whose
// places are computed.

#include <array>

#include "model/graph.h"
#include "model/rules/rules.h"
#include "model/rules/windows.h"

namespace lenet {
namespace {

constexpr std::size_t kAxes = 3;

using Sizes = std::array<std::int64_t, kAxes>;

/// What each axis of an image is padded by, before and behind.
struct Padding {
  Sizes before;
  Sizes behind;
};

/// \pre data_format is checked
Padding padding_of(const OperatorView& op) {
  const std::string mode = op.text("auto_pad", "EXPLICIT");
  op.require(has_word("EXPLICIT VALID SAME", mode), "padding_algorithm");
  op.checks(mode != "SAME", "pads three axes so that their sizes stay");
  Integers pads = op.integers("pads");
  if (pads.size() == kAxes) pads = {pads[0], pads[0], pads[1], pads[1], pads[2], pads[2]};
  require_range(op, pads, 2 * kAxes, 0, kMaxStep, "paddings");
  if (mode == "VALID") pads.assign(2 * kAxes, 0);
  return {{pads[0], pads[2], pads[4]}, {pads[1], pads[3], pads[5]}};
}

void require_volume(const OperatorView& op) {
  op.require(op.in("X").shape.size() == 2 + kAxes, "the rank");
  const std::string layout = op.text("data_format", "NCDHW");
  op.checks(has_word("NCDHW NCHW AnyLayout", layout), "has channels that come last");
}

void infer_pool3d(OperatorView& op) {
  require_volume(op);
  op.require(has_word("max avg", op.text("pooling_type", "max")), "pooling_type");
  Shape shape = op.in("X").shape;
  Integers kernel = op.integers("kernel_shape");
  const Integers strides = op.integers("strides");
  require_range(op, kernel, kAxes, 1, kMaxStep, "kernel sizes");
  require_range(op, strides, kAxes, 1, kMaxStep, "strides");
  const Padding padding = padding_of(op);
  const bool global = op.flag("global_pooling");
  const bool adaptive = op.flag("adaptive");
  const bool ceil = op.flag("ceil_mode", false);
  for (std::size_t i = 0; i < kAxes; ++i) {
    std::int64_t& size = shape[i + 2];
    if (global || adaptive) {
      size = global ? 1 : kernel[i];
      continue;
    }
    op.checks(padding.before[i] < kernel[i] && padding.behind[i] < kernel[i],
              "pads by a whole window");
    if (size == kUnknown) op.not_fixed("a size");
    const std::int64_t room = size + padding.before[i] + padding.behind[i] - kernel[i];
    if (room < 0) op.too_small(ErrorCode::BadModel);
    size = (room + (ceil ? strides[i] - 1 : 0)) / strides[i] + 1;
  }
  op.count_work(volume(shape) * static_cast<double>(kernel[0] * kernel[1]) *
                static_cast<double>(kernel[2]));
  op.give_shape(shape);
  if (op.outputs("Mask") > 0) op.give("Mask", shape, kInt32);
}

void infer_conv3d(OperatorView& op) {
  require_volume(op);
  const Value& x = op.in("X");
  const Value& filter = op.in("Filter");
  op.require(filter.shape.size() == 2 + kAxes && filter.dtype == x.dtype, "the filter");
  for (const std::int64_t size : filter.shape) op.require(size > 0, "the filter is empty");
  const std::int64_t groups = groups_of(op, x.shape[1]);
  op.require(filter.shape[0] % groups == 0 && fits(x.shape[1], filter.shape[1] * groups),
             "groups and channels");
  const Integers strides = op.integers("strides");
  const Integers dilations = op.integers("dilations");
  require_range(op, strides, kAxes, 1, kMaxStep, "strides");
  require_range(op, dilations, kAxes, 1, kMaxStep, "dilations");
  const Padding padding = padding_of(op);
  Shape shape = x.shape;
  shape[1] = filter.shape[0];
  for (std::size_t i = 0; i < kAxes; ++i) {
    std::int64_t& size = shape[i + 2];
    if (size == kUnknown) op.not_fixed("a size");
    const std::int64_t extent = (filter.shape[i + 2] - 1) * dilations[i] + 1;
    const std::int64_t room = size + padding.before[i] + padding.behind[i] - extent;
    if (room < 0) op.too_small(ErrorCode::BadModel);
    size = room / strides[i] + 1;
  }
  op.count_work(volume(shape) * volume(filter.shape) / static_cast<double>(filter.shape[0]));
  op.give_shape(shape);
}

/// A convolution each of whose windows has places that Offset moves, and weights of Mask. A place
/// outside the image, or none, counts as 0.
void infer_deformable(OperatorView& op) {
  const Value& x = op.in("X");
  const Value& filter = op.in("Filter");
  const Value& offset = op.in("Offset");
  op.require(x.shape.size() == 4 && filter.shape.size() == 4, "the rank");
  op.require(x.dtype == filter.dtype && x.dtype == offset.dtype, "the element type");
  for (const std::int64_t size : filter.shape) op.require(size > 0, "the filter is empty");
  const std::int64_t groups = groups_of(op, x.shape[1]);
  const std::int64_t parts = op.integer("deformable_groups");
  op.require(filter.shape[0] % groups == 0 && fits(x.shape[1], filter.shape[1] * groups),
             "groups and channels");
  op.require(parts >= 1 && (x.shape[1] == kUnknown || x.shape[1] % parts == 0),
             "deformable_groups");
  op.require(op.integer("im2col_step") >= 1, "im2col_step");
  op.checks(op.integer("im2col_step") == 1, "takes several images in one step");
  const Integers kernel = {filter.shape[2], filter.shape[3]};
  const WindowPlan plan = plan_window(op, kernel, {x.shape[2], x.shape[3]}, false);
  const std::int64_t places = kernel[0] * kernel[1] * parts;
  op.require(fits(offset.shape, {x.shape[0], 2 * places, plan.outputs[0], plan.outputs[1]}),
             "the shape of Offset");
  if (op.has("Mask")) {
    op.require(fits(op.in("Mask").shape, {x.shape[0], places, plan.outputs[0], plan.outputs[1]}),
               "the shape of Mask");
  }
  const Shape shape = {x.shape[0], filter.shape[0], plan.outputs[0], plan.outputs[1]};
  op.count_work(volume(shape) * volume(filter.shape) / static_cast<double>(filter.shape[0]));
  op.give_shape(shape);
}

constexpr OperatorRule kRules[] = {
    {kPaddle, "conv3d", "", "Input>X Filter", "Output>Out",
     "strides:ints paddings>pads:ints padding_algorithm>auto_pad:str dilations:ints "
     "groups>group:int data_format:str",
     infer_conv3d},
    {kPaddle, "pool3d", "", "X", "Out",
     "ksize>kernel_shape:ints/kernel_size>kernel_shape:longs strides:ints/strides:longs "
     "paddings>pads:ints/paddings>pads:longs ceil_mode:bool exclusive:bool data_format:str "
     "pooling_type:str global_pooling:bool adaptive:bool padding_algorithm>auto_pad:str",
     infer_pool3d},
    {kPaddle, "max_pool3d_with_index", "", "X", "Out Mask",
     "ksize>kernel_shape:ints/kernel_size>kernel_shape:ints strides:ints paddings>pads:ints "
     "global_pooling:bool adaptive:bool ceil_mode:bool?/ceil_mode:bool",
     infer_pool3d},
    {kPaddle, "deformable_conv", "", "Input>X/X Offset Filter Mask?", "Output>Out/Out",
     "strides:ints paddings>pads:ints dilations:ints deformable_groups:int groups>group:int "
     "im2col_step:int +in_pairs",
     infer_deformable},
};

}  // namespace

RuleRows volume_rules() { return {std::begin(kRules), std::end(kRules)}; }

}  // namespace lenet
