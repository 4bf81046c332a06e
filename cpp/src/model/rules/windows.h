/// \file
/// The windows of convolutions and pools, whatever a dialect calls their padding.
#pragma once

#include <array>
#include <cstdint>

#include "model/rules/operator_view.h"

namespace lenet {

/// That of a convolution or pool.
struct Window {
  std::array<std::int64_t, 2> kernel = {1, 1};  ///< height, width
  std::array<std::int64_t, 2> strides = {1, 1};
  std::array<std::int64_t, 2> dilations = {1, 1};
  std::array<std::int64_t, 4> padding = {0, 0, 0, 0};  ///< top, bottom, left, right

  bool pads() const { return padding != std::array<std::int64_t, 4>{}; }
};

struct WindowPlan {
  Window window;
  std::array<std::int64_t, 2> outputs = {1, 1};  ///< height, width; -1 of a size that is open
  bool exceeds_image = false;                    ///< a pool's window is larger than the image
};

/// Whether a window of ONNX is one of a signal, [N, channels, length]: an image of one row.
bool is_line(const OperatorView& op);

/// The padding as it is written: top, bottom, left, right.
std::array<std::int64_t, 4> explicit_padding(const OperatorView& op);

/// Plans the windows by paddings and padding_algorithm, or pads and auto_pad, and the other
/// attributes. \param kernel height and width \param sizes of the image; -1 where it is open
WindowPlan plan_window(const OperatorView& op, const Integers& kernel,
                       const std::array<std::int64_t, 2>& sizes, bool pool);

/// The size of a pool's window, under the dialect's name.
Integers pool_kernel(const OperatorView& op);

}  // namespace lenet
