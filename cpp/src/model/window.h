/// \file
#pragma once

#include <array>
#include <cstdint>

namespace lenet {

/// That of a convolution or pool.
struct Window {
  std::array<std::int64_t, 2> kernel = {1, 1};  ///< height, width
  std::array<std::int64_t, 2> strides = {1, 1};
  std::array<std::int64_t, 2> dilations = {1, 1};
  std::array<std::int64_t, 4> padding = {0, 0, 0, 0};  ///< top, bottom, left, right
};

}  // namespace lenet
