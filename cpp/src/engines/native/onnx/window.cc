#include "engines/native/onnx/window.h"

#include <algorithm>
#include <string>

#include "model/rules/support.h"

namespace lenet::native {
namespace {

void check_range(const OnnxStep& step, const Integers& values, std::size_t count,
                 std::int64_t least, const char* what) {
  const bool in_range = std::all_of(values.begin(), values.end(), [&](std::int64_t value) {
    return value >= least && value <= kMaxStep;
  });
  if (values.size() != count || !in_range) step.damaged(std::string(what) + " are out of range");
}

}  // namespace

OnnxWindow read_window(const OnnxStep& step, const std::array<std::int64_t, 2>& kernel,
                       const TensorShape& image, bool pool) {
  const Integers strides = step.integers("strides", {1, 1});
  const Integers dilations = step.integers("dilations", {1, 1});
  const Integers pads = step.integers("pads", {0, 0, 0, 0});  // top, left, bottom, right
  check_range(step, {kernel.begin(), kernel.end()}, 2, 1, "kernel sizes");
  check_range(step, strides, 2, 1, "strides");
  check_range(step, dilations, 2, 1, "dilations");
  check_range(step, pads, 4, 0, "pads");
  const std::string mode = step.text("auto_pad", "NOTSET");
  const bool upper = mode == "SAME_UPPER";
  const bool same = upper || mode == "SAME_LOWER";
  const bool as_said = mode == "NOTSET";
  step.check(as_said || same || mode == "VALID", "its auto_pad is unknown");
  const bool padded = std::any_of(pads.begin(), pads.end(), [](auto pad) { return pad != 0; });
  step.check(as_said || !padded, "it has both pads and auto_pad");
  const bool ceil = pool && step.flag("ceil_mode", false);
  step.require(as_said || !ceil, "kernel for ceil_mode with auto_pad");
  const bool dilated = dilations != Integers{1, 1};
  step.require(!dilated || !(same || pool), "kernel for such dilations");

  const std::array<std::int64_t, 2> sizes = {image.height, image.width};
  OnnxWindow found;
  for (std::size_t i = 0; i < 2; ++i) {
    const std::int64_t stride = strides[i];
    const std::int64_t extent = (kernel[i] - 1) * dilations[i] + 1;
    std::int64_t before = pads[i];
    std::int64_t after = pads[i + 2];
    std::int64_t& outputs = found.outputs[i];
    if (same) {
      outputs = (sizes[i] + stride - 1) / stride;
      const std::int64_t needed = (outputs - 1) * stride + extent - sizes[i];
      // onnxruntime cuts values off before the image where it pads by a negative number.
      step.require(needed >= -1, "kernel for auto_pad with such a stride");
      const std::int64_t all = std::max<std::int64_t>(needed, 0);
      before = upper ? all / 2 : all - all / 2;
      after = all - before;
    } else {
      step.check(!pool || (before < extent && after < extent),
                 "a padding is as wide as the window");
      const std::int64_t room = sizes[i] + before + after - extent;
      step.check(pool || room >= 0, "its window is larger than the image");
      step.require(room >= 0, "pool with a window larger than the image");
      outputs = (ceil ? (room + stride - 1) / stride : room / stride) + 1;
      // Of a pool a window that would begin behind the image is left out.
      if (ceil && (outputs - 1) * stride >= sizes[i] + before) --outputs;
    }
    found.window.kernel[i] = kernel[i];
    found.window.strides[i] = stride;
    found.window.dilations[i] = dilations[i];
    found.window.padding[2 * i] = before;
    found.window.padding[2 * i + 1] = after;
  }
  return found;
}

}  // namespace lenet::native
