#include "model/rules/windows.h"

#include <algorithm>
#include <string>

#include "model/rules/support.h"

namespace lenet {
namespace {

/// How many windows there are along one side.
/// \param room that the first window may move; \param end of the image, with what is before it
std::int64_t count_windows(const OperatorView& op, std::int64_t room, std::int64_t stride,
                           std::int64_t end, bool pool, bool ceil) {
  const std::int64_t steps = room + (ceil ? stride - 1 : 0);
  const std::int64_t outputs = steps / stride + 1;
  if (!pool) {
    if (room < 0) op.too_small(ErrorCode::BadModel);
    return outputs;
  }
  // Frameworks divide towards zero, so that a pool's window may be larger than the image by less
  // than the stride.
  if (op.flag("in_pairs", false)) {
    // With SAME and ceil_mode Paddle rounds up what a short window leaves.
    if (outputs < 0) op.too_small(ErrorCode::BadModel);
    constexpr std::string_view kEmpty = "pools to an empty tensor; use a larger image";
    if (outputs == 0) op.too_small(ErrorCode::Unsupported, kEmpty);
    return outputs;
  }
  if (room <= -stride) op.too_small(ErrorCode::Unsupported);
  // A window that would begin behind the image is left out.
  return ceil && (outputs - 1) * stride >= end ? outputs - 1 : outputs;
}

/// The numbers that an attribute has for height and width.
Integers of_axes(const OperatorView& op, std::string_view name) {
  const bool line = is_line(op);
  Integers found = op.integers(name, Integers(line ? 1 : 2, 1));
  op.require(!line || found.size() == 1, "the number of ", name);
  if (line) found.insert(found.begin(), 1);
  return found;
}

}  // namespace

bool is_line(const OperatorView& op) {
  const bool windows_of_image = op.kind() == "Col2Im";  // in one row; the image is what it gives
  return !op.flag("in_pairs", false) && op.in("X").shape.size() == 3 && !windows_of_image;
}

std::array<std::int64_t, 4> explicit_padding(const OperatorView& op) {
  const bool in_pairs = op.flag("in_pairs", false);
  if (is_line(op)) {
    const Integers pads = op.integers("pads", Integers{0, 0});
    require_range(op, pads, 2, 0, kMaxStep, "pads");
    return {0, 0, pads[0], pads[1]};
  }
  Integers pads = op.integers("pads", Integers{0, 0, 0, 0});
  if (in_pairs && pads.size() == 2) pads = {pads[0], pads[0], pads[1], pads[1]};
  require_range(op, pads, 4, 0, kMaxStep, in_pairs ? "paddings" : "pads");
  if (!in_pairs) std::swap(pads[1], pads[2]);
  return {pads[0], pads[1], pads[2], pads[3]};
}

WindowPlan plan_window(const OperatorView& op, const Integers& kernel,
                       const std::array<std::int64_t, 2>& sizes, bool pool) {
  const Integers strides = of_axes(op, "strides");
  Integers dilations = of_axes(op, "dilations");
  std::array<std::int64_t, 4> padding = explicit_padding(op);
  require_range(op, kernel, 2, 1, kMaxStep, "kernel sizes");
  require_range(op, strides, 2, 1, kMaxStep, "strides");
  require_range(op, dilations, 2, 1, kMaxStep, "dilations");
  const bool paddle = op.flag("in_pairs", false);
  const std::string mode = op.text("auto_pad", paddle ? "EXPLICIT" : "NOTSET");
  op.require(has_word(paddle ? "EXPLICIT VALID SAME" : "NOTSET VALID SAME_UPPER SAME_LOWER", mode),
             paddle ? "padding_algorithm" : "auto_pad");
  const bool is_explicit = mode == "NOTSET" || mode == "EXPLICIT";
  const bool same = mode.compare(0, 4, "SAME") == 0;
  const bool ceil = pool && op.flag("ceil_mode", false);
  if (!paddle) {
    op.require(is_explicit || padding == std::array<std::int64_t, 4>{}, "both pads and auto_pad");
  } else if (same) {
    dilations = {1, 1};  // where Paddle pads so that the sizes stay, it leaves dilation out
  }
  WindowPlan plan;
  for (std::size_t i = 0; i < 2; ++i) {
    const std::int64_t stride = strides[i];
    const std::int64_t extent = (kernel[i] - 1) * dilations[i] + 1;
    std::int64_t& before = padding[2 * i];
    std::int64_t& after = padding[2 * i + 1];
    if (!is_explicit) before = after = 0;
    const bool open = sizes[i] == kUnknown;
    if (same && !open) {
      const std::int64_t needed =
          ((sizes[i] + stride - 1) / stride - 1) * stride + extent - sizes[i];
      // onnxruntime cuts values off before the image where it pads by a negative number.
      op.supports(paddle || needed >= -1, "kernel for auto_pad with such a stride");
      const std::int64_t all = std::max<std::int64_t>(needed, 0);
      before = mode == "SAME_LOWER" ? all - all / 2 : all / 2;
      after = all - before;
    }
    if (!paddle && pool) {
      op.require(before < extent && after < extent, "a padding as wide as the window");
    }
    const std::int64_t room = sizes[i] + before + after - extent;
    plan.exceeds_image |= !open && room < 0;
    plan.outputs[i] =
        open ? kUnknown : count_windows(op, room, stride, sizes[i] + before, pool, ceil);
    plan.window.kernel[i] = kernel[i];
    plan.window.strides[i] = stride;
    plan.window.dilations[i] = dilations[i];
  }
  plan.window.padding = padding;
  // An image that is too small is refused before: onnxruntime might end the process.
  op.supports(paddle || is_explicit || !ceil, "kernel for ceil_mode with auto_pad");
  op.supports(paddle || !same || dilations == Integers{1, 1}, "kernel for such dilations");
  return plan;
}

Integers pool_kernel(const OperatorView& op) {
  // One window is the whole image where ONNX gives no size.
  Integers kernel = op.integers("kernel_shape", Integers{1, 1});
  if (kernel.size() == 1 && op.flag("in_pairs", false)) kernel.push_back(kernel[0]);
  if (kernel.size() == 1 && is_line(op)) kernel.insert(kernel.begin(), 1);
  return kernel;
}

}  // namespace lenet
