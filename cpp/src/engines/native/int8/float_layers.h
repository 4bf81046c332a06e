/// \file
/// What a quantized network computes in float32: layers without quantization. Simple, and the same
/// bits on every processor.
#pragma once

#include <vector>

#include "engines/native/network.h"

namespace lenet::native::int8 {

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

/// A convolution's weights [output channels][input channels][height][width] by
/// [group][height][width][input channels][output channels of the group].
std::vector<float> outputs_last(const Layer& layer);

// Tensors of one image, [height][width][channels]; `relu` is left to the caller.

/// \param weights as outputs_last gives them
void convolve(const Layer& layer, const std::vector<float>& weights, const TensorShape& from,
              const TensorShape& to, const float* input, float* output);
void average(const Windows& rows, const Windows& columns, const TensorShape& from,
             const float* input, float* output);
void largest(const Windows& rows, const Windows& columns, const TensorShape& from,
             const float* input, float* output);

}  // namespace lenet::native::int8
