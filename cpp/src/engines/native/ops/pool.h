/// \file
/// Pools, in float32 and of integers.
#pragma once

#include <memory>
#include <vector>

#include "engines/native/kernels/kernels.h"
#include "engines/native/runtime/program.h"

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

/// \param pool the kernel
/// \throws Error as above
std::unique_ptr<Op> make_pool(void (*pool)(const PoolTask&), const Layer& layer,
                              const Placement& from, const Placement& to, bool relu);

}  // namespace lenet::native
