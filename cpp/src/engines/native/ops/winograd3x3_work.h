/// \file
/// What Winograd's method of 3 x 3 costs: to choose it, and to share its work among threads.
#pragma once

#include <cstdint>

#include "engines/native/tensor.h"

namespace lenet::native {

/// Returns how many tiles of outputs an image has.
/// \param bf16 whether a tile is of 2 x 4 outputs, as the kernel in bf16 has them; else of 4 x 4
std::int64_t winograd3x3_tiles(const TensorShape& output, bool bf16);

/// Returns what some tiles of some channels take, in multiply-adds of a vector, as measured on
/// Zen 4.
/// \param channels of the input
/// \param lanes of a vector
/// \param out_blocks vectors of output channels
double winograd3x3_work(std::int64_t tiles, std::int64_t channels, std::int64_t lanes,
                        std::int64_t out_blocks, bool bf16);

}  // namespace lenet::native
