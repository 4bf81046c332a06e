#include "model/rules/windows.h"

#include <algorithm>
#include <string>

#include "model/rules/support.h"

namespace lenet {
namespace {

enum class Padding { Explicit, Valid, Same, SameLower };

Padding padding_of(const OperatorView& op) {
  const bool onnx = op.is_onnx();
  const std::string mode =
      onnx ? op.text("auto_pad", "NOTSET") : op.text("padding_algorithm", "EXPLICIT");
  if (mode == (onnx ? "NOTSET" : "EXPLICIT")) return Padding::Explicit;
  if (mode == "VALID") return Padding::Valid;
  if (mode == (onnx ? "SAME_UPPER" : "SAME")) return Padding::Same;
  op.require(onnx && mode == "SAME_LOWER", onnx ? "auto_pad" : "padding_algorithm");
  return Padding::SameLower;
}

/// How many windows there are along one side. Of a pool, Paddle divides towards zero, so that a
/// window may be larger than the image by less than the stride; and with SAME it rounds up where
/// ceil_mode is set, for which a window shorter than the stride leaves something to round.
std::int64_t count_paddle(const OperatorView& op, std::int64_t room, std::int64_t stride,
                          bool pool) {
  const std::int64_t outputs = room / stride + 1;
  if (pool && outputs == 0) op.unsupported("pools to an empty tensor; use a larger image");
  op.require(room >= 0 || (pool && outputs > 0), "a window larger than the image");
  return outputs;
}

std::int64_t count_onnx(const OperatorView& op, std::int64_t room, std::int64_t stride, bool pool,
                        bool ceil, std::int64_t end) {
  op.require(pool || room >= 0, "a window larger than the image");
  op.supports(room >= 0, "pool with a window larger than the image");
  const std::int64_t outputs = (ceil ? (room + stride - 1) / stride : room / stride) + 1;
  // Of a pool a window that would begin behind the image is left out.
  return ceil && (outputs - 1) * stride >= end ? outputs - 1 : outputs;
}

}  // namespace

std::array<std::int64_t, 4> explicit_padding(const OperatorView& op) {
  if (op.is_onnx()) {
    const Integers pads = op.integers("pads", Integers{0, 0, 0, 0});
    require_range(op, pads, 4, 0, kMaxStep, "pads");
    return {pads[0], pads[2], pads[1], pads[3]};
  }
  const Integers paddings = op.integers("paddings");
  const bool pairs = paddings.size() == 4;
  require_range(op, paddings, pairs ? 4 : 2, 0, kMaxStep, "paddings");
  if (pairs) return {paddings[0], paddings[1], paddings[2], paddings[3]};
  return {paddings[0], paddings[0], paddings[1], paddings[1]};
}

WindowPlan plan_window(const OperatorView& op, const Integers& kernel,
                       const std::array<std::int64_t, 2>& sizes, bool pool) {
  const Integers strides = op.integers("strides", Integers{1, 1});
  Integers dilations = op.integers("dilations", Integers{1, 1});
  std::array<std::int64_t, 4> padding = explicit_padding(op);
  require_range(op, kernel, 2, 1, kMaxStep, "kernel sizes");
  require_range(op, strides, 2, 1, kMaxStep, "strides");
  require_range(op, dilations, 2, 1, kMaxStep, "dilations");
  const Padding mode = padding_of(op);
  const bool same = mode == Padding::Same || mode == Padding::SameLower;
  const bool ceil = pool && op.flag("ceil_mode", false);
  if (op.is_onnx()) {
    op.require(mode == Padding::Explicit || padding == std::array<std::int64_t, 4>{},
               "both pads and auto_pad");
    op.supports(mode == Padding::Explicit || !ceil, "kernel for ceil_mode with auto_pad");
    op.supports(dilations == Integers{1, 1} || !(same || pool), "kernel for such dilations");
  } else if (same) {
    dilations = {1, 1};  // where Paddle pads so that the sizes stay, it leaves dilation out
  }
  WindowPlan plan;
  for (std::size_t i = 0; i < 2; ++i) {
    const std::int64_t stride = strides[i];
    const std::int64_t extent = (kernel[i] - 1) * dilations[i] + 1;
    std::int64_t& before = padding[2 * i];
    std::int64_t& after = padding[2 * i + 1];
    if (mode != Padding::Explicit) before = after = 0;
    const bool open = sizes[i] == kUnknown;
    if (same && !open) {
      const std::int64_t needed =
          ((sizes[i] + stride - 1) / stride - 1) * stride + extent - sizes[i];
      // onnxruntime cuts values off before the image where it pads by a negative number.
      op.supports(!op.is_onnx() || needed >= -1, "kernel for auto_pad with such a stride");
      const std::int64_t all = std::max<std::int64_t>(needed, 0);
      before = mode == Padding::Same ? all / 2 : all - all / 2;
      after = all - before;
    }
    if (op.is_onnx() && pool) {
      op.require(before < extent && after < extent, "a padding as wide as the window");
    }
    const std::int64_t room = sizes[i] + before + after - extent;
    std::int64_t& outputs = plan.outputs[i];
    if (open) {
      outputs = kUnknown;
    } else if (op.is_onnx()) {
      outputs = count_onnx(op, room, stride, pool, ceil, sizes[i] + before);
    } else {
      outputs = count_paddle(op, room + (ceil ? stride - 1 : 0), stride, pool);
    }
    plan.window.kernel[i] = kernel[i];
    plan.window.strides[i] = stride;
    plan.window.dilations[i] = dilations[i];
  }
  plan.window.padding = padding;
  return plan;
}

Integers pool_kernel(const OperatorView& op) {
  Integers kernel = op.integers(op.present({"kernel_shape", "kernel_size", "ksize"}));
  if (kernel.size() == 1 && !op.is_onnx()) kernel.push_back(kernel[0]);
  return kernel;
}

}  // namespace lenet
