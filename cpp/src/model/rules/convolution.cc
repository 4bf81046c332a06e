// Rules of convolutions, and of those that are transposed.

#include <algorithm>
#include <array>

#include "model/contents.h"
#include "model/rules/rules.h"
#include "model/rules/support.h"
#include "model/rules/windows.h"

namespace lenet {
namespace {

void infer_conv(OperatorView& op) {
  const Value& input = op.in("Input");
  const Value& filter = op.in("Filter");
  if (op.is_onnx()) {
    op.supports(is_known(filter), "convolution whose filter is not constant");
    op.supports(input.shape.size() == 4 && filter.shape.size() == 4,
                "convolution but in two dimensions");
  }
  op.require(input.shape.size() == 4 && filter.shape.size() == 4, "the rank");
  op.require(input.dtype == filter.dtype, "the element type");
  for (const std::int64_t size : filter.shape) op.require(size > 0, "the filter is empty");
  const auto [channel, image] = layout_of(op, input.shape, "data_format");
  const std::int64_t channels = input.shape[channel];
  const std::int64_t groups = op.integer(op.present({"groups", "group"}), 1);
  op.require(groups >= 1 && filter.shape[0] % groups == 0 && channels > 0 &&
                 channels % groups == 0 && filter.shape[1] == channels / groups,
             "groups and channels");
  const Integers kernel = {filter.shape[2], filter.shape[3]};
  op.require(op.integers("kernel_shape", kernel) == kernel, "kernel_shape");
  require_vector(op, "Bias", filter.shape[0]);
  const WindowPlan plan =
      plan_window(op, kernel, {input.shape[image], input.shape[image + 1]}, false);
  Shape shape = input.shape;
  shape[channel] = filter.shape[0];
  for (std::size_t i = 0; i < 2; ++i) shape[image + i] = plan.outputs[i];
  op.count_work(volume(shape) * volume(filter.shape) / static_cast<double>(filter.shape[0]));
  op.give("Output", shape, input.dtype);
}

void infer_conv_transpose(OperatorView& op) {
  const Value& input = op.in("Input");
  const Value& filter = op.in("Filter");
  op.require(input.shape.size() == 4 && filter.shape.size() == 4, "the rank");
  op.require(input.dtype == filter.dtype, "the element type");
  for (const std::int64_t size : filter.shape) op.require(size > 0, "the filter");
  const auto [channel, image] = layout_of(op, input.shape, "data_format");
  const std::int64_t groups = op.integer("groups");
  const std::int64_t channels = input.shape[channel];
  op.require(groups >= 1 && channels > 0 && channels % groups == 0 && filter.shape[0] == channels,
             "groups and channels");
  op.require(op.integers("output_size").empty(), "a size of the output");
  // With SAME or VALID Paddle works paddings out when it runs.
  op.require(op.text("padding_algorithm") == "EXPLICIT", "padding_algorithm");
  const Integers strides = op.integers("strides");
  const Integers dilations = op.integers("dilations");
  const std::array<std::int64_t, 4> padding = explicit_padding(op);
  Integers extra = op.integers("output_padding");
  require_range(op, strides, 2, 1, kMaxStep, "strides");
  require_range(op, dilations, 2, 1, kMaxStep, "dilations");
  if (extra.empty()) extra = {0, 0};
  require_range(op, extra, 2, 0, kMaxStep, "output_padding");
  Shape shape = input.shape;
  shape[channel] = filter.shape[1] * groups;
  for (std::size_t i = 0; i < 2; ++i) {
    op.require(extra[i] == 0 || extra[i] < std::max(strides[i], dilations[i]), "output_padding");
    const std::int64_t extent = dilations[i] * (filter.shape[i + 2] - 1) + 1;
    const std::int64_t before = padding[2 * i];
    const std::int64_t after = padding[2 * i + 1];
    std::int64_t& size = shape[image + i];
    if (size == kUnknown) {
      op.require(before < extent && after < extent, "a padding as wide as the window");
      continue;
    }
    size = (size - 1) * strides[i] - before - after + extent + extra[i];
    op.require(size >= 1, "the size of the output");
  }
  op.count_work(volume(input.shape) * volume(filter.shape) / static_cast<double>(filter.shape[0]));
  op.give("Output", shape, input.dtype);
}

constexpr OperatorRule kRules[] = {
    // The attributes are stored as Paddle 3.1 to 3.3 store them; the kernels and passes take that
    // on
    // trust.
    {kPaddle, "conv2d depthwise_conv2d", "Input Filter", "Output",
     "strides:ints paddings:ints padding_algorithm:str dilations:ints groups:int data_format:str",
     infer_conv},
    {kOnnx, "Conv", "Input Filter Bias?", "Output",
     "auto_pad:str? dilations:longs? group:long? kernel_shape:longs? pads:longs? strides:longs?",
     infer_conv},
    {kPaddle, "conv2d_transpose depthwise_conv2d_transpose", "Input Filter Bias!/output_size",
     "Output",
     "strides:ints paddings:ints output_padding:ints/output_padding:ints|empty output_size:ints/ "
     "padding_algorithm:str dilations:ints groups:int data_format:str",
     infer_conv_transpose},
};

}  // namespace

RuleRows convolution_rules() { return kRules; }

}  // namespace lenet
