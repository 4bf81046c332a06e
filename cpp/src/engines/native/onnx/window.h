/// \file
/// Where the windows of a convolution or pool of an .onnx lie.
#pragma once

#include <array>
#include <cstdint>

#include "engines/native/network.h"
#include "engines/native/onnx/step.h"

namespace lenet::native {

struct OnnxWindow {
  Window window;
  std::array<std::int64_t, 2> outputs = {1, 1};  ///< height, width
};

/// From the attributes auto_pad, pads, strides, dilations and, of a pool, ceil_mode.
/// \param kernel height and width, each 1 or more
/// \throws Error BadModel, Unsupported
OnnxWindow read_window(const OnnxStep& step, const std::array<std::int64_t, 2>& kernel,
                       const TensorShape& image, bool pool);

}  // namespace lenet::native
