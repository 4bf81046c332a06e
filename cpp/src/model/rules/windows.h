/// \file
/// The windows of convolutions and pools.
#pragma once

#include <cstdint>
#include <string>

#include "model/rules/operator_view.h"

namespace lenet {

struct Window {
  Integers kernel;
  Integers strides;
  Integers dilations;
  Integers paddings;
  std::string algorithm;
  bool ceil = false;
};

/// Checks the sizes of a window, and reads its padding_algorithm.
void require_window(const OperatorView& op, Window& window);

/// The size of one spatial dimension of the output.
std::int64_t windowed(const OperatorView& op, std::int64_t size, const Window& window,
                      std::size_t i, bool pool);

}  // namespace lenet
