#include "model/rules/windows.h"

#include <algorithm>

#include "model/rules/support.h"

namespace lenet {

void require_window(const OperatorView& op, Window& window) {
  require_range(op, window.kernel, 2, 1, kMaxStep, "kernel sizes");
  require_range(op, window.strides, 2, 1, kMaxStep, "strides");
  require_range(op, window.dilations, 2, 1, kMaxStep, "dilations");
  require_range(op, window.paddings, window.paddings.size() == 4 ? 4 : 2, 0, kMaxStep, "paddings");
  window.algorithm = op.text("padding_algorithm");
  op.require(
      window.algorithm == "EXPLICIT" || window.algorithm == "SAME" || window.algorithm == "VALID",
      "padding_algorithm");
}

/// The size of one spatial dimension of the output. Of a pool, Paddle divides towards zero, so that
/// a window may be larger than the image by less than the stride; and with SAME it rounds up where
/// ceil_mode is set, for which a window shorter than the stride leaves something to round.
std::int64_t windowed(const OperatorView& op, std::int64_t size, const Window& window,
                      std::size_t i, bool pool) {
  const std::int64_t extent = window.dilations[i] * (window.kernel[i] - 1) + 1;
  const std::int64_t stride = window.strides[i];
  const bool pairs = window.paddings.size() == 4;
  const std::int64_t before = pairs ? window.paddings[2 * i] : window.paddings[i];
  const std::int64_t after = pairs ? window.paddings[2 * i + 1] : window.paddings[i];
  if (size == kUnknown) return kUnknown;
  std::int64_t pad = window.algorithm == "VALID" ? 0 : before + after;
  if (window.algorithm == "SAME") {
    const std::int64_t outputs = (size + stride - 1) / stride;
    if (!pool) return outputs;
    pad = std::max<std::int64_t>((outputs - 1) * stride + extent - size, 0);
  }
  const std::int64_t room = size + pad - extent + (window.ceil ? stride - 1 : 0);
  const std::int64_t outputs = room / stride + 1;
  if (pool && outputs == 0) op.unsupported("pools to an empty tensor; use a larger image");
  op.require(room >= 0 || (pool && outputs > 0), "a window larger than the image");
  return outputs;
}

}  // namespace lenet
