/// \file
/// Which part of an image each output of a pool sees.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engines/native/network.h"

namespace lenet::native {

/// The windows of a pool in one direction, clipped to the image.
struct Windows {
  std::vector<std::int32_t> begins;
  std::vector<std::int32_t> ends;
  std::vector<float> sizes;  ///< to divide a sum by
};

/// \param direction 0: rows, 1: columns
/// \throws Error Unsupported: a window outside the image.
Windows pool_windows(const Layer& layer, std::size_t direction, std::int64_t image,
                     std::int64_t count);

}  // namespace lenet::native
